"""The group coordinator of one simulated broker: the real one, on the simulated replicas, clock and timers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from moldau_broker.base.deferred import Deferred
from moldau_broker.base.topics import CONSUMER_OFFSETS
from moldau_broker.coordinator.config import GroupConfig
from moldau_broker.coordinator.runtime import GroupCoordinator
from moldau_broker.metadata.delta import MetadataDelta
from moldau_broker.replication.manager import ReplicaManager
from moldau_broker.replication.partition import Partition
from moldau_broker.replication.seams import LeadershipListener
from moldau_broker.testing.sim.network import Answer

if TYPE_CHECKING:
    from moldau_broker.testing.sim.broker_layer import BrokerLayer
    from moldau_broker.testing.sim.node import SimNode

COMMIT_VERSION = 9


class Groups:
    """One life of a broker's groups.

    Attributes:
        kinds: of requests it takes.
        coordinator: the real one.
    """

    kinds = ("commit", "committed")

    def __init__(
        self,
        node: SimNode,
        broker: BrokerLayer,
        replicas: ReplicaManager,
        call_later: Callable[[int, Callable[[], None]], Any],
        leads: Callable[[int], bool],
    ) -> None:
        """`leads`: whether that node leads the offsets topic's partition, as the controller has committed."""
        self._node = node
        self._leads = leads
        self.coordinator = GroupCoordinator(
            cast("Any", replicas),
            node.clock,
            GroupConfig(),
            lambda: broker.image,
            soon=node.soon,
            call_later=lambda delay_ms, call: call_later(int(delay_ms), call),
            default_partitions=1,
            new_uuid=lambda: f"{node.rng.getrandbits(128):032x}",
        )
        replicas.listen(LeadershipListener(CONSUMER_OFFSETS, self._elected, self._resigned))

    def _elected(self, partition: Partition) -> None:
        if partition.log_end_offset > partition.log_start_offset:
            self._node.coverage.hit("group coordinators loaded")
        self.coordinator.on_elected(partition.index, partition.leader_epoch, partition.log)

    def _resigned(self, partition: Partition) -> None:
        self.coordinator.on_resigned(partition.index, partition.leader_epoch)

    def apply(self, delta: MetadataDelta) -> None:
        """Another image."""
        deleted = [(topic.name, topic.topic_id) for topic in delta.deleted_topics()]
        if deleted:
            self.coordinator.on_topics_deleted(deleted)

    def handle(self, kind: str, message: Any, answer: Answer) -> None:
        """OffsetCommit or OffsetFetch; of the latter is also told whether it came from the partition's leader."""
        if kind == "commit":
            outcome = self.coordinator.commit_offsets(message[1], COMMIT_VERSION)
            if isinstance(outcome, Deferred):
                outcome.on_complete(answer)
            else:
                answer(outcome)
            return
        read = self.coordinator.fetch_offsets(message[1], require_stable=False)
        read.on_complete(lambda group: answer((group, self._leads(self._node.id))))

    def close(self) -> None:
        """The broker stops."""
        self.coordinator.stop()
