"""DescribeLogDirs (key 35): log directories and the size of what they hold.

Source: Kafka 4.3 protocol guide; v2 flexible, v4 volume sizes (KIP-827), v5 cordoned directories.
"""

from __future__ import annotations

from moldau_broker.wire.schema import (
    Array,
    Boolean,
    Int16,
    Int32,
    Int64,
    String,
    Struct,
    field,
    message,
    struct,
)


@struct
class DescribableLogDirTopic(Struct):
    """The partitions asked of one topic."""

    topic: String = ""
    partitions: Array[Int32] = ()


@message(key=35, versions=(1, 5), flexible=2)
class DescribeLogDirsRequest(Struct):
    """The partitions asked for; null is all."""

    topics: Array[DescribableLogDirTopic] | None = ()


@struct
class DescribeLogDirsPartition(Struct):
    """What it holds of one partition."""

    partition_index: Int32 = 0
    partition_size: Int64 = 0
    offset_lag: Int64 = 0
    is_future_key: Boolean = False


@struct
class DescribeLogDirsTopic(Struct):
    """What it holds of one topic."""

    name: String = ""
    partitions: Array[DescribeLogDirsPartition] = ()


@struct
class DescribeLogDirsResult(Struct):
    """One directory."""

    error_code: Int16 = 0
    log_dir: String = ""
    topics: Array[DescribeLogDirsTopic] = ()
    total_bytes: Int64 = field(default=-1, since=4)
    usable_bytes: Int64 = field(default=-1, since=4)
    is_cordoned: Boolean = field(default=False, since=5)


@message(key=35, versions=(1, 5), flexible=2)
class DescribeLogDirsResponse(Struct):
    """The directories."""

    throttle_time_ms: Int32 = 0
    error_code: Int16 = field(default=0, since=3)
    results: Array[DescribeLogDirsResult] = ()
