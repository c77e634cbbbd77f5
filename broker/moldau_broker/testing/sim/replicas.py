"""The replicas of one simulated broker: real manager, partitions, fetch handler and ISR changes on light logs."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from moldau_broker.base.deferred import Deferred
from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import Uuid
from moldau_broker.metadata.delta import MetadataDelta
from moldau_broker.metadata.image import MetadataImage
from moldau_broker.replication.manager import ReplicaManager
from moldau_broker.replication.partition import Partition
from moldau_broker.replication.validation import Rejected, validate_batch
from moldau_broker.server.fetch_sessions import FetchSessions
from moldau_broker.server.handlers import fetch
from moldau_broker.server.handlers.spec import ListenerKind
from moldau_broker.storage.errors import CorruptLog
from moldau_broker.testing.sim.epoch_ghost import check_fetch
from moldau_broker.testing.sim.groups import Groups
from moldau_broker.testing.sim.log_directory import SimLogDirectory
from moldau_broker.testing.sim.network import Answer
from moldau_broker.testing.sim.partition_log import SimLog, Stored
from moldau_broker.testing.sim.replica_fetchers import SimFetchers
from moldau_broker.wire.apis import API_SCHEMAS, ApiKey
from moldau_broker.wire.messages.alter_partition import AlterPartitionRequest
from moldau_broker.wire.messages.fetch import FetchPartition, FetchRequest, FetchResponse, FetchTopic
from moldau_broker.wire.records import parse_header
from moldau_broker.wire.schema import Struct

if TYPE_CHECKING:
    from moldau_broker.testing.sim.broker_cluster import BrokerCluster
    from moldau_broker.testing.sim.broker_layer import BrokerLayer
    from moldau_broker.testing.sim.node import SimNode

_TICK_MS = 400
_CHECKPOINT_EVERY = 12
_VERSION = API_SCHEMAS[ApiKey.FETCH].last_version
_SESSIONS = 100


class ReplicaTimes(NamedTuple):
    """`replication.settings.ReplicaSettings`, as the seed has drawn them."""

    lag_time_ms_max: int
    fetch_bytes_max: int
    fetch_wait_ms_max: int = 500
    fetch_bytes_min: int = 1
    fetch_response_bytes_max: int = 10 * 1024 * 1024
    fetch_backoff_ms: int = 100


class _Timer:
    """A timer that may be cancelled; a cancelled one does not even enter the process."""

    __slots__ = ("call", "life", "node")

    def __init__(self, node: SimNode, call: Callable[[], None]) -> None:
        self.node = node
        self.life = node.host.life
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        """It will not ring."""
        self.call = None

    def ring(self) -> None:
        """It rings, unless cancelled."""
        if self.call is not None:
            self.node.resume(self.life, self._ring)

    def _ring(self) -> None:
        if self.call is not None:
            self.call()


class Replicas:
    """One life of a broker's replicas.

    Attributes:
        kinds: of requests it takes.
        directory: where the logs are.
        manager: the real one.
        groups: the coordinator above it.
        deadline_ms: when it ticks next, local time.
    """

    kinds = ("produce", "consume", "fetch", *Groups.kinds)

    def __init__(self, cluster: BrokerCluster, node: SimNode, broker: BrokerLayer) -> None:
        self._cluster = cluster
        self._node = node
        self._broker = broker
        self._ticks = 0
        self.directory = SimLogDirectory(node, self._watch)
        swarm = cluster.swarm
        times = ReplicaTimes(swarm.lag_ms, swarm.fetch_bytes)
        self.manager = ReplicaManager(
            node.id,
            cast("Any", self.directory),
            cast("Any", node.disk),
            node.clock,
            {},
            controller=self,
            broker_epoch=lambda: broker.session.epoch,
            settings=times,
            is_forgotten=lambda: (
                node.clock.monotonic_ms() - broker.session.heard_ms > swarm.session_timeout_ms
            ),
        )
        ghost = None if cluster.offsets is None else cluster.offsets.members
        self.groups = Groups(node, broker, self.manager, self._call_later, cluster.leads_offsets, ghost)
        self.manager.adopt(cast("Any", self.directory.load()))
        self.fetchers = SimFetchers(
            node, self.manager, lambda: broker.session.epoch, times, swarm.ahead_bytes
        )
        self._handler_view = SimpleNamespace(
            fetch_sessions=FetchSessions(_SESSIONS, node.rng),
            replicas=self.manager,
            metadata=broker,
            node_id=node.id,
            settings=SimpleNamespace(
                network=SimpleNamespace(fetch_max_bytes=1 << 24),
                replication=SimpleNamespace(selector="any"),  # consumers may read from followers (KIP-392)
            ),
            turn=node,
            clock=node.clock,
            timers=SimpleNamespace(call_later=self._call_later),
            waiting_fetches=set(),
            missing_id_error=self._missing,
        )
        self.deadline_ms = node.clock.monotonic_ms() + _TICK_MS

    # -- what surrounds the real parts --------------------------------------------------------------------

    def _call_later(self, delay_ms: int, callback: Callable[[], None]) -> _Timer:
        timer = _Timer(self._node, callback)
        self._node.kernel.after(delay_ms, timer.ring)
        return timer

    def _missing(self, topic_id: bytes, index: int) -> ErrorCode:
        topic = self._broker.image.topics_by_id.get(Uuid(topic_id))
        return ErrorCode.UNKNOWN_TOPIC_ID if topic is None else self.manager.missing_error(topic.name, index)

    def ask_soon(self, request: Struct, on_answer: Callable[[Any], None]) -> None:
        """`replication.lost.ControllerSender`."""
        isr = isinstance(request, AlterPartitionRequest)
        key = ApiKey.ALTER_PARTITION if isr else ApiKey.ASSIGN_REPLICAS_TO_DIRS
        self._broker.ask(key, request, on_answer)

    # -- watching -----------------------------------------------------------------------------------------

    def _watch(self, log: SimLog) -> None:
        node_id, key = self._node.id, (log.topic, log.partition)
        ghost = self._cluster.ghost_for(log, node_id)

        def appended(log: SimLog, stored: Stored) -> None:
            ghost.entered(node_id, log, stored)

        def truncated(log: SimLog, offset: int) -> None:
            self._cluster.coverage.hit("replica truncations")
            ghost.truncating(node_id, log, offset)

        def moved(log: SimLog) -> None:
            partition = self.manager.partition(*key)
            if partition is None or cast("Any", partition.log) is not log:
                return
            if partition.is_leader:
                ghost.leads_with(node_id, log, log.high_watermark, partition.leader_epoch, partition.isr)
            elif partition.replicated:
                ghost.follower(node_id, log.high_watermark, log)

        log.on_append, log.on_truncate, log.on_moved = appended, truncated, moved

    def scrub(self) -> None:
        """Look at every batch, as a patient scrubber would in the end."""
        for partition in self.manager.partitions():
            log = cast("Any", partition.log)
            if log.failure is None and log.is_damaged:
                self._cluster.coverage.hit("bit flips found by scrubbing")
                log.failure = CorruptLog("found by scrubbing")
                self.directory.offline[log.topic, log.partition] = log.failure
                partition.go_offline(str(log.failure))

    # -- a part of the broker's layer ---------------------------------------------------------------------

    def apply(self, delta: MetadataDelta, image: MetadataImage) -> None:
        """Another image."""
        self.directory.first_image(image)
        self.manager.apply(delta, image)
        self.fetchers.follow(delta)
        self.groups.apply(delta)

    def tick(self, now_ms: int) -> None:
        """Laggards leave; high watermarks are checkpointed."""
        if now_ms < self.deadline_ms:
            return
        self.deadline_ms = now_ms + _TICK_MS
        self.manager.tick()
        self._ticks += 1
        if self._ticks % _CHECKPOINT_EVERY == 0:
            self._checkpoint()

    def _checkpoint(self) -> None:
        for partition in self.manager.partitions():
            key = (partition.topic, partition.index)
            self._node.disk.files["checkpoint", key] = partition.high_watermark

    def close(self) -> None:
        """Everything to disk, in order."""
        self.groups.close()
        self.fetchers.close()
        for partition in self.manager.partitions():
            partition.log.close(clean=True)
        self._checkpoint()

    def handle(self, kind: str, sender: int, message: Any, answer: Answer) -> None:
        """Produce, a consumer's fetch, a follower's, or what a group asks."""
        if kind == "produce":
            self._produce(message, answer)
        elif kind == "consume":
            self._consume(message, answer)
        elif kind in Groups.kinds:
            self.groups.handle(kind, message, answer)
        else:
            self._fetch(message[1], ListenerKind.INTERNAL, answer)

    def _produce(self, message: Any, answer: Answer) -> None:
        _, topic, index, data, topic_id = message
        if topic_id is None:
            partition, missing = (
                self.manager.partition(topic, index),
                self.manager.missing_error(topic, index),
            )
        else:
            partition, missing = self.manager.partition_by_id(topic_id, index), self._missing(topic_id, index)
        if partition is None:
            answer((missing, -1))
            return
        now_ms = self._node.clock.wall_ms()
        batch = bytearray(data)
        verdict = validate_batch(batch, parse_header(batch), partition.log.config, now_ms)
        assert not isinstance(verdict, Rejected), verdict
        end = partition.log_end_offset
        outcome = partition.append(verdict, now_ms, all_in_sync=True)
        if outcome.error is not ErrorCode.NONE:
            answer((outcome.error, -1))
            return
        if partition.log_end_offset == end:
            self._cluster.coverage.hit("duplicate batches answered")
        partition.when_committed(outcome.next_offset, lambda error: answer((error, outcome.base_offset)))

    def _consume(self, message: Any, answer: Answer) -> None:
        """A consumer's fetch, without a session and without waiting."""
        _, topic, index, offset, leader_epoch, topic_id = message
        if topic_id is None:
            image = self._broker.image.topics.get(topic)
            if image is None:
                answer((ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, b"", False))
                return
            topic_id = image.topic_id
        partition = self.manager.partition_by_id(topic_id, index)
        wanted = FetchPartition(
            partition=index,
            fetch_offset=offset,
            partition_max_bytes=1 << 16,
            current_leader_epoch=leader_epoch,
        )
        request = FetchRequest(topics=[FetchTopic(topic_id=topic_id, partitions=[wanted])])
        leads = partition is not None and partition.is_leader

        def done(response: FetchResponse) -> None:
            data = response.responses[0].partitions[0]
            answer((ErrorCode(data.error_code), bytes(data.records or b""), leads))

        self._fetch(request, ListenerKind.CLIENT, done)

    def _fetch(self, request: FetchRequest, listener: ListenerKind, answer: Callable[[Any], None]) -> None:
        context = SimpleNamespace(
            api_version=_VERSION,
            listener="CLIENT",
            listener_kind=listener,
            now_ms=self._node.clock.monotonic_ms(),
            connection=SimpleNamespace(on_close={}, wait_for=_ignore),
        )
        outcome = fetch.handle(cast("Any", self._handler_view), cast("Any", context), request)

        def checked(response: FetchResponse) -> None:
            check_fetch(request, response, self._epoch_of)
            answer(response)

        if isinstance(outcome, Deferred):
            outcome.on_complete(checked)
        else:
            checked(outcome)

    def _epoch_of(self, topic_id: Uuid, index: int) -> int | None:
        partition = self.manager.partition_by_id(topic_id, index)
        return None if partition is None else partition.leader_epoch

    def led(self) -> list[Partition]:
        """The partitions that this broker leads, as it thinks."""
        return [partition for partition in self.manager.partitions() if partition.is_leader]


def _ignore(_: Any) -> None:
    """Connections here have no answers to keep in order."""
