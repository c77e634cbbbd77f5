"""This broker among the others: registration, heartbeats, leaving in order. The driver around `BrokerSession`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from random import Random
from typing import Any, Final

from moldau_broker.base.broker_config import SessionSettings
from moldau_broker.base.clock import Clock
from moldau_broker.base.ids import Uuid
from moldau_broker.metadata.broker_session import BrokerSession, BrokerState, SessionTimes, is_awaited
from moldau_broker.metadata.delta import MetadataDelta
from moldau_broker.metadata.features import SUPPORTED
from moldau_broker.metadata.image import Endpoint, MetadataImage
from moldau_broker.metadata.publisher import MetadataPublisher
from moldau_broker.server.controller_channel import USUAL, ControllerChannel
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.broker_registration import BrokerRegistrationRequest, Feature, Listener
from moldau_broker.wire.schema import Struct

logger = logging.getLogger(__name__)

LEADERLESS_MS_MAX: Final = 1_500
"""How long a stopping broker waits for a controller: an election takes a fraction of it."""
LOOK_MS: Final = 100
_WAIT_MS_MIN: Final = 1


def registration_request(
    *,
    node_id: int,
    cluster_id: str,
    incarnation_id: Uuid,
    endpoints: Mapping[str, Endpoint],
    directory_id: Uuid,
    rack: str | None,
    previous_epoch: int,
) -> BrokerRegistrationRequest:
    """What this broker says of itself; `previous_epoch` is the one of a clean stop, -1 after any other."""
    return BrokerRegistrationRequest(
        broker_id=node_id,
        cluster_id=cluster_id,
        incarnation_id=incarnation_id,
        listeners=[
            Listener(name=name, host=at.host, port=at.port, security_protocol=at.security_protocol)
            for name, at in endpoints.items()
        ],
        features=[
            Feature(name=name, min_supported_version=levels.lowest, max_supported_version=levels.highest)
            for name, levels in SUPPORTED.items()
        ],
        rack=rack,
        log_dirs=[directory_id],
        previous_broker_epoch=previous_epoch,
    )


class BrokerLife:
    """Tells the controller that this broker lives, and learns from it what it is.

    Attributes:
        session: the decisions.
    """

    def __init__(
        self,
        registration: BrokerRegistrationRequest,
        settings: SessionSettings,
        channel: ControllerChannel,
        publisher: MetadataPublisher,
        clock: Clock,
        rng: Random,
    ) -> None:
        times = SessionTimes(heartbeat_ms=settings.heartbeat_ms, answer_ms_max=USUAL.session)
        self.session = BrokerSession(registration, times, clock.monotonic_ms(), rng)
        self._session_ms = settings.timeout_ms
        self._channel = channel
        self._publisher = publisher
        self._clock = clock
        self._timer: asyncio.TimerHandle | None = None
        self._moved = asyncio.Event()
        self._started = False
        self._closed = False

    @property
    def epoch(self) -> int:
        """Of the registration, -1 while there is none."""
        return self.session.epoch

    @property
    def is_forgotten(self) -> bool:
        """Whether the controller may have fenced this broker, which then cannot know it: a session long no answer."""
        return self._started and self._clock.monotonic_ms() - self.session.heard_ms > self._session_ms

    @property
    def impediment(self) -> str | None:
        """Why this broker does not serve, in words; None when it does."""
        match self.session.state:
            case BrokerState.NOT_REGISTERED:
                problem = self.session.problem
                reason = f": {problem.name}" if problem is not None else ""
                return f"not registered with the controller{reason}"
            case BrokerState.FENCED:
                return "fenced by the controller until it has caught up with the metadata"
            case _:
                return None

    def start(self) -> None:
        """Begin to register."""
        self._started = True
        self._publisher.subscribe(self._follow)
        self._run()

    async def until_active(self) -> None:
        """Until the controller lets this broker lead."""
        while self.session.state in (BrokerState.NOT_REGISTERED, BrokerState.FENCED):
            await self._next_move()

    async def leave(self, timeout_ms: int) -> bool:
        """Hand over what this broker leads; whether it may stop, within so long.

        Without a controller for a while there is nobody to ask: the whole cluster stops, or has lost its quorum. The
        last node of a cluster that stops may be the one that leads it, or may know no other leader than the dead one.
        """
        if not self._started:
            return True
        now_ms = self._clock.monotonic_ms()
        deadline_ms = now_ms + timeout_ms
        led_ms = now_ms
        self.session.want_shut_down(now_ms)
        self._run()
        while self.session.state is not BrokerState.SHUTTING_DOWN:
            now_ms = self._clock.monotonic_ms()
            if self._channel.leads:  # without its majority it answers nobody, itself included
                led_ms = max(led_ms, self.session.heard_ms)
            elif self._channel.is_led:
                led_ms = now_ms
            if now_ms >= deadline_ms or now_ms - led_ms >= LEADERLESS_MS_MAX:
                return False
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_MS / 1000):
                    await self._next_move()
        return True

    def controller_changed(self) -> None:
        """Another controller should hear of us at once."""
        if self._started and not self._closed:
            self.session.controller_changed(self._clock.monotonic_ms())
            self._run()

    def close(self) -> None:
        """Say nothing more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()

    async def _next_move(self) -> None:
        moved = self._moved
        await moved.wait()

    def _follow(self, delta: MetadataDelta, image: MetadataImage) -> None:
        del delta, image
        self._run()

    def _run(self) -> None:
        if self._closed:
            return
        session, now_ms = self.session, self._clock.monotonic_ms()
        image = self._publisher.image
        request = session.step(now_ms, image.offset, awaited=is_awaited(image))
        if request is not None:
            self._send(request)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due_ms = session.next_deadline_ms
        if due_ms is not None:
            wait_ms = max(due_ms - now_ms, _WAIT_MS_MIN)
            self._timer = asyncio.get_running_loop().call_later(wait_ms / 1000, self._run)

    def _send(self, request: Struct) -> None:
        registers = isinstance(request, BrokerRegistrationRequest)
        key = ApiKey.BROKER_REGISTRATION if registers else ApiKey.BROKER_HEARTBEAT

        def answered(response: Any | None) -> None:
            if self._closed:
                return
            before = self.session.state
            self.session.on_answer(self._clock.monotonic_ms(), request, response)
            if self.session.state is not before:
                logger.info(
                    "broker.state",
                    extra={"state": self.session.state.name.lower(), "broker_epoch": self.session.epoch},
                )
            moved, self._moved = self._moved, asyncio.Event()
            moved.set()
            self._run()

        self._channel.ask_soon(key, request, answered, session=True)
