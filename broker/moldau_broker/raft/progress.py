"""What a leader knows of each replica's log, and what that commits. Pure."""

from __future__ import annotations

from moldau_broker.raft.quorum import VoterKey, VoterSet


class Replica:
    """A voter or observer that fetches, as its leader sees it. Times are monotonic ms, -1 for never.

    Attributes:
        end: its durable log end.
        fetched_ms: when it fetched last.
        caught_up_ms: when it last had everything the leader had.
    """

    __slots__ = ("_leader_end", "caught_up_ms", "end", "fetched_ms")

    def __init__(self) -> None:
        self.end = -1
        self.fetched_ms = -1
        self.caught_up_ms = -1
        self._leader_end = -1

    def fetched(self, offset: int, leader_end: int, now_ms: int) -> None:
        """It asks for what follows `offset`, while the leader's log ends at `leader_end`."""
        if offset >= leader_end:
            self.caught_up_ms = now_ms
        elif self._leader_end >= 0 and offset >= self._leader_end:
            self.caught_up_ms = max(self.caught_up_ms, self.fetched_ms)
        self.end = max(self.end, offset)
        self.fetched_ms = now_ms
        self._leader_end = leader_end


class Progress:
    """Durable log ends of the voters in one leader's epoch.

    `durable` counts only what a voter has on disk (fdatasynced): an offset is committed once a majority
    could lose power and still hold it. Nothing is committed by counting alone before the leader's own first
    entry is (Raft section 5.4.2): entries of earlier epochs become committed with it. `epoch_start` is that
    entry's offset. A leader that is no voter any more does not count (Raft section 6).
    """

    __slots__ = ("_high_watermark", "_voters", "durable", "epoch_start")

    def __init__(self, voters: VoterSet, epoch_start: int) -> None:
        self._voters = voters
        self.epoch_start = epoch_start
        self._high_watermark: int | None = None
        self.durable: dict[VoterKey, int] = {}

    @property
    def high_watermark(self) -> int | None:
        """First offset not committed; None while the epoch has committed nothing."""
        return self._high_watermark

    def record(self, key: VoterKey, durable_end: int) -> bool:
        """Note that a replica's log is durable below `durable_end`; whether the high watermark moved."""
        if durable_end <= self.durable.get(key, -1):
            return False
        self.durable[key] = durable_end
        return self._advance()

    def set_voters(self, voters: VoterSet) -> bool:
        """Another voter set decides from here on; whether the high watermark moved."""
        self._voters = voters
        return self._advance()

    def _advance(self) -> bool:
        ends = sorted((self.durable.get(key, -1) for key in self._voters.keys), reverse=True)
        committed = ends[self._voters.majority - 1]
        if committed <= self.epoch_start or committed <= (self._high_watermark or 0):
            return False
        self._high_watermark = committed
        return True
