"""What goes into the raft core and what comes out of it, as values. Pure."""

from __future__ import annotations

from typing import NamedTuple

from moldau_broker.raft.state import ElectionState, Role


class LogFlushed(NamedTuple):
    """In: the local log is durable (fdatasynced) below `end_offset`."""

    end_offset: int


class AppendFailed(NamedTuple):
    """In: the batch at `base_offset`, and all after it, are not in the log and left no trace there."""

    base_offset: int


class FlushFailed(NamedTuple):
    """In: the log could not be made durable; what of it survives is unknown until the next start."""

    reason: str


Event = LogFlushed | AppendFailed | FlushFailed


class LogBatch(NamedTuple):
    """Out: one batch to append; atomic, so readers see all of its records or none.

    Attributes:
        base_offset: offset of the first record; the batch must land exactly there.
        epoch: the leader epoch it is written in.
        timestamp_ms: of all its records.
        records: (key, value) pairs; metadata records have no key.
        control: whether these are control records, which only the quorum itself reads.
    """

    base_offset: int
    epoch: int
    timestamp_ms: int
    records: tuple[tuple[bytes | None, bytes], ...]
    control: bool

    @property
    def next_offset(self) -> int:
        """Offset after the last record."""
        return self.base_offset + len(self.records)


class Ready(NamedTuple):
    """Out: what to do now, in the order of the fields.

    Attributes:
        election: write and fsync the quorum-state file before anything below.
        batches: append these to the log, then make it durable and report `LogFlushed`.
        role: the role in force from here on, if it changed.
        high_watermark: offsets below it are committed from here on, if it moved.
    """

    election: ElectionState | None
    batches: tuple[LogBatch, ...]
    role: Role | None
    high_watermark: int | None
