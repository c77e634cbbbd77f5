"""What can go wrong when talking to a cluster, as one small hierarchy that wraps everything beneath it."""

from __future__ import annotations

from moldau_broker.base.errors import ErrorCode


def code_of(raw: int) -> ErrorCode:
    """The table's entry for a code off the wire; a code it does not hold is an unknown server error."""
    try:
        return ErrorCode(raw)
    except ValueError:
        return ErrorCode.UNKNOWN_SERVER_ERROR


class ClientError(Exception):
    """Any operating error of this package. `retriable`: the same call may succeed a little later."""

    retriable = False


class BrokerUnreachable(ClientError):
    """No connection could be made, to one broker or to any of the bootstrap servers."""

    retriable = True

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(f"cannot reach {address}: {reason}")
        self.address = address
        self.reason = reason


class ConnectionLost(ClientError):
    """The connection ended before the answer came; whether the request was carried out is unknown."""

    retriable = True


class RequestTimedOut(ClientError):
    """No answer within the request timeout; the connection is closed, because answers come in order."""

    retriable = True


class ProtocolViolation(ClientError):
    """The peer sent something that is not the Kafka protocol (or a frame above the limit)."""


class VersionUnsupported(ClientError):
    """The broker and this client share no version of an API."""


class RequestFailed(ClientError):
    """The broker answered with an error code.

    Attributes:
        code: the protocol's error code.
        what: what was asked for, in words ("topic orders").
        detail: the broker's own message, if it sent one.
    """

    def __init__(self, code: ErrorCode, what: str, detail: str | None = None) -> None:
        super().__init__(f"{what}: {code.name}" + (f" ({detail})" if detail else ""))
        self.code = code
        self.what = what
        self.detail = detail

    @property
    def retriable(self) -> bool:  # type: ignore[override]  # a constant everywhere else, the table's answer here
        """As the protocol's error table says."""
        return self.code.retriable


class DeliveryFailed(ClientError):
    """Some records of a producer were not acknowledged."""

    def __init__(self, count: int, first: ClientError) -> None:
        super().__init__(f"{count} record{'s were' if count != 1 else ' was'} not acknowledged: {first}")
        self.count = count
        self.first = first


def raise_for(raw: int, what: str, detail: str | None = None) -> None:
    """Raise `RequestFailed` unless the code off the wire says success."""
    if raw != 0:
        raise RequestFailed(code_of(raw), what, detail)
