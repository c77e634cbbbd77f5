"""Records from partitions, from wherever the caller says. Groups are `group_consumer`'s business.

Each broker has at most one fetch under way, which runs while the caller works on the records of the one
before: that is all the buffering there is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from moldau_broker.base.errors import ErrorCode
from moldau_broker.client.admin.offsets import READ_COMMITTED, READ_UNCOMMITTED, list_offsets
from moldau_broker.client.admin.outcomes import settle
from moldau_broker.client.cluster import Cluster
from moldau_broker.client.errors import ClientError, ProtocolViolation, RequestFailed, code_of, raise_for
from moldau_broker.client.fetched import read_fetched
from moldau_broker.client.leaders import group_by_leader
from moldau_broker.client.partitions import LATEST, TopicPartition, by_topic
from moldau_broker.client.told_leader import learn_leader
from moldau_broker.wire.errors import WireError
from moldau_broker.wire.messages.fetch import (
    FetchPartition,
    FetchRequest,
    FetchResponse,
    FetchTopic,
    PartitionData,
)
from moldau_broker.wire.records import ReadLimits, Record

NO_SESSION: Final = -1
"""The epoch of a fetch outside any session (KIP-227): every request names all it wants."""


OPEN_LIMITS: Final = ReadLimits(decompressed_bytes_max=256 * 1024 * 1024, decompressed_ratio_max=1 << 20)
"""A consumer must be able to read whatever its cluster holds: bounded in bytes, hardly in ratio."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerConfig:
    """How records are fetched. Times in milliseconds, sizes in bytes.

    Attributes:
        wait_ms_max: how long a broker holds a fetch that has nothing to give.
        bytes_min: what a broker waits for; 1 answers at once when there is anything.
        bytes_max: of one answer; a single larger batch still comes whole.
        partition_bytes_max: of one partition in an answer.
        isolation: READ_UNCOMMITTED, or READ_COMMITTED to stop at the last stable offset.
        on_out_of_range: where to go on when the wanted offset is not in the log (any more): EARLIEST,
            LATEST, or None to raise.
        check_crcs: verify every batch.
        limits: how much one batch may open into.
    """

    wait_ms_max: int = 500
    bytes_min: int = 1
    bytes_max: int = 16 * 1024 * 1024
    partition_bytes_max: int = 1024 * 1024
    isolation: int = READ_UNCOMMITTED
    on_out_of_range: int | None = None
    check_crcs: bool = True
    limits: ReadLimits = OPEN_LIMITS


class Fetched(NamedTuple):
    """Records of one partition in the order of their offsets."""

    partition: TopicPartition
    records: list[Record]


@dataclass(slots=True)
class _Fetch:
    """A fetch under way: from which offsets, and the task that gets the answer."""

    wanted: dict[TopicPartition, int]
    task: asyncio.Task[FetchResponse]


class Consumer:
    """Reads assigned partitions; keeps positions in memory only. Call `close` when done."""

    def __init__(self, cluster: Cluster, config: ConsumerConfig | None = None) -> None:
        self.config = config or ConsumerConfig()
        self.positions: dict[TopicPartition, int] = {}
        """Of the assigned partitions: the offset of the next record `poll` gives."""
        self.high_watermarks: dict[TopicPartition, int] = {}
        """What the leaders last said; absent until a partition was first fetched."""
        self._cluster = cluster
        self._fetches: dict[int, _Fetch] = {}
        self._errors: list[ClientError] = []
        self._attempts = 0
        self._retry_at_ms = 0

    def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        """Read exactly these partitions from now on, each from the offset given."""
        self.positions = dict(positions)
        self.high_watermarks = {p: high for p, high in self.high_watermarks.items() if p in self.positions}
        self._errors.clear()

    def at_end(self, partition: TopicPartition) -> bool:
        """Whether `poll` has given everything the leader showed when it was last asked."""
        high = self.high_watermarks.get(partition)
        return high is not None and self.positions[partition] >= high

    async def poll(self, timeout_ms: int) -> list[Fetched]:
        """Whatever has arrived, waited for at most this long; positions move past it.

        Cancelled it has given nothing: positions stay where they were.

        Raises:
            ClientError: a partition cannot be read, and trying again will not help. What the others gave
                was returned before; assign something else to go on.
        """
        limit_ms = self._cluster.clock.monotonic_ms() + timeout_ms
        while True:
            fetched = await self._harvest()
            if self._errors and not fetched:
                raise self._errors.pop(0)
            try:
                await self._start_fetches()
            except asyncio.CancelledError:
                self._put_back(fetched)
                raise
            if self._errors and not fetched:
                continue  # a partition that is missing: waiting for it would be in vain
            now_ms = self._cluster.clock.monotonic_ms()
            if fetched or now_ms >= limit_ms:
                return fetched
            pause_ms = limit_ms - now_ms
            if self._retry_at_ms > now_ms:
                pause_ms = min(pause_ms, self._retry_at_ms - now_ms)
            tasks = [fetch.task for fetch in self._fetches.values()]
            if tasks:
                await asyncio.wait(tasks, timeout=pause_ms / 1000, return_when=asyncio.FIRST_COMPLETED)
            else:
                await asyncio.sleep(pause_ms / 1000)

    async def close(self) -> None:
        """Stop fetching."""
        tasks = [fetch.task for fetch in self._fetches.values()]
        self._fetches.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _start_fetches(self) -> None:
        """A fetch to every idle broker that leads an assigned partition nobody is fetching."""
        if self._cluster.clock.monotonic_ms() < self._retry_at_ms:
            return
        under_way = {p for fetch in self._fetches.values() for p in fetch.wanted}
        idle = [p for p in self.positions if p not in under_way]
        if not idle:
            return
        try:
            led, missing, leaderless = await group_by_leader(self._cluster, idle)
        except ClientError as error:
            self._errors.append(error)
            return
        self._errors.extend(missing.values())
        if leaderless:
            self._back_off(leaderless)
        for node, partitions in led.items():
            if node not in self._fetches:
                wanted = {p: self.positions[p] for p in partitions}
                self._fetches[node] = _Fetch(wanted, asyncio.create_task(self._fetch(node, wanted)))

    async def _fetch(self, node: int, wanted: Mapping[TopicPartition, int]) -> FetchResponse:
        topics = self._cluster.metadata.topics
        request = FetchRequest(
            max_wait_ms=self.config.wait_ms_max,
            min_bytes=self.config.bytes_min,
            max_bytes=self.config.bytes_max,
            isolation_level=self.config.isolation,
            session_epoch=NO_SESSION,
            topics=[
                FetchTopic(
                    topic_id=topics[topic].topic_id,
                    topic=topic,
                    partitions=[
                        FetchPartition(
                            partition=number,
                            fetch_offset=wanted[TopicPartition(topic, number)],
                            partition_max_bytes=self.config.partition_bytes_max,
                        )
                        for number in numbers
                    ],
                )
                for topic, numbers in by_topic(wanted).items()
            ],
        )
        timeout_ms = self.config.wait_ms_max + self._cluster.config.request_timeout_ms
        return await self._cluster.ask(request, FetchResponse, node=node, timeout_ms=timeout_ms)

    async def _harvest(self) -> list[Fetched]:
        """Take the answers that are there."""
        done = [(node, fetch) for node, fetch in self._fetches.items() if fetch.task.done()]
        fetched: list[Fetched] = []
        for node, fetch in done:
            del self._fetches[node]
            try:
                answer = fetch.task.result()
                raise_for(answer.error_code, f"a fetch from broker {node}")
            except ClientError as error:
                self._note(fetch.wanted, error)
                continue
            self._attempts = 0
            topics = self._cluster.metadata.topics
            names = {topics[name].topic_id: name for name in by_topic(fetch.wanted)}
            for topic in answer.responses:
                name = topic.topic or names.get(topic.topic_id, "")
                for data in topic.partitions:
                    partition = TopicPartition(name, data.partition_index)
                    offset = fetch.wanted.get(partition)
                    if offset is None or self.positions.get(partition) != offset:
                        continue  # reassigned meanwhile
                    moved = learn_leader(
                        self._cluster,
                        partition,
                        code_of(data.error_code),
                        data.current_leader,
                        answer.node_endpoints,
                    )
                    try:
                        records = [] if moved else await self._read(partition, offset, data)
                    except asyncio.CancelledError:
                        self._put_back(fetched)
                        raise
                    if records:
                        fetched.append(Fetched(partition, records))
        return fetched

    def _put_back(self, fetched: Iterable[Fetched]) -> None:
        """Nobody gets these now: whoever commits positions must not commit what was never seen."""
        for partition, records in fetched:
            if partition in self.positions:
                self.positions[partition] = records[0].offset

    async def _read(self, partition: TopicPartition, offset: int, data: PartitionData) -> list[Record]:
        code = code_of(data.error_code)
        if code is ErrorCode.OFFSET_OUT_OF_RANGE and self.config.on_out_of_range is not None:
            found = (await list_offsets(self._cluster, {partition: self.config.on_out_of_range}))[partition]
            if isinstance(found, ClientError):
                self._note([partition], found)
            else:
                self.positions[partition] = found.offset
            return []
        if code is not ErrorCode.NONE:
            self._note([partition], RequestFailed(code, f"partition {partition} at offset {offset}"))
            return []
        try:
            records, following = read_fetched(
                data,
                offset,
                committed=self.config.isolation == READ_COMMITTED,
                check_crcs=self.config.check_crcs,
                limits=self.config.limits,
            )
        except WireError as error:
            self._errors.append(ProtocolViolation(f"partition {partition} at offset {offset}: {error}"))
            return []
        self.positions[partition] = following
        committed = self.config.isolation == READ_COMMITTED
        self.high_watermarks[partition] = data.last_stable_offset if committed else data.high_watermark
        return records

    def _note(self, partitions: Iterable[TopicPartition], error: ClientError) -> None:
        """Try again later, or let the next poll raise."""
        if error.retriable:
            self._back_off(partitions)
        else:
            self._errors.append(error)

    def _back_off(self, partitions: Iterable[TopicPartition]) -> None:
        self._cluster.forget({p.topic for p in partitions})
        wait_ms = int(self._cluster.config.backoff_s(self._attempts, self._cluster.rng) * 1000)
        self._retry_at_ms = self._cluster.clock.monotonic_ms() + wait_ms
        self._attempts += 1


async def find_offsets(
    cluster: Cluster, starts: Mapping[TopicPartition, int], *, isolation: int = READ_UNCOMMITTED
) -> dict[TopicPartition, int]:
    """Offsets to begin at: the first record at or after a time, or the end where none is young enough.

    Args:
        cluster: whom to ask.
        starts: timestamps in milliseconds, EARLIEST or LATEST.
        isolation: as in `list_offsets`.

    Raises:
        ClientError: an offset could not be found out.
    """
    found = settle(await list_offsets(cluster, starts, isolation=isolation))
    offsets = {partition: listed.offset for partition, listed in found.items()}
    beyond = {partition: LATEST for partition, offset in offsets.items() if offset < 0}
    if beyond:
        ends = settle(await list_offsets(cluster, beyond, isolation=isolation))
        offsets |= {partition: listed.offset for partition, listed in ends.items()}
    return offsets
