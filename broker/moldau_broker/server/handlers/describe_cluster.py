"""DescribeCluster: served 0-2.

Behaviour: the brokers that are up, as this listener reaches them; the controller named is this broker, as
in Metadata. Version notes: v1 asks for brokers (1) or controllers (2), and controllers are described on the
controller listener only, and brokers on the others (KIP-919); v2 can list fenced brokers too (KIP-1073).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from moldau_broker.base.errors import ErrorCode
from moldau_broker.metadata.views import ListenerView
from moldau_broker.server.handlers.authorized import ALL_CLUSTER_OPERATIONS
from moldau_broker.server.handlers.spec import ALL_LISTENERS, Handler, ListenerKind, RequestContext
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.describe_cluster import (
    DescribeClusterBroker,
    DescribeClusterRequest,
    DescribeClusterResponse,
)

if TYPE_CHECKING:
    from moldau_broker.server.broker import Broker

_BROKERS: Final = 1
_CONTROLLERS: Final = 2
_NOT_ASKED: Final = -(2**31)


def handle(
    broker: Broker, context: RequestContext, request: DescribeClusterRequest
) -> DescribeClusterResponse:
    """Describe the cluster."""
    if context.listener_kind is ListenerKind.CONTROLLER:
        return _controllers(broker, request)
    if request.endpoint_type == _CONTROLLERS:
        return DescribeClusterResponse(
            error_code=ErrorCode.MISMATCHED_ENDPOINT_TYPE,
            error_message="The request was sent to an endpoint of type BROKER, but we wanted an endpoint of "
            "type CONTROLLER",
        )
    if request.endpoint_type != _BROKERS:
        return DescribeClusterResponse(
            error_code=ErrorCode.UNSUPPORTED_ENDPOINT_TYPE,
            error_message=f"Unsupported endpoint type {request.endpoint_type}",
        )
    view = broker.metadata.view(context.listener)
    operations = ALL_CLUSTER_OPERATIONS if request.include_cluster_authorized_operations else _NOT_ASKED
    return DescribeClusterResponse(
        cluster_id=broker.cluster_id,
        controller_id=broker.node_id if view.is_alive(broker.node_id) else -1,
        brokers=_brokers(view, include_fenced=request.include_fenced_brokers),
        cluster_authorized_operations=operations,
    )


def _controllers(broker: Broker, request: DescribeClusterRequest) -> DescribeClusterResponse:
    """The voters, at the addresses the quorum's log has for them (KIP-919)."""
    if request.endpoint_type != _CONTROLLERS:
        return DescribeClusterResponse(
            error_code=ErrorCode.MISMATCHED_ENDPOINT_TYPE,
            error_message="The request was sent to an endpoint of type CONTROLLER, but we wanted an endpoint of "
            "type BROKER",
        )
    leader = broker.controller.leader
    return DescribeClusterResponse(
        endpoint_type=_CONTROLLERS,
        cluster_id=broker.cluster_id,
        controller_id=leader.node_id if leader is not None else -1,
        brokers=[
            DescribeClusterBroker(
                broker_id=voter.key.node_id, host=voter.endpoints[0].host, port=voter.endpoints[0].port
            )
            for voter in broker.controller.voters()
            if voter.endpoints
        ],
    )


def _brokers(view: ListenerView, *, include_fenced: bool) -> list[DescribeClusterBroker]:
    found = []
    for one in view.image.brokers.values():
        at = one.endpoints.get(view.listener)
        if at is not None and (include_fenced or not one.fenced):
            found.append(
                DescribeClusterBroker(
                    broker_id=one.id, host=at.host, port=at.port, rack=one.rack, is_fenced=one.fenced
                )
            )
    return found


HANDLER = Handler(api=ApiKey.DESCRIBE_CLUSTER, versions=(0, 2), handle=handle, listeners=ALL_LISTENERS)
