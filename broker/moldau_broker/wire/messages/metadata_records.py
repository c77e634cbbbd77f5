"""The records of the `__cluster_metadata` log, each with its type as `key`.

Framing: `metadata_framing`. Source: Kafka 4.3, KIP-631 and the KIPs named below.
"""

from __future__ import annotations

from moldau_broker.wire.schema import (
    ZERO_UUID,
    Array,
    Boolean,
    Bytes,
    Float64,
    Int8,
    Int16,
    Int32,
    Int64,
    String,
    Struct,
    UInt16,
    Uuid,
    field,
    message,
    struct,
)


@struct
class BrokerEndpoint(Struct):
    """One listener of a broker."""

    name: String = ""
    host: String = ""
    port: UInt16 = 0
    security_protocol: Int16 = 0


@struct
class BrokerFeature(Struct):
    """The levels of a feature a broker can run."""

    name: String = ""
    min_supported_version: Int16 = 0
    max_supported_version: Int16 = 0


@message(key=0, versions=(0, 4), flexible=0)
class RegisterBrokerRecord(Struct):
    """A broker started; its epoch is this record's offset."""

    broker_id: Int32 = 0
    is_migrating_zk_broker: Boolean = field(default=False, since=2)
    incarnation_id: Uuid = ZERO_UUID
    broker_epoch: Int64 = 0
    end_points: Array[BrokerEndpoint] = ()
    features: Array[BrokerFeature] = ()
    rack: String | None = ""
    fenced: Boolean = True
    in_controlled_shutdown: Boolean = field(default=False, since=1)
    log_dirs: Array[Uuid] = field(default=(), since=3, tag=0)
    cordoned_log_dirs: Array[Uuid] | None = field(default=None, since=4, tag=1)


@message(key=1, versions=(0, 0), flexible=0)
class UnregisterBrokerRecord(Struct):
    """A broker is gone for good."""

    broker_id: Int32 = 0
    broker_epoch: Int64 = 0


@message(key=2, versions=(0, 0), flexible=0)
class TopicRecord(Struct):
    """A new topic."""

    name: String = ""
    topic_id: Uuid = ZERO_UUID


@message(key=3, versions=(0, 2), flexible=0)
class PartitionRecord(Struct):
    """A new partition, whole."""

    partition_id: Int32 = -1
    topic_id: Uuid = ZERO_UUID
    replicas: Array[Int32] = ()
    isr: Array[Int32] = ()
    removing_replicas: Array[Int32] = ()
    adding_replicas: Array[Int32] = ()
    leader: Int32 = -1
    leader_epoch: Int32 = -1
    partition_epoch: Int32 = -1
    directories: Array[Uuid] = field(default=(), since=1)
    leader_recovery_state: Int8 = field(default=0, tag=0)
    eligible_leader_replicas: Array[Int32] | None = field(default=None, since=2, tag=1)
    last_known_elr: Array[Int32] | None = field(default=None, since=2, tag=2)


@message(key=4, versions=(0, 0), flexible=0)
class ConfigRecord(Struct):
    """One setting of one resource; null deletes it."""

    resource_type: Int8 = 0
    resource_name: String = ""
    name: String = ""
    value: String | None = ""


@message(key=5, versions=(0, 2), flexible=0)
class PartitionChangeRecord(Struct):
    """A partition changed: null (or -1, or -2 for the leader) is as before."""

    partition_id: Int32 = -1
    topic_id: Uuid = ZERO_UUID
    isr: Array[Int32] | None = field(default=None, tag=0)
    leader: Int32 = field(default=-2, tag=1)
    replicas: Array[Int32] | None = field(default=None, tag=2)
    removing_replicas: Array[Int32] | None = field(default=None, tag=3)
    adding_replicas: Array[Int32] | None = field(default=None, tag=4)
    leader_recovery_state: Int8 = field(default=-1, tag=5)
    directories: Array[Uuid] | None = field(default=None, since=1, tag=8)
    eligible_leader_replicas: Array[Int32] | None = field(default=None, since=2, tag=6)
    last_known_elr: Array[Int32] | None = field(default=None, since=2, tag=7)


@message(key=7, versions=(0, 0), flexible=0)
class FenceBrokerRecord(Struct):
    """A broker is fenced; replaced by BrokerRegistrationChangeRecord, read only."""

    id: Int32 = 0
    epoch: Int64 = 0


@message(key=8, versions=(0, 0), flexible=0)
class UnfenceBrokerRecord(Struct):
    """A broker is unfenced; replaced by BrokerRegistrationChangeRecord, read only."""

    id: Int32 = 0
    epoch: Int64 = 0


@message(key=9, versions=(0, 0), flexible=0)
class RemoveTopicRecord(Struct):
    """A topic is gone, with all its partitions."""

    topic_id: Uuid = ZERO_UUID


@message(key=10, versions=(0, 0), flexible=0)
class DelegationTokenRecord(Struct):
    """A delegation token, new or renewed."""

    owner: String = ""
    requester: String = ""
    renewers: Array[String] = ()
    issue_timestamp: Int64 = 0
    max_timestamp: Int64 = 0
    expiration_timestamp: Int64 = 0
    token_id: String = ""


@message(key=11, versions=(0, 0), flexible=0)
class UserScramCredentialRecord(Struct):
    """A user's SCRAM credential."""

    name: String = ""
    mechanism: Int8 = 0
    salt: Bytes = b""
    stored_key: Bytes = b""
    server_key: Bytes = b""
    iterations: Int32 = 0


@message(key=12, versions=(0, 0), flexible=0)
class FeatureLevelRecord(Struct):
    """The finalized level of a feature; 0 removes it."""

    name: String = ""
    feature_level: Int16 = 0


@struct
class EntityData(Struct):
    """One part of a client entity; a null name is its default."""

    entity_type: String = ""
    entity_name: String | None = ""


@message(key=14, versions=(0, 0), flexible=0)
class ClientQuotaRecord(Struct):
    """One quota of one client entity."""

    entity: Array[EntityData] = ()
    key: String = ""
    value: Float64 = 0.0
    remove: Boolean = False


@message(key=15, versions=(0, 0), flexible=0)
class ProducerIdsRecord(Struct):
    """A broker took a block of producer ids."""

    broker_id: Int32 = 0
    broker_epoch: Int64 = -1
    next_producer_id: Int64 = 0


@message(key=17, versions=(0, 3), flexible=0)
class BrokerRegistrationChangeRecord(Struct):
    """A broker was fenced, unfenced, or began its controlled shutdown; 0 is as before."""

    broker_id: Int32 = 0
    broker_epoch: Int64 = 0
    fenced: Int8 = field(default=0, tag=0)
    in_controlled_shutdown: Int8 = field(default=0, since=1, tag=1)
    log_dirs: Array[Uuid] = field(default=(), since=2, tag=2)
    cordoned_log_dirs: Array[Uuid] | None = field(default=None, since=3, tag=3)


@message(key=18, versions=(0, 0), flexible=0)
class AccessControlEntryRecord(Struct):
    """One access control entry."""

    id: Uuid = ZERO_UUID
    resource_type: Int8 = 0
    resource_name: String = ""
    pattern_type: Int8 = 0
    principal: String = ""
    host: String = ""
    operation: Int8 = 0
    permission_type: Int8 = 0


@message(key=19, versions=(0, 0), flexible=0)
class RemoveAccessControlEntryRecord(Struct):
    """An access control entry is gone."""

    id: Uuid = ZERO_UUID


@message(key=20, versions=(0, 0), flexible=0)
class NoOpRecord(Struct):
    """Nothing: moves the log so that its leader can show that it still commits."""


@message(key=21, versions=(0, 0), flexible=0)
class ZkMigrationStateRecord(Struct):
    """The state of a ZooKeeper migration; read only."""

    zk_migration_state: Int8 = 0


@message(key=22, versions=(0, 0), flexible=0)
class RemoveUserScramCredentialRecord(Struct):
    """A SCRAM credential is gone."""

    name: String = ""
    mechanism: Int8 = 0


@message(key=23, versions=(0, 0), flexible=0)
class BeginTransactionRecord(Struct):
    """Begins records that take effect together (KIP-868)."""

    name: String | None = field(default=None, tag=0)


@message(key=24, versions=(0, 0), flexible=0)
class EndTransactionRecord(Struct):
    """The records since the begin take effect."""


@message(key=25, versions=(0, 0), flexible=0)
class AbortTransactionRecord(Struct):
    """The records since the begin take no effect."""

    reason: String | None = field(default=None, tag=0)


@message(key=26, versions=(0, 0), flexible=0)
class RemoveDelegationTokenRecord(Struct):
    """A delegation token is gone."""

    token_id: String = ""


@struct
class ControllerEndpoint(Struct):
    """One listener of a controller."""

    name: String = ""
    host: String = ""
    port: UInt16 = 0
    security_protocol: Int16 = 0


@struct
class ControllerFeature(Struct):
    """The levels of a feature a controller can run."""

    name: String = ""
    min_supported_version: Int16 = 0
    max_supported_version: Int16 = 0


@message(key=27, versions=(0, 0), flexible=0)
class RegisterControllerRecord(Struct):
    """A controller and what it can do."""

    controller_id: Int32 = 0
    incarnation_id: Uuid = ZERO_UUID
    zk_migration_ready: Boolean = False
    end_points: Array[ControllerEndpoint] = ()
    features: Array[ControllerFeature] = ()


@message(key=28, versions=(0, 0), flexible=0)
class ClearElrRecord(Struct):
    """Forget eligible leader replicas, of one topic or all (KIP-966)."""

    topic_name: String = ""
