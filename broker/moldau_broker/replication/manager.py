"""All replicas hosted by this broker: made, changed and dropped as the metadata image says.

No event loop here; the disk is reached through `storage` only. Listeners (the group coordinator) are told when
this broker begins or ceases to lead a partition.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from moldau_broker.base.broker_config import ReplicationSettings, build_group
from moldau_broker.base.clock import Clock
from moldau_broker.base.deferred import Deferred
from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import Uuid
from moldau_broker.base.topic_config import TopicConfig, resolve_topic_config
from moldau_broker.base.topics import CLUSTER_METADATA
from moldau_broker.metadata.delta import MetadataDelta
from moldau_broker.metadata.image import MetadataImage, ResourceType, TopicImage
from moldau_broker.replication.damage import is_counted_on, may_begin_anew
from moldau_broker.replication.internal_append import append_internal
from moldau_broker.replication.isr import IsrChanges, NobodyAnswers
from moldau_broker.replication.leader import Proposal
from moldau_broker.replication.lost import ControllerSender, LostReplicas
from moldau_broker.replication.outcome import AppendOutcome
from moldau_broker.replication.partition import Committer, Partition
from moldau_broker.replication.seams import LeadershipListener, LogDirectory
from moldau_broker.replication.settings import ReplicaSettings
from moldau_broker.replication.slices import Slices
from moldau_broker.replication.sweep import sweep
from moldau_broker.replication.throttle import ReplicationThrottles
from moldau_broker.replication.traffic import Traffic
from moldau_broker.storage.errors import StorageError
from moldau_broker.storage.log import Log

logger = logging.getLogger(__name__)

LAG_MS_MAX: Final = 10_000
"""What a cluster that says nothing of it goes by: replica.lag.time.max.ms."""


class ReplicaManager:
    """Hosts the partitions this broker has replicas of.

    Attributes:
        failures: topic-partitions whose log could not be made, and why; retried with the next image.
        throttles: bounds on the replication traffic of replicas that are named in topic settings.
        on_hosted: called when replicas were made that were not yet there when `apply` returned.
        generation: changes whenever a partition comes or goes, so that look-ups may be remembered.
        traffic: what replicas had counted that are gone.
        isr_changes: what became of changed in-sync replicas.
    """

    def __init__(
        self,
        node_id: int,
        log_dir: LogDirectory,
        committer: Committer,
        clock: Clock,
        broker_defaults: Mapping[str, str],
        *,
        flush_acks_all: bool = True,
        controller: ControllerSender | None = None,
        broker_epoch: Callable[[], int] = lambda: -1,
        settings: ReplicaSettings | None = None,
        is_forgotten: Callable[[], bool] = lambda: False,
        later: Callable[[Callable[[], None]], object] | None = None,
    ) -> None:
        """`later` runs something in a later turn of the event loop; without it many new replicas are made in one go."""
        self._node_id = node_id
        self._log_dir = log_dir
        self._committer = committer
        self._clock = clock
        self._broker_defaults = broker_defaults
        self._flush_acks_all = flush_acks_all
        self._partitions: dict[tuple[str, int], Partition] = {}
        self._by_id: dict[tuple[Uuid, int], Partition] = {}
        self._listeners: list[LeadershipListener] = []
        self._told: set[Partition] = set()
        self._lag_ms_max = settings.lag_time_ms_max if settings is not None else LAG_MS_MAX
        self._is_forgotten = is_forgotten
        self.traffic = Traffic()
        self.isr_changes = IsrChanges(node_id, controller or NobodyAnswers(), broker_epoch)
        self._lost = LostReplicas(node_id, controller or NobodyAnswers(), broker_epoch)
        self._image: MetadataImage | None = None
        self.throttles = ReplicationThrottles(node_id, clock)
        self._loaded: dict[tuple[str, int], Log] = {}
        self._swept = False
        self._newest_config: tuple[MetadataImage, str, TopicConfig] | None = None
        self._slices: Slices[tuple[str, int]] | None = None
        if later is not None:
            self._slices = Slices(self._host_later, clock, later, self._hosted_later)
        self.on_hosted: Callable[[], None] = lambda: None
        self.generation = 0
        self.failures: dict[tuple[str, int], str] = {}

    # --- look-ups -------------------------------------------------------------------------------------

    def partition(self, topic: str, index: int) -> Partition | None:
        """The hosted replica of that partition, or None."""
        return self._partitions.get((topic, index))

    def partition_by_id(self, topic_id: Uuid, index: int) -> Partition | None:
        """The hosted replica by topic id, or None."""
        return self._by_id.get((topic_id, index))

    def missing_error(self, topic: str, index: int) -> ErrorCode:
        """What to answer for a partition that `partition` does not give.

        Its disk failed; it lives on other brokers, and the client is to look where; or there is none such.
        """
        if (topic, index) in self.failures:
            return ErrorCode.KAFKA_STORAGE_ERROR
        if self._image is not None and self._image.partition(topic, index) is not None:
            return ErrorCode.NOT_LEADER_OR_FOLLOWER
        return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION

    def partitions(self) -> Iterator[Partition]:
        """Every hosted replica."""
        return iter(tuple(self._partitions.values()))

    def __len__(self) -> int:
        return len(self._partitions)

    def listen(self, listener: LeadershipListener) -> None:
        """Tell `listener` of leaderships from now on."""
        self._listeners.append(listener)

    # --- following the image --------------------------------------------------------------------------

    def adopt(self, logs: Mapping[tuple[str, int], Log]) -> None:
        """Logs found on disk at start, by (topic, partition), before the first image is applied.

        The quorum's own log is none of ours: no image names it, and it is in use all the same.
        """
        self._loaded.update({key: log for key, log in logs.items() if key[0] != CLUSTER_METADATA})

    def unclaimed(self) -> Mapping[tuple[str, int], Log]:
        """Logs found on disk that no image has asked for, and that cannot be told to be strays: kept, not served."""
        return self._loaded

    def apply(self, delta: MetadataDelta, image: MetadataImage) -> None:
        """Make, change and drop replicas so that they match `image`; a subscriber of the publisher.

        Deletions first: a topic made again under its old name needs the folder's name.
        """
        self._image = image
        for topic in delta.deleted_topics():
            self._drop_topic(topic)
        for topic in delta.created_topics():
            self._apply_topic(image, topic)
        for _, topic in delta.changed_topics():
            self._apply_topic(image, topic)
        for name in {name for name, _ in self.failures}:
            failed = image.topics.get(name)
            if failed is not None:
                self._apply_topic(image, failed)
        self._apply_configs(delta.changed_configs(), image)
        if not self._swept:
            self._swept = True
            sweep(self._log_dir, self._node_id, self._loaded, image, knows_some=bool(self._partitions))
        if self._slices is not None:
            self._slices.run()

    def _apply_topic(self, image: MetadataImage, topic: TopicImage) -> None:
        for index, wanted in enumerate(topic.partitions):
            key = (topic.name, index)
            partition = self._partitions.get(key)
            if partition is not None and partition.topic_id != topic.topic_id:
                self._drop(partition)
                partition = None
            if self._node_id not in wanted.replicas:
                if partition is not None:
                    self._drop(partition)
                continue
            if may_begin_anew(self._node_id, wanted, self._log_dir.offline.get(key), partition):
                self._begin_anew(key, partition)
                partition = None
            if partition is None:
                if self._slices is not None and key not in self._loaded:
                    self._slices.add(key)
                    continue
                partition = self._host(image, topic, index)
                if partition is None:
                    continue
            partition.become(wanted)
            if partition in self._told and not partition.is_leader:
                self._resigned(partition)

    def look_again(self, topic: str) -> None:
        """Apply the newest image to a topic once more: one of its replicas here may be begun anew by now."""
        known = self._image.topics.get(topic) if self._image is not None else None
        if self._image is not None and known is not None:
            self._apply_topic(self._image, known)
            self.on_hosted()

    def _host_later(self, key: tuple[str, int]) -> None:
        """Make a replica that was left for a later turn, if the newest image still wants it."""
        image, (name, index) = self._image, key
        wanted = image.partition(name, index) if image is not None else None
        if image is None or wanted is None or self._node_id not in wanted.replicas or key in self._partitions:
            return
        partition = self._host(image, image.topics[name], index)
        if partition is not None:
            partition.become(wanted)

    def _hosted_later(self) -> None:
        self.on_hosted()

    def _begin_anew(self, key: tuple[str, int], partition: Partition | None) -> None:
        """Set a damaged folder aside, where people can look at it, and make room for a new one."""
        reason = self._log_dir.offline[key]
        logger.warning(
            "replica.begun_anew", extra={"topic": key[0], "partition": key[1], "reason": str(reason)}
        )
        try:
            if partition is None:
                self._log_dir.remove_offline(*key)
            else:
                self._forget(partition)
                self._log_dir.stray_log(partition.log)
        except StorageError:
            logger.exception("log.not_set_aside", extra={"topic": key[0], "partition": key[1]})

    def _host(self, image: MetadataImage, topic: TopicImage, index: int) -> Partition | None:
        key = (topic.name, index)
        log = self._loaded.pop(key, None)
        config = self._config_of(image, topic.name)
        try:
            if log is not None and log.topic_id != topic.topic_id:
                logger.warning("log.stray", extra={"topic": topic.name, "partition": index})
                self._log_dir.stray_log(log)
                log = None
            if log is None:
                log = self._log_dir.create_log(topic.name, index, topic.topic_id, config)
            else:
                log.update_config(config)
        except StorageError as error:
            if self.failures.get(key) != str(error):
                self.failures[key] = str(error)
                logger.exception("log.unusable", extra={"topic": topic.name, "partition": index})
            return None
        self.failures.pop(key, None)
        partition = Partition(log, topic.topic_id, self._node_id, self._committer, self)
        self._partitions[key] = partition
        self._by_id[(topic.topic_id, index)] = partition
        self.generation += 1
        return partition

    def _config_of(self, image: MetadataImage, topic: str) -> TopicConfig:
        """`topic_config`, remembered for the next partition of the same topic."""
        known = self._newest_config
        if known is None or known[0] is not image or known[1] != topic:
            self._newest_config = known = (image, topic, self.topic_config(image, topic))
        return known[2]

    def _apply_configs(self, changed: set[tuple[int, str]], image: MetadataImage) -> None:
        everywhere = {(int(ResourceType.BROKER), ""), (int(ResourceType.BROKER), str(self._node_id))}
        if changed & everywhere:
            self._change_throttles(image)
            names = {topic for topic, _ in self._partitions}
        else:
            names = {name for kind, name in changed if kind == ResourceType.TOPIC}
        for name in names:
            topic = image.topics.get(name)
            if topic is not None:
                config = self.topic_config(image, name)
                for index in range(len(topic.partitions)):
                    partition = self._partitions.get((name, index))
                    if partition is not None:
                        partition.log.update_config(config)

    def _change_throttles(self, image: MetadataImage) -> None:
        settings = {**self._broker_defaults, **image.broker_settings(self._node_id)}
        rates = build_group(ReplicationSettings, settings)
        self.throttles.change(rates.leader_throttled_rate, rates.follower_throttled_rate)

    def topic_config(self, image: MetadataImage, topic: str) -> TopicConfig:
        """The settings of a topic: its own, over dynamic and static broker settings, over Kafka's defaults."""
        defaults = {**self._broker_defaults, **image.broker_settings(self._node_id)}
        return resolve_topic_config(image.config(ResourceType.TOPIC, topic), defaults)

    def _drop_topic(self, topic: TopicImage) -> None:
        for index in range(len(topic.partitions)):
            if self.failures.pop((topic.name, index), None) is not None:
                self._set_aside(topic.name, index)
            partition = self._by_id.get((topic.topic_id, index))
            if partition is not None:
                self._drop(partition)
        self.traffic.topic_gone(topic.name)

    def _set_aside(self, topic: str, index: int) -> None:
        """A deleted topic's folder that could not be opened makes room for a namesake; nothing is lost."""
        try:
            self._log_dir.remove_offline(topic, index)
        except StorageError:
            logger.exception("log.delete_failed", extra={"topic": topic, "partition": index})

    def _forget(self, partition: Partition) -> None:
        """It is hosted no more; what becomes of its folder is the caller's."""
        del self._partitions[(partition.topic, partition.index)]
        del self._by_id[(partition.topic_id, partition.index)]
        self.generation += 1
        self.traffic.replica_gone(partition)
        partition.stop()
        if partition in self._told:
            self._resigned(partition)

    def _drop(self, partition: Partition) -> None:
        self._forget(partition)
        try:
            self._log_dir.delete_log(partition.log)
        except StorageError as error:
            logger.exception(
                "log.delete_failed",
                extra={"topic": partition.topic, "partition": partition.index, "reason": str(error)},
            )

    def _resigned(self, partition: Partition) -> None:
        self._told.discard(partition)
        for listener in self._listeners:
            if listener.topic == partition.topic:
                listener.resigned(partition)

    # --- what partitions ask of whoever hosts them (`partition.Surroundings`) --------------------------

    def now_ms(self) -> int:
        """Monotonic milliseconds."""
        return self._clock.monotonic_ms()

    def broker_epoch(self, broker_id: int) -> int | None:
        """The epoch of a broker that may be in sync: registered, neither fenced nor leaving."""
        broker = self._image.brokers.get(broker_id) if self._image is not None else None
        return broker.epoch if broker is not None and broker.active else None

    def propose(self, partition: Partition, proposal: Proposal) -> None:
        """Ask the controller for an ISR."""
        self.isr_changes.propose(partition, proposal)

    def became_ready(self, partition: Partition) -> None:
        """It leads and knows what is committed: the coordinators may load it."""
        if (
            partition not in self._told
            and self._partitions.get((partition.topic, partition.index)) is partition
        ):
            self._told.add(partition)
            for listener in self._listeners:
                if listener.topic == partition.topic:
                    listener.elected(partition)

    def tick(self) -> None:
        """Have followers that lag leave the ISR, give up what is lost, and ask again what nobody answered.

        Call it a few times a second.
        """
        is_forgotten = self._is_forgotten()
        failed = list(self.failures)
        for key, partition in self._partitions.items():
            if partition.offline_reason is not None:
                failed.append(key)
            if partition.is_leader:
                partition.look_around(is_forgotten=is_forgotten)
                partition.tick(self._lag_ms_max)
        self.isr_changes.send()
        self._lost.report(self._counted_on(failed), self.now_ms())

    def _counted_on(self, failed: Iterable[tuple[str, int]]) -> Iterator[tuple[Uuid, int]]:
        """Those of the replicas whose log failed that the cluster counts on all the same, or still may."""
        image = self._image
        if image is None:
            return
        for name, index in failed:
            wanted = image.partition(name, index)
            if wanted is None or self._node_id not in wanted.replicas:
                continue
            failure = self._log_dir.offline.get((name, index))
            if is_counted_on(self._node_id, wanted, failure, self._partitions.get((name, index))):
                yield image.topics[name].topic_id, index

    # --- the coordinators' writes ---------------------------------------------------------------------

    def append_internal(self, topic: str, index: int, batch: bytearray) -> Deferred[AppendOutcome]:
        """Append one batch of our own and tell when it is committed (as acks=all)."""
        partition = self.partition(topic, index)
        return append_internal(partition, batch, self._clock.wall_ms(), flush=self._flush_acks_all)
