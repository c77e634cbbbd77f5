"""BrokerRegistration, BrokerHeartbeat and UnregisterBroker, as the active controller answers them. Pure.

What a heartbeat leads to is a table of the broker's state and what it wants (KIP-631): a fenced broker is unfenced
once it has published its own registration, an active one that wants to go hands over what it leads first, and goes
when everybody knows who leads now.
"""

from __future__ import annotations

from enum import Enum
from functools import partial
from typing import NamedTuple

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import Uuid
from moldau_broker.metadata.fencing import (
    Registration,
    begin_controlled_shutdown,
    check_broker_epoch,
    fence_broker,
    leads_anything,
    register_broker,
    unfence_broker,
    unregister_broker,
)
from moldau_broker.metadata.image import BrokerImage, Endpoint, MetadataImage, VersionRange
from moldau_broker.metadata.operation import Operation, Refusal, Result, View
from moldau_broker.metadata.replay import KRAFT_VERSION
from moldau_broker.metadata.sessions import BrokerSessions, Expired
from moldau_broker.wire.messages.broker_heartbeat import BrokerHeartbeatRequest, BrokerHeartbeatResponse
from moldau_broker.wire.messages.broker_registration import (
    BrokerRegistrationRequest,
    BrokerRegistrationResponse,
)
from moldau_broker.wire.messages.unregister_broker import UnregisterBrokerRequest, UnregisterBrokerResponse
from moldau_broker.wire.schema import Struct


class Call(NamedTuple):
    """What a request handler sees besides the request.

    Attributes:
        view: the state to decide on.
        version: the request's version.
        now_ms: monotonic milliseconds.
        sessions: when brokers were last heard of.
    """

    view: View
    version: int
    now_ms: int
    sessions: BrokerSessions


# -- registration -----------------------------------------------------------------------------------------


def register(call: Call, request: BrokerRegistrationRequest) -> Result[BrokerRegistrationResponse]:
    """BrokerRegistration: the broker gets an epoch, and is fenced until a heartbeat says that it is caught up."""
    view = call.view
    known = view.image.brokers.get(request.broker_id)
    refusal = _registration_problem(call, known, request)
    if refusal is not None:
        return Result(BrokerRegistrationResponse(error_code=refusal.error))
    if known is not None and known.incarnation_id == request.incarnation_id:
        # The answer was lost, and the broker asks again.
        call.sessions.touch(known.id, known.epoch, call.now_ms)
        return Result(BrokerRegistrationResponse(broker_epoch=known.epoch))
    result = register_broker(view, _registration(request))
    call.sessions.touch(request.broker_id, result.response.epoch, call.now_ms)
    return Result(BrokerRegistrationResponse(broker_epoch=result.response.epoch), result.records)


def _registration(request: BrokerRegistrationRequest) -> Registration:
    return Registration(
        broker_id=request.broker_id,
        incarnation_id=Uuid(request.incarnation_id),
        endpoints={
            listener.name: Endpoint(listener.host, listener.port, listener.security_protocol)
            for listener in request.listeners
        },
        directories=tuple(Uuid(directory) for directory in request.log_dirs),
        features={
            feature.name: VersionRange(feature.min_supported_version, feature.max_supported_version)
            for feature in request.features
        },
        rack=request.rack,
        previous_epoch=request.previous_broker_epoch,
    )


def _registration_problem(
    call: Call, known: BrokerImage | None, request: BrokerRegistrationRequest
) -> Refusal | None:
    image = call.view.image
    if request.cluster_id != image.cluster_id:
        return Refusal(ErrorCode.INCONSISTENT_CLUSTER_ID)
    if not request.listeners or len(set(request.log_dirs)) != len(request.log_dirs):
        return Refusal(ErrorCode.INVALID_REGISTRATION)
    directories = {*request.log_dirs}
    if any(
        broker.id != request.broker_id and directories.intersection(broker.directories)
        for broker in image.brokers.values()
    ):
        return Refusal(ErrorCode.INVALID_REGISTRATION)
    if _cannot_run(image, request):
        return Refusal(ErrorCode.UNSUPPORTED_VERSION)
    if (
        known is not None
        and known.incarnation_id != request.incarnation_id
        and not known.in_controlled_shutdown
        and call.sessions.is_alive(known.id, known.epoch, call.now_ms)
        # A directory belongs to one process at a time: who holds it now is what the old incarnation became.
        and not directories.intersection(known.directories)
    ):
        return Refusal(ErrorCode.DUPLICATE_BROKER_REGISTRATION)
    return None


def _cannot_run(image: MetadataImage, request: BrokerRegistrationRequest) -> bool:
    """Whether some finalized feature level is none the broker supports; kraft.version is the voters' matter."""
    supported = {feature.name: feature for feature in request.features}
    for name, level in image.features.items():
        feature = supported.get(name)
        if name != KRAFT_VERSION and (
            feature is None or not feature.min_supported_version <= level <= feature.max_supported_version
        ):
            return True
    return False


# -- heartbeat --------------------------------------------------------------------------------------------


class _Next(Enum):
    """What becomes of a broker by its heartbeat."""

    STAYS = 0
    UNFENCED = 1
    FENCED = 2
    LEAVING = 3
    MAY_GO = 4


def heartbeat(call: Call, request: BrokerHeartbeatRequest) -> Result[BrokerHeartbeatResponse]:
    """BrokerHeartbeat: the session goes on, and the broker moves on in its life cycle."""
    view, sessions = call.view, call.sessions
    refusal = check_broker_epoch(view.image, request.broker_id, request.broker_epoch)
    if refusal is not None:
        return Result(BrokerHeartbeatResponse(error_code=refusal.error))
    broker = view.image.brokers[request.broker_id]
    sessions.touch(broker.id, broker.epoch, call.now_ms, request.current_metadata_offset)
    following = _next(view.image, sessions, broker, request)
    written: tuple[Struct, ...] = ()
    if following is _Next.UNFENCED:
        written = unfence_broker(view, broker.id)
    elif following is _Next.LEAVING:
        written = begin_controlled_shutdown(view, broker.id)
        if written:
            sessions.leave(broker.id, view.next_offset + len(written) - 1)
    elif following in {_Next.FENCED, _Next.MAY_GO} and not broker.fenced:
        written = fence_broker(view, broker.id)
    fenced = following in {_Next.FENCED, _Next.MAY_GO} or (broker.fenced and following is _Next.STAYS)
    response = BrokerHeartbeatResponse(
        is_caught_up=request.current_metadata_offset >= broker.epoch,
        is_fenced=fenced,
        should_shut_down=following is _Next.MAY_GO,
    )
    return Result(response, written)


def _next(
    image: MetadataImage, sessions: BrokerSessions, broker: BrokerImage, request: BrokerHeartbeatRequest
) -> _Next:
    if broker.fenced:
        if request.want_shut_down:
            return _Next.MAY_GO
        caught_up = request.current_metadata_offset >= broker.epoch
        return _Next.UNFENCED if caught_up and not request.want_fence else _Next.STAYS
    if broker.directories and set(broker.directories) <= set(request.offline_log_dirs):
        return _Next.FENCED
    if broker.in_controlled_shutdown or request.want_shut_down:
        if request.want_fence:
            return _Next.MAY_GO
        if leads_anything(image, broker.id):
            return _Next.LEAVING
        if not broker.in_controlled_shutdown:
            return _Next.MAY_GO
        lowest = sessions.lowest_offset(image)
        known_everywhere = lowest is None or sessions.leave_offset(broker.id) <= lowest
        return _Next.MAY_GO if known_everywhere else _Next.LEAVING
    return _Next.FENCED if request.want_fence else _Next.STAYS


# -- gone -------------------------------------------------------------------------------------------------


def unregister(call: Call, request: UnregisterBrokerRequest) -> Result[UnregisterBrokerResponse]:
    """UnregisterBroker: forget a broker; one that is alive after all registers again."""
    if request.broker_id not in call.view.image.brokers:
        return Result(
            UnregisterBrokerResponse(
                error_code=ErrorCode.BROKER_ID_NOT_REGISTERED,
                error_message=f"Broker ID {request.broker_id} is not currently registered",
            )
        )
    return Result(
        UnregisterBrokerResponse(error_message=None), unregister_broker(call.view, request.broker_id)
    )


def fence_expired(sessions: BrokerSessions, expired: Expired, now_ms: int) -> Operation[None]:
    """Fence a broker whose session is over, unless it was heard of meanwhile or is another one by now."""
    return partial(_fence_expired, sessions=sessions, expired=expired, now_ms=now_ms)


def _fence_expired(view: View, sessions: BrokerSessions, expired: Expired, now_ms: int) -> Result[None]:
    broker = view.image.brokers.get(expired.broker_id)
    if (
        broker is None
        or broker.epoch != expired.epoch
        or broker.fenced
        or sessions.is_alive(expired.broker_id, expired.epoch, now_ms)
    ):
        return Result(None)
    return Result(None, fence_broker(view, expired.broker_id))
