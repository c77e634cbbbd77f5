"""Operating errors of the raft layer."""

from __future__ import annotations


class RaftError(Exception):
    """The quorum's log, snapshots or state file cannot be used; the text says why and what to do."""


class UnsupportedQuorum(RaftError):
    """The folder belongs to a quorum this version cannot take part in."""


class NotLeader(RaftError):
    """Only the leader appends; this node is not the leader (any more)."""
