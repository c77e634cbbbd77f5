"""What must hold for topics that are deleted and made again under their name: none ever holds another one's records.

A name may have been many topics, one after the other; each has an id of its own, and a ghost of its own for each of its
partitions. Whoever writes says for which id: the producer id of every batch tells where it belongs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from moldau_broker.base.ids import Uuid
from moldau_broker.metadata.image import TopicImage
from moldau_broker.testing.sim.client import Key
from moldau_broker.testing.sim.coverage import Coverage
from moldau_broker.testing.sim.kernel import InvariantViolated
from moldau_broker.testing.sim.partition_ghost import PartitionGhost
from moldau_broker.testing.sim.partition_log import SimLog, Stored
from moldau_broker.testing.sim.swarm import TopicPlan
from moldau_broker.wire.records import parse_header

_FIRST_PRODUCER_ID = 1_000_000


class IncarnationGhost(PartitionGhost):
    """A partition of one topic among those that have had its name.

    Attributes:
        topic_id: which.
        deleted: the controller has committed its end: whoever holds it may drop it at any time.
    """

    def __init__(
        self, name: str, topic_id: Uuid, ghosts: TopicGhosts, log_of: Callable[[int], SimLog | None]
    ) -> None:
        super().__init__(name, ghosts.coverage, log_of, strict=ghosts.strict)
        self.topic_id = topic_id
        self.deleted = False
        self._ghosts = ghosts

    def entered(self, node_id: int, log: SimLog, stored: Stored) -> None:
        """A batch stands in a replica: it was written to this topic, not to a namesake."""
        self.belongs(stored.header.producer_id, f"node {node_id} holds")
        super().entered(node_id, log, stored)

    def consumed(self, base_offset: int, data: bytes) -> None:
        """A consumer of this topic read a batch: likewise."""
        self.belongs(parse_header(data).producer_id, "a consumer reads")
        super().consumed(base_offset, data)

    def belongs(self, producer_id: int, who: str) -> None:
        """Whether a batch of that producer was written to this topic.

        Raises:
            InvariantViolated: it was written to another of the same name.
        """
        if self._ghosts.written_to(producer_id) != self.topic_id:
            raise InvariantViolated(
                f"{self.name}: {who} a batch that was written to another topic of that name"
            )

    def _holders(self, node_id: int, leader_epoch: int, isr: tuple[int, ...]) -> None:
        """Of a deleted topic every replica goes when its broker hears of it."""
        if not self.deleted:
            super()._holders(node_id, leader_epoch, isr)


class TopicGhosts:
    """The topics that have had one name.

    Attributes:
        name: the name.
        strict: as `PartitionGhost.strict`.
        dead: ids of those that were deleted.
    """

    def __init__(
        self, plan: TopicPlan, coverage: Coverage, log_of: Callable[[Key, int], SimLog | None]
    ) -> None:
        self.name = plan.name
        self.coverage = coverage
        self.strict = min(plan.min_insync, plan.replication_factor) > 1
        self.dead: set[Uuid] = set()
        self._log_of = log_of
        self._ghosts: dict[tuple[Uuid, int], IncarnationGhost] = {}
        self._producers: list[Uuid] = []

    def of(self, topic_id: Uuid, index: int) -> IncarnationGhost:
        """What must hold for a partition of the topic with that id."""
        found = self._ghosts.get((topic_id, index))
        if found is None:

            def log_of(node_id: int) -> SimLog | None:
                log = self._log_of((self.name, index), node_id)
                return log if log is not None and log.topic_id == topic_id else None

            name = f"{self.name}-{index} ({len(self._ghosts) + 1}.)"
            found = self._ghosts[topic_id, index] = IncarnationGhost(name, topic_id, self, log_of)
        return found

    def living(self, topic: TopicImage | None) -> Iterable[IncarnationGhost]:
        """The partitions of the topic that has the name now, None for nobody."""
        return () if topic is None else [self.of(topic.topic_id, at) for at in range(len(topic.partitions))]

    def deleted(self, topic: TopicImage) -> None:
        """The controller has committed its end."""
        self.coverage.hit("topics deleted")
        self.dead.add(topic.topic_id)
        for index in range(len(topic.partitions)):
            self.of(topic.topic_id, index).deleted = True

    # -- who wrote what -----------------------------------------------------------------------------------

    def new_producer(self, topic_id: Uuid) -> int:
        """A producer id that nobody had, for batches that are written to the topic of that id."""
        self._producers.append(topic_id)
        return _FIRST_PRODUCER_ID + len(self._producers) - 1

    def written_to(self, producer_id: int) -> Uuid | None:
        """Which topic that producer writes to."""
        at = producer_id - _FIRST_PRODUCER_ID
        return self._producers[at] if 0 <= at < len(self._producers) else None

    # -- folders ------------------------------------------------------------------------------------------

    def found(self, log: SimLog, node_id: int) -> IncarnationGhost:
        """A replica's log is opened, or made: whatever is in it belongs there; gives its partition's ghost."""
        assert log.topic_id is not None, "every log says whose it is"
        ghost = self.of(log.topic_id, log.partition)
        for stored in log.batches:
            ghost.belongs(stored.header.producer_id, f"node {node_id} opens a log with")
        return ghost
