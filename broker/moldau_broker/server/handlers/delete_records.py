"""DeleteRecords: served 0-2.

Behaviour: the log start offset of each partition moves to the offset asked for (-1: the high watermark); records
below it can no longer be read, whole segments below it are deleted. The answer waits until the replicas on live
brokers have done the same, or `timeout_ms` has passed (REQUEST_TIMED_OUT, though the deletion goes on); the low
watermark is the lowest of their log starts. Partitions of a topic that does not allow deletion (cleanup.policy without
`delete`) answer POLICY_VIOLATION. Version notes: v2 flexible.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from moldau_broker.base.deferred import Deferred
from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.topics import INTERNAL_TOPICS
from moldau_broker.replication.partition import Partition
from moldau_broker.replication.waiting import DelayedDeletion
from moldau_broker.server.handlers.spec import Handler, RequestContext
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.delete_records import (
    DeleteRecordsPartition,
    DeleteRecordsPartitionResult,
    DeleteRecordsRequest,
    DeleteRecordsResponse,
    DeleteRecordsTopicResult,
)

if TYPE_CHECKING:
    from moldau_broker.server.broker import Broker


def handle(
    broker: Broker, context: RequestContext, request: DeleteRecordsRequest
) -> Deferred[DeleteRecordsResponse]:
    """Move the log start of every partition asked for, and wait until its followers have done so."""
    del context
    later: Deferred[DeleteRecordsResponse] = Deferred()
    outcomes = [
        (wanted, *_delete(broker, topic.name, wanted))
        for topic in request.topics
        for wanted in topic.partitions
    ]
    waited_for = [slot for slot, (_, _, error) in enumerate(outcomes) if error is ErrorCode.NONE]

    def done(errors: Sequence[ErrorCode]) -> None:
        for slot, error in zip(waited_for, errors, strict=True):
            outcomes[slot] = (*outcomes[slot][:2], error)
        answers = iter([_answer(*outcome) for outcome in outcomes])
        later.complete(
            DeleteRecordsResponse(
                topics=[
                    DeleteRecordsTopicResult(
                        name=topic.name, partitions=[next(answers) for _ in topic.partitions]
                    )
                    for topic in request.topics
                ]
            )
        )

    waiting = DelayedDeletion(done)
    for slot in waited_for:
        wanted, partition, _ = outcomes[slot]
        assert partition is not None
        waiting.add(partition, wanted.offset if wanted.offset >= 0 else partition.log_start_offset)
    if not waiting.all_added():
        timer = broker.timers.call_later(request.timeout_ms, waiting.expire)
        later.on_complete(lambda _: timer.cancel())
    return later


def _delete(broker: Broker, topic: str, wanted: DeleteRecordsPartition) -> tuple[Partition | None, ErrorCode]:
    index = wanted.partition_index
    partition = broker.replicas.partition(topic, index)
    if partition is None:
        return None, broker.replicas.missing_error(topic, index)
    if topic in INTERNAL_TOPICS:
        return partition, ErrorCode.INVALID_TOPIC_EXCEPTION
    if not partition.log.config.is_deleted:
        return partition, ErrorCode.POLICY_VIOLATION
    error = partition.leadership_error(-1)
    return partition, partition.delete_records(wanted.offset) if error is ErrorCode.NONE else error


def _answer(
    wanted: DeleteRecordsPartition, partition: Partition | None, error: ErrorCode
) -> DeleteRecordsPartitionResult:
    known = error in (ErrorCode.NONE, ErrorCode.REQUEST_TIMED_OUT) and partition is not None
    return DeleteRecordsPartitionResult(
        partition_index=wanted.partition_index,
        low_watermark=partition.low_watermark if known and partition is not None else -1,
        error_code=error,
    )


HANDLER = Handler(api=ApiKey.DELETE_RECORDS, versions=(0, 2), handle=handle)
