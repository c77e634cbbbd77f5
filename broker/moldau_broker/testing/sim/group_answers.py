"""What clients of a group coordinator are told, whichever request it answers."""

from __future__ import annotations

from typing import Any, Final

from moldau_broker.base.errors import ErrorCode
from moldau_broker.testing.sim.network import Broken

ELSEWHERE: Final = frozenset(
    {
        ErrorCode.NOT_COORDINATOR,
        ErrorCode.COORDINATOR_NOT_AVAILABLE,
        ErrorCode.COORDINATOR_LOAD_IN_PROGRESS,
        ErrorCode.REQUEST_TIMED_OUT,
    }
)
"""Look for the coordinator, and try again."""


def error_of(response: Any) -> ErrorCode:
    """What a response of any of these kinds says."""
    if isinstance(response, ErrorCode):  # a heartbeat's
        return response
    if hasattr(response, "topics"):
        return ErrorCode(response.topics[0].partitions[0].error_code)
    return ErrorCode(response.error_code)


def told(answer: Any) -> ErrorCode:
    """What came back: a response, or nothing in time."""
    return ErrorCode.REQUEST_TIMED_OUT if isinstance(answer, Broken) else error_of(answer)


def told_of_read(answer: Any) -> ErrorCode:
    """Likewise of a read of offsets: (group, whether whoever leads has answered), or nothing in time."""
    return ErrorCode.REQUEST_TIMED_OUT if isinstance(answer, Broken) else ErrorCode(answer[0].error_code)
