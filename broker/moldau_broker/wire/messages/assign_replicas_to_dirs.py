"""AssignReplicasToDirs (key 73): a broker tells the controller in which log directory its replicas lie.

Source: Kafka 4.3 protocol guide; KIP-858.
"""

from __future__ import annotations

from moldau_broker.wire.schema import ZERO_UUID, Array, Int16, Int32, Int64, Struct, Uuid, message, struct


@struct
class AssignReplicasToDirsRequestPartition(Struct):
    """One partition whose replica lies there."""

    partition_index: Int32 = 0


@struct
class AssignReplicasToDirsRequestTopic(Struct):
    """The replicas of one topic in a directory."""

    topic_id: Uuid = ZERO_UUID
    partitions: Array[AssignReplicasToDirsRequestPartition] = ()


@struct
class AssignReplicasToDirsRequestDirectory(Struct):
    """A directory, by id; some ids are reserved (`base.ids`)."""

    id: Uuid = ZERO_UUID
    topics: Array[AssignReplicasToDirsRequestTopic] = ()


@message(key=73, versions=(0, 0), flexible=0)
class AssignReplicasToDirsRequest(Struct):
    """Where this incarnation's replicas lie."""

    broker_id: Int32 = 0
    broker_epoch: Int64 = -1
    directories: Array[AssignReplicasToDirsRequestDirectory] = ()


@struct
class AssignReplicasToDirsResponsePartition(Struct):
    """Whether it was taken down."""

    partition_index: Int32 = 0
    error_code: Int16 = 0


@struct
class AssignReplicasToDirsResponseTopic(Struct):
    """The answers for one topic."""

    topic_id: Uuid = ZERO_UUID
    partitions: Array[AssignReplicasToDirsResponsePartition] = ()


@struct
class AssignReplicasToDirsResponseDirectory(Struct):
    """The answers for one directory."""

    id: Uuid = ZERO_UUID
    topics: Array[AssignReplicasToDirsResponseTopic] = ()


@message(key=73, versions=(0, 0), flexible=0)
class AssignReplicasToDirsResponse(Struct):
    """What was taken down, each replica for itself."""

    throttle_time_ms: Int32 = 0
    error_code: Int16 = 0
    directories: Array[AssignReplicasToDirsResponseDirectory] = ()
