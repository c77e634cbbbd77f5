"""When a leader's log ended where, so that a follower's lag is a time (replica.lag.time.max.ms). Pure."""

from __future__ import annotations

from typing import Final

STEP_MS: Final = 100
"""Apart, at first."""

ENTRIES_MAX: Final = 64


class EndTimes:
    """Where the log ended, every so often, as far back as an in-sync follower is behind.

    Kafka compares a follower's end with the leader's of one fetch before. A follower that is always some fetches behind
    then counts as one that never catches up, and leaves the ISR after a while although it keeps pace. Kafka's brokers
    handle one request of a connection at a time, which keeps followers within a fetch of the leader; ours take more.

    What is remembered is bounded: when it is full, every second entry goes, and new ones come half as often. As a
    follower leaves the ISR that is too far behind, entries are then some 2 % of its limit apart. One that is not there
    makes a follower look further behind than it is, never closer.
    """

    __slots__ = ("_entries", "_step_ms")

    def __init__(self) -> None:
        self._entries: list[tuple[int, int]] = []  # (ms, end), both rising
        self._step_ms = STEP_MS

    def __bool__(self) -> bool:
        return bool(self._entries)

    def note(self, end: int, now_ms: int) -> None:
        """The log ends there now."""
        entries = self._entries
        if entries and now_ms - entries[-1][0] < self._step_ms:
            return
        if len(entries) == ENTRIES_MAX:
            del entries[1::2]
            self._step_ms *= 2
        entries.append((now_ms, end))

    def reached(self, end: int) -> int | None:
        """The latest time known at which the log did not end beyond `end`."""
        return next((at for at, then in reversed(self._entries) if then <= end), None)

    def passed(self, end: int, leader_end: int) -> None:
        """Every in-sync follower has all below `end`; at `leader_end` nobody is behind."""
        entries = self._entries
        if end >= leader_end:
            entries.clear()
            self._step_ms = STEP_MS
        while len(entries) > 1 and entries[1][1] <= end:
            del entries[0]
