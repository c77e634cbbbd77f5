"""Consumers that share a group: they join, are given partitions, commit and say that they are well; or are not.

Each does one thing at a time, as a client with one thread would, but for commits that are late: sent with the member
id and generation of before. While there is chaos members stand still for longer than their session, leave, and die.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from moldau_broker.base.errors import ErrorCode
from moldau_broker.testing.sim.client import Client, Key, no_requests
from moldau_broker.testing.sim.group_answers import ELSEWHERE, told, told_of_read
from moldau_broker.testing.sim.group_ghost import GROUP, partitions_of, signature
from moldau_broker.testing.sim.kernel import InvariantViolated
from moldau_broker.wire.messages.heartbeat import HeartbeatRequest
from moldau_broker.wire.messages.join_group import JoinGroupRequest, JoinGroupRequestProtocol
from moldau_broker.wire.messages.leave_group import LeaveGroupRequest, MemberIdentity
from moldau_broker.wire.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)
from moldau_broker.wire.messages.offset_fetch import OffsetFetchRequestGroup, OffsetFetchRequestTopics
from moldau_broker.wire.messages.sync_group import SyncGroupRequest, SyncGroupRequestAssignment

if TYPE_CHECKING:
    from moldau_broker.testing.sim.broker_cluster import BrokerCluster
    from moldau_broker.testing.sim.offsets_ghost import OffsetsGhost
    from moldau_broker.testing.sim.swarm import MemberPlan

_PAUSES: Final = 0.03
_LEAVES: Final = 0.02
_DIES: Final = 0.02
_COMMITS: Final = 0.5
_LATE_COMMITS: Final = 0.3


class Member(Client):
    """One consumer.

    Attributes:
        member_id, generation, partitions: as it was told last.
        is_well: since chaos ended it was told that it is in its generation.
    """

    cluster: BrokerCluster

    def __init__(
        self, cluster: BrokerCluster, host_id: int, key: Key, ghost: OffsetsGhost, instance_id: str | None
    ) -> None:
        super().__init__(cluster, host_id)
        plan = cluster.swarm.members
        assert plan is not None, "its world has members"
        self._plan: MemberPlan = plan
        self._key = key
        self._ghost = ghost
        self._instance_id = instance_id
        self._topic = cluster.swarm.topics[0].name
        self.finishing = False
        self._start()

    # -- its life -----------------------------------------------------------------------------------------

    def _start(self) -> None:
        self.cluster.network.start(self.host, no_requests)
        self._forget()
        self._after(self.rng.randrange(600), self._join)

    def _forget(self) -> None:
        self.member_id = ""
        self.generation = -1
        self.partitions: tuple[int, ...] = ()
        self.is_well = False

    def _die(self) -> None:
        """Without a word; back before or after its session is over."""
        self.kernel.note(f"member {self.host.id} dies")
        self.cluster.network.stop(self.host)
        self.is_well = False
        self.kernel.after(self.rng.randrange(2 * self._plan.session_timeout_ms), self._start)

    def _after(self, delay_ms: int, call: Callable[..., None], *args: Any) -> None:
        self.kernel.after(delay_ms, self._enter, self.host.life, call, args)

    def _enter(self, life: int, call: Callable[..., None], args: tuple[Any, ...]) -> None:
        if life != self.host.life or self.host.handler is None:
            return
        if self.host.paused_until > self.kernel.now:
            self.kernel.at(self.host.paused_until, self._enter, life, call, args)
        else:
            call(*args)

    def _ask(self, kind: str, request: Any, on_answer: Callable[[Any], None]) -> None:
        self.cluster.network.call(self.host, self.leader(self._key), (kind, request), on_answer)

    def _failed(self, error: ErrorCode, again: Callable[[], None]) -> None:
        """Do what a client does then.

        Raises:
            InvariantViolated: an error that nothing here is a reason for.
        """
        self.is_well = False
        self.cluster.coverage.hit(f"member error: {error.name.lower()}")
        if error in ELSEWHERE:
            self.look_up(self._key)
            self._after(30 + self.rng.randrange(100), again)
        elif error is ErrorCode.FENCED_INSTANCE_ID:
            self._die()  # somebody else has its name: an earlier join of its own that was late
        elif error in (ErrorCode.UNKNOWN_MEMBER_ID, ErrorCode.ILLEGAL_GENERATION):
            if error is ErrorCode.UNKNOWN_MEMBER_ID:
                self._forget()
            self.generation = -1
            self._join()
        elif error is ErrorCode.REBALANCE_IN_PROGRESS:
            self._join()
        else:
            raise InvariantViolated(f"member {self.host.id} of {GROUP} got {error.name}")

    # -- into a generation --------------------------------------------------------------------------------

    def _join(self) -> None:
        self.is_well = False
        request = JoinGroupRequest(
            group_id=GROUP,
            session_timeout_ms=self._plan.session_timeout_ms,
            rebalance_timeout_ms=self._plan.rebalance_timeout_ms,
            member_id=self.member_id,
            group_instance_id=self._instance_id,
            protocol_type="sim",
            protocols=[JoinGroupRequestProtocol(name="any")],
        )
        self._ask("join", request, self._joined)

    def _joined(self, answer: Any) -> None:
        error = told(answer)
        if error is ErrorCode.MEMBER_ID_REQUIRED:
            self.member_id = answer.member_id
            self._join()
        elif error is not ErrorCode.NONE:
            self._failed(error, self._join)
        else:
            if self.generation >= 0 and self.partitions and self.rng.random() < _LATE_COMMITS:
                self._ask("commit", self._commit_request(), _nobody)
            self.member_id, self.generation, self.partitions = answer.member_id, answer.generation_id, ()
            self._sync(self._assign(answer) if answer.leader == answer.member_id else ())

    def _assign(self, answer: Any) -> tuple[SyncGroupRequestAssignment, ...]:
        """The leader's work, never twice the same; nobody shares."""
        if answer.skip_assignment:
            return ()
        members = [member.member_id for member in answer.members]
        first, shares = self.rng.randrange(len(members)), range(self._plan.partitions)
        return tuple(
            SyncGroupRequestAssignment(
                member_id=member_id,
                assignment=b",".join(b"%d" % p for p in shares if (p + first) % len(members) == at),
            )
            for at, member_id in enumerate(members)
        )

    def _sync(self, assignments: tuple[SyncGroupRequestAssignment, ...]) -> None:
        request = SyncGroupRequest(
            group_id=GROUP,
            generation_id=self.generation,
            member_id=self.member_id,
            group_instance_id=self._instance_id,
            protocol_type="sim",
            protocol_name="any",
            assignments=assignments,
        )
        self._ask("sync", request, self._synced)

    def _synced(self, answer: Any) -> None:
        error = told(answer)
        if error is not ErrorCode.NONE:
            self._failed(error, self._join)
            return
        self._ghost.members.told(self.generation, self.member_id, answer.assignment)
        self.partitions = partitions_of(answer.assignment)
        self._read()

    def _read(self) -> None:
        """How far those before it had come."""
        if not self.partitions:
            self._beat()
            return
        wanted = OffsetFetchRequestTopics(name=self._topic, partition_indexes=self.partitions)
        since = {index: len(self._ghost.commits(GROUP, index)) for index in self.partitions}
        asked = OffsetFetchRequestGroup(group_id=GROUP, topics=[wanted])
        self._ask("committed", asked, partial(self._was_read, since))

    def _was_read(self, since: dict[int, int], answer: Any) -> None:
        error = told_of_read(answer)
        if error is not ErrorCode.NONE:
            self._failed(error, self._read)
            return
        group, by_leader = answer
        for found in group.topics[0].partitions:
            index = found.partition_index
            self._ghost.read(GROUP, found.committed_offset, since[index], index, by_leader=by_leader)
        self._beat()

    # -- in a generation ----------------------------------------------------------------------------------

    def _beat(self) -> None:
        chance = self.rng.random() if self.cluster.chaos else 1.0
        if chance < _PAUSES:
            session_ms = self._plan.session_timeout_ms
            self.host.paused_until = self.kernel.now + session_ms // 2 + self.rng.randrange(2 * session_ms)
            self._after(0, self._commit if self.partitions and chance < _PAUSES / 2 else self._say_well)
        elif chance < _PAUSES + _LEAVES:
            self._leave()
        elif chance < _PAUSES + _LEAVES + _DIES:
            self._die()
        else:
            self._say_well()

    def _say_well(self) -> None:
        request = HeartbeatRequest(
            group_id=GROUP,
            generation_id=self.generation,
            member_id=self.member_id,
            group_instance_id=self._instance_id,
        )
        self._ask("heartbeat", request, self._heard)

    def _heard(self, answer: Any) -> None:
        error = told(answer)
        if error is not ErrorCode.NONE:
            self._failed(error, self._beat)
            return
        self.is_well = self.finishing
        if self.partitions and not self.finishing and self.rng.random() < _COMMITS:
            self._commit()
        else:
            self._after(self._plan.beat_ms, self._beat)

    def _leave(self) -> None:
        identity = MemberIdentity(member_id=self.member_id, group_instance_id=self._instance_id)
        self._forget()
        self._ask("leave", LeaveGroupRequest(group_id=GROUP, members=[identity]), self._left)

    def _left(self, _: Any) -> None:
        """Whatever became of that: nobody would wait to be told."""
        self._after(self.rng.randrange(self._plan.session_timeout_ms), self._join)

    # -- commits ------------------------------------------------------------------------------------------

    def _commit_request(self) -> OffsetCommitRequest:
        partitions = [
            OffsetCommitRequestPartition(
                partition_index=index,
                committed_offset=self._ghost.members.ticket(),
                committed_metadata=signature(self.generation, self.member_id),
            )
            for index in self.partitions
        ]
        return OffsetCommitRequest(
            group_id=GROUP,
            generation_id_or_member_epoch=self.generation,
            member_id=self.member_id,
            group_instance_id=self._instance_id,
            topics=[OffsetCommitRequestTopic(name=self._topic, partitions=partitions)],
        )

    def _commit(self) -> None:
        request = self._commit_request()
        self._ask("commit", request, partial(self._committed, request))

    def _committed(self, request: OffsetCommitRequest, answer: Any) -> None:
        error = told(answer)
        if error is not ErrorCode.NONE:
            self._failed(error, self._beat)
            return
        for partition in request.topics[0].partitions:
            self._ghost.committed(GROUP, partition.committed_offset, partition.partition_index)
        self.cluster.coverage.hit("commits of members acknowledged")
        self._after(self._plan.beat_ms, self._beat)


class Workers:
    """All members of the group."""

    def __init__(self, cluster: BrokerCluster, host_id: int, key: Key, ghost: OffsetsGhost) -> None:
        plan = cluster.swarm.members
        assert plan is not None, "its world has members"
        self._plan: MemberPlan = plan
        self._cluster = cluster
        self.members = [
            Member(cluster, host_id + at, key, ghost, f"static {at}" if at < plan.static else None)
            for at in range(plan.members)
        ]

    def finish(self) -> None:
        """Stay in the group; commit nothing more."""
        for member in self.members:
            member.finishing = True

    def unsettled(self, leader: int) -> str | None:
        """Why the group is not stable with all its members, None if it is.

        Args:
            leader: the node that leads the offsets topic.

        Raises:
            InvariantViolated: it is, and its partitions are not all somebody's.
        """
        for member in self.members:
            if not member.is_well:
                return f"member {member.host.id} is not well"
        replicas: Any = self._cluster.brokers[leader].replicas
        group = replicas.groups.coordinator.group(GROUP)
        if group is None or group.state != "Stable":
            return f"it is {group and group.state}"
        if {member.member_id for member in group.members} != {member.member_id for member in self.members}:
            return f"it has {[member.member_id for member in group.members]}"
        if any(member.generation != group.generation for member in self.members):
            return f"not everybody knows generation {group.generation}"
        owned = sorted(index for member in self.members for index in member.partitions)
        if owned != list(range(self._plan.partitions)):
            raise InvariantViolated(f"{GROUP}: generation {group.generation} has given {owned}")
        return None


def _nobody(_: Any) -> None:
    """A late commit's answer is not waited for; what it must not be, the coordinator's life knows."""
