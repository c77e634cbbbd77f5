"""Asks the active controller, wherever it is: this node directly, another one over its controller listener.

A request is repeated while the answer is NOT_CONTROLLER or there is nobody to ask, until its time is over: a controller
that changes costs the client a pause, not an error. The controller's listener serves the same APIs directly; nothing is
wrapped, as there is no principal to carry yet.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from moldau_broker.base.broker_config import GroupSettings
from moldau_broker.base.clock import Clock
from moldau_broker.base.errors import ErrorCode
from moldau_broker.client.config import ClientConfig
from moldau_broker.client.errors import BrokerUnreachable, ClientError
from moldau_broker.metadata.admin import ControllerAdmin
from moldau_broker.metadata.auto_topics import auto_topics_request
from moldau_broker.metadata.controller_work import ControllerWork
from moldau_broker.metadata.runtime import ControllerRuntime
from moldau_broker.metadata.unavailable import unavailable_response
from moldau_broker.raft.messages import Leader
from moldau_broker.raft.protocol import APIS as QUORUM_APIS
from moldau_broker.raft.protocol import whole_error
from moldau_broker.raft.quorum import Voter
from moldau_broker.raft.state import Role
from moldau_broker.server.controller_link import ControllerLink
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.alter_partition import AlterPartitionRequest
from moldau_broker.wire.messages.assign_replicas_to_dirs import AssignReplicasToDirsRequest
from moldau_broker.wire.messages.create_topics import CreateTopicsRequest
from moldau_broker.wire.schema import Struct

logger = logging.getLogger(__name__)

TIMEOUT_MS: Final = 30_000
"""How long a request without a time-out of its own is tried; Kafka's request.timeout.ms."""
RETRY_MS: Final = 25


@dataclass(frozen=True, slots=True)
class Patience:
    """How long this broker waits for another controller, in ms.

    Attributes:
        connect: for a connection.
        session: for the answer to a heartbeat; the session lasts several times that.
        request: for an answer to a request that names no time of its own; Kafka's request.timeout.ms.
    """

    connect: int = 1_000
    session: int = 1_500
    request: int = TIMEOUT_MS


USUAL: Final = Patience()

_ITEMS: Final = {
    ApiKey.CREATE_TOPICS: "topics",
    ApiKey.DELETE_TOPICS: "responses",
    ApiKey.CREATE_PARTITIONS: "results",
    ApiKey.ALTER_CONFIGS: "responses",
    ApiKey.INCREMENTAL_ALTER_CONFIGS: "responses",
}
"""Where the errors are in answers that have none for the whole."""
_ELSEWHERE: Final = frozenset({ErrorCode.NOT_CONTROLLER, ErrorCode.NOT_LEADER_OR_FOLLOWER})


class ControllerChannel(ControllerAdmin):
    """See the module. The handlers' `broker.controller`."""

    def __init__(
        self,
        runtime: ControllerRuntime,
        node_id: int,
        clock: Clock,
        groups: Callable[[], GroupSettings],
        broker_epoch: Callable[[], int],
        patience: Patience = USUAL,
    ) -> None:
        """`groups`: the settings in force; `broker_epoch`: of this broker's registration, -1 without one."""
        super().__init__(node_id)
        self._runtime = runtime
        self._clock = clock
        self._groups = groups
        self._broker_epoch = broker_epoch
        self._patience = patience
        config = ClientConfig(client_id=f"broker-{node_id}", connect_timeout_ms=patience.connect)
        self._link = ControllerLink(lambda: runtime.leader, config)
        self._session_link = ControllerLink(lambda: runtime.leader, config)
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    # -- looking ------------------------------------------------------------------------------------------

    @property
    def broker_epoch(self) -> int:
        """See `ControllerAdmin`."""
        return self._broker_epoch()

    @property
    def is_active(self) -> bool:
        """Whether this node is the controller."""
        return self._runtime.is_active

    @property
    def leader(self) -> Leader | None:
        """The active controller, as far as is known here."""
        return self._runtime.leader

    @property
    def is_led(self) -> bool:
        """Whether a leader of the quorum is heard, or is this node itself; to know one is not enough."""
        driver = self._runtime.driver
        return driver is not None and driver.node.hears_leader

    @property
    def leads(self) -> bool:
        """Whether this node leads the quorum, as far as it knows: it may have lost its majority a moment ago."""
        driver = self._runtime.driver
        return driver is not None and driver.node.role is Role.LEADER

    @property
    def leader_epoch(self) -> int:
        """The quorum's epoch."""
        return self._runtime.leader_epoch

    @property
    def high_watermark(self) -> int:
        """First metadata offset that is not committed, as far as is known here."""
        return self._runtime.high_watermark

    @property
    def work(self) -> ControllerWork:
        """What the controller does by itself, while it is this node."""
        return self._runtime.work

    def voters(self) -> tuple[Voter, ...]:
        """The quorum's voters, as far as is known here."""
        driver = self._runtime.driver
        return driver.node.voters.voters if driver is not None else ()

    def auto_topics_request(self, names: Iterable[str]) -> CreateTopicsRequest:
        """See `ControllerAdmin`."""
        return auto_topics_request(self._runtime.publisher.image, self._groups(), names)

    # -- asking -------------------------------------------------------------------------------------------

    async def ask(self, key: ApiKey, request: Struct, version: int | None = None) -> Any:
        """The active controller's answer, or after its time an answer that says there is none."""
        deadline_ms = self._clock.monotonic_ms() + _timeout_ms(request, self._patience.request)
        while True:
            changed = self._changed
            left_ms = deadline_ms - self._clock.monotonic_ms()
            answer, why = await self._try(self._link, key, request, version, max(left_ms, 1))
            if answer is not None and not _is_elsewhere(key, answer):
                return answer
            left_ms = deadline_ms - self._clock.monotonic_ms()
            if left_ms <= RETRY_MS or self._closed:
                return answer if answer is not None else self._nobody(key, request, why)
            try:
                async with asyncio.timeout(min(left_ms, RETRY_MS) / 1000):
                    await changed.wait()
            except TimeoutError:
                continue

    async def local(self, key: ApiKey, request: Struct, version: int) -> Any:
        """This node's own answer, NOT_CONTROLLER where it is not: what the controller listener serves."""
        return await self._runtime.ask(key, request, version)

    def ask_soon(
        self, key: ApiKey, request: Struct, on_answer: Callable[[Any | None], None], *, session: bool = False
    ) -> None:
        """One attempt; `on_answer(None)` when there was no answer. `session`: over the heartbeats' connection."""

        async def attempt() -> None:
            link = self._session_link if session else self._link
            timeout_ms = self._patience.session if session else self._patience.request
            answer, _ = await self._try(link, key, request, None, timeout_ms)
            if not self._closed:
                on_answer(answer)

        task = asyncio.get_running_loop().create_task(attempt())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def leader_changed(self) -> None:
        """Somebody else leads, or somebody at all: who waits may try again, also for a leader that is replaced."""
        self._link.leader_changed()
        self._session_link.leader_changed()
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def close(self) -> None:
        """Ask nobody any more; who waits is told that there is no controller."""
        self._closed = True
        self.leader_changed()
        self._link.close()
        self._session_link.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.finish_background()

    async def _try(
        self, link: ControllerLink, key: ApiKey, request: Struct, version: int | None, timeout_ms: int
    ) -> tuple[Any | None, str]:
        """(answer, "") or (None, why there is none)."""
        runtime = self._runtime
        leader = runtime.leader
        if runtime.is_active or (leader is not None and leader.node_id == self._broker_id):
            return await runtime.ask(key, request, version), ""
        try:
            return await link.request(key, request, version, timeout_ms), ""
        except BrokerUnreachable as error:
            return None, str(error)
        except ClientError as error:
            logger.info("controller.unanswered", extra={"api": key.name, "reason": str(error)})
            return None, str(error)

    @staticmethod
    def _nobody(key: ApiKey, request: Struct, why: str) -> Struct:
        if key in QUORUM_APIS:
            return whole_error(key, ErrorCode.NOT_LEADER_OR_FOLLOWER)
        return unavailable_response(key, request, ErrorCode.NOT_CONTROLLER, f"no controller answers: {why}")


_KEYS: Final[dict[type[Struct], ApiKey]] = {
    AlterPartitionRequest: ApiKey.ALTER_PARTITION,
    AssignReplicasToDirsRequest: ApiKey.ASSIGN_REPLICAS_TO_DIRS,
}


class PartitionChanges:
    """What `ReplicaManager` asks of the controller: other in-sync replicas, and to be rid of replicas it lost."""

    def __init__(self, channel: ControllerChannel) -> None:
        self._channel = channel

    def ask_soon(self, request: Struct, on_answer: Callable[[Any | None], None]) -> None:
        """One attempt; None when there was no answer."""
        self._channel.ask_soon(_KEYS[type(request)], request, on_answer)


def _timeout_ms(request: Struct, most_ms: int) -> int:
    wanted = getattr(request, "timeout_ms", most_ms)
    return min(wanted, most_ms) if wanted > 0 else most_ms


def _is_elsewhere(key: ApiKey, answer: Any) -> bool:
    """Whether it says that somebody else is the controller."""
    if key is ApiKey.DESCRIBE_QUORUM:
        return any(
            partition.error_code in _ELSEWHERE for topic in answer.topics for partition in topic.partitions
        )
    items = _ITEMS.get(key)
    if items is None:
        return answer.error_code in _ELSEWHERE
    return any(item.error_code == ErrorCode.NOT_CONTROLLER for item in getattr(answer, items))
