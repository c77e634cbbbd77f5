"""BrokerRegistration (key 62): a broker starts and enters the cluster.

Source: Kafka 4.3 protocol guide; KIP-631; v2 log directories, v3 supported features from 0, v4 cordoned
directories.
"""

from __future__ import annotations

from moldau_broker.wire.schema import (
    ZERO_UUID,
    Array,
    Boolean,
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
class Listener(Struct):
    """One listener of the broker."""

    name: String = ""
    host: String = ""
    port: UInt16 = 0
    security_protocol: Int16 = 0


@struct
class Feature(Struct):
    """The levels of a feature the broker can run."""

    name: String = ""
    min_supported_version: Int16 = 0
    max_supported_version: Int16 = 0


@message(key=62, versions=(0, 4), flexible=0)
class BrokerRegistrationRequest(Struct):
    """Who the broker is and what it can do."""

    broker_id: Int32 = 0
    cluster_id: String = ""
    incarnation_id: Uuid = ZERO_UUID
    listeners: Array[Listener] = ()
    features: Array[Feature] = ()
    rack: String | None = ""
    is_migrating_zk_broker: Boolean = field(default=False, since=1)
    log_dirs: Array[Uuid] = field(default=(), since=2)
    previous_broker_epoch: Int64 = field(default=-1, since=3)


@message(key=62, versions=(0, 4), flexible=0)
class BrokerRegistrationResponse(Struct):
    """The broker's epoch."""

    throttle_time_ms: Int32 = 0
    error_code: Int16 = 0
    broker_epoch: Int64 = -1
