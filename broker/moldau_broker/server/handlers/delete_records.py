"""DeleteRecords: served 0-2.

Behaviour: the log start offset of each partition moves to the offset asked for (-1: the high watermark); records
below it can no longer be read, whole segments below it are deleted. Partitions of a topic that does not allow
deletion (cleanup.policy without `delete`) answer POLICY_VIOLATION. Version notes: v2 flexible.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.topics import INTERNAL_TOPICS
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


def handle(broker: Broker, context: RequestContext, request: DeleteRecordsRequest) -> DeleteRecordsResponse:
    """Move the log start of every partition asked for."""
    del context
    return DeleteRecordsResponse(
        topics=[
            DeleteRecordsTopicResult(
                name=topic.name,
                partitions=[_delete(broker, topic.name, wanted) for wanted in topic.partitions],
            )
            for topic in request.topics
        ]
    )


def _delete(broker: Broker, topic: str, wanted: DeleteRecordsPartition) -> DeleteRecordsPartitionResult:
    index = wanted.partition_index
    partition = broker.replicas.partition(topic, index)
    error = ErrorCode.NONE
    if partition is None:
        error = broker.replicas.missing_error(topic, index)
    elif topic in INTERNAL_TOPICS:
        error = ErrorCode.INVALID_TOPIC_EXCEPTION
    elif not partition.log.config.is_deleted:
        error = ErrorCode.POLICY_VIOLATION
    else:
        error = partition.leadership_error(-1)
        if error is ErrorCode.NONE:
            error = partition.delete_records(wanted.offset)
    if partition is None or error is not ErrorCode.NONE:
        return DeleteRecordsPartitionResult(partition_index=index, low_watermark=-1, error_code=error)
    return DeleteRecordsPartitionResult(partition_index=index, low_watermark=partition.log_start_offset)


HANDLER = Handler(api=ApiKey.DELETE_RECORDS, versions=(0, 2), handle=handle)
