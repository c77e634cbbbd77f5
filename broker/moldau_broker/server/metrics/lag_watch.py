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
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Final, TypeAlias

from moldau_broker.base.ids import Uuid
from moldau_broker.server.admin_api.lag import Position
from moldau_broker.server.admin_api.positions import Ask
from moldau_broker.server.metrics.lag_questions import Questions
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

_SLICE_SECONDS: Final = 0.002

_UNDATED_AT_ONCE: Final = 2_000
"""Records that are asked about together: the garbage collector walks what waits for answers."""

Dates: TypeAlias = "dict[int, int | None]"
"""Offset -> timestamp (ms) of the record there; None where it has none to be seen."""


class End:
    """Where a partition ends, and the dates that are known of it.

    Attributes:
        log_start, high_watermark: the offsets that can be read.
        dates: found or confirmed by this look.
        known: found by looks before it, in the same leader epoch.
    """

    __slots__ = ("dates", "high_watermark", "known", "log_start")

    def __init__(self, position: Position, known: Dates) -> None:
        self.log_start = position.log_start
        self.high_watermark = position.high_watermark
        self.dates: Dates = {}
        self.known = known


Ends: TypeAlias = "dict[str, dict[int, End]]"
"""By topic and partition; one whose leader does not answer is not there."""


class LagWatch:
    """See the module; owned by the event loop.

    Attributes:
        groups: as of the last look.
        known_since_ms: when their commits were read, monotonic; when somebody first asked where no look has ended yet;
            None while nobody asks.
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
        self._dates: dict[tuple[Uuid, int, int], Dates] = {}  # of topic id, partition and leader epoch
        self._pause_ends = 0.0
        self.groups: list[GroupRows] = []
        self.known_since_ms: int | None = None
        self.took_seconds = 0.0

    def want(self, now_ms: int) -> None:
        """Somebody scrapes."""
        self._wanted_ms = now_ms
        if self.known_since_ms is None:
            self.known_since_ms = now_ms
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
                    self.groups, self.known_since_ms = [], began_ms
                took_ms = self._clock.monotonic_ms() - began_ms
                self.took_seconds = took_ms / 1000
                await asyncio.sleep(max(INTERVAL_MS - took_ms, took_ms) / 1000)
        except asyncio.CancelledError:
            raise
        except Exception:
            logger.exception("metrics.lag_failed")  # the age goes on growing: an alert is made of it
        else:
            self.known_since_ms = None
        self._task = None
        self.groups, self._dates = [], {}

    async def _look(self, node: AdminNode) -> None:
        looked_ms = self._clock.monotonic_ms()
        image = node.broker.metadata.image
        groups = await self._commits(image)
        rows = [topic for group in groups for topic in group.topics]
        questions = Questions(node, image)
        ends = await self._ends(questions, image, rows)
        await self._fill(rows, ends)
        await self._date(questions, rows, ends)
        self.groups, self.known_since_ms = groups, looked_ms

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

    async def _ends(self, questions: Questions, image: MetadataImage, rows: list[TopicRows]) -> Ends:
        wanted: dict[str, set[int]] = {}
        for topic in rows:
            wanted.setdefault(topic.topic, set()).update(topic.indexes)
            await self._breathe()
        for name, indexes in wanted.items():
            for index in indexes:
                questions.add(Ask(name, index))
            await self._breathe()
        known, self._dates = self._dates, {}
        ends: Ends = {}

        def heard(found: Mapping[Ask, Position]) -> None:
            for ask, position in found.items():
                topic, partition = image.topics[ask.topic], image.partition(ask.topic, ask.partition)
                assert partition is not None, "asked by this image"
                key = topic.topic_id, ask.partition, partition.leader_epoch
                end = End(position, known.get(key, {}))
                self._dates[key] = end.dates
                ends.setdefault(ask.topic, {})[ask.partition] = end

        await questions.ask(heard)
        return ends

    async def _fill(self, rows: list[TopicRows], ends: Ends) -> None:
        for topic in rows:
            of_topic = ends.get(topic.topic, {})
            found = (of_topic.get(index) for index in topic.indexes)
            fill_records(
                topic, (None if end is None else (end.log_start, end.high_watermark) for end in found)
            )
            await self._breathe()

    # -- how old the first records are ---------------------------------------------------------------------------

    async def _date(self, questions: Questions, rows: list[TopicRows], ends: Ends) -> None:
        """Remembered dates first, then ask for the others; what is not answered in time stays unknown."""
        waiting: dict[Ask, list[tuple[TopicRows, int]]] = {}

        def heard(found: Mapping[Ask, Position]) -> None:
            for ask, position in found.items():
                assert ask.offset is not None, "asked for"
                ends[ask.topic][ask.partition].dates[ask.offset] = position.timestamp_ms
                for rows_of, at in waiting[ask]:
                    rows_of.stamps[at] = position.timestamp_ms

        for topic in rows:
            for at, ask in _undated(topic, ends.get(topic.topic, {})):
                others = waiting.setdefault(ask, [])
                if not others:
                    questions.add(ask)
                others.append((topic, at))
            await self._breathe()
            if len(waiting) >= _UNDATED_AT_ONCE:
                await questions.ask(heard)
                waiting.clear()
        await questions.ask(heard)


def _undated(topic: TopicRows, ends: Mapping[int, End]) -> list[tuple[int, Ask]]:
    """Date what is remembered; gives the place in the rows and the question of what is not."""
    unknown = []
    for at, records in enumerate(topic.records):
        if records:
            index = topic.indexes[at]
            end = ends[index]
            offset = max(topic.offsets[at], end.log_start)
            if offset in end.dates:
                topic.stamps[at] = end.dates[offset]
            elif offset in end.known:
                topic.stamps[at] = end.dates[offset] = end.known[offset]
            else:
                unknown.append((at, Ask(topic.topic, index, offset)))
    return unknown
