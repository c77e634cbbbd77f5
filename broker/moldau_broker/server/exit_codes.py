"""What the broker's exit status says. Documented in the README; a supervisor decides by it."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit statuses of the broker process."""

    CLEAN = 0
    """Asked to stop (SIGTERM, SIGINT), and stopped in order."""

    CRASH = 1
    """A programming error or an unforeseen failure; worth a restart."""

    USAGE = 2
    """Arguments or settings are wrong; a restart cannot help."""

    DATA_LOCKED = 3
    """Another process owns the data directory."""

    PORT_TAKEN = 4
    """A listener's address is in use or not ours."""

    DATA_UNUSABLE = 5
    """The data directory belongs to another node or cluster, cannot be written, or failed while running."""
