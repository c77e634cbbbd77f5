"""Keeps the groups' lag at hand, so that a scrape waits for nobody.

While somebody scrapes, every two seconds: read what groups here have committed, *then* ask the partitions' leaders
where these end, then how old the first records behind the commits are. In this order lag may be too large for a
moment, and is never negative. A leader that does not answer soon leaves its partitions without lag. What a commit's
record is dated does not change, so it is asked once.

A commit shows up a moment before it is durable, as it does for the group's members.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import TYPE_CHECKING, Final, TypeAlias

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import Uuid
from moldau_broker.server.admin_api.answers import Refused
from moldau_broker.server.admin_api.positions import Ask, Found
from moldau_broker.server.metrics.lag_rows import GroupRows, TopicRows, fill_records, topic_rows

if TYPE_CHECKING:
    from moldau_broker.base.clock import Clock
    from moldau_broker.coordinator.hosted_shard import HostedShard
    from moldau_broker.coordinator.runtime import GroupCoordinator
    from moldau_broker.metadata.image import MetadataImage
    from moldau_broker.server.admin_api.node import AdminNode
    from moldau_broker.server.metrics.filters import Filters

logger = logging.getLogger(__name__)

INTERVAL_MS: Final = 2_000
WANTED_MS: Final = 60_000
"""Nobody has scraped for so long: stop looking."""

PEER_SECONDS_MAX: Final = 1.5
"""A leader that takes longer is not waited for: a change elsewhere shall be seen within five seconds."""

_ASKS_AT_ONCE: Final = 500
_SLICE_SECONDS: Final = 0.003

Stamp: TypeAlias = "tuple[Uuid, int, int, int]"
"""Topic id, partition, leader epoch and offset: what a record's timestamp is remembered by."""

Place: TypeAlias = tuple[str, int]


class LagWatch:
    """See the module; owned by the event loop.

    Attributes:
        groups: as of the last look.
        looked_ms: when their commits were read, monotonic; None before the first look.
        took_seconds: how long that look took.
    """

    def __init__(
        self, groups: GroupCoordinator, clock: Clock, node: Callable[[], AdminNode | None], filters: Filters
    ) -> None:
        """`node` gives what the admin API works with, None while clients are not served; asked for groups."""
        self._coordinator = groups
        self._clock = clock
        self._node = node
        self._filters = filters
        self._wanted_ms = 0
        self._task: asyncio.Task[None] | None = None
        self._stamps: dict[Stamp, int | None] = {}
        self._pause_ends = 0.0
        self.groups: list[GroupRows] = []
        self.looked_ms: int | None = None
        self.took_seconds = 0.0

    def want(self, now_ms: int) -> None:
        """Somebody scrapes."""
        self._wanted_ms = now_ms
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Look no more."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        try:
            while (began_ms := self._clock.monotonic_ms()) - self._wanted_ms <= WANTED_MS:
                has_groups = any(hosted.shard.group_ids for hosted in self._coordinator.active())
                node = self._node() if has_groups else None
                if node is not None:
                    await self._look(node)
                else:
                    self.groups, self.looked_ms = [], began_ms
                took_ms = self._clock.monotonic_ms() - began_ms
                self.took_seconds = took_ms / 1000
                await asyncio.sleep(max(INTERVAL_MS - took_ms, took_ms) / 1000)
        except asyncio.CancelledError:
            raise
        except Exception:
            logger.exception("metrics.lag_failed")
        self._task = None
        self.groups, self.looked_ms, self._stamps = [], None, {}

    async def _look(self, node: AdminNode) -> None:
        looked_ms = self._clock.monotonic_ms()
        image = node.broker.metadata.image
        groups = await self._commits(image)
        rows = [topic for group in groups for topic in group.topics]
        ends = await self._ends(node, image, rows)
        await self._fill(rows, ends)
        await self._date(node, image, rows, ends)
        self.groups, self.looked_ms = groups, looked_ms

    async def _breathe(self) -> None:
        """Let the loop have its turn where the slice is over."""
        if perf_counter() >= self._pause_ends:
            await asyncio.sleep(0)
            self._pause_ends = perf_counter() + _SLICE_SECONDS

    # -- commits -------------------------------------------------------------------------------------------------

    async def _commits(self, image: MetadataImage) -> list[GroupRows]:
        groups = []
        for hosted in self._coordinator.active():
            for group_id in hosted.shard.group_ids:
                if self._filters.groups.admits(group_id):
                    rows = self._rows_of(hosted, group_id, image)
                    if rows is not None:
                        groups.append(rows)
                await self._breathe()
        return groups

    def _rows_of(self, hosted: HostedShard, group_id: str, image: MetadataImage) -> GroupRows | None:
        group = hosted.shard.sketch(group_id)
        if group is None:
            return None  # it has gone meanwhile
        topics = []
        for name, commits in group.offsets.items():
            topic = image.topics.get(name)
            if topic is not None and self._filters.topics.admits(name):
                rows = topic_rows(name, topic.topic_id, len(topic.partitions), commits)
                if rows is not None:
                    topics.append(rows)
        return GroupRows(group_id, hosted.index, group.state, group.members, topics)

    # -- where partitions end ------------------------------------------------------------------------------------

    async def _ends(
        self, node: AdminNode, image: MetadataImage, rows: list[TopicRows]
    ) -> dict[Place, tuple[int, int]]:
        places = {(topic.topic, index) for topic in rows for index in topic.indexes}
        found: dict[Ask, Found] = {}
        await _ask_leaders(node, image, {Ask(*place) for place in places}, found)
        return {
            (ask.topic, ask.partition): (position.log_start, position.high_watermark)
            for ask, position in found.items()
            if not isinstance(position, ErrorCode)
        }

    async def _fill(self, rows: list[TopicRows], ends: dict[Place, tuple[int, int]]) -> None:
        for topic in rows:
            fill_records(topic, (ends.get((topic.topic, index)) for index in topic.indexes))
            await self._breathe()

    # -- how old the first records are ---------------------------------------------------------------------------

    async def _date(
        self,
        node: AdminNode,
        image: MetadataImage,
        rows: list[TopicRows],
        ends: dict[Place, tuple[int, int]],
    ) -> None:
        """Remembered dates first, then ask for the others; what is not answered in time stays unknown."""
        known, self._stamps = self._stamps, {}
        asks: dict[Ask, Stamp] = {}
        unknown: list[tuple[TopicRows, int, Stamp]] = []
        for topic in rows:
            for at, ask, stamp in _behind(topic, image, ends):
                if stamp in known:
                    self._stamps[stamp] = topic.stamps[at] = known[stamp]
                else:
                    asks[ask] = stamp
                    unknown.append((topic, at, stamp))
            await self._breathe()
        if not asks:
            return
        found: dict[Ask, Found] = {}
        await _ask_leaders(node, image, set(asks), found)
        for ask, position in found.items():
            if not isinstance(position, ErrorCode):
                self._stamps[asks[ask]] = position.timestamp_ms
        for topic, at, stamp in unknown:
            topic.stamps[at] = self._stamps.get(stamp)


def _behind(
    topic: TopicRows, image: MetadataImage, ends: dict[Place, tuple[int, int]]
) -> Iterator[tuple[int, Ask, Stamp]]:
    """The partitions with lag: their place in the rows, and the record that has to be dated."""
    for at, records in enumerate(topic.records):
        if records:
            index = topic.indexes[at]
            known = image.partition(topic.topic, index)
            offset = max(topic.offsets[at], ends[topic.topic, index][0])
            epoch = -1 if known is None else known.leader_epoch
            yield at, Ask(topic.topic, index, offset), (topic.topic_id, index, epoch, offset)


async def _ask_leaders(
    node: AdminNode, image: MetadataImage, asks: set[Ask], found: dict[Ask, Found]
) -> None:
    """Put into `found` what the leaders say in time, each asked at the same time as the others."""
    by_leader: dict[int, list[Ask]] = {}
    for ask in asks:
        partition = image.partition(ask.topic, ask.partition)
        if partition is not None and partition.leader >= 0:
            by_leader.setdefault(partition.leader, []).append(ask)

    async def ask_one(leader: int, theirs: list[Ask]) -> None:
        for first in range(0, len(theirs), _ASKS_AT_ONCE):
            some = theirs[first : first + _ASKS_AT_ONCE]
            if leader == node.broker.node_id:
                found.update(await node.positions.look_up(some))
                await asyncio.sleep(0)
            else:
                found.update(await node.peers.positions(leader, some))

    async def ask_in_time(leader: int, theirs: list[Ask]) -> None:
        try:
            async with asyncio.timeout(PEER_SECONDS_MAX):
                await ask_one(leader, theirs)
        except (Refused, TimeoutError) as error:
            logger.debug("metrics.leader_silent", extra={"broker": leader, "reason": str(error)})

    await asyncio.gather(*(ask_in_time(*item) for item in by_leader.items()))
