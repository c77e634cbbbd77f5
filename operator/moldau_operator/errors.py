"""What can go wrong in the operator, as one small hierarchy that wraps everything beneath it. Pure.

Every text is one line for a person: what is wrong, and what to do about it.
"""

from __future__ import annotations

from moldau_broker.base.errors import ErrorCode


class OperatorError(Exception):
    """Any operating error of this package."""


class PlatformError(OperatorError):
    """The platform (processes and folders, or Kubernetes) could not do what a plan asked."""


class AdminError(OperatorError):
    """The brokers could not be asked, or refused.

    Attributes:
        code: the protocol's error code; `NETWORK_EXCEPTION` when no answer came.
        retriable: the same call may succeed a little later.
    """

    def __init__(self, code: ErrorCode, message: str, *, retriable: bool | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.retriable = code.retriable if retriable is None else retriable


class InstanceError(OperatorError):
    """A local instance is not there, is in use, or cannot be reached."""


class InstanceSilent(InstanceError):
    """The process that looks after an instance runs, but does not answer."""
