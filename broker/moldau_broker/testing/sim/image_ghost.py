"""What must always hold for the cluster's metadata: everybody replays the same log into the same image."""

from __future__ import annotations

from collections.abc import Callable

from moldau_broker.base.ids import Uuid
from moldau_broker.metadata.image import NO_LEADER, MetadataImage, PartitionImage, TopicImage
from moldau_broker.testing.sim.coverage import Coverage
from moldau_broker.testing.sim.kernel import InvariantViolated

_REMEMBERED = 400


class ImageGhost:
    """Committed images by offset.

    Attributes:
        newest: the newest committed image.
    """

    def __init__(
        self,
        coverage: Coverage,
        on_partition: Callable[[TopicImage, int, PartitionImage], None],
        on_deleted: Callable[[TopicImage], None],
    ) -> None:
        self._coverage = coverage
        self._on_partition = on_partition
        self._on_deleted = on_deleted
        self._deleted: set[Uuid] = set()
        self._images: dict[int, MetadataImage] = {}
        self.newest = MetadataImage("sim")

    def committed(self, image: MetadataImage) -> None:
        """A node's machine has come to `image`."""
        known = self._images.get(image.offset)
        if known is not None:
            if known is not image and known != image:
                raise InvariantViolated(
                    f"two nodes replay the log below {image.offset + 1} to different images"
                )
            return
        if image.offset <= self.newest.offset:
            return  # another node stopped between two offsets that nobody stopped at before
        self._images[image.offset] = image
        if len(self._images) > _REMEMBERED:
            del self._images[next(iter(self._images))]
        before, self.newest = self.newest, image
        self._check(before, image)

    def loaded(self, image: MetadataImage) -> None:
        """A node has loaded a snapshot: it says the same as the log it stands for."""
        known = self._images.get(image.offset)
        if known is not None and known != image:
            raise InvariantViolated(f"the snapshot as of {image.offset} differs from the log it stands for")

    def _check(self, before: MetadataImage, image: MetadataImage) -> None:
        if before.topics_by_id is not image.topics_by_id:
            self._end_topics(before, image)
        brokers_changed = before.brokers is not image.brokers
        if brokers_changed:
            self._count_brokers(before, image)
        for topic_id, topic in image.topics_by_id.items():
            old = before.topics_by_id.get(topic_id)
            if old is topic and not brokers_changed:
                continue
            for index, partition in enumerate(topic.partitions):
                self._fenced(image, topic, index, partition)
                was = old.partitions[index] if old is not None and index < len(old.partitions) else None
                if was is not partition:
                    if was is not None and was != partition:
                        self._step(f"{topic.name}-{index}", was, partition)
                    self._on_partition(topic, index, partition)

    def _end_topics(self, before: MetadataImage, image: MetadataImage) -> None:
        """A topic that was deleted stays so; whoever has its name later has another id."""
        for topic_id, topic in before.topics_by_id.items():
            if topic_id not in image.topics_by_id:
                self._deleted.add(topic_id)
                self._on_deleted(topic)
        if not self._deleted.isdisjoint(image.topics_by_id):
            raise InvariantViolated("a topic that was deleted is there again")

    def _count_brokers(self, before: MetadataImage, image: MetadataImage) -> None:
        for broker_id, broker in image.brokers.items():
            old = before.brokers.get(broker_id)
            if old is None or old.epoch != broker.epoch:
                self._coverage.hit("broker registrations")
            elif broker.fenced and not old.fenced:
                self._coverage.hit("brokers fenced")
            elif old.fenced and not broker.fenced:
                self._coverage.hit("brokers unfenced")
            elif broker.in_controlled_shutdown and not old.in_controlled_shutdown:
                self._coverage.hit("controlled shutdowns")

    def _step(self, name: str, before: PartitionImage, image: PartitionImage) -> None:
        """One change of a partition: epochs grow, the leader is in sync, whoever is in sync is a replica."""
        if image.partition_epoch <= before.partition_epoch or image.leader_epoch < before.leader_epoch:
            raise InvariantViolated(f"{name}: epochs go back, from {before} to {image}")
        if image.leader != before.leader and image.leader_epoch == before.leader_epoch:
            raise InvariantViolated(f"{name}: another leader in the same epoch, from {before} to {image}")
        if image.leader != NO_LEADER and image.leader not in image.isr:
            raise InvariantViolated(f"{name}: the leader is not in sync: {image}")
        if not set(image.isr) <= set(image.replicas) or set(image.isr) & set(image.elr):
            raise InvariantViolated(f"{name}: in sync and no replica, or eligible as well: {image}")
        hit = self._coverage.hit
        if image.leader != before.leader:
            hit("partition leaders changed")
        if set(before.isr) - set(image.isr):
            hit("ISR shrinks")
        if set(image.isr) - set(before.isr):
            hit("ISR expands")
        if image.elr and image.elr != before.elr:
            hit("ELR members")
        if image.leader_recovery_state != before.leader_recovery_state:
            hit("leader recovery states changed")
        if (before.adding or before.removing) and not (image.adding or image.removing):
            hit("reassignments completed")

    def _fenced(self, image: MetadataImage, topic: TopicImage, index: int, partition: PartitionImage) -> None:
        """A fenced broker leads nothing, and is in sync only where nobody else is left."""
        for member in partition.isr:
            broker = image.brokers.get(member)
            if broker is not None and not broker.fenced:
                continue
            if partition.isr != (member,) or partition.leader != NO_LEADER:
                raise InvariantViolated(f"{topic.name}-{index}: broker {member} is fenced: {partition}")
