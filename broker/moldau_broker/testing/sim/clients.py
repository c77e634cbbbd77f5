"""Clients of the simulated brokers: idempotent producers that retry the same bytes, and consumers that remember."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import Uuid
from moldau_broker.testing.sim.client import Client, Key
from moldau_broker.testing.sim.kernel import InvariantViolated
from moldau_broker.testing.sim.network import Broken
from moldau_broker.testing.sim.partition_ghost import PartitionGhost
from moldau_broker.wire.batches import iter_batches
from moldau_broker.wire.records import Record, build_batch

if TYPE_CHECKING:
    from moldau_broker.testing.sim.broker_cluster import BrokerCluster

_RETRIABLE: Final = frozenset(
    {
        ErrorCode.NOT_LEADER_OR_FOLLOWER,
        ErrorCode.NOT_ENOUGH_REPLICAS,
        ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        ErrorCode.KAFKA_STORAGE_ERROR,
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        ErrorCode.UNKNOWN_TOPIC_ID,
        ErrorCode.LEADER_NOT_AVAILABLE,
        ErrorCode.REQUEST_TIMED_OUT,
    }
)


class Stream:
    """One producer's writes to one partition: one batch under way at a time.

    Attributes:
        acked: how many batches are safe.
        busy: a batch is under way.
    """

    def __init__(self, producer: Producer, key: Key, producer_id: int, ghost: PartitionGhost) -> None:
        self._producer = producer
        self._key = key
        self._ghost = ghost
        self._topic_id: Uuid | None = None
        self._producer_id = producer_id
        self._sequence = 0
        self._attempts = 0
        self.acked = 0
        self.busy = False

    def begin(self) -> None:
        """Make the next batch and send it."""
        producer = self._producer
        if producer.finishing:
            return
        self.busy = True
        count = producer.rng.randint(1, producer.cluster.swarm.records_max)
        records = [
            Record(at, 1_000, None, b"%d/%d" % (self._producer_id, self._sequence + at))
            for at in range(count)
        ]
        batch = build_batch(
            records, producer_id=self._producer_id, producer_epoch=0, base_sequence=self._sequence
        )
        self._attempts = 0
        self._send(bytes(batch), count)

    def _send(self, batch: bytes, count: int) -> None:
        producer = self._producer
        self._attempts += 1
        if self._attempts > 1:
            producer.cluster.coverage.hit("produce retries")
        producer.cluster.network.call(
            producer.host,
            producer.leader(self._key),
            ("produce", *self._key, batch, self._topic_id),
            lambda answer: self._answered(answer, batch, count),
        )

    def _answered(self, answer: Any, batch: bytes, count: int) -> None:
        producer = self._producer
        cluster = producer.cluster
        error = ErrorCode.REQUEST_TIMED_OUT if isinstance(answer, Broken) else answer[0]
        if error is ErrorCode.NONE:
            self._ghost.acknowledged(answer[1], self._producer_id, 0, self._sequence)
            self._sequence += count
            self.acked += 1
            cluster.acked += 1
            self.busy = False
            producer.kernel.after(producer.rng.randrange(2 * cluster.pause_ms), self.begin)
            return
        if error not in _RETRIABLE:
            raise InvariantViolated(
                f"{self._ghost.name}: producer {self._producer_id} got {error.name} for sequence "
                f"{self._sequence}, though all before it was acknowledged"
            )
        cluster.coverage.hit(f"produce error: {error.name.lower()}")
        if self._attempts % 2:
            producer.look_up(self._key)
        producer.kernel.after(20 + producer.rng.randrange(100), self._send, batch, count)


class Producer(Client):
    """Writes to every partition.

    Attributes:
        streams: one per partition.
        finishing: nothing new is begun.
    """

    cluster: BrokerCluster

    def __init__(self, cluster: BrokerCluster, host_id: int, keys: list[Key]) -> None:
        super().__init__(cluster, host_id)
        self.finishing = False
        self.streams = [
            Stream(self, key, host_id * 100 + at, cluster.ghost_of(key)) for at, key in enumerate(keys)
        ]
        for stream in self.streams:
            self.kernel.after(self.rng.randrange(500), stream.begin)


class Consumer(Client):
    """Reads every partition from the beginning, at times from a follower.

    Attributes:
        positions: next offset by partition.
    """

    cluster: BrokerCluster

    def __init__(self, cluster: BrokerCluster, host_id: int, keys: list[Key]) -> None:
        super().__init__(cluster, host_id)
        self.positions: dict[Key, int] = dict.fromkeys(keys, 0)
        for key in keys:
            self.kernel.after(self.rng.randrange(1_000), self._poll, key)

    def ghost(self, key: Key) -> PartitionGhost:
        """What must hold for what it reads."""
        return self.cluster.ghost_of(key)

    def _poll(self, key: Key) -> None:
        cluster = self.cluster
        if self.leader_epoch(key) < 0:  # without one it could not tell a leader of the past
            self.look_up(key)
            self.kernel.after(50, self._poll, key)
            return
        topic_id = self.topic_ids.get(key[0])
        follower = self.rng.random() < 0.2
        node_id = self.rng.choice(cluster.node_ids()) if follower else self.leader(key)
        cluster.network.call(
            self.host,
            node_id,
            ("consume", *key, self.positions[key], self.leader_epoch(key), topic_id),
            lambda answer: self._answered(key, topic_id, answer),
        )

    def _answered(self, key: Key, topic_id: Uuid | None, answer: Any) -> None:
        pause_ms = 200 + self.rng.randrange(800)
        if isinstance(answer, Broken):
            self.look_up(key)
        elif topic_id == self.topic_ids.get(key[0]):  # else it reads another one by now
            ghost = self.ghost(key)
            error, data, leads = answer
            if error is ErrorCode.NONE:
                for header, batch in _split(data):
                    ghost.consumed(header.base_offset, batch)
                    self.positions[key] = header.next_offset
                    self.cluster.coverage.hit("batches consumed")
                    if not leads:
                        self.cluster.coverage.hit("batches consumed from followers")
                    pause_ms = 30
            elif error is ErrorCode.OFFSET_OUT_OF_RANGE and leads:
                if ghost.strict:
                    raise InvariantViolated(
                        f"{ghost.name}: a leader says that {self.positions[key]}, where a consumer was, is out of "
                        "its range"
                    )
                self.positions[key] = min(self.positions[key], ghost.end)
                self.cluster.coverage.hit("consumers reset")
            else:
                self.look_up(key)
        self.kernel.after(pause_ms, self._poll, key)


def _split(data: bytes) -> list[tuple[Any, bytes]]:
    batches = []
    for position, header in iter_batches(data):
        batches.append((header, bytes(data[position : position + header.size])))
    return batches
