"""What a leader knows of each voter's log, and what that commits. Pure."""

from __future__ import annotations

from moldau_broker.raft.quorum import VoterKey, VoterSet


class Progress:
    """Durable log ends of the voters in one leader's epoch.

    `durable` counts only what a voter has on disk (fdatasynced): an offset is committed once a majority
    could lose power and still hold it. Nothing is committed by counting alone before the leader's own first
    entry is (Raft section 5.4.2): entries of earlier epochs become committed with it. `epoch_start` is that
    entry's offset.
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
        """Note that a voter's log is durable below `durable_end`; whether the high watermark moved."""
        if durable_end <= self.durable.get(key, -1):
            return False
        self.durable[key] = durable_end
        return self._advance()

    def _advance(self) -> bool:
        ends = sorted((self.durable.get(key, -1) for key in self._voters.keys), reverse=True)
        committed = ends[self._voters.majority - 1]
        if committed <= self.epoch_start or committed <= (self._high_watermark or 0):
            return False
        self._high_watermark = committed
        return True
