"""DescribeCluster (key 60): the brokers or controllers of the cluster.

Source: Kafka 4.3 protocol guide; v1 controller endpoints, v2 fenced brokers.
"""

from __future__ import annotations

from moldau_broker.wire.schema import (
    Array,
    Boolean,
    Int8,
    Int16,
    Int32,
    String,
    Struct,
    field,
    message,
    struct,
)


@message(key=60, versions=(0, 2), flexible=0)
class DescribeClusterRequest(Struct):
    """What to describe: 1 brokers, 2 controllers."""

    include_cluster_authorized_operations: Boolean = False
    endpoint_type: Int8 = field(default=1, since=1)
    include_fenced_brokers: Boolean = field(default=False, since=2)


@struct
class DescribeClusterBroker(Struct):
    """One broker."""

    broker_id: Int32 = 0
    host: String = ""
    port: Int32 = 0
    rack: String | None = None
    is_fenced: Boolean = field(default=False, since=2)


@message(key=60, versions=(0, 2), flexible=0)
class DescribeClusterResponse(Struct):
    """The cluster."""

    throttle_time_ms: Int32 = 0
    error_code: Int16 = 0
    error_message: String | None = None
    endpoint_type: Int8 = field(default=1, since=1)
    cluster_id: String = ""
    controller_id: Int32 = -1
    brokers: Array[DescribeClusterBroker] = ()
    cluster_authorized_operations: Int32 = -(2**31)
