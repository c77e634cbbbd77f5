"""Followers' fetchers in the simulator: `replication.fetch_round` on the simulated network, without an event loop.

One question at a time to each leader: ask, append, wait until it is on disk, or where reading ahead only for what came
before it, ask again. A change of who leads what gives up the question under way and its session.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from moldau_broker.metadata.delta import MetadataDelta
from moldau_broker.replication.fetch_round import Due, FetchRounds, by_leader, when_durable
from moldau_broker.replication.follower import Advice, Ask
from moldau_broker.replication.manager import ReplicaManager
from moldau_broker.replication.partition import Partition
from moldau_broker.replication.settings import ReplicaSettings
from moldau_broker.testing.sim.network import Broken

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
        ahead_bytes: int,
    ) -> None:
        self.node = node
        self.broker_epoch = broker_epoch
        self.settings = settings
        self.ahead_bytes = ahead_bytes
        self.throttles = replicas.throttles
        self._replicas = replicas
        self._fetchers: dict[int, _LeaderFetcher] = {}
        self.closed = False

    def follow(self, delta: MetadataDelta) -> None:
        """Fetch from whoever leads what we hold."""
        if self.closed:
            return
        wanted = by_leader(self._replicas.partitions(), self._fetchers)
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
        self._rounds = FetchRounds(
            owner.settings, owner.throttles, owner.node.clock, self._told, owner.ahead_bytes
        )
        self._turn = 0

    def assign(self, partitions: Iterable[Partition], *, moved: bool) -> None:
        """From now on fetch these; `moved`: the leader's broker has changed."""
        if self._rounds.assign(partitions, moved=moved):
            self._rounds.begin_session()
            self._again(0)

    def _again(self, delay_ms: int) -> None:
        """Begin a round that much later; what is under way is void."""
        self._turn += 1
        node = self._node
        node.kernel.after(delay_ms, node.resume, node.host.life, partial(self._round, self._turn))

    def _round(self, turn: int) -> None:
        if turn != self._turn or self._owner.closed:
            return
        due = self._rounds.due()
        if due.partitions or due.partial:
            asking = partial(self._ask, turn, due)
            if due.ahead:
                self._node.coverage.hit("replica questions ahead")
                asking()
            else:
                when_durable(due.partitions, asking)
        elif due.delay_ms is not None:
            self._again(due.delay_ms)

    def _ask(self, turn: int, due: Due) -> None:
        if turn != self._turn:
            return
        request = self._rounds.question(due, node_id=self._node.id, broker_epoch=self._owner.broker_epoch())
        if request is None:
            self._again(self._owner.settings.fetch_backoff_ms)
            return
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
            self._rounds.begin_session()
            self._again(self._owner.settings.fetch_backoff_ms)
            return
        written = self._rounds.take(answer)
        if written is None:
            self._again(0)
        else:
            self._rounds.when_next(written, partial(self._round, self._turn))

    def _told(self, _partition: Partition, _asked: Ask, advice: Advice) -> None:
        self._node.coverage.hit(f"replica step: {advice.step.name.lower()}")
