"""Follower fetching: one connection to each broker that leads something we hold, one request at a time on it.

Theory of operation: a round asks the leader for all its partitions (an incremental session, KIP-227), appends what
comes, waits until that is fsynced, and asks again with the new ends; the leader's high watermark follows from the
question, not from an answer. Nothing is decided here: `fetch_round` does. A change of who leads what interrupts a
question that waits at the leader, because a new leader is not ready before its followers asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Final

from moldau_broker.base.clock import Clock
from moldau_broker.client.config import ClientConfig
from moldau_broker.client.connection import Connection
from moldau_broker.client.errors import ClientError, RequestTimedOut
from moldau_broker.metadata.delta import MetadataDelta
from moldau_broker.metadata.image import Endpoint, MetadataImage
from moldau_broker.replication.fetch_round import FetchRounds, by_leader, when_durable
from moldau_broker.replication.follower import Advice, Ask
from moldau_broker.replication.manager import ReplicaManager
from moldau_broker.replication.partition import Partition
from moldau_broker.replication.settings import ReplicaSettings
from moldau_broker.wire.messages.fetch import FetchRequest, FetchResponse

logger = logging.getLogger(__name__)

ANSWER_MS_MAX: Final = 3_000
"""How much longer than its own waiting time an answer may take; who leads is found out much sooner by other means."""

_IDLE_MS: Final = 60_000
"""A fetcher without partitions waits to be told of some; how long does not matter."""


class ReplicaFetchers:
    """The fetchers of one broker. Call `follow` after the replica manager has taken the image."""

    def __init__(
        self,
        replicas: ReplicaManager,
        node_id: int,
        broker_epoch: Callable[[], int],
        settings: ReplicaSettings,
        endpoint_of: Callable[[int], Endpoint | None],
        client: ClientConfig,
        clock: Clock,
    ) -> None:
        self.node_id = node_id
        self.broker_epoch = broker_epoch
        self.settings = settings
        self.endpoint_of = endpoint_of
        self.client = client
        self.clock = clock
        self.throttles = replicas.throttles
        self._replicas = replicas
        self._fetchers: dict[int, _LeaderFetcher] = {}
        self._closed = False

    def follow(self, delta: MetadataDelta, image: MetadataImage) -> None:
        """A subscriber of the publisher: fetch from whoever leads what we hold."""
        if self._closed:
            return
        wanted = self._assign(delta.changed_brokers())
        for leader in [leader for leader in self._fetchers if leader not in image.brokers]:
            if not wanted[leader]:
                self._fetchers.pop(leader).stop()

    def look_again(self) -> None:
        """Replicas were made since the last image: fetch for them as well."""
        if not self._closed:
            self._assign(set())

    def _assign(self, moved: set[int]) -> Mapping[int, Sequence[Partition]]:
        wanted = by_leader(self._replicas.partitions(), self._fetchers)
        for leader, partitions in wanted.items():
            fetcher = self._fetchers.get(leader)
            if fetcher is None:
                fetcher = self._fetchers[leader] = _LeaderFetcher(self, leader)
            fetcher.assign(partitions, moved=leader in moved)
        return wanted

    async def close(self) -> None:
        """End all fetching."""
        self._closed = True
        fetchers, self._fetchers = list(self._fetchers.values()), {}
        for fetcher in fetchers:
            fetcher.stop()
        await asyncio.gather(*(fetcher.task for fetcher in fetchers), return_exceptions=True)


class _Interrupted(Exception):
    """What is asked for has changed."""


class _LeaderFetcher:
    """Fetches from one leader."""

    def __init__(self, owner: ReplicaFetchers, leader: int) -> None:
        self._owner = owner
        self._leader = leader
        self._rounds = FetchRounds(owner.settings, owner.throttles, owner.clock, self._told)
        self._changed = asyncio.Event()
        self._connection: Connection | None = None
        self._answer: asyncio.Future[FetchResponse] | None = None
        self._unreachable = False
        self.task = asyncio.get_running_loop().create_task(self._run(), name=f"fetcher-{leader}")

    def assign(self, partitions: Iterable[Partition], *, moved: bool) -> None:
        """From now on fetch these; `moved`: the leader's broker has changed, perhaps its address."""
        if self._rounds.assign(partitions, moved=moved):
            self._changed.set()
            self._give_up(_Interrupted())

    def stop(self) -> None:
        """End."""
        self.task.cancel()

    async def _run(self) -> None:
        try:
            while True:
                self._changed.clear()
                try:
                    await self._round()
                    self._unreachable = False
                except _Interrupted:
                    self._hang_up()
                except (ClientError, OSError) as error:
                    self._hang_up()
                    if not self._unreachable:
                        self._unreachable = True
                        logger.warning(
                            "fetcher.unreachable", extra={"leader": self._leader, "reason": str(error)}
                        )
                    await self._pause(self._owner.settings.fetch_backoff_ms)
        except asyncio.CancelledError:
            raise
        except Exception:
            logger.exception("fetcher.failed", extra={"leader": self._leader})
            raise
        finally:
            self._hang_up()

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._rounds.begin_session()

    async def _pause(self, ms: float) -> None:
        """Wait that long, or until something changes."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ms / 1000):
                await self._changed.wait()

    def _give_up(self, why: Exception) -> None:
        """Wait for no answer any more."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(why)

    # --- one round ------------------------------------------------------------------------------------

    async def _round(self) -> None:
        if self._connection is not None and self._connection.closed:
            self._hang_up()
        due = self._rounds.due()
        if not due.partitions and not due.partial:
            await self._pause(_IDLE_MS if due.delay_ms is None else due.delay_ms)
            return
        if not due.ahead:
            await _until(partial(when_durable, due.partitions))
        if self._connection is None:
            self._connection = await self._connect()
        request = self._rounds.question(
            due, node_id=self._owner.node_id, broker_epoch=self._owner.broker_epoch()
        )
        if request is None:
            await self._pause(self._owner.settings.fetch_backoff_ms)
            return
        written = self._rounds.take(await self._ask(self._connection, request))
        if written is not None:
            await _until(partial(self._rounds.when_next, written))

    async def _connect(self) -> Connection:
        """It is given up as soon as something changes.

        Raises:
            _Interrupted: something changed.
        """
        endpoint = self._owner.endpoint_of(self._leader)
        if endpoint is None:
            raise OSError(f"broker {self._leader} has no internal listener that is known")
        task = asyncio.ensure_future(Connection.open(endpoint.host, endpoint.port, self._owner.client))
        changed = asyncio.ensure_future(self._changed.wait())
        try:
            await asyncio.wait({task, changed}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise _Interrupted
        finally:
            changed.cancel()
            if not task.done():
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, ClientError, OSError):
                    await task

    async def _ask(self, connection: Connection, request: FetchRequest) -> FetchResponse:
        """Once for every few records: no task of its own, or half of a follower's time would go into those.

        Raises:
            _Interrupted: something changed.
        """
        if self._changed.is_set():
            raise _Interrupted
        limit_ms = request.max_wait_ms + ANSWER_MS_MAX
        late = RequestTimedOut(f"{connection.address} did not answer FETCH within {limit_ms} ms")
        self._answer = connection.ask(request, FetchResponse)
        timer = asyncio.get_running_loop().call_later(limit_ms / 1000, self._give_up, late)
        try:
            return await self._answer
        finally:
            timer.cancel()
            self._answer = None

    def _told(self, partition: Partition, asked: Ask, advice: Advice) -> None:
        logger.log(
            logging.WARNING if advice.ours else logging.INFO,
            "replica.advice",
            extra={
                "topic": partition.topic,
                "partition": partition.index,
                "leader": self._leader,
                "leader_epoch": asked.leader_epoch,
                "asked_offset": asked.offset,
                "step": advice.step.name,
                "offset": advice.offset,
                "reason": advice.why,
            },
        )


async def _until(begin: Callable[[Callable[[], None]], None]) -> None:
    """Wait until what is begun calls back; it may do that at once."""
    called = False
    waiting: asyncio.Future[None] | None = None

    def callback() -> None:
        nonlocal called
        called = True
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    begin(callback)
    if not called:
        waiting = asyncio.get_running_loop().create_future()
        await waiting
