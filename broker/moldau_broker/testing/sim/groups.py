"""The group coordinator of one simulated broker: the real one, on the simulated replicas, clock and timers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from moldau_broker.base.deferred import Deferred
from moldau_broker.base.topics import CONSUMER_OFFSETS
from moldau_broker.coordinator.config import GroupConfig
from moldau_broker.coordinator.runtime import GroupCoordinator
from moldau_broker.coordinator.shard import GroupShard
from moldau_broker.coordinator.shard_state import Client
from moldau_broker.metadata.delta import MetadataDelta
from moldau_broker.replication.manager import ReplicaManager
from moldau_broker.replication.partition import Partition
from moldau_broker.replication.seams import LeadershipListener
from moldau_broker.testing.sim.group_ghost import GROUP, CoordinatorLife, GroupGhost
from moldau_broker.testing.sim.network import Answer

if TYPE_CHECKING:
    from moldau_broker.testing.sim.broker_layer import BrokerLayer
    from moldau_broker.testing.sim.node import SimNode

COMMIT_VERSION = 9
_JOINING = Client("member", "/member", api_version=9)


class Groups:
    """One life of a broker's groups.

    Attributes:
        kinds: of requests it takes.
        coordinator: the real one.
    """

    kinds = ("commit", "committed", "join", "sync", "heartbeat", "leave")

    def __init__(
        self,
        node: SimNode,
        broker: BrokerLayer,
        replicas: ReplicaManager,
        call_later: Callable[[int, Callable[[], None]], Any],
        leads: Callable[[int, int | None], bool],
        ghost: GroupGhost | None,
    ) -> None:
        """`leads`: whether that node leads the offsets topic's partition (in that epoch), as the controller says.

        `ghost`: what must hold for the group that has members, None where there is none.
        """
        self._node = node
        self._leads = leads
        self._ghost = ghost
        self._elected_ms = 0
        self._life: tuple[GroupShard, CoordinatorLife] | None = None
        plan = node.cluster.swarm.members
        config = GroupConfig()
        if plan is not None:
            config = GroupConfig(min_session_timeout_ms=1, initial_rebalance_delay_ms=plan.initial_delay_ms)
        self.coordinator = GroupCoordinator(
            cast("Any", replicas),
            node.clock,
            config,
            lambda: broker.image,
            soon=node.soon,
            call_later=lambda delay_ms, call: call_later(int(delay_ms), call),
            default_partitions=1,
            new_uuid=lambda: f"{node.rng.getrandbits(128):032x}",
        )
        replicas.listen(LeadershipListener(CONSUMER_OFFSETS, self._elected, self._resigned))

    def _elected(self, partition: Partition) -> None:
        self._elected_ms = self._node.clock.monotonic_ms()
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
        """Any of `kinds`; of OffsetFetch is also told whether it came from the partition's leader."""
        request = message[1]
        if kind == "committed":
            read = self.coordinator.fetch_offsets(request, require_stable=False)
            read.on_complete(lambda group: answer((group, self._leads(self._node.id, None))))
            return
        if request.group_id == GROUP:
            answer = self._watched(kind, request, answer)
        outcome = self._ask(kind, request)
        if isinstance(outcome, Deferred):
            outcome.on_complete(answer)
        else:
            answer(outcome)

    def _ask(self, kind: str, request: Any) -> Any:
        coordinator = self.coordinator
        if kind == "commit":
            return coordinator.commit_offsets(request, COMMIT_VERSION)
        if kind == "join":
            return coordinator.join_group(request, _JOINING)
        if kind == "sync":
            return coordinator.sync_group(request)
        return coordinator.heartbeat(request) if kind == "heartbeat" else coordinator.leave_group(request)

    def _watched(self, kind: str, request: Any, answer: Answer) -> Answer:
        """The answer, once it has been looked at; while the coordinator loads there is nothing to hold it to."""
        life = self._present_life()
        if life is None:
            return answer
        node = self._node
        woke = max(node.host.paused_until, node.late_until) >= node.kernel.now
        asked = life.asked(kind, request, node.clock.monotonic_ms(), woke=woke)

        def checked(response: Any) -> None:
            life.answered(asked, response, node.clock.monotonic_ms())
            answer(response)

        return checked

    def _present_life(self) -> CoordinatorLife | None:
        """Of the shard that is served now; one that is read again is another one."""
        hosted = next(iter(self.coordinator.active()), None)
        plan = self._node.cluster.swarm.members
        if hosted is None or plan is None or self._ghost is None:
            return None
        if self._life is None or self._life[0] is not hosted.shard:
            node_id, epoch = self._node.id, hosted.leader_epoch
            life = CoordinatorLife(
                self._ghost,
                f"node {node_id}, epoch {epoch}",
                plan.session_timeout_ms,
                self._elected_ms,
                lambda: self._leads(node_id, epoch),
            )
            self._life = hosted.shard, life
        return self._life[1]

    def close(self) -> None:
        """The broker stops."""
        self.coordinator.stop()
