"""Values that leave a partition: what an append or a read came to. No behaviour here."""

from __future__ import annotations

from dataclasses import dataclass

from moldau_broker.base.errors import ErrorCode

NO_OFFSET = -1


@dataclass(slots=True)  # not frozen: one is made per request, and freezing triples its cost
class AppendOutcome:
    """How an append ended. Offsets and times are -1 where there is nothing to tell.

    `next_offset` is the offset after the batch: an acks=all answer waits until everything below it is
    replicated and on disk.
    """

    error: ErrorCode
    base_offset: int = NO_OFFSET
    next_offset: int = NO_OFFSET
    log_append_time_ms: int = -1
    log_start_offset: int = NO_OFFSET
    message: str | None = None
    record_errors: tuple[tuple[int, str], ...] = ()


@dataclass(slots=True)  # not frozen: one is made per request, and freezing triples its cost
class PartitionRead:
    """What a fetch of one partition found. `records` is None only together with an error.

    `diverging` is (epoch, end offset) where the reader's log has left ours (KIP-320, KIP-595); None otherwise.
    """

    error: ErrorCode
    high_watermark: int = NO_OFFSET
    last_stable_offset: int = NO_OFFSET
    log_start_offset: int = NO_OFFSET
    records: memoryview | None = None
    diverging: tuple[int, int] | None = None
    aborted: tuple[tuple[int, int], ...] | None = None
    """(producer id, first offset) of aborted transactions a read_committed reader must drop; None: not asked."""
    preferred: int = -1
    """The replica to read from instead (KIP-392); -1: this one."""
