"""Records to topics: batched per partition, in order, once.

One task decides what is due and starts one request per broker at a time; an answer that leaves work over
wakes it again. Batches, order and retries are `accumulator`'s; here are time, requests and outcomes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple, Self

from moldau_broker.base.errors import ErrorCode
from moldau_broker.client.accumulator import Accumulator, Identity, PendingBatch
from moldau_broker.client.cluster import Cluster
from moldau_broker.client.errors import (
    ClientError,
    DeliveryFailed,
    ProtocolViolation,
    RequestFailed,
    RequestTimedOut,
    code_of,
    raise_for,
)
from moldau_broker.client.leaders import group_by_leader
from moldau_broker.client.metadata import NO_LEADER, TopicInfo
from moldau_broker.client.partitioner import Partitioner, StickyPartitioner
from moldau_broker.client.partitions import TopicPartition
from moldau_broker.client.produce_exchange import detail_of, match_answers, produce_request
from moldau_broker.client.producer_config import ACKS_NONE, ProducerConfig
from moldau_broker.client.told_leader import learn_leader
from moldau_broker.wire.errors import WireError
from moldau_broker.wire.messages.init_producer_id import InitProducerIdRequest, InitProducerIdResponse
from moldau_broker.wire.messages.produce import ProduceRequest, ProduceResponse
from moldau_broker.wire.records import Headers, build_batch


class Delivered(NamedTuple):
    """Where a record is. `offset` is -1 where the broker does not say (acks=0, a recognised duplicate)."""

    partition: TopicPartition
    offset: int


Token = asyncio.Future[Delivered]
Batch = PendingBatch[Token]


class Producer:
    """Sends records. Use as an async context manager, whose exit delivers what was sent, or call `close`."""

    def __init__(
        self,
        cluster: Cluster,
        config: ProducerConfig | None = None,
        *,
        partitioner: Callable[[], Partitioner] | None = None,
    ) -> None:
        self.config = config or ProducerConfig()
        self._cluster = cluster
        self._clock = cluster.clock
        self._new_partitioner = partitioner or (lambda: StickyPartitioner(cluster.rng))
        self._partitioners: dict[str, Partitioner] = {}
        self._accumulator: Accumulator[Token] = Accumulator(
            batch_bytes_max=self.config.batch_bytes_max, linger_ms=self.config.linger_ms
        )
        self._identity: Identity | None = None if self.config.idempotent else Identity()
        self._identifying = asyncio.Lock()
        self._wake = asyncio.Event()
        self._settled = asyncio.Event()
        self._flushing = 0
        self._sender: asyncio.Task[None] | None = None
        self._requests: dict[int, asyncio.Task[None]] = {}
        self._crash: BaseException | None = None
        self.delivered = 0
        """Records acknowledged so far."""
        self.failed = 0
        """Records given up since the last flush."""
        self._first_error: ClientError | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close(abandon=error is not None)

    async def send(
        self,
        topic: str,
        *,
        key: bytes | None = None,
        value: bytes | None = None,
        headers: Headers = (),
        partition: int | None = None,
        timestamp_ms: int | None = None,
    ) -> asyncio.Future[Delivered]:
        """Hand a record over; waits only while the buffer is full or the topic is not known yet.

        Gives a future of where the record went, which need not be awaited: `flush` reports failures too.

        Raises:
            RequestFailed: the topic or partition does not exist.
            ClientError: the cluster could not be asked about the topic.
        """
        info = self._cluster.fresh(topic) or await self._cluster.topic(
            topic, auto_create=self.config.auto_create
        )
        while self._accumulator.bytes >= self.config.buffer_bytes_max:
            await self._until_settled()
        partitioner = self._partitioner(topic)
        if partition is None:
            partition = partitioner.partition(key, _led(info), len(info.partitions))
        elif not 0 <= partition < len(info.partitions):
            raise RequestFailed(
                ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"partition {partition} of topic {topic}"
            )
        target = TopicPartition(topic, partition)
        token: Token = asyncio.get_running_loop().create_future()
        batch_closed = self._accumulator.append(
            target,
            token,
            self._clock.monotonic_ms(),
            timestamp_ms=self._clock.wall_ms() if timestamp_ms is None else timestamp_ms,
            key=key,
            value=value,
            headers=headers,
        )
        self._start()
        if batch_closed:
            partitioner.batch_full(partition, _led(info))
            await asyncio.sleep(0)  # a busy caller must let the sender have its turn
        return token

    async def flush(self) -> None:
        """Send everything at once and wait until every record is acknowledged or given up.

        Raises:
            DeliveryFailed: some records sent since the last flush were given up.
        """
        self._flushing += 1
        try:
            while self._accumulator:
                await self._until_settled()
        finally:
            self._flushing -= 1
        if self._first_error is not None:
            error = DeliveryFailed(self.failed, self._first_error)
            self.failed, self._first_error = 0, None
            raise error from error.first

    async def close(self, *, abandon: bool = False) -> None:
        """Flush, unless told to `abandon` what is not delivered yet, and stop.

        Raises:
            DeliveryFailed: as `flush`.
        """
        try:
            if not abandon:
                await self.flush()
        finally:
            tasks = [task for task in (self._sender, *self._requests.values()) if task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for batch in self._accumulator.unsettled():
                for token in batch.tokens:
                    token.cancel()

    # the sender

    def _partitioner(self, topic: str) -> Partitioner:
        partitioner = self._partitioners.get(topic)
        if partitioner is None:
            partitioner = self._partitioners[topic] = self._new_partitioner()
        return partitioner

    def _start(self) -> None:
        self._wake.set()
        if self._sender is None:
            self._sender = asyncio.create_task(self._run(), name="moldau producer")
            self._sender.add_done_callback(self._note_crash)

    async def _until_settled(self) -> None:
        """Wait until some batch is acknowledged or given up."""
        self._settled.clear()
        self._start()
        await self._settled.wait()
        if self._crash is not None:
            raise self._crash

    def _note_crash(self, task: asyncio.Task[None]) -> None:
        """A programmer error in a task must reach whoever waits, not hang them."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self._crash = error
            self._settled.set()

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            now_ms = self._clock.monotonic_ms()
            flush = self._flushing > 0
            for batch in self._accumulator.overdue(now_ms, self.config.delivery_ms_max):
                self._accumulator.take(batch)
                silence = RequestTimedOut(f"partition {batch.partition} took no records in time")
                self._fail(batch, batch.last_error or silence)
            await self._dispatch(self._accumulator.due(now_ms, flush=flush), now_ms)
            # A batch that is due but not sent waits for its broker's answer to another, which wakes us.
            wait_ms = self._accumulator.next_due_ms(now_ms, flush=flush)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if wait_ms is None else wait_ms / 1000):
                    await self._wake.wait()

    async def _dispatch(self, due: list[Batch], now_ms: int) -> None:
        """Start a request to every leader that has batches due and none in flight."""
        if not due:
            return
        batches = {batch.partition: batch for batch in due}
        try:
            led, missing, leaderless = await group_by_leader(self._cluster, batches)
        except ClientError as error:
            led, missing, leaderless = {}, {}, dict.fromkeys(batches, error)
        for partition, reason in (missing | leaderless).items():
            self._accumulator.take(batches[partition])
            self._retry_or_fail(batches[partition], reason)
        for node, partitions in led.items():
            if node not in self._requests:
                chosen = self._fill_request([batches[partition] for partition in partitions])
                self._requests[node] = asyncio.create_task(self._deliver(node, chosen))
                self._requests[node].add_done_callback(self._note_crash)

    def _fill_request(self, batches: list[Batch]) -> list[Batch]:
        chosen: list[Batch] = []
        room = self.config.request_bytes_max
        for batch in sorted(batches, key=lambda batch: batch.opened_ms):
            if chosen and batch.bytes > room:
                break
            room -= batch.bytes
            self._accumulator.take(batch)
            chosen.append(batch)
        return chosen

    async def _deliver(self, node: int, batches: list[Batch]) -> None:
        try:
            identity = await self._identify()
            batches = [batch for batch in batches if self._encode(batch, identity)]
            if not batches:
                return
            request = produce_request(
                batches,
                self._cluster.metadata,
                acks=self.config.acks,
                timeout_ms=self._cluster.config.request_timeout_ms,
            )
            if self.config.acks == ACKS_NONE:
                connection = await self._cluster.connection(node)
                await connection.send(request, ProduceResponse)
                for batch in batches:
                    self._acknowledge(batch, -1)
            else:
                answer = await self._cluster.ask(request, ProduceResponse, node=node)
                self._conclude(batches, request, answer)
        except ClientError as error:
            for batch in batches:
                self._retry_or_fail(batch, error)
        finally:
            del self._requests[node]
            self._wake.set()
            self._settled.set()

    async def _identify(self) -> Identity:
        async with self._identifying:
            if self._identity is None:
                answer = await self._cluster.ask(
                    InitProducerIdRequest(transactional_id=None), InitProducerIdResponse
                )
                raise_for(answer.error_code, "a producer id")
                self._identity = Identity(answer.producer_id, answer.producer_epoch)
            return self._identity

    def _encode(self, batch: Batch, identity: Identity) -> bool:
        """Make the batch's bytes once; False if its records cannot be written."""
        if batch.encoded is None:
            batch.identity = identity
            try:
                batch.encoded = build_batch(
                    batch.records,
                    codec=self.config.compression,
                    producer_id=identity.producer_id,
                    producer_epoch=identity.epoch,
                    base_sequence=identity.sequence(batch.partition),
                )
            except WireError as error:
                self._fail(batch, ClientError(f"a record cannot be written: {error}"))
                return False
        return True

    # outcomes

    def _conclude(self, batches: list[Batch], request: ProduceRequest, answer: ProduceResponse) -> None:
        for batch, response in match_answers(batches, request, answer):
            if response is None:
                missing = ProtocolViolation(f"the answer leaves out partition {batch.partition}")
                self._retry_or_fail(batch, missing)
                continue
            code = code_of(response.error_code)
            if code in (ErrorCode.NONE, ErrorCode.DUPLICATE_SEQUENCE_NUMBER):
                self._acknowledge(batch, response.base_offset)
            elif code is ErrorCode.MESSAGE_TOO_LARGE and len(batch.records) > 1:
                self._accumulator.split(batch)
            else:
                refusal = RequestFailed(code, f"partition {batch.partition}", detail_of(response))
                moved = learn_leader(
                    self._cluster, batch.partition, code, response.current_leader, answer.node_endpoints
                )
                self._retry_or_fail(batch, refusal, moved=moved)

    def _acknowledge(self, batch: Batch, base_offset: int) -> None:
        assert batch.identity is not None
        batch.identity.advance(batch.partition, len(batch.records))
        self._accumulator.settle(batch)
        self.delivered += len(batch.tokens)
        for position, token in enumerate(batch.tokens):
            if not token.done():
                token.set_result(
                    Delivered(batch.partition, base_offset + position if base_offset >= 0 else -1)
                )

    def _retry_or_fail(self, batch: Batch, error: ClientError, *, moved: bool = False) -> None:
        """`moved`: the answer told who leads now, so there is nothing to look up and nothing to wait for."""
        now_ms = self._clock.monotonic_ms()
        backoff_s = 0.0 if moved else self._cluster.config.backoff_s(batch.attempts, self._cluster.rng)
        wait_ms = 1 + int(backoff_s * 1000)
        if not error.retriable or now_ms + wait_ms - batch.opened_ms >= self.config.delivery_ms_max:
            self._fail(batch, error)
            return
        if not moved:
            self._cluster.forget([batch.partition.topic])
        self._accumulator.retry(batch, error, now_ms + wait_ms)

    def _fail(self, batch: Batch, error: ClientError) -> None:
        """Give a batch up. Whether it was stored may be unknown, so its numbers are not used again."""
        if batch.encoded is not None and batch.identity is self._identity and self.config.idempotent:
            self._identity = None
        self._accumulator.settle(batch)
        self.failed += len(batch.tokens)
        self._first_error = self._first_error or error
        for token in batch.tokens:
            if not token.done():
                token.set_exception(error)
                token.exception()  # `flush` reports it too, so nobody has to look at the future
        self._settled.set()


def _led(info: TopicInfo) -> list[int]:
    return [partition.partition for partition in info.partitions if partition.leader != NO_LEADER]
