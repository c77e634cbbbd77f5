"""What the admin API answers: JSON, or a refusal that names a protocol error. Pure."""

from __future__ import annotations

import json
from typing import Final, NamedTuple

from moldau_broker.base.errors import ErrorCode

_STATUSES: Final = {
    ErrorCode.INVALID_REQUEST: 400,
    ErrorCode.INVALID_GROUP_ID: 400,
    ErrorCode.RESOURCE_NOT_FOUND: 404,
    ErrorCode.GROUP_ID_NOT_FOUND: 404,
    ErrorCode.BROKER_ID_NOT_REGISTERED: 404,
    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION: 404,
    ErrorCode.NON_EMPTY_GROUP: 409,
    ErrorCode.OFFSET_OUT_OF_RANGE: 409,
    ErrorCode.INVALID_REPLICA_ASSIGNMENT: 409,
    ErrorCode.INVALID_REPLICATION_FACTOR: 409,
    ErrorCode.NO_REASSIGNMENT_IN_PROGRESS: 404,
    ErrorCode.POLICY_VIOLATION: 409,
    ErrorCode.MESSAGE_TOO_LARGE: 413,
    ErrorCode.REQUEST_TIMED_OUT: 504,
    ErrorCode.UNKNOWN_SERVER_ERROR: 500,
}
"""Whatever is not here is a condition that passes: 503, try again."""
_TRY_AGAIN: Final = 503


class Answer(NamedTuple):
    """A status and its JSON document."""

    status: int
    body: bytes


class Refused(Exception):
    """The request is answered with an error.

    Attributes:
        error: the protocol's code; its name is the `error` of the answer.
        message: one sentence for people.
        status: the HTTP status.
    """

    def __init__(self, error: ErrorCode, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.error = error
        self.message = message
        self.status = status if status is not None else _STATUSES.get(error, _TRY_AGAIN)


def answered(value: object, status: int = 200) -> Answer:
    """`value` as JSON."""
    return Answer(status, json.dumps(value, separators=(",", ":")).encode() + b"\n")


def refused(refusal: Refused) -> Answer:
    """The refusal as every error looks."""
    return answered({"error": refusal.error.name, "message": refusal.message}, refusal.status)
