"""ListOffsets: served 1-11.

Behaviour: -1 latest (high watermark, or last stable offset under read_committed), -2 earliest, -3 the record with
the largest timestamp (KIP-734), -4 earliest local; -5 and -6 speak of tiered storage, which is not there: offset -1.
Any other negative one is UNSUPPORTED_VERSION. A timestamp: the first record at or after it, looked up inside its
batch; -1 where there is none. A partition named twice is INVALID_REQUEST. Version notes: v4 leader epochs (KIP-320),
v7 -3, v8 -4, v9 -5, v11 -6.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from moldau_broker.base.errors import ErrorCode
from moldau_broker.replication.partition import Partition
from moldau_broker.server.handlers.spec import Handler, RequestContext
from moldau_broker.storage.errors import StorageError
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.list_offsets import (
    ListOffsetsPartition,
    ListOffsetsPartitionResponse,
    ListOffsetsRequest,
    ListOffsetsResponse,
    ListOffsetsTopicResponse,
)

if TYPE_CHECKING:
    from moldau_broker.server.broker import Broker

LATEST: Final = -1
EARLIEST: Final = -2
MAX_TIMESTAMP: Final = -3
EARLIEST_LOCAL: Final = -4
_TIERED: Final = (-5, -6)
_SPECIAL_SINCE: Final = {LATEST: 1, EARLIEST: 1, MAX_TIMESTAMP: 7, EARLIEST_LOCAL: 8, -5: 9, -6: 11}
_NOT_AVAILABLE_SINCE: Final = 5
_NEVER: Final = 2**15
_READ_COMMITTED: Final = 1
_NOTHING: Final = (-1, -1, -1)


def handle(broker: Broker, context: RequestContext, request: ListOffsetsRequest) -> ListOffsetsResponse:
    """Look every partition's offset up."""
    times_named = Counter(
        (topic.name, wanted.partition_index) for topic in request.topics for wanted in topic.partitions
    )
    committed = request.isolation_level == _READ_COMMITTED
    topics = []
    for topic in request.topics:
        answers = []
        for wanted in topic.partitions:
            if times_named[(topic.name, wanted.partition_index)] > 1:
                answers.append(_failed(wanted, ErrorCode.INVALID_REQUEST))
                continue
            partition = broker.replicas.partition(topic.name, wanted.partition_index)
            if partition is None:
                answers.append(
                    _failed(wanted, broker.replicas.missing_error(topic.name, wanted.partition_index))
                )
            else:
                answers.append(_answer(partition, wanted, context.api_version, committed=committed))
        topics.append(ListOffsetsTopicResponse(name=topic.name, partitions=answers))
    return ListOffsetsResponse(topics=topics)


def _answer(
    partition: Partition, wanted: ListOffsetsPartition, version: int, *, committed: bool
) -> ListOffsetsPartitionResponse:
    error = partition.leadership_error(wanted.current_leader_epoch)
    if error is not ErrorCode.NONE:
        return _failed(wanted, error)
    if not partition.is_ready and wanted.timestamp != EARLIEST:
        # A new leader does not know yet what was committed before its time.
        not_yet = version >= _NOT_AVAILABLE_SINCE
        return _failed(wanted, ErrorCode.OFFSET_NOT_AVAILABLE if not_yet else ErrorCode.LEADER_NOT_AVAILABLE)
    if wanted.timestamp < 0 and version < _SPECIAL_SINCE.get(wanted.timestamp, _NEVER):
        return _failed(wanted, ErrorCode.UNSUPPORTED_VERSION)
    try:
        offset, timestamp, epoch = look_up(partition, wanted.timestamp, committed=committed)
    except StorageError as failure:
        partition.go_offline(str(failure))
        return _failed(wanted, ErrorCode.KAFKA_STORAGE_ERROR)
    return ListOffsetsPartitionResponse(
        partition_index=wanted.partition_index, timestamp=timestamp, offset=offset, leader_epoch=epoch
    )


def look_up(partition: Partition, timestamp: int, *, committed: bool) -> tuple[int, int, int]:
    """(offset, timestamp, leader epoch) for a ListOffsets timestamp; -1 for each that there is not."""
    log = partition.log
    end = partition.last_stable_offset if committed else partition.high_watermark
    if timestamp == LATEST:
        return end, -1, partition.leader_epoch
    if timestamp in (EARLIEST, EARLIEST_LOCAL):
        start = log.log_start_offset
        return start, -1, log.epochs.epoch_for(start)
    if timestamp in _TIERED:
        return _NOTHING
    found = (
        log.max_timestamp_offset(end)
        if timestamp == MAX_TIMESTAMP
        else log.offset_for_timestamp(timestamp, end)
    )
    return found if found is not None else _NOTHING


def _failed(wanted: ListOffsetsPartition, error: ErrorCode) -> ListOffsetsPartitionResponse:
    return ListOffsetsPartitionResponse(partition_index=wanted.partition_index, error_code=error)


HANDLER = Handler(api=ApiKey.LIST_OFFSETS, versions=(1, 11), handle=handle)
