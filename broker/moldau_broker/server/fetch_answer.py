"""What a fetch says of one partition, from what was found there. No waiting, no I/O of its own."""

from __future__ import annotations

from typing import Final

from moldau_broker.base.errors import ErrorCode
from moldau_broker.replication.outcome import PartitionRead
from moldau_broker.replication.partition import Partition
from moldau_broker.server.fetch_sessions import FetchPartition
from moldau_broker.server.leader_hints import Hint
from moldau_broker.wire.messages.fetch import (
    AbortedTransaction,
    EpochEndOffset,
    LeaderIdAndEpoch,
    PartitionData,
)
from moldau_broker.wire.schema import replace

NO_RECORDS: Final = memoryview(b"")


def without_records(
    partition: Partition, *, diverging: tuple[int, int] | None = None, preferred: int = -1
) -> PartitionRead:
    """Where the partition stands, and nothing to read."""
    return PartitionRead(
        ErrorCode.NONE,
        partition.high_watermark,
        partition.last_stable_offset,
        partition.log_start_offset,
        NO_RECORDS,
        diverging,
        preferred=preferred,
    )


def divergence(partition: Partition, wish: FetchPartition) -> tuple[int, int] | None:
    """(epoch, end offset) where our log ends the reader's last epoch before its fetch offset (KIP-595)."""
    epoch, end_offset = partition.log.end_offset_for(wish.last_fetched_epoch)
    if epoch < wish.last_fetched_epoch or end_offset < wish.fetch_offset:
        return epoch, end_offset
    return None


def _aborted(read: PartitionRead) -> list[AbortedTransaction] | None:
    if read.aborted is None:
        return None
    return [
        AbortedTransaction(producer_id=producer_id, first_offset=first) for producer_id, first in read.aborted
    ]


def partition_data(index: int, read: PartitionRead, hint: Hint | None = None) -> PartitionData:
    """The answer about one partition; `hint` is who leads it instead (KIP-951)."""
    data = PartitionData(
        partition_index=index,
        error_code=read.error,
        high_watermark=read.high_watermark,
        last_stable_offset=read.last_stable_offset,
        log_start_offset=read.log_start_offset,
        aborted_transactions=_aborted(read),
        preferred_read_replica=read.preferred,
        records=read.records if read.records is not None else NO_RECORDS,
    )
    if read.diverging is not None:
        epoch, end_offset = read.diverging
        data = replace(data, diverging_epoch=EpochEndOffset(epoch=epoch, end_offset=end_offset))
    if hint is not None:
        leader = LeaderIdAndEpoch(leader_id=hint.leader_id, leader_epoch=hint.leader_epoch)
        data = replace(data, current_leader=leader)
    return data
