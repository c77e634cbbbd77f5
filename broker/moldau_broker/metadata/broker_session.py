"""The broker's side of its life cycle: what it tells the controller, and when (KIP-631). Pure.

How a driver uses it, whenever something happened and at `next_deadline_ms` at the latest:

    request = session.step(now_ms, published_offset)
    if request is not None: send it to the active controller
    ...
    session.on_answer(now_ms, request, response)       # response None: there was no answer

One request is under way at a time. An answer that comes after its request was given up is not listened to. Times are
monotonic milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import Uuid
from moldau_broker.metadata.image import MetadataImage
from moldau_broker.wire.messages.broker_heartbeat import BrokerHeartbeatRequest, BrokerHeartbeatResponse
from moldau_broker.wire.messages.broker_registration import (
    BrokerRegistrationRequest,
    BrokerRegistrationResponse,
)
from moldau_broker.wire.schema import Struct, replace

if TYPE_CHECKING:
    from random import Random


class BrokerState(Enum):
    """Where a broker is in its life."""

    NOT_REGISTERED = "has no epoch (any more): registers"
    FENCED = "registered; leads nothing and is shown to nobody"
    ACTIVE = "unfenced"
    LEAVING = "wants to shut down; hands over what it leads"
    SHUTTING_DOWN = "may stop; says nothing more"


_S: TypeAlias = BrokerState

TRANSITIONS: Final[Mapping[BrokerState, frozenset[BrokerState]]] = {
    _S.NOT_REGISTERED: frozenset({_S.FENCED, _S.SHUTTING_DOWN}),
    _S.FENCED: frozenset({_S.ACTIVE, _S.NOT_REGISTERED, _S.LEAVING, _S.SHUTTING_DOWN}),
    _S.ACTIVE: frozenset({_S.FENCED, _S.NOT_REGISTERED, _S.LEAVING}),
    _S.LEAVING: frozenset({_S.SHUTTING_DOWN}),
    _S.SHUTTING_DOWN: frozenset(),
}

_LOST_EPOCH: Final = frozenset({ErrorCode.STALE_BROKER_EPOCH, ErrorCode.BROKER_ID_NOT_REGISTERED})


class SessionTimes(NamedTuple):
    """How often a broker speaks.

    Attributes:
        heartbeat_ms: `broker.heartbeat.interval.ms`.
        eager_ms: between heartbeats that wait for the controller: to be unfenced, or to be let go.
        retry_ms, retry_ms_max: after no answer, or an error; doubled each time, within a fifth more or less.
        answer_ms_max: a request without an answer is given up; far below a session, so that one lost request
            fences nobody.
    """

    heartbeat_ms: int = 500
    eager_ms: int = 100
    retry_ms: int = 50
    retry_ms_max: int = 1_000
    answer_ms_max: int = 1_500


def is_awaited(image: MetadataImage) -> bool:
    """Whether some broker is in its controlled shutdown, which ends when every other one knows who leads now."""
    return any(broker.in_controlled_shutdown and not broker.fenced for broker in image.brokers.values())


class BrokerSession:
    """This node's broker, as the controller knows it.

    Attributes:
        state: where it is in its life.
        epoch: of its registration, -1 without one.
        problem: why the controller refuses its registration; None while it does not.
        offline_directories: ids of log directories that failed.
        heard_ms: when the last heartbeat that was answered was sent; the controller has not fenced us since, as long
            as a session has not passed.
    """

    __slots__ = (
        "_asked_ms",
        "_due_ms",
        "_failures",
        "_given_up_ms",
        "_in_flight",
        "_registration",
        "_reported_offset",
        "_rng",
        "_times",
        "_wants_shut_down",
        "epoch",
        "heard_ms",
        "offline_directories",
        "problem",
        "state",
    )

    def __init__(
        self, registration: BrokerRegistrationRequest, times: SessionTimes, now_ms: int, rng: Random
    ) -> None:
        """`registration` is what the broker says of itself; its incarnation id is this process's."""
        self.state = BrokerState.NOT_REGISTERED
        self.epoch = -1
        self.problem: ErrorCode | None = None
        self.offline_directories: tuple[Uuid, ...] = ()
        self.heard_ms = self._asked_ms = now_ms
        self._registration = registration
        self._times = times
        self._rng = rng
        self._due_ms = now_ms
        self._failures = 0
        self._in_flight: Struct | None = None
        self._given_up_ms = 0
        self._reported_offset = -1
        self._wants_shut_down = False

    # -- what happened ------------------------------------------------------------------------------------

    def want_shut_down(self, now_ms: int) -> None:
        """The node was asked to stop: say so at once. `state` tells when it may."""
        if self._wants_shut_down:
            return
        self._wants_shut_down = True
        if self.state is BrokerState.NOT_REGISTERED:
            self._become(BrokerState.SHUTTING_DOWN)
            return
        self._become(BrokerState.LEAVING)
        self._due_ms = now_ms

    def controller_changed(self, now_ms: int) -> None:
        """Another controller is active: it should hear of us before it wonders."""
        self._failures = 0
        self._in_flight = None
        self._due_ms = now_ms

    def on_answer(self, now_ms: int, request: Struct, response: Struct | None) -> None:
        """The answer to a request `step` gave; None if there was none."""
        if request is not self._in_flight:
            return
        self._in_flight = None
        if isinstance(response, BrokerRegistrationResponse):
            self._registered(now_ms, response)
        elif isinstance(response, BrokerHeartbeatResponse):
            self._answered(now_ms, response)
        else:
            self._retry(now_ms)

    # -- what to do ---------------------------------------------------------------------------------------

    @property
    def next_deadline_ms(self) -> int | None:
        """When `step` has something to do at the latest, None when it never has again."""
        if self.state is BrokerState.SHUTTING_DOWN:
            return None
        return self._due_ms if self._in_flight is None else self._given_up_ms

    def step(self, now_ms: int, metadata_offset: int, *, awaited: bool = False) -> Struct | None:
        """The request to send now, None if none is due.

        Args:
            now_ms: monotonic time.
            metadata_offset: last offset of the metadata this node acts on.
            awaited: whether somebody waits for us to know the newest metadata (`is_awaited`).
        """
        if self.state is BrokerState.SHUTTING_DOWN:
            return None
        if self._in_flight is not None:
            if now_ms < self._given_up_ms:
                return None
            self._in_flight = None
            self._retry(now_ms)
        if now_ms < self._due_ms and not self._has_news(metadata_offset, awaited=awaited):
            return None
        self._in_flight = request = self._request(metadata_offset)
        self._asked_ms = now_ms
        self._given_up_ms = now_ms + self._times.answer_ms_max
        return request

    def _has_news(self, metadata_offset: int, *, awaited: bool) -> bool:
        """Whether what was published since the last heartbeat is told at once."""
        if self._failures or self._reported_offset >= metadata_offset:
            return False
        if self.state is BrokerState.FENCED:
            return self._reported_offset < self.epoch <= metadata_offset
        return awaited and self.state is BrokerState.ACTIVE

    def _request(self, metadata_offset: int) -> Struct:
        if self.state is BrokerState.NOT_REGISTERED:
            # Whoever registers again in the same process has lost nothing since its last epoch.
            previous = self.epoch if self.epoch >= 0 else self._registration.previous_broker_epoch
            return replace(self._registration, previous_broker_epoch=previous)
        self._reported_offset = metadata_offset
        return BrokerHeartbeatRequest(
            broker_id=self._registration.broker_id,
            broker_epoch=self.epoch,
            current_metadata_offset=metadata_offset,
            want_shut_down=self._wants_shut_down,
            offline_log_dirs=self.offline_directories,
        )

    # -- answers ------------------------------------------------------------------------------------------

    def _registered(self, now_ms: int, response: BrokerRegistrationResponse) -> None:
        if self.state is not BrokerState.NOT_REGISTERED:
            return
        if response.error_code != ErrorCode.NONE:
            self.problem = ErrorCode(response.error_code)
            self._retry(now_ms)
            return
        self.problem = None
        self.epoch = response.broker_epoch
        self._reported_offset = -1
        self._failures = 0
        self._become(BrokerState.FENCED)
        self._due_ms = now_ms

    def _answered(self, now_ms: int, response: BrokerHeartbeatResponse) -> None:
        if response.error_code in _LOST_EPOCH:
            # Somebody who is not registered leads nothing that could be handed over.
            gone = self._wants_shut_down
            self._become(BrokerState.SHUTTING_DOWN if gone else BrokerState.NOT_REGISTERED)
            self._due_ms = now_ms
            return
        if response.error_code != ErrorCode.NONE:
            self._retry(now_ms)
            return
        self._failures = 0
        self.heard_ms = self._asked_ms
        if self.state is BrokerState.LEAVING:
            if response.should_shut_down:
                self._become(BrokerState.SHUTTING_DOWN)
        elif response.is_fenced:
            if self.state is BrokerState.ACTIVE:
                self._become(BrokerState.FENCED)
        elif self.state is BrokerState.FENCED:
            self._become(BrokerState.ACTIVE)
        eager = self.state is BrokerState.LEAVING or (
            self.state is BrokerState.FENCED and self._reported_offset >= self.epoch
        )
        self._due_ms = now_ms + (self._times.eager_ms if eager else self._times.heartbeat_ms)

    def _retry(self, now_ms: int) -> None:
        wait_ms = min(self._times.retry_ms << min(self._failures, 16), self._times.retry_ms_max)
        self._failures += 1
        self._due_ms = now_ms + max(1, round(wait_ms * self._rng.uniform(0.8, 1.2)))

    def _become(self, state: BrokerState) -> None:
        assert state in TRANSITIONS[self.state], f"a broker does not go from {self.state} to {state}"
        self.state = state
