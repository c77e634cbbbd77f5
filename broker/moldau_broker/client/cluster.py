"""A cluster as one peer: bootstrap, metadata, a connection per broker, and patience.

The only owner of connections. What is asked and what the answers mean is the business of `admin`,
`producer` and `consumer`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from random import Random
from types import TracebackType
from typing import Final, Self, TypeVar

from moldau_broker.base.clock import Clock, SystemClock
from moldau_broker.base.errors import ErrorCode
from moldau_broker.client.config import ClientConfig
from moldau_broker.client.connection import Connection
from moldau_broker.client.errors import (
    BrokerUnreachable,
    ClientError,
    RequestFailed,
    code_of,
    raise_for,
)
from moldau_broker.client.metadata import Metadata, Node, TopicInfo, read_metadata
from moldau_broker.client.partitions import TopicPartition
from moldau_broker.client.pool import ConnectionPool, parse_bootstrap
from moldau_broker.wire.messages.find_coordinator import FindCoordinatorRequest, FindCoordinatorResponse
from moldau_broker.wire.messages.metadata import (
    MetadataRequest,
    MetadataRequestTopic,
    MetadataResponse,
)
from moldau_broker.wire.schema import Struct

R = TypeVar("R", bound=Struct)
T = TypeVar("T")
GROUP_COORDINATOR: Final = 0


class Cluster:
    """Connections to the brokers of one cluster, made when they are needed.

    Use as an async context manager, or call `close`. Methods may be called concurrently.
    """

    def __init__(
        self,
        bootstrap: str | Sequence[str],
        config: ClientConfig | None = None,
        *,
        clock: Clock | None = None,
        rng: Random | None = None,
    ) -> None:
        self.config = config or ClientConfig()
        self.clock = clock or SystemClock()
        self.rng = rng or Random()  # noqa: S311 - spreads load and retries, guards nothing
        self.metadata = Metadata()
        self._bootstrap = parse_bootstrap(bootstrap)
        self._refreshed_ms: dict[str, int] = {}
        self._pool = ConnectionPool(self.config)
        self._coordinators: dict[str, int] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection and let the loop carry that out."""
        await self._pool.close()

    # metadata

    async def connect(self, *, wait_ms: int = 0) -> None:
        """Make first contact and learn the brokers.

        Args:
            wait_ms: how long to keep trying while no bootstrap server answers; 0 tries each once.

        Raises:
            BrokerUnreachable: none of them answered.
        """
        await self.retry(lambda: self.refresh(()), deadline_ms=wait_ms)

    async def refresh(self, topics: Iterable[str] | None, *, auto_create: bool = False) -> Metadata:
        """Ask for brokers and these topics (None: all of them) once; `metadata` then holds the answer."""
        names = None if topics is None else sorted(set(topics))
        request = MetadataRequest(
            topics=None if names is None else [MetadataRequestTopic(name=name) for name in names],
            allow_auto_topic_creation=auto_create,
        )
        answer = await self.ask(request, MetadataResponse)
        raise_for(answer.error_code, "the cluster's metadata")
        newer = read_metadata(answer)
        self.metadata = self.metadata.merged(newer, names)
        now_ms = self.clock.monotonic_ms()
        for name in newer.topics:
            self._refreshed_ms[name] = now_ms
        return self.metadata

    async def topic(self, name: str, *, auto_create: bool = False) -> TopicInfo:
        """What is known of a topic, asked for if it is unknown or too old.

        With `auto_create` a missing topic is waited for, because the broker makes it on being asked.

        Raises:
            RequestFailed: it does not exist, or the broker refuses to tell.
        """

        async def look_up() -> TopicInfo:
            info = self.fresh(name)
            if info is None:
                info = (await self.refresh([name], auto_create=auto_create)).topics[name]
            raise_for(info.error, f"topic {name}")
            return info

        try:
            return await look_up()
        except ClientError as error:
            missing = isinstance(error, RequestFailed) and error.code is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
            if not error.retriable or (missing and not auto_create):
                raise
        return await self.retry(look_up)

    def forget(self, topics: Iterable[str]) -> None:
        """Ask for these topics again before their metadata is next used."""
        for name in topics:
            self._refreshed_ms.pop(name, None)

    def fresh(self, name: str) -> TopicInfo | None:
        """What is known of an existing topic, unless it is too old to rely on."""
        refreshed_ms = self._refreshed_ms.get(name)
        info = self.metadata.topics.get(name)
        if refreshed_ms is None or info is None or info.error is not ErrorCode.NONE:
            return None
        old = self.clock.monotonic_ms() - refreshed_ms > self.config.metadata_age_ms_max
        return None if old else info

    def learn_leader(
        self, partition: TopicPartition, leader: int, leader_epoch: int, nodes: Iterable[Node]
    ) -> bool:
        """Take over whom a refusing broker named as the leader (KIP-951); whether that was news."""
        before = self.metadata
        self.metadata = before.moved(partition, leader, leader_epoch, nodes)
        return self.metadata is not before

    # requests

    async def ask(
        self, request: Struct, response: type[R], *, node: int | None = None, timeout_ms: int | None = None
    ) -> R:
        """One request, one attempt, to a broker by id or (None) to any.

        Raises:
            ClientError: it could not be reached or did not answer.
        """
        connection = await (self.any_connection() if node is None else self.connection(node))
        return await connection.request(request, response, timeout_ms=timeout_ms)

    async def ask_patiently(self, request: Struct, response: type[R], *, node: int | None = None) -> R:
        """`ask`, again while the broker cannot be reached and the deadline allows."""
        return await self.retry(lambda: self.ask(request, response, node=node))

    async def ask_coordinator(
        self, group: str, request: Struct, response: type[R], *, timeout_ms: int | None = None
    ) -> R:
        """One request to the coordinator of a group, which is looked up if it is not known."""
        return await self.ask(request, response, node=await self.coordinator(group), timeout_ms=timeout_ms)

    async def coordinator(self, group: str) -> int:
        """The id of the group's coordinator.

        Raises:
            RequestFailed: there is none now (retriable), or the group's name is not legal.
        """
        found = (await self.find_coordinators([group]))[group]
        if isinstance(found, ClientError):
            raise found
        return found

    async def find_coordinators(self, groups: Iterable[str]) -> dict[str, int | ClientError]:
        """The ids of the coordinators of several groups, with one request for those not known yet."""
        wanted = list(groups)
        unknown = [group for group in wanted if group not in self._coordinators]
        errors: dict[str, ClientError] = {}
        if unknown:
            request = FindCoordinatorRequest(key_type=GROUP_COORDINATOR, coordinator_keys=unknown)
            answer = await self.ask(request, FindCoordinatorResponse)
            for found in answer.coordinators:
                if found.error_code:
                    what = f"the coordinator of group {found.key}"
                    errors[found.key] = RequestFailed(
                        code_of(found.error_code), what, found.error_message or None
                    )
                else:
                    self._coordinators[found.key] = found.node_id
        return {group: errors.get(group) or self._coordinators[group] for group in wanted}

    def forget_coordinator(self, group: str) -> None:
        """Look the group's coordinator up again before it is next used."""
        self._coordinators.pop(group, None)

    async def retry(self, attempt: Callable[[], Awaitable[T]], *, deadline_ms: int | None = None) -> T:
        """`await attempt()` until it gives a value, fails for good, or the deadline forbids another try.

        Raises:
            ClientError: the last attempt's.
        """
        limit_ms = self.clock.monotonic_ms() + (
            self.config.deadline_ms if deadline_ms is None else deadline_ms
        )
        attempts = 0
        while True:
            try:
                return await attempt()
            except ClientError as error:
                wait_s = self.config.backoff_s(attempts, self.rng)
                if not error.retriable or self.clock.monotonic_ms() + wait_s * 1000 > limit_ms:
                    raise
            attempts += 1
            await asyncio.sleep(wait_s)

    async def retry_coordinator(
        self, group: str, attempt: Callable[[], Awaitable[T]], *, deadline_ms: int | None = None
    ) -> T:
        """`retry`, looking the group's coordinator up again after every failure."""

        async def fresh_attempt() -> T:
            try:
                return await attempt()
            except ClientError:
                self.forget_coordinator(group)
                raise

        return await self.retry(fresh_attempt, deadline_ms=deadline_ms)

    async def connection(self, node: int) -> Connection:
        """An open connection to the broker with this id.

        Raises:
            BrokerUnreachable: the cluster does not list it, or it does not answer where the cluster says.
        """
        if node not in self.metadata.nodes:
            await self.refresh(())
        known = self.metadata.nodes.get(node)
        if known is None:
            raise BrokerUnreachable(f"broker {node}", "the cluster does not list it among its live brokers")
        try:
            return await self._pool.open((known.host, known.port))
        except BrokerUnreachable as error:
            raise BrokerUnreachable(f"broker {node} at {error.address}", error.reason) from error

    async def any_connection(self) -> Connection:
        """An open connection if there is one, else to the first broker that answers."""
        nodes = [(node.host, node.port) for node in self.metadata.nodes.values()]
        self.rng.shuffle(nodes)
        return await self._pool.any_of(nodes + self._bootstrap)
