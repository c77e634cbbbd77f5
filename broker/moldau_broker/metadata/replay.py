"""From one image to the next: metadata records are replayed here and nowhere else. Pure.

A replay starts from an image, takes records in log order, and gives the new image with everything untouched
shared. The rules for leader epoch, partition epoch and the "absent means unchanged" fields are those of
Kafka's records (KIP-631, KIP-704, KIP-858, KIP-966).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from moldau_broker.base.ids import NULL_UUID, Uuid
from moldau_broker.metadata.errors import InvalidMetadataRecord
from moldau_broker.metadata.image import (
    BrokerImage,
    Endpoint,
    MetadataImage,
    PartitionImage,
    ResourceType,
    TopicImage,
    VersionRange,
)
from moldau_broker.raft.quorum import KRAFT_VERSION_FEATURE
from moldau_broker.wire.messages import metadata_records as records

KRAFT_VERSION: Final = KRAFT_VERSION_FEATURE

_NO_LEADER_CHANGE: Final = -2
_NO_RECOVERY_CHANGE: Final = -1


class _TopicDraft:
    """A topic while its records are replayed."""

    __slots__ = ("name", "partitions", "topic_id")

    def __init__(self, name: str, topic_id: Uuid, base: TopicImage | None) -> None:
        self.name = name
        self.topic_id = topic_id
        self.partitions: list[PartitionImage] = list(base.partitions) if base else []

    def image(self) -> TopicImage:
        return TopicImage(self.name, self.topic_id, tuple(self.partitions))


class ImageReplay:
    """Records on top of `base`; `image()` gives what they lead to."""

    __slots__ = (
        "_brokers",
        "_configs",
        "_deleted",
        "_drafts",
        "_features",
        "_names",
        "_producer_ids",
        "_shared",
        "base",
    )

    def __init__(self, base: MetadataImage) -> None:
        self.base = base
        self._deleted: dict[Uuid, TopicImage] = {}
        self._drafts: dict[Uuid, _TopicDraft] = {}
        self._names: dict[str, Uuid | None] = {}
        self._brokers: dict[int, BrokerImage | None] = {}
        self._configs: dict[tuple[int, str], dict[str, str]] = {}
        self._features: dict[str, int] | None = None
        self._producer_ids = base.producer_ids
        # Replica lists repeat endlessly: one tuple serves all partitions that look alike.
        self._shared: dict[Any, Any] = {}

    def replay(self, record: Any) -> None:
        """Apply one metadata record, in log order.

        Raises:
            InvalidMetadataRecord: it contradicts the state so far, or its kind is unknown to this version.
        """
        apply = _REPLAY.get(type(record))
        if apply is None:
            raise InvalidMetadataRecord(
                f"the metadata log holds a {type(record).__name__}, which this version does not understand; "
                "was the folder written by a newer version or by another program?"
            )
        apply(self, record)

    def set_kraft_version(self, level: int) -> None:
        """Take over the level of a KRaftVersion control record."""
        self._set_feature(KRAFT_VERSION, level)

    def image(self, offset: int, epoch: int) -> MetadataImage:
        """The image after these records, as of the record at `offset` written in `epoch`."""
        base = self.base
        topics, by_id = base.topics, base.topics_by_id
        if self._drafts or self._deleted:
            new_topics, new_by_id = dict(topics), dict(by_id)
            for topic_id, gone in self._deleted.items():
                del new_by_id[topic_id]
                if new_topics[gone.name].topic_id == topic_id:
                    del new_topics[gone.name]
            for topic_id, draft in self._drafts.items():
                image = draft.image()
                new_topics[image.name] = image
                new_by_id[topic_id] = image
            topics, by_id = new_topics, new_by_id
        return MetadataImage(
            cluster_id=base.cluster_id,
            offset=offset,
            epoch=epoch,
            topics=topics,
            topics_by_id=by_id,
            brokers=_overlaid(base.brokers, self._brokers, drop=lambda value: value is None),
            configs=_overlaid(base.configs, self._configs, drop=lambda value: not value),
            features=base.features if self._features is None else self._features,
            producer_ids=self._producer_ids,
        )

    # -- one record kind each -----------------------------------------------------------------------------

    def _topic(self, record: records.TopicRecord) -> None:
        topic_id = Uuid(record.topic_id)
        if self._topic_id(record.name) is not None:
            raise InvalidMetadataRecord(f"topic {record.name!r} is created twice")
        if topic_id in self._drafts or topic_id in self.base.topics_by_id:
            raise InvalidMetadataRecord(f"topic {record.name!r} reuses the id of another topic")
        self._drafts[topic_id] = _TopicDraft(record.name, topic_id, None)
        self._names[record.name] = topic_id

    def _remove_topic(self, record: records.RemoveTopicRecord) -> None:
        draft = self._draft(record.topic_id)
        del self._drafts[draft.topic_id]
        self._names[draft.name] = None
        if draft.topic_id in self.base.topics_by_id:
            self._deleted[draft.topic_id] = self.base.topics_by_id[draft.topic_id]
        key = (int(ResourceType.TOPIC), draft.name)
        if key in self._configs or key in self.base.configs:
            self._configs[key] = {}

    def _partition(self, record: records.PartitionRecord) -> None:
        draft = self._draft(record.topic_id)
        index = record.partition_id
        replicas = self._share(record.replicas)
        directories = self._share(record.directories) or self._share((NULL_UUID,) * len(replicas))
        if len(directories) != len(replicas):
            raise InvalidMetadataRecord(f"partition {draft.name}-{index} has not one directory per replica")
        image = PartitionImage(
            replicas=replicas,
            directories=directories,
            isr=self._share(record.isr),
            leader=record.leader,
            leader_epoch=record.leader_epoch,
            partition_epoch=record.partition_epoch,
            removing=self._share(record.removing_replicas),
            adding=self._share(record.adding_replicas),
            elr=self._share(record.eligible_leader_replicas or ()),
            last_known_elr=self._share(record.last_known_elr or ()),
            leader_recovery_state=record.leader_recovery_state,
        )
        if index == len(draft.partitions):
            draft.partitions.append(image)
        elif 0 <= index < len(draft.partitions):
            draft.partitions[index] = image
        else:
            raise InvalidMetadataRecord(
                f"partition {draft.name}-{index} comes before partition {len(draft.partitions)}"
            )

    def _partition_change(self, record: records.PartitionChangeRecord) -> None:
        draft = self._draft(record.topic_id)
        index = record.partition_id
        if not 0 <= index < len(draft.partitions):
            raise InvalidMetadataRecord(f"a change of {draft.name}-{index}, which does not exist")
        draft.partitions[index] = changed_partition(draft.partitions[index], record, self._share)

    def _clear_elr(self, record: records.ClearElrRecord) -> None:
        topics = [record.topic_name] if record.topic_name else sorted(self._all_topic_names())
        for name in topics:
            topic_id = self._topic_id(name)
            if topic_id is None:
                raise InvalidMetadataRecord(f"ELR of {name!r}, which does not exist")
            draft = self._draft(topic_id)
            for index, old in enumerate(draft.partitions):
                if old.elr or old.last_known_elr:
                    draft.partitions[index] = old._replace(elr=(), last_known_elr=())

    def _config(self, record: records.ConfigRecord) -> None:
        key = (record.resource_type, record.resource_name)
        settings = self._configs.get(key)
        if settings is None:
            settings = self._configs[key] = dict(self.base.configs.get(key, {}))
        if record.value is None:
            settings.pop(record.name, None)
        else:
            settings[record.name] = record.value

    def _register_broker(self, record: records.RegisterBrokerRecord) -> None:
        self._brokers[record.broker_id] = BrokerImage(
            id=record.broker_id,
            epoch=record.broker_epoch,
            incarnation_id=Uuid(record.incarnation_id),
            fenced=record.fenced,
            in_controlled_shutdown=record.in_controlled_shutdown,
            rack=record.rack,
            endpoints={e.name: Endpoint(e.host, e.port, e.security_protocol) for e in record.end_points},
            features={
                f.name: VersionRange(f.min_supported_version, f.max_supported_version)
                for f in record.features
            },
            directories=tuple(Uuid(directory) for directory in record.log_dirs),
        )

    def _unregister_broker(self, record: records.UnregisterBrokerRecord) -> None:
        self._broker(record.broker_id, record.broker_epoch)
        self._brokers[record.broker_id] = None

    def _broker_change(self, record: records.BrokerRegistrationChangeRecord) -> None:
        broker = self._broker(record.broker_id, record.broker_epoch)
        self._brokers[broker.id] = broker._replace(
            fenced=_tristate(record.fenced, broker.fenced),
            in_controlled_shutdown=_tristate(record.in_controlled_shutdown, broker.in_controlled_shutdown),
            directories=tuple(Uuid(d) for d in record.log_dirs) if record.log_dirs else broker.directories,
        )

    def _feature(self, record: records.FeatureLevelRecord) -> None:
        self._set_feature(record.name, record.feature_level)

    def _producer_id_block(self, record: records.ProducerIdsRecord) -> None:
        if record.next_producer_id < self._producer_ids:
            raise InvalidMetadataRecord(
                f"the next producer id goes back from {self._producer_ids} to {record.next_producer_id}"
            )
        self._producer_ids = record.next_producer_id

    def _nothing(self, record: records.NoOpRecord) -> None:
        pass

    # -- helpers ------------------------------------------------------------------------------------------

    def _set_feature(self, name: str, level: int) -> None:
        if self.base.features.get(name) == level and self._features is None:
            return
        if self._features is None:
            self._features = dict(self.base.features)
        if level:
            self._features[name] = level
        else:
            self._features.pop(name, None)

    def _topic_id(self, name: str) -> Uuid | None:
        if name in self._names:
            return self._names[name]
        topic = self.base.topics.get(name)
        return topic.topic_id if topic else None

    def _all_topic_names(self) -> set[str]:
        return {name for name in {*self.base.topics, *self._names} if self._topic_id(name) is not None}

    def _draft(self, topic_id: bytes) -> _TopicDraft:
        key = Uuid(topic_id)
        draft = self._drafts.get(key)
        if draft is None:
            topic = None if key in self._deleted else self.base.topics_by_id.get(key)
            if topic is None:
                raise InvalidMetadataRecord(f"a record of topic id {topic_id.hex()}, which does not exist")
            draft = self._drafts[key] = _TopicDraft(topic.name, key, topic)
        return draft

    def _broker(self, broker_id: int, epoch: int) -> BrokerImage:
        broker = self._brokers[broker_id] if broker_id in self._brokers else self.base.brokers.get(broker_id)
        if broker is None:
            raise InvalidMetadataRecord(f"a change of broker {broker_id}, which is not registered")
        if broker.epoch != epoch:
            raise InvalidMetadataRecord(
                f"a change of broker {broker_id} at epoch {epoch}, which is registered at {broker.epoch}"
            )
        return broker

    def _share(self, values: Any) -> Any:
        key = tuple(values)
        return self._shared.setdefault(key, key)


def image_after(image: MetadataImage, written: Iterable[Any]) -> MetadataImage:
    """The image once these records are in the log right after it.

    Raises:
        InvalidMetadataRecord: see `ImageReplay.replay`.
    """
    replay = ImageReplay(image)
    count = 0
    for record in written:
        replay.replay(record)
        count += 1
    return replay.image(image.offset + count, image.epoch)


def changed_partition(
    old: PartitionImage, record: records.PartitionChangeRecord, share: Callable[[Any], Any] = tuple
) -> PartitionImage:
    """A partition after that record; `share` makes the tuples."""

    def given(values: Any, unchanged: Any) -> Any:
        return unchanged if values is None else share(values)

    new_leader = record.leader != _NO_LEADER_CHANGE
    replicas = given(record.replicas, old.replicas)
    directories = given(record.directories, old.directories)
    if record.directories is None and replicas != old.replicas:
        directories = share([old.directory_of(replica) or NULL_UUID for replica in replicas])
    recovery = record.leader_recovery_state
    return PartitionImage(
        replicas=replicas,
        directories=directories,
        isr=given(record.isr, old.isr),
        leader=record.leader if new_leader else old.leader,
        # A record that names the leader again asks for a new epoch under the same leader.
        leader_epoch=old.leader_epoch + 1 if new_leader else old.leader_epoch,
        partition_epoch=old.partition_epoch + 1,
        removing=given(record.removing_replicas, old.removing),
        adding=given(record.adding_replicas, old.adding),
        elr=given(record.eligible_leader_replicas, old.elr),
        last_known_elr=given(record.last_known_elr, old.last_known_elr),
        leader_recovery_state=old.leader_recovery_state if recovery == _NO_RECOVERY_CHANGE else recovery,
    )


def _tristate(change: int, current: bool) -> bool:
    """-1 clears, 1 sets, 0 leaves."""
    return current if change == 0 else change > 0


def _overlaid(base: Mapping[Any, Any], changes: Mapping[Any, Any], *, drop: Callable[[Any], bool]) -> Any:
    if not changes:
        return base
    merged = dict(base)
    for key, value in changes.items():
        if drop(value):
            merged.pop(key, None)
        else:
            merged[key] = value
    return merged


_REPLAY: Final[dict[type, Callable[[ImageReplay, Any], None]]] = {
    records.RegisterBrokerRecord: ImageReplay._register_broker,
    records.UnregisterBrokerRecord: ImageReplay._unregister_broker,
    records.TopicRecord: ImageReplay._topic,
    records.PartitionRecord: ImageReplay._partition,
    records.ConfigRecord: ImageReplay._config,
    records.PartitionChangeRecord: ImageReplay._partition_change,
    records.RemoveTopicRecord: ImageReplay._remove_topic,
    records.FeatureLevelRecord: ImageReplay._feature,
    records.ProducerIdsRecord: ImageReplay._producer_id_block,
    records.BrokerRegistrationChangeRecord: ImageReplay._broker_change,
    records.NoOpRecord: ImageReplay._nothing,
    records.ClearElrRecord: ImageReplay._clear_elr,
}
