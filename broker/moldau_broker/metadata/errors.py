"""Operating errors of the metadata layer. Protocol answers are `ErrorCode` values, never these."""

from __future__ import annotations

from moldau_broker.base.errors import ErrorCode


class MetadataError(Exception):
    """The metadata log or a snapshot of it cannot be used; the text says why and what to do."""


class InvalidMetadataRecord(MetadataError):
    """A record contradicts the state it is applied to, or is one this version does not know."""


class ControllerUnavailable(MetadataError):
    """An operation was not answered: this node is not the active controller, or its disk failed.

    Whether its records survive is unknown if they were appended before the failure.

    Attributes:
        error: what to tell a client, e.g. NOT_CONTROLLER or KAFKA_STORAGE_ERROR.
    """

    def __init__(self, error: ErrorCode, reason: str) -> None:
        super().__init__(reason)
        self.error = error
