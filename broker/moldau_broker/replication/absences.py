"""Since when replicas are out of sync, as far as a partition's leader can tell. Pure.

A replica that leaves the ISR has been out of sync since it last had all that the leader had (lastCaughtUpTimeMs in
Kafka), which is before it left; what it catches up with while it stays out changes nothing of that. Nothing of it is
stored: a leader that finds a replica out of sync when its term begins cannot say since when, only that it was before. A
term here goes on through leader epochs that follow each other under one leader: nobody else led between them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from moldau_broker.replication.leader import Follower


class Absence(NamedTuple):
    """A replica that is out of sync.

    Attributes:
        since_ms: when it last had everything, monotonic; None if that was before the leader's term.
        end: its fsynced end when it left, or -1 if it was not known.
    """

    since_ms: int | None
    end: int


class OutOfSync(NamedTuple):
    """What a leader says of the replicas that are out of sync.

    Attributes:
        term_began_ms: when its term began, monotonic.
        replicas: who they are, each with the newest end that is known of it.
    """

    term_began_ms: int
    replicas: Mapping[int, Absence]


class Absences:
    """The replicas out of sync in one leader's term.

    Attributes:
        term_began_ms: when that was, monotonic.
        replicas: who is out of sync.
    """

    __slots__ = ("replicas", "term_began_ms")

    def __init__(self, out: Iterable[int], now_ms: int, unknown_end: int) -> None:
        """A term begins; `out` are out of sync already."""
        self.term_began_ms = now_ms
        self.replicas = {replica: Absence(None, unknown_end) for replica in out}

    def see(self, replicas: Iterable[int], isr: Iterable[int], followers: Mapping[int, Follower]) -> None:
        """Take over a new ISR; `followers` is what was known of the replicas when it changed."""
        out = set(replicas).difference(isr)
        for replica in self.replicas.keys() - out:
            del self.replicas[replica]
        for replica in out.difference(self.replicas).intersection(followers):
            follower = followers[replica]
            self.replicas[replica] = Absence(follower.caught_up_ms, follower.end)
