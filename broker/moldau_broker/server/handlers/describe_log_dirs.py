"""DescribeLogDirs: served 1-5.

Behaviour: the one log directory with the size of every replica asked for (null: all), and the volume's total and
usable bytes. Version notes: v3 top-level error, v4 volume bytes (KIP-827), v5 whether the directory is cordoned.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from moldau_broker.base.errors import ErrorCode
from moldau_broker.server.handlers.spec import Handler, RequestContext
from moldau_broker.storage.errors import StorageError
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.describe_log_dirs import (
    DescribeLogDirsPartition,
    DescribeLogDirsRequest,
    DescribeLogDirsResponse,
    DescribeLogDirsResult,
    DescribeLogDirsTopic,
)

if TYPE_CHECKING:
    from moldau_broker.server.broker import Broker


def handle(
    broker: Broker, context: RequestContext, request: DescribeLogDirsRequest
) -> DescribeLogDirsResponse:
    """Describe the log directory and its replicas."""
    del context
    wanted: dict[str, set[int]] | None = None
    if request.topics is not None:
        wanted = {topic.topic: set(topic.partitions) for topic in request.topics}
    topics: dict[str, list[DescribeLogDirsPartition]] = defaultdict(list)
    for partition in broker.replicas.partitions():
        if wanted is None or partition.index in wanted.get(partition.topic, ()):
            topics[partition.topic].append(
                DescribeLogDirsPartition(
                    partition_index=partition.index, partition_size=partition.log.size_bytes, offset_lag=0
                )
            )
    try:
        usable, total = broker.log_dir.disk.free_bytes()
    except StorageError:
        return DescribeLogDirsResponse(
            results=[
                DescribeLogDirsResult(
                    error_code=ErrorCode.KAFKA_STORAGE_ERROR, log_dir=broker.log_dir.disk.name
                )
            ]
        )
    return DescribeLogDirsResponse(
        results=[
            DescribeLogDirsResult(
                log_dir=broker.log_dir.disk.name,
                topics=[
                    DescribeLogDirsTopic(name=name, partitions=parts)
                    for name, parts in sorted(topics.items())
                ],
                total_bytes=total,
                usable_bytes=usable,
                is_cordoned=broker.metadata.image.is_cordoned(broker.node_id),
            )
        ]
    )


HANDLER = Handler(api=ApiKey.DESCRIBE_LOG_DIRS, versions=(1, 5), handle=handle)
