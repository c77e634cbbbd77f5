"""Operating errors of the raft layer."""

from __future__ import annotations

from enum import Enum


class Damaged(Enum):
    """What of the quorum's folder is damaged."""

    LOG = "log"
    STATE = "quorum-state"
    SNAPSHOTS = "snapshots"


class RaftError(Exception):
    """The quorum's log, snapshots or state file cannot be used; the text says why and what to do."""


class DamagedQuorum(RaftError):
    """A file of the quorum's folder is not what was written.

    Attributes:
        what: which kind of file.
    """

    def __init__(self, what: Damaged, text: str) -> None:
        super().__init__(text)
        self.what = what


class UnsupportedQuorum(RaftError):
    """The folder belongs to a quorum this version cannot take part in."""


class NotLeader(RaftError):
    """Only the leader appends; this node is not the leader (any more)."""
