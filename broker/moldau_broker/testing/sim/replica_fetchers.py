"""Followers' fetchers in the simulator: the twin of `replication.fetcher` without an event loop.

One question at a time to each leader: ask, append, wait until it is on disk, ask again. A change of who leads what
gives up the question under way and its session.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from moldau_broker.base.ids import Uuid
from moldau_broker.metadata.delta import MetadataDelta
from moldau_broker.metadata.image import NO_LEADER
from moldau_broker.replication.fetch_session import Key, ReplicaSession
from moldau_broker.replication.follower import Step
from moldau_broker.replication.manager import ReplicaManager
from moldau_broker.replication.partition import Partition
from moldau_broker.replication.settings import ReplicaSettings
from moldau_broker.testing.sim.network import Broken
from moldau_broker.wire.messages.fetch import FetchResponse, PartitionData

if TYPE_CHECKING:
    from moldau_broker.testing.sim.node import SimNode


class SimFetchers:
    """The fetchers of one life of a broker."""

    def __init__(
        self,
        node: SimNode,
        replicas: ReplicaManager,
        broker_epoch: Callable[[], int],
        settings: ReplicaSettings,
    ) -> None:
        self.node = node
        self.broker_epoch = broker_epoch
        self.settings = settings
        self._replicas = replicas
        self._fetchers: dict[int, _LeaderFetcher] = {}
        self.closed = False

    def follow(self, delta: MetadataDelta) -> None:
        """Fetch from whoever leads what we hold."""
        if self.closed:
            return
        wanted: dict[int, list[Partition]] = {leader: [] for leader in self._fetchers}
        for one in self._replicas.partitions():
            if not one.is_leader and one.leader_id != NO_LEADER:
                wanted.setdefault(one.leader_id, []).append(one)
        moved = delta.changed_brokers()
        for leader, partitions in wanted.items():
            fetcher = self._fetchers.get(leader)
            if fetcher is None:
                fetcher = self._fetchers[leader] = _LeaderFetcher(self, leader)
            fetcher.assign(partitions, moved=leader in moved)

    def close(self) -> None:
        """End all fetching."""
        self.closed = True


class _LeaderFetcher:
    """Fetches from one leader; `turn` grows whenever what was begun is given up."""

    def __init__(self, owner: SimFetchers, leader: int) -> None:
        self._owner = owner
        self._node = owner.node
        self._leader = leader
        self._assigned: dict[Key, tuple[Partition, int]] = {}
        self._resting: dict[Key, int] = {}
        self._session = ReplicaSession()
        self._turn = 0

    def assign(self, partitions: Iterable[Partition], *, moved: bool) -> None:
        """From now on fetch these; `moved`: the leader's broker has changed."""
        assigned = {(one.topic_id, one.index): (one, one.leader_epoch) for one in partitions}
        if assigned == self._assigned and not moved:
            return
        disturb = moved or any(self._assigned.get(key) != one for key, one in assigned.items())
        self._assigned = assigned
        if disturb:
            self._resting.clear()
            self._session = ReplicaSession()
            self._again(0)

    def _again(self, delay_ms: int) -> None:
        """Begin a round that much later; what is under way is void."""
        self._turn += 1
        node = self._node
        node.kernel.after(delay_ms, node.resume, node.host.life, partial(self._round, self._turn))

    def _round(self, turn: int) -> None:
        if turn != self._turn or self._owner.closed:
            return
        now = self._node.clock.monotonic_ms()
        wanted = [one for key, (one, _) in self._assigned.items() if self._resting.get(key, 0) <= now]
        if not wanted:
            if self._assigned:
                self._again(max(1, min(self._resting.values(), default=now) - now))
            return
        self._when_durable(wanted, partial(self._ask, turn, wanted))

    def _when_durable(self, partitions: list[Partition], call: Callable[[], None]) -> None:
        waiting = [one for one in partitions if one.log.durable_offset < one.log.log_end_offset]
        left = len(waiting)
        if not left:
            call()
            return

        def durable() -> None:
            nonlocal left
            left -= 1
            if not left:
                call()

        for one in waiting:
            one.when_durable(durable)

    def _ask(self, turn: int, wanted: list[Partition]) -> None:
        if turn != self._turn:
            return
        settings = self._owner.settings
        asks = {(one.topic_id, one.index): ask for one in wanted if (ask := one.ask()) is not None}
        if not asks:
            self._again(settings.fetch_backoff_ms)
            return
        request = self._session.request(
            asks,
            node_id=self._node.id,
            broker_epoch=self._owner.broker_epoch(),
            max_wait_ms=settings.fetch_wait_ms_max,
            min_bytes=settings.fetch_bytes_min,
            max_bytes=settings.fetch_response_bytes_max,
            partition_bytes=settings.fetch_bytes_max,
        )
        node = self._node
        node.network.call(
            node.host,
            self._leader,
            ("fetch", request),
            lambda got: node.run(self._answered, turn, got),
        )

    def _answered(self, turn: int, answer: Any) -> None:
        if turn != self._turn:
            return
        if isinstance(answer, Broken):
            self._session = ReplicaSession()
            self._again(self._owner.settings.fetch_backoff_ms)
        elif not self._session.understood(answer):
            self._again(0)
        else:
            self._take(answer)

    def _take(self, answer: FetchResponse) -> None:
        written = []
        for topic in answer.responses:
            for data in topic.partitions:
                key = (Uuid(topic.topic_id), data.partition_index)
                found = self._assigned.get(key)
                if found is not None and self._take_one(key, found[0], data):
                    written.append(found[0])
        turn = self._turn
        self._when_durable(written, partial(self._round, turn))

    def _take_one(self, key: Key, one: Partition, data: PartitionData) -> bool:
        asked = self._session.asked(key)
        if asked is None:
            return False
        advice = one.take(
            asked,
            data.error_code,
            data.records,
            (data.diverging_epoch.epoch, data.diverging_epoch.end_offset),
            data.high_watermark,
            data.log_start_offset,
            self._node.clock.wall_ms(),
        )
        if advice is None:
            return False
        if advice.step is Step.BACK_OFF:
            self._resting[key] = self._node.clock.monotonic_ms() + self._owner.settings.fetch_backoff_ms
        if advice.step is not Step.APPEND:
            self._node.coverage.hit(f"replica step: {advice.step.name.lower()}")
            return False
        return bool(data.records)
