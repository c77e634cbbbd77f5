"""A group's coordinator moves to another broker: in peace, and in the middle of everything.

Reference: Kafka's CoordinatorRuntime (loading on election, unloading on resignation), GroupCoordinatorService.
"""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from moldau_broker.base.deferred import Deferred
from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.limits import GROUP_READY_CHECK_MS
from moldau_broker.coordinator.config import GroupConfig
from moldau_broker.coordinator.shard_state import Client
from moldau_broker.testing.coordinator import CoordinatorBench
from moldau_broker.testing.groups import subscription
from moldau_broker.wire.messages.heartbeat import HeartbeatRequest
from moldau_broker.wire.messages.join_group import JoinGroupRequest, JoinGroupRequestProtocol
from moldau_broker.wire.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)
from moldau_broker.wire.messages.offset_fetch import OffsetFetchRequestGroup, OffsetFetchRequestTopics
from moldau_broker.wire.messages.sync_group import SyncGroupRequest, SyncGroupRequestAssignment

CLIENT = Client("c", "/h", 9)


class Clients:
    """What members and administrators send to the coordinator of one broker; answers as far as they are there."""

    def __init__(self, bench: CoordinatorBench) -> None:
        self.bench = bench

    def join(self, member_id: str = "", group_id: str = "g") -> Any:
        return self.bench.coordinator.join_group(
            JoinGroupRequest(
                group_id=group_id,
                session_timeout_ms=10_000,
                rebalance_timeout_ms=30_000,
                member_id=member_id,
                protocol_type="consumer",
                protocols=[JoinGroupRequestProtocol(name="range", metadata=subscription("t"))],
            ),
            CLIENT,
        )

    def sync(self, member_id: str, generation: int, assignments: dict[str, bytes] | None = None) -> Any:
        return self.bench.coordinator.sync_group(
            SyncGroupRequest(
                group_id="g",
                generation_id=generation,
                member_id=member_id,
                assignments=[
                    SyncGroupRequestAssignment(member_id=one, assignment=what)
                    for one, what in (assignments or {}).items()
                ],
            )
        )

    def heartbeat(self, member_id: str, generation: int) -> ErrorCode:
        return self.bench.coordinator.heartbeat(
            HeartbeatRequest(group_id="g", member_id=member_id, generation_id=generation)
        )

    def commit(self, offset: int, member_id: str = "", generation: int = -1, group_id: str = "g") -> Any:
        partition = OffsetCommitRequestPartition(partition_index=0, committed_offset=offset)
        request = OffsetCommitRequest(
            group_id=group_id,
            generation_id_or_member_epoch=generation,
            member_id=member_id,
            topics=[OffsetCommitRequestTopic(name="t", partitions=[partition])],
        )
        return self.bench.coordinator.commit_offsets(request, 9)

    def committed(self, group_id: str = "g") -> Any:
        asked = OffsetFetchRequestGroup(
            group_id=group_id, topics=[OffsetFetchRequestTopics(name="t", partition_indexes=[0])]
        )
        return self.bench.coordinator.fetch_offsets(asked, require_stable=False)

    def offset(self, group_id: str = "g") -> int | ErrorCode:
        """The committed offset that is durable, or the error."""
        answer = self.committed(group_id).value
        return (
            ErrorCode(answer.error_code)
            if answer.error_code
            else answer.topics[0].partitions[0].committed_offset
        )

    def stable_group(self, size: int = 2) -> tuple[list[str], int]:
        """A Stable group: its members, the leader first, and the generation. Everything written is durable."""
        members = [_now(self.join()).member_id for _ in range(size)]
        joins = [self.join(member) for member in members]
        self.bench.advance(0)
        generation = _now(joins[0]).generation_id
        syncs = [self.sync(member, generation) for member in members[1:]]
        syncs.insert(0, self.sync(members[0], generation, {member: member.encode() for member in members}))
        self.bench.run()
        self.bench.commit_appends()
        assert [_now(sync).assignment for sync in syncs] == [member.encode() for member in members]
        return members, generation


def _now(answer: Any) -> Any:
    """The answer, which must be there."""
    return answer.value if isinstance(answer, Deferred) else answer


def _error(answer: Any) -> int:
    """The error of a commit, or of anything with one."""
    answer = _now(answer)
    topics = getattr(answer, "topics", None)
    return topics[0].partitions[0].error_code if topics else answer.error_code


def _bench(**options: Any) -> tuple[CoordinatorBench, Clients]:
    bench = CoordinatorBench(GroupConfig(initial_rebalance_delay_ms=0), **options)
    bench.elect(0, epoch=1)
    bench.run()
    return bench, Clients(bench)


def _fail_over(
    bench: CoordinatorBench, *, keep_uncommitted: bool = False
) -> tuple[CoordinatorBench, Clients]:
    """The next leader takes over: what it holds is committed in its epoch, and it is elected."""
    heir = bench.heir(keep_uncommitted=keep_uncommitted)
    bench.resign(0, 2)
    heir.replicas[0].high_watermark = heir.replicas[0].log.log_end_offset
    heir.elect(0, epoch=2)
    heir.run()
    return heir, Clients(heir)


def test_members_survive_a_failover_without_a_rebalance() -> None:
    """Generation, members, assignments and offsets are replayed; heartbeats and commits just go on."""
    bench, clients = _bench()
    (leader, follower), generation = clients.stable_group()
    clients.commit(7, leader, generation)
    bench.run()
    heir, clients = _fail_over(bench)
    for member in (leader, follower):
        assert clients.heartbeat(member, generation) is ErrorCode.NONE
        assert _now(clients.sync(member, generation)).assignment == member.encode()
    assert clients.offset() == 7
    commit = clients.commit(8, follower, generation)
    heir.run()
    assert _error(commit) == ErrorCode.NONE
    assert heir.coordinator.group("g").state == "Stable"  # type: ignore[union-attr]


def test_members_sessions_begin_anew_with_the_new_coordinator() -> None:
    """Nobody is dropped for the silence of the failover; who stays silent is, one session later."""
    bench, clients = _bench()
    (leader, follower), generation = clients.stable_group()
    bench.advance(9_900)
    heir, clients = _fail_over(bench)
    heir.advance(9_900)
    assert clients.heartbeat(leader, generation) is ErrorCode.NONE
    heir.advance(200)
    assert clients.heartbeat(leader, generation) is ErrorCode.REBALANCE_IN_PROGRESS
    assert clients.heartbeat(follower, generation) is ErrorCode.UNKNOWN_MEMBER_ID


def test_failover_in_the_middle_of_a_first_join() -> None:
    """Parked joins end with NOT_COORDINATOR; the new coordinator knows nobody, and takes everybody in again."""
    bench = CoordinatorBench(GroupConfig(initial_rebalance_delay_ms=3_000))
    bench.elect(0, epoch=1)
    bench.run()
    clients = Clients(bench)
    member = _now(clients.join()).member_id
    parked = clients.join(member)
    heir, clients = _fail_over(bench)
    assert _error(parked) == ErrorCode.NOT_COORDINATOR
    assert _error(clients.join(member)) == ErrorCode.UNKNOWN_MEMBER_ID
    again = _now(clients.join())
    assert again.error_code == ErrorCode.MEMBER_ID_REQUIRED
    joined = clients.join(again.member_id)
    heir.advance(3_000)
    assert (_error(joined), _now(joined).generation_id) == (ErrorCode.NONE, 1)


def test_failover_in_the_middle_of_a_rebalance() -> None:
    """The last generation that was stored stands: its members join the next one under the ids they have."""
    bench, clients = _bench()
    (leader, follower), generation = clients.stable_group()
    newcomer = _now(clients.join()).member_id
    waiting = [clients.join(newcomer), clients.join(leader)]
    assert clients.heartbeat(follower, generation) is ErrorCode.REBALANCE_IN_PROGRESS
    heir, clients = _fail_over(bench)
    assert [_error(join) for join in waiting] == [ErrorCode.NOT_COORDINATOR] * 2
    assert clients.heartbeat(follower, generation) is ErrorCode.NONE
    assert _error(clients.join(newcomer)) == ErrorCode.UNKNOWN_MEMBER_ID
    newcomer = _now(clients.join()).member_id
    joins = [clients.join(newcomer), clients.join(leader)]
    assert clients.heartbeat(follower, generation) is ErrorCode.REBALANCE_IN_PROGRESS
    joins.append(clients.join(follower))
    heir.advance(0)
    assert {_now(join).generation_id for join in joins} == {generation + 1}
    assert {member.member_id for member in _now(joins[1]).members} == {leader, follower, newcomer}


@pytest.mark.parametrize("arrived", [False, True], ids=["the record was lost", "the record arrived"])
def test_failover_in_the_middle_of_a_sync(arrived: bool) -> None:
    """The assignment was appended and not committed: nobody was told, and the log alone decides."""
    bench, clients = _bench()
    (leader, follower), generation = clients.stable_group()
    bench.auto_commit = False
    joins = [clients.join(leader), clients.join(follower)]
    assert {_now(join).generation_id for join in joins} == {generation + 1}
    parked = [
        clients.sync(follower, generation + 1),
        clients.sync(leader, generation + 1, {leader: b"new", follower: b"new"}),
    ]
    bench.run()
    assert not any(sync.done for sync in parked)
    heir, clients = _fail_over(bench, keep_uncommitted=arrived)
    assert [_error(sync) for sync in parked] == [ErrorCode.NOT_COORDINATOR] * 2
    if arrived:
        assert _now(clients.sync(follower, generation + 1)).assignment == b"new"
        assert clients.heartbeat(leader, generation + 1) is ErrorCode.NONE
    else:
        assert _error(clients.sync(leader, generation + 1)) == ErrorCode.ILLEGAL_GENERATION
        assert clients.heartbeat(leader, generation) is ErrorCode.NONE
        joins = [clients.join(leader), clients.join(follower)]
        assert {_now(join).generation_id for join in joins} == {generation + 1}
    assert heir.coordinator.group("g") is not None


@pytest.mark.parametrize("arrived", [False, True], ids=["the record was lost", "the record arrived"])
def test_failover_in_the_middle_of_a_commit(arrived: bool) -> None:
    """The client is sent elsewhere and commits again; what it was told before is there in any case."""
    bench, clients = _bench()
    (leader, _), generation = clients.stable_group()
    clients.commit(5, leader, generation)
    bench.run()
    bench.auto_commit = False
    commit = clients.commit(6, leader, generation)
    reading = clients.committed()
    bench.run()
    assert not commit.done
    assert not reading.done
    heir, clients = _fail_over(bench, keep_uncommitted=arrived)
    assert _error(commit) == ErrorCode.NOT_COORDINATOR
    assert reading.value.error_code == ErrorCode.NOT_COORDINATOR
    assert clients.offset() == (6 if arrived else 5)
    again = clients.commit(6, leader, generation)
    heir.run()
    heir.commit_appends()
    assert _error(again) == ErrorCode.NONE
    assert clients.offset() == 6


def test_write_that_the_log_refuses_leaves_nothing_behind() -> None:
    """Leadership is lost before the broker is told: the commit is taken back, its client sent elsewhere."""
    bench, clients = _bench()
    (leader, _), generation = clients.stable_group()
    clients.commit(5, leader, generation)
    bench.run()
    bench.replicas[0].refuse = ErrorCode.NOT_LEADER_OR_FOLLOWER
    commit = clients.commit(6, leader, generation)
    bench.run()
    assert _error(commit) == ErrorCode.NOT_COORDINATOR
    assert clients.offset() == 5
    assert bench.coordinator.group("g").offsets["t", 0].offset == 5  # type: ignore[union-attr]


def test_assignment_that_the_log_refuses_is_told_to_nobody() -> None:
    """Every parked sync is sent elsewhere."""
    bench, clients = _bench()
    (leader, follower), generation = clients.stable_group()
    for member in (leader, follower):
        clients.join(member)
    bench.replicas[0].refuse = ErrorCode.NOT_LEADER_OR_FOLLOWER
    parked = [
        clients.sync(follower, generation + 1),
        clients.sync(leader, generation + 1, {leader: b"new", follower: b"new"}),
    ]
    bench.run()
    assert [_error(sync) for sync in parked] == [ErrorCode.NOT_COORDINATOR] * 2
    bench.resign(0, 2)


def test_new_coordinator_does_not_serve_what_is_not_committed() -> None:
    """The next leader may take it back: until the high watermark is there, members are told to come back."""
    bench, clients = _bench()
    (leader, _), generation = clients.stable_group()
    bench.auto_commit = False
    clients.commit(6, leader, generation)
    bench.run()
    heir = bench.heir(keep_uncommitted=True)
    bench.resign(0, 2)
    heir.elect(0, epoch=2)
    heir.advance(10 * GROUP_READY_CHECK_MS)
    clients = Clients(heir)
    assert clients.offset() is ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
    assert _error(clients.join(leader)) == ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
    assert _error(clients.commit(7, leader, generation)) == ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
    assert clients.heartbeat(leader, generation) is ErrorCode.NONE, "members must not give up for that"
    assert heir.coordinator.loading == 1
    heir.replicas[0].high_watermark = heir.replicas[0].log.log_end_offset
    heir.advance(GROUP_READY_CHECK_MS)
    assert clients.offset() == 6


def test_waiting_for_the_high_watermark_holds_nobody_up() -> None:
    """Other partitions of the offsets topic are loaded and served meanwhile."""
    bench = CoordinatorBench(GroupConfig(initial_rebalance_delay_ms=0), partitions=2)
    bench.elect_all()
    clients = Clients(bench)
    groups = ("g", "h", "i", "j")
    for group_id in groups:
        clients.commit(3, group_id=group_id)
    bench.run()
    heir = bench.heir()
    heir.replicas[0].high_watermark = 0
    heir.elect_all()
    heir.advance(1_000)
    clients = Clients(heir)
    for group_id in groups:
        late = heir.coordinator.partition_for(group_id) == 0
        assert clients.offset(group_id) == (ErrorCode.COORDINATOR_LOAD_IN_PROGRESS if late else 3)
    assert {heir.coordinator.partition_for(group_id) for group_id in groups} == {0, 1}


def test_old_news_of_elections_are_ignored() -> None:
    """An epoch that is over changes nothing, nor does being elected twice in the same one."""
    bench, clients = _bench()
    (leader, _), generation = clients.stable_group()
    bench.elect(0, epoch=5)
    bench.run()
    parked = clients.join(leader)
    bench.elect(0, epoch=4)
    bench.elect(0, epoch=5)
    bench.coordinator.on_resigned(0, 4)
    assert not parked.done
    assert clients.heartbeat(leader, generation) is ErrorCode.REBALANCE_IN_PROGRESS
    bench.coordinator.on_resigned(0, 6)
    assert _error(parked) == ErrorCode.NOT_COORDINATOR
    assert clients.heartbeat(leader, generation) is ErrorCode.NOT_COORDINATOR


def test_leader_that_is_elected_again_reads_its_log_again() -> None:
    """A new epoch of the same leader: whoever waits asks again, and finds everything that was stored."""
    bench, clients = _bench()
    (leader, _), generation = clients.stable_group()
    parked = clients.join(leader)
    bench.elect(0, epoch=2)
    bench.run()
    assert _error(parked) == ErrorCode.NOT_COORDINATOR
    assert clients.heartbeat(leader, generation) is ErrorCode.NONE


def test_commit_that_replicas_do_not_take_is_answered_in_time() -> None:
    """A leader that is cut off must not keep its clients; what becomes of the record, the log will tell."""
    bench, clients = _bench(auto_commit=False)
    first = clients.commit(5)
    bench.run()
    bench.advance(3_000)
    second = clients.commit(6)
    bench.run()
    bench.advance(2_000)
    assert _error(first) == ErrorCode.COORDINATOR_NOT_AVAILABLE
    assert not second.done
    bench.advance(2_000)
    assert not second.done
    bench.advance(1_000)
    assert _error(second) == ErrorCode.COORDINATOR_NOT_AVAILABLE
    bench.commit_appends()
    assert clients.offset() == 6


def test_commits_that_are_stored_in_time_leave_nothing_to_do() -> None:
    """No late answer, no second one."""
    bench, clients = _bench(auto_commit=False)
    commits = [clients.commit(at) for at in range(5)]
    bench.run()
    bench.commit_appends()
    assert [_error(commit) for commit in commits] == [0] * 5
    bench.advance(60_000)
    assert clients.offset() == 4


@pytest.mark.parametrize("seed", range(20))
def test_no_acknowledged_commit_is_lost_by_failovers(seed: int) -> None:
    """Many failovers with commits in flight, some of which arrive: what was acknowledged is never taken back."""
    rng = Random(seed)
    bench, clients = _bench(auto_commit=False)
    (leader, _), generation = clients.stable_group()
    attempted = fail_overs = 0
    acknowledged = -1
    in_flight: list[tuple[int, Any]] = []
    for _ in range(200):
        match rng.choice(("commit", "commit", "store", "turn", "fail over")):
            case "commit":
                attempted += 1
                in_flight.append((attempted, clients.commit(attempted, leader, generation)))
            case "store":
                bench.run()
                bench.commit_appends()
            case "turn":
                bench.run()
            case "fail over":
                bench, clients = _fail_over(bench, keep_uncommitted=rng.random() < 0.5)
                fail_overs += 1
                assert acknowledged <= int(clients.offset()) <= attempted
        for offset, commit in in_flight:
            if commit.done and _error(commit) == ErrorCode.NONE:
                acknowledged = max(acknowledged, offset)
        in_flight = [(offset, commit) for offset, commit in in_flight if not commit.done]
    assert fail_overs
    assert acknowledged > 0
    assert clients.heartbeat(leader, generation) is ErrorCode.NONE
