"""Several nodes of the core together: elections, replication, failures. Each test names what it proves."""

from __future__ import annotations

from random import Random

import pytest

from moldau_broker.base.errors import ErrorCode
from moldau_broker.raft.messages import Leader, Request
from moldau_broker.raft.protocol import (
    asked_partition,
    begin_request,
    end_request,
    fetch_request,
    fetch_snapshot_request,
    vote_request,
)
from moldau_broker.raft.quorum import VoterEndpoint
from moldau_broker.raft.state import ElectionState, Role
from moldau_broker.raft.timing import RaftTiming
from moldau_broker.testing.raft import CLUSTER_ID, RaftCluster
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.add_raft_voter import AddRaftVoterRequest, Listener
from moldau_broker.wire.messages.describe_quorum import (
    DescribeQuorumRequest,
    DescribeQuorumRequestPartitionData,
    DescribeQuorumRequestTopicData,
)
from moldau_broker.wire.messages.fetch import FetchPartition
from moldau_broker.wire.messages.fetch_snapshot import FetchSnapshotRequestPartitionSnapshot, SnapshotId
from moldau_broker.wire.messages.remove_raft_voter import RemoveRaftVoterRequest
from moldau_broker.wire.messages.update_raft_voter import UpdateRaftVoterRequest
from moldau_broker.wire.messages.vote import VoteRequestPartitionData
from moldau_broker.wire.schema import Struct, replace


def cluster(size: int = 3, seed: int = 1) -> RaftCluster:
    """Voters 1 to `size`, with a leader."""
    made = RaftCluster(seed=seed)
    made.add_voters(size)
    made.run(1_000)
    assert made.leader()
    return made


def others(made: RaftCluster, node_id: int) -> list[int]:
    return [one for one in made.members if one != node_id]


def role(made: RaftCluster, node_id: int) -> Role:
    return made.members[node_id].alive.role


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_cluster_elects_one_leader_and_commits(size: int) -> None:
    """A record on a majority of disks is committed, and everyone learns of it.

    Reference: Raft sections 5.2, 5.3.
    """
    made = cluster(size)
    leader = made.leader()
    made.propose(leader, b"a")
    made.settle()
    for node_id, member in made.members.items():
        assert made.log(node_id) == [(1, b"a")]
        assert member.committed == member.disk.end


def test_cluster_elects_anew_within_moments_of_a_lost_connection() -> None:
    """The fetch time-out is not waited for when the leader's connections break; 20 seeds, all below 300 ms.

    Reference: fixed decision: failure is noticed fast.
    """
    for seed in range(20):
        made = cluster(3, seed)
        first = made.leader()
        made.crash(first)
        made.run(300)
        assert made.leader() != first


def test_last_of_three_does_not_hear_a_leader_that_is_dead() -> None:
    """It keeps going back to whom it knows, and knows all the same that nobody answers."""
    made = cluster(3)
    first = made.leader()
    last, other = others(made, first)
    assert all(made.members[node_id].alive.hears_leader for node_id in made.members)
    made.crash(other)
    made.crash(first)
    made.run(300)
    roles = set()
    for _ in range(5_000):
        made.run(1)
        node = made.members[last].alive
        assert not node.hears_leader
        roles.add((node.role, node.leader_id))
    assert (Role.FOLLOWER, first) in roles
    made.start(other)
    made.run(2_000)
    assert made.members[last].alive.hears_leader


def test_cluster_notices_a_hung_leader_by_the_fetch_timeout() -> None:
    """Nothing breaks, nothing answers: the followers wait for their fetch time-out, then elect."""
    timing = RaftTiming()
    for seed in range(10):
        made = cluster(3, seed)
        first = made.leader()
        made.isolate(first)
        made.run(timing.fetch_ms - timing.fetch_wait_ms - 10)
        assert made.leader() == first
        made.run(timing.fetch_ms + 2 * timing.election_ms)
        assert made.leader() != first


def test_leader_without_a_majority_resigns() -> None:
    """Check-quorum: one and a half fetch time-outs without fetches of a majority, and it leads no more.

    Reference: KIP-595, "leader resigns without a majority's fetches".
    """
    made = cluster(3)
    first = made.leader()
    made.isolate(first)
    made.run(made.timing.check_quorum_ms + 10)
    assert role(made, first) is not Role.LEADER
    assert made.members[first].alive.epoch == 1


def test_leader_keeps_office_with_half_of_five_gone() -> None:
    """Two of five may be away for ever."""
    made = cluster(5)
    leader = made.leader()
    for node_id in others(made, leader)[:2]:
        made.crash(node_id)
    made.run(10_000)
    assert made.leader() == leader
    made.propose(leader, b"a")
    made.settle()
    assert made.members[leader].committed == made.members[leader].disk.end


def test_pre_vote_of_a_cut_off_follower_disturbs_nobody() -> None:
    """It comes back with the epoch it left with, and the leader stays.

    Reference: KIP-996.
    """
    made = cluster(3)
    leader = made.leader()
    away = others(made, leader)[0]
    made.isolate(away)
    made.run(20_000)
    assert role(made, away) in (Role.PROSPECTIVE, Role.FOLLOWER)
    made.cut.clear()
    made.run(2_000)
    assert made.leader() == leader
    assert {member.alive.epoch for member in made.members.values()} == {1}


def test_pre_vote_is_not_written_down() -> None:
    """Asking whether one would win leaves no trace on any disk."""
    made = cluster(3)
    leader = made.leader()
    away = others(made, leader)[0]
    before = made.members[away].disk.election
    made.isolate(away)
    made.run(5_000)
    assert made.members[away].disk.election == before == ElectionState(1, leader)


def test_candidate_with_an_older_log_is_refused() -> None:
    """Votes go to logs at least as new as the voter's.

    Reference: Raft section 5.4.1.
    """
    made = cluster(3)
    leader = made.leader()
    behind, ahead = others(made, leader)
    made.isolate(behind)
    made.propose(leader, b"a")
    made.settle()
    made.crash(leader)
    made.cut.clear()
    made.run(3_000)
    assert made.leader() == ahead
    assert made.log(behind) == made.log(ahead) == [(1, b"a")]


def test_vote_is_given_once_per_epoch_and_survives_a_crash() -> None:
    """The second candidate of an epoch is refused, also by a voter that crashed in between.

    Reference: Raft section 5.2; the vote is on disk before the answer leaves.
    """
    made = RaftCluster()
    made.add(1, voters=(1, 2, 3))

    def ask(candidate: int) -> bool:
        key = made.voter(candidate).key
        partition = VoteRequestPartitionData(
            replica_epoch=5,
            replica_id=candidate,
            replica_directory_id=key.directory_id,
            voter_directory_id=made.voter(1).key.directory_id,
        )
        number = made.ask(1, ApiKey.VOTE, vote_request(CLUSTER_ID, 1, partition))
        granted: bool = made.answers[number].topics[0].partitions[0].vote_granted  # type: ignore[attr-defined]
        return granted

    assert ask(2)
    assert not ask(3)
    made.crash(1)
    made.start(1)
    assert not ask(3)
    assert ask(2)


def test_leader_does_not_vote_in_its_own_epoch_after_a_crash() -> None:
    """An epoch that was led is not given a second leader."""
    made = cluster(3)
    leader = made.leader()
    made.crash(leader)
    made.start(leader)
    partition = VoteRequestPartitionData(replica_epoch=1, replica_id=9, last_offset=99, last_offset_epoch=1)
    number = made.ask(leader, ApiKey.VOTE, vote_request(CLUSTER_ID, leader, partition))
    answer = made.answers[number].topics[0].partitions[0]  # type: ignore[attr-defined]
    assert not answer.vote_granted


def test_entries_of_old_epochs_are_not_committed_by_counting() -> None:
    """A new leader's high watermark stays until an entry of its own epoch is on a majority of disks.

    Reference: Raft section 5.4.2, figure 8.
    """
    made = cluster(3)
    first = made.leader()
    second, third = others(made, first)
    made.hold(second)
    made.hold(third)
    made.propose(first, b"a")
    made.settle()
    before = made.members[first].committed
    made.crash(first)
    made.hold(second, held=False)
    made.hold(third, held=False)
    made.settle()
    made.hold(second)
    made.hold(third)
    made.run(1_000)
    leader = made.leader()
    node = made.members[leader].alive
    assert node.high_watermark == before
    made.hold(second, held=False)
    made.hold(third, held=False)
    made.run(1_000)
    assert made.members[leader].committed == made.members[leader].disk.end


def test_commit_waits_for_the_disks_of_a_majority() -> None:
    """Received is not durable: with every follower's fsync outstanding nothing commits.

    Reference: the offset a Fetch carries is the fdatasynced end.
    """
    made = cluster(3)
    leader = made.leader()
    for node_id in others(made, leader):
        made.hold(node_id)
    made.propose(leader, b"a")
    made.run(400)
    end = made.members[leader].disk.end
    assert all(made.log(node_id) == [(1, b"a")] for node_id in made.members)
    assert made.members[leader].committed == end - 1
    made.hold(others(made, leader)[0], held=False)
    made.settle()
    assert made.members[leader].committed == end


def test_commit_needs_not_the_leaders_own_disk() -> None:
    """A majority of followers' disks is enough while the leader's fsync is slow."""
    made = cluster(3)
    leader = made.leader()
    made.hold(leader)
    made.propose(leader, b"a")
    made.settle()
    assert made.members[leader].committed == made.members[leader].disk.end
    assert made.members[leader].disk.durable < made.members[leader].disk.end


def test_follower_cuts_what_its_leader_does_not_have() -> None:
    """An old leader's uncommitted records go when it follows the new one.

    Reference: Raft section 5.3; KIP-595, diverging epoch.
    """
    made = cluster(3)
    first = made.leader()
    made.isolate(first)
    made.propose(first, b"lost")
    made.propose(first, b"lost too")
    made.run(5_000)
    second = made.leader()
    assert second != first
    made.propose(second, b"kept")
    made.settle()
    made.cut.clear()
    made.run(2_000)
    assert made.log(first) == made.log(second)
    assert (1, b"lost") not in made.log(first)


def test_resigning_leader_names_the_follower_that_is_furthest() -> None:
    """The first successor runs at once, without a pre-vote: the hand-over takes no time-out.

    Reference: KIP-595, EndQuorumEpoch.
    """
    made = cluster(3)
    first = made.leader()
    behind, ahead = others(made, first)
    made.hold(behind)
    made.propose(first, b"a")
    made.settle()
    made.resign(first)
    made.settle()
    assert made.leader() == ahead
    assert role(made, first) is Role.FOLLOWER


def test_node_with_a_failed_disk_neither_leads_nor_votes() -> None:
    """After a failed fsync a leader resigns at once, others take over, and it never asks for votes again."""
    made = cluster(3)
    first = made.leader()
    made.fail_flush(first)
    made.settle()
    assert made.leader() != first
    made.run(20_000)
    assert role(made, first) is not Role.LEADER


def test_leader_that_lost_its_disk_is_replaced_without_waiting() -> None:
    """It comes back empty and knows no epoch: what it answers is taken for what it is, no leader."""
    for seed in range(10):
        made = cluster(3, seed)
        first = made.leader()
        made.crash(first)
        made.wipe(first)
        made.start(first)
        made.run(400)
        assert made.leader() != first


def test_fetch_is_held_no_longer_than_a_follower_would_wait() -> None:
    """Whatever max_wait_ms says: the memory of a leader is not a stranger's to fill."""
    made = cluster(1)
    end = made.members[1].disk.end
    partition = FetchPartition(current_leader_epoch=1, fetch_offset=end, last_fetched_epoch=1)
    number = made.ask(1, ApiKey.FETCH, fetch_request(CLUSTER_ID, -1, 2**31 - 1, 100, partition))
    assert number not in made.answers
    made.run(made.timing.fetch_ms)
    assert number in made.answers


def test_observer_without_a_leader_asks_around_and_does_not_flap() -> None:
    """While no leader can be elected its role stays; once there is one it follows within moments."""
    made = cluster(3)
    made.add(7, bootstrap=[("n1", 9001)])
    made.run(1_000)
    first = made.leader()
    for node_id in (1, 2, 3):
        made.hold(node_id)  # the others stay up, and nothing commits
    made.trace.clear()
    made.crash(first)
    made.run(1_000)
    assert sum(line.startswith("7: ") for line in made.trace) <= 2
    second = made.leader()
    for node_id in others(made, first):
        if node_id != 7:
            made.hold(node_id, held=False)
    made.run(200)
    assert made.members[7].alive.leader_id == second
    made.crash(second)
    made.trace.clear()
    made.run(10_000)
    assert sum(line.startswith("7: ") for line in made.trace) <= 20


def test_single_voter_leads_on_its_first_tick() -> None:
    """A quorum of one waits for nobody: no time passes between start and leadership."""
    made = RaftCluster()
    made.add(1, voters=(1,))
    assert role(made, 1) is Role.LEADER
    made.crash(1)
    made.start(1)
    assert role(made, 1) is Role.LEADER
    assert made.members[1].alive.epoch == 2


def test_restarted_cluster_has_a_leader_soon() -> None:
    """All three killed: they find a leader well within the first fetch time-out."""
    for seed in range(10):
        made = cluster(3, seed)
        for node_id in (1, 2, 3):
            made.crash(node_id)
        for node_id in (1, 2, 3):
            made.start(node_id)
        made.run(700)
        assert made.leader()


def test_fetch_that_waits_is_answered_when_the_high_watermark_passes_what_it_stated() -> None:
    """A follower learns of a commit at once, not with the next records.

    Reference: KIP-1166.
    """
    made = cluster(3)
    leader = made.leader()
    made.run(100)
    made.propose(leader, b"a")
    before = made.now_ms
    made.settle()
    assert made.now_ms == before
    assert all(member.committed == member.disk.end for member in made.members.values())


REQUESTS = {
    ApiKey.VOTE: vote_request("other", 1, VoteRequestPartitionData()),
    ApiKey.BEGIN_QUORUM_EPOCH: begin_request("other", 1, bytes(16), Leader(2, 9)),
    ApiKey.END_QUORUM_EPOCH: end_request("other", Leader(2, 9), ()),
    ApiKey.FETCH: fetch_request("other", 2, 0, 100, FetchPartition()),
}


@pytest.mark.parametrize("key", list(REQUESTS))
def test_request_of_another_cluster_is_refused(key: ApiKey) -> None:
    """Two clusters that were mixed up do not disturb each other.

    Reference: KIP-595, INCONSISTENT_CLUSTER_ID.
    """
    made = cluster(1)
    epoch = made.members[1].alive.epoch
    number = made.ask(1, key, REQUESTS[key])
    assert made.answers[number].error_code == ErrorCode.INCONSISTENT_CLUSTER_ID  # type: ignore[attr-defined]
    assert made.members[1].alive.epoch == epoch


def test_request_for_another_disk_of_this_node_is_refused() -> None:
    """The voice belongs to the directory: asked as its old self, a node does not vote and follows nobody.

    Reference: KIP-853, INVALID_VOTER_KEY.
    """
    made = cluster(3)
    node_id = others(made, made.leader())[0]
    stranger = b"x" * 16
    partition = VoteRequestPartitionData(replica_epoch=9, replica_id=2, voter_directory_id=stranger)
    vote = made.ask(node_id, ApiKey.VOTE, vote_request(CLUSTER_ID, node_id, partition))
    begin = made.ask(
        node_id, ApiKey.BEGIN_QUORUM_EPOCH, begin_request(CLUSTER_ID, node_id, stranger, Leader(2, 9))
    )
    for number in (vote, begin):
        answer = made.answers[number].topics[0].partitions[0]  # type: ignore[attr-defined]
        assert answer.error_code == ErrorCode.INVALID_VOTER_KEY
    assert made.members[node_id].alive.epoch == 1


def test_fetch_of_an_older_epoch_is_fenced_and_told_of_the_leader() -> None:
    """The answer carries id, epoch and address of the leader."""
    made = cluster(3)
    leader = made.leader()
    request = fetch_request(CLUSTER_ID, 9, 0, 100, FetchPartition(current_leader_epoch=0))
    answer = made.answers[made.ask(leader, ApiKey.FETCH, request)]
    partition = answer.responses[0].partitions[0]  # type: ignore[attr-defined]
    assert partition.error_code == ErrorCode.FENCED_LEADER_EPOCH
    assert (partition.current_leader.leader_id, partition.current_leader.leader_epoch) == (leader, 1)
    (endpoint,) = answer.node_endpoints  # type: ignore[attr-defined]
    assert (endpoint.node_id, endpoint.host, endpoint.port) == (leader, f"n{leader}", 9000 + leader)


def test_follower_refuses_to_serve_its_log() -> None:
    """Only the leader answers a Fetch or FetchSnapshot; a follower names it."""
    made = cluster(3)
    follower = others(made, made.leader())[0]
    fetch = fetch_request(CLUSTER_ID, 9, 0, 100, FetchPartition(current_leader_epoch=1))
    answer = made.answers[made.ask(follower, ApiKey.FETCH, fetch)]
    partition = answer.responses[0].partitions[0]  # type: ignore[attr-defined]
    assert partition.error_code == ErrorCode.NOT_LEADER_OR_FOLLOWER
    assert partition.current_leader.leader_id == made.leader()


def test_lagging_follower_is_given_a_snapshot_and_goes_on_from_there() -> None:
    """What the leader's log no longer begins with comes as a snapshot, voters included.

    Reference: KIP-630.
    """
    made = cluster(3)
    leader = made.leader()
    away = others(made, leader)[0]
    made.crash(away)
    for value in (b"a", b"b"):
        made.propose(leader, value)
    made.settle()
    snapshot_id = made.snapshot(leader)
    made.propose(leader, b"c")
    made.settle()
    made.start(away)
    made.run(2_000)
    member = made.members[away]
    assert list(member.disk.snapshots) == [snapshot_id]
    assert made.log(away) == [(1, b"c")]
    assert member.alive.voters == made.members[leader].alive.voters
    made.crash(leader)
    made.run(1_000)
    assert made.leader() != leader


def test_snapshot_that_is_gone_is_not_found() -> None:
    """The follower asks anew and is told of a newer one."""
    made = cluster(1)
    partition = FetchSnapshotRequestPartitionSnapshot(
        current_leader_epoch=1, snapshot_id=SnapshotId(end_offset=77, epoch=1)
    )
    answer = made.answers[
        made.ask(1, ApiKey.FETCH_SNAPSHOT, fetch_snapshot_request(CLUSTER_ID, 9, 100, partition))
    ]
    assert answer.topics[0].partitions[0].error_code == ErrorCode.SNAPSHOT_NOT_FOUND  # type: ignore[attr-defined]


def describe(made: RaftCluster, node_id: int) -> object:
    request = DescribeQuorumRequest(
        topics=(
            DescribeQuorumRequestTopicData(
                topic_name="__cluster_metadata", partitions=(DescribeQuorumRequestPartitionData(),)
            ),
        )
    )
    return made.answers[made.ask(node_id, ApiKey.DESCRIBE_QUORUM, request)]


def test_describe_quorum_tells_voters_observers_and_how_far_they_are() -> None:
    """The leader's answer: directories, log ends, times of the last fetch and of being caught up, endpoints.

    Reference: KIP-836, KIP-853.
    """
    made = cluster(3)
    leader = made.leader()
    made.add(7, bootstrap=[("n1", 9001)])
    made.run(1_000)
    answer = describe(made, leader)
    partition = answer.topics[0].partitions[0]  # type: ignore[attr-defined]
    assert (partition.error_code, partition.leader_id, partition.leader_epoch) == (0, leader, 1)
    assert partition.high_watermark == made.members[leader].disk.end
    assert [voter.replica_id for voter in partition.current_voters] == [1, 2, 3]
    (observer,) = partition.observers
    assert (observer.replica_id, observer.log_end_offset) == (7, made.members[leader].disk.end)
    wall = 1_700_000_000_000 + made.now_ms
    for state in (*partition.current_voters, observer):
        assert wall - 600 <= state.last_fetch_timestamp <= wall
        assert wall - 600 <= state.last_caught_up_timestamp <= wall
    assert [node.node_id for node in answer.nodes] == [1, 2, 3]  # type: ignore[attr-defined]


def test_describe_quorum_of_a_node_that_knows_none() -> None:
    """Epoch 0 and no leader: what the founder of a quorum must hear from all others."""
    made = RaftCluster()
    made.add(4, bootstrap=[("n1", 9001)])
    partition = describe(made, 4).topics[0].partitions[0]  # type: ignore[attr-defined]
    assert partition.error_code == ErrorCode.NOT_LEADER_OR_FOLLOWER
    assert (partition.leader_id, partition.leader_epoch) == (-1, 0)


def test_malformed_request_is_refused() -> None:
    """A request about another topic, or about no partition, is answered with INVALID_REQUEST."""
    made = cluster(1)
    request = fetch_request(CLUSTER_ID, 2, 0, 100, FetchPartition(partition=5))
    assert asked_partition(ApiKey.FETCH, request) is None
    made.step(1, Request(("tool", 99, 0), ApiKey.FETCH, request))
    assert made.answers[99].error_code == ErrorCode.INVALID_REQUEST  # type: ignore[attr-defined]


@pytest.mark.parametrize("seed", range(30))
def test_cluster_under_random_faults_keeps_what_it_committed(seed: int) -> None:
    """Crashes, cuts, slow disks, hand-overs and snapshots at random; then all heals and everyone agrees.

    One leader per epoch and log matching of what is committed are checked throughout.
    """
    rng = Random(seed)
    size = rng.choice([3, 3, 5])
    made = RaftCluster(seed=seed)
    made.add_voters(size)
    voters = tuple(made.members)
    committed: dict[int, tuple[int, bytes]] = {}

    def check() -> None:
        for member in made.members.values():
            for batch in member.disk.batches:
                if member.node is not None and batch.next_offset <= member.node.high_watermark:
                    known = committed.setdefault(batch.base_offset, (batch.epoch, batch.data))
                    assert known == (batch.epoch, batch.data), f"offset {batch.base_offset} changed"

    for turn in range(120):
        node_id = rng.choice(voters)
        member = made.members[node_id]
        match rng.randrange(8):
            case 0 | 1 | 2:
                for one, other in made.members.items():
                    if other.node is not None and other.node.role is Role.LEADER:
                        made.propose(one, b"%d" % turn)
            case 3 if member.node is not None:
                made.crash(node_id)
            case _ if member.node is None:
                made.start(node_id)
            case 5:
                made.cut = {(rng.choice(voters), rng.choice(voters)) for _ in range(rng.randrange(4))}
            case 6 if member.node is not None:
                made.hold(node_id, held=not member.held)
            case 4 if member.node is not None and member.node.role is Role.LEADER:
                made.resign(node_id)
            case 7 if member.node is not None and member.node.high_watermark > member.node.log_start:
                made.snapshot(node_id)
        made.run(rng.choice([1, 20, 300, 900]))
        check()
    made.cut.clear()
    for node_id, member in made.members.items():
        if member.node is None:
            made.start(node_id)
        elif member.held:
            made.hold(node_id, held=False)
    made.run(10_000)
    made.propose(made.leader(), b"last")
    made.run(1_000)
    check()
    ends = {(member.disk.end, member.committed) for member in made.members.values()}
    assert len(ends) == 1
    assert len(committed) > 10


NUMBERS = (-(2**31), -2, -1, 0, 1, 2, 3, 7, 2**31 - 1)


def anything(rng: Random, key: ApiKey) -> Struct:
    """A request of this API about the quorum's partition, with numbers and ids at random."""

    def changed(value: Struct) -> Struct:
        changes: dict[str, object] = {}
        for name in value.__schema__.declared:
            old = getattr(value, name)
            if isinstance(old, bool):
                changes[name] = rng.random() < 0.5
            elif isinstance(old, int) and name not in ("partition", "partition_index", "port"):
                changes[name] = rng.choice(NUMBERS)
            elif isinstance(old, bytes) and len(old) == 16 and name != "topic_id":
                changes[name] = rng.choice([bytes(16), b"a1".ljust(16, b"."), b"x" * 16])
            elif isinstance(old, tuple):
                changes[name] = tuple(changed(one) if isinstance(one, Struct) else one for one in old)
            elif isinstance(old, Struct):
                changes[name] = changed(old)
        return replace(value, **changes)

    return changed(EXAMPLES[key])


EXAMPLES: dict[ApiKey, Struct] = {
    ApiKey.VOTE: vote_request(CLUSTER_ID, 1, VoteRequestPartitionData()),
    ApiKey.BEGIN_QUORUM_EPOCH: begin_request(
        CLUSTER_ID, 1, bytes(16), Leader(2, 9, (VoterEndpoint("C", "n2", 9002),))
    ),
    ApiKey.END_QUORUM_EPOCH: end_request(CLUSTER_ID, Leader(2, 9), ((2, bytes(16)),)),
    ApiKey.FETCH: fetch_request(CLUSTER_ID, 2, 0, 100, FetchPartition()),
    ApiKey.FETCH_SNAPSHOT: fetch_snapshot_request(
        CLUSTER_ID, 2, 100, FetchSnapshotRequestPartitionSnapshot(snapshot_id=SnapshotId())
    ),
    ApiKey.ADD_RAFT_VOTER: AddRaftVoterRequest(
        cluster_id=CLUSTER_ID, listeners=(Listener(name="C", host="n7", port=1),)
    ),
    ApiKey.REMOVE_RAFT_VOTER: RemoveRaftVoterRequest(cluster_id=CLUSTER_ID),
    ApiKey.UPDATE_RAFT_VOTER: UpdateRaftVoterRequest(cluster_id=CLUSTER_ID),
    ApiKey.DESCRIBE_QUORUM: DescribeQuorumRequest(),
}


@pytest.mark.parametrize("key", list(EXAMPLES))
def test_no_request_breaks_a_node(key: ApiKey) -> None:
    """Whatever numbers a request carries: it is answered in time, and the node goes on."""
    rng = Random(7)
    for size in (1, 3):
        made = cluster(size)
        for _ in range(300):
            node_id = rng.choice(list(made.members))
            number = made.ask(node_id, key, anything(rng, key))
            made.run(0 if rng.random() < 0.9 else 700)
            answered = made.now_ms + 60_000
            while number not in made.answers and made.now_ms < answered:
                made.run(1_000)
            assert number in made.answers
