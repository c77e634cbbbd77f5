"""A member whose disk lost something has no voice before what it forgot cannot matter any more."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.raft.test_lost_votes import cluster as led
from tests.unit.raft.test_membership import remove_request

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import NULL_UUID
from moldau_broker.raft.quorum import VoterKey
from moldau_broker.raft.snapshot import BOOTSTRAP
from moldau_broker.raft.state import ElectionState, Role
from moldau_broker.testing.raft import RaftCluster
from moldau_broker.wire.apis import ApiKey


def cluster(size: int = 3) -> RaftCluster:
    """With a leader, and a record that all have and know to be committed."""
    made = led(size)
    made.run(600)
    return made


def damage(made: RaftCluster, node_id: int, *, log: bool = True, state: bool = False) -> None:
    """What `healing` makes of a damaged disk: an empty log at the newest snapshot's end, no quorum-state, a mark."""
    made.crash(node_id)
    disk = made.members[node_id].disk
    disk.recovering = True
    if log:
        disk.batches.clear()
        disk.start = disk.durable = max(disk.snapshots).end_offset
    if state:
        disk.election = None


def others(made: RaftCluster, node_id: int) -> list[int]:
    return [other for other in made.members if other != node_id]


@pytest.mark.parametrize(("log", "state"), [(True, False), (False, True), (True, True)])
def test_damaged_follower_fetches_all_again_and_votes_again(log: bool, state: bool) -> None:
    """In a quorum in which nothing else happens; the leader stays, and then another one may fail."""
    made = cluster()
    leader = made.leader()
    damaged, other = others(made, leader)
    damage(made, damaged, log=log, state=state)
    made.start(damaged)
    assert made.members[damaged].alive.recovering
    made.run(2_000)
    assert not made.members[damaged].alive.recovering
    assert not made.members[damaged].disk.recovering
    assert made.log(damaged) == made.log(leader)
    assert made.leader() == leader
    made.crash(other)
    made.propose(leader, b"more")
    made.run(100)
    assert made.members[leader].committed == made.members[leader].disk.end
    made.start(other)
    made.crash(leader)
    made.run(3_000)
    assert made.leader() in (damaged, other)


def test_damaged_leader_comes_back_as_a_follower() -> None:
    """The others elect one of them; it is in no hurry to lead again."""
    made = cluster()
    leader = made.leader()
    damage(made, leader, state=True)
    made.run(2_000)
    made.start(leader)
    made.run(2_000)
    assert made.leader() != leader
    assert not made.members[leader].alive.recovering
    assert [value for _, value in made.log(leader)] == [b"kept"]


def test_recovering_member_counts_for_nothing() -> None:
    """With the third one away its fetches commit nothing, keep no leader in office, and elect nobody."""
    made = cluster()
    leader = made.leader()
    damaged, other = others(made, leader)
    made.crash(other)
    damage(made, damaged)
    made.start(damaged)
    committed = made.members[leader].committed
    made.propose(leader, b"waits")
    made.run(1_000)
    assert made.members[damaged].disk.end == made.members[leader].disk.end
    assert made.members[leader].committed == committed
    made.run(10_000)
    assert all(made.members[one].alive.role is not Role.LEADER for one in (leader, damaged))
    assert made.members[damaged].alive.recovering
    made.start(other)
    made.run(3_000)
    assert not made.members[damaged].alive.recovering
    assert [value for _, value in made.log(damaged)] == [b"kept", b"waits"]


def test_recovering_member_follows_under_no_directory() -> None:
    """Its leader describes an observer of that node id, until it is a voter that fetches."""
    made = cluster()
    leader = made.leader()
    damaged = others(made, leader)[0]
    damage(made, damaged)
    made.start(damaged)
    made.settle()
    made.run(100)
    leading = made.members[leader].alive._leading
    assert leading is not None
    assert VoterKey(damaged, NULL_UUID) in leading.replicas
    made.run(2_000)
    assert set(leading.replicas) == {made.voter(node_id).key for node_id in others(made, leader)}


def test_another_voter_is_not_removed_before_the_recovering_one_has_its_voice() -> None:
    """Of two voters left both are needed, and that one's recovery needs something that they commit."""
    made = cluster()
    leader = made.leader()
    damaged, other = others(made, leader)
    damage(made, damaged)
    made.start(damaged)
    made.settle()
    assert made.members[damaged].alive.recovering
    key = made.voter(other).key
    answer = removed(made, leader, key)
    assert answer.error_code == ErrorCode.INVALID_REQUEST
    assert f"{damaged} does not fetch, or recovers" in answer.error_message
    made.run(2_000)
    assert not made.members[damaged].alive.recovering
    assert removed(made, leader, key).error_code == ErrorCode.NONE
    made.propose(leader, b"goes on")
    made.run(100)
    assert made.members[damaged].committed == made.members[leader].disk.end


def removed(made: RaftCluster, leader: int, key: VoterKey) -> Any:
    """The leader's answer."""
    number = made.ask(leader, ApiKey.REMOVE_RAFT_VOTER, remove_request(key))
    made.settle()
    return made.answers[number]


def test_recovering_member_at_the_end_of_the_log_has_no_voice_yet() -> None:
    """The leader may be one of the past, whom the epoch that was forgotten had another after."""
    made = cluster()
    old = made.leader()
    damaged, new = others(made, old)
    made.cut |= {(old, new), (new, old)}
    damage(made, damaged, log=False, state=True)
    made.start(damaged)
    made.run(1_000)  # less than it takes the leader to notice that it is alone
    node = made.members[damaged].alive
    assert node.leader_id == old
    assert node.durable_end == made.members[old].disk.end
    assert node.recovering


def test_forgotten_vote_is_not_given_twice() -> None:
    """Who voted in an epoch and forgot it is asked again in that epoch, by somebody else: it does not vote."""
    made = cluster(3)
    leader = made.leader()
    damaged, other = others(made, leader)
    epoch = made.members[leader].alive.epoch
    made.crash(leader)
    made.crash(other)
    made.members[damaged].disk.election = ElectionState(epoch + 1, -1, made.voter(other).key)
    damage(made, damaged, log=False, state=True)
    made.members[leader].disk.election = ElectionState(epoch, leader)
    made.start(damaged)
    made.start(leader)  # would win epoch + 1 with that vote
    made.run(5_000)
    assert all(member.node is None or member.node.role is not Role.LEADER for member in made.members.values())
    assert made.members[leader].alive.lost_votes is None, "the third one may come back"
    assert f"node {damaged} (directory" in str(made.members[damaged].alive.lost_votes)
    made.start(other)
    made.run(5_000)
    assert not made.members[damaged].alive.recovering
    assert made.members[leader].alive.lost_votes is None


def test_founder_that_recovers_does_not_elect_itself() -> None:
    """The snapshot it begins at names no other voter: that is no reason to lead."""
    made = RaftCluster()
    made.add(1, voters=(1,))
    for node_id in (2, 3):
        made.add(node_id, bootstrap=[("n1", 9001)], auto_join=True)
    made.members[1].options = {"bootstrap": [("n2", 9002), ("n3", 9003)]}
    made.run(3_000)
    assert len(made.members[1].alive.voters) == 3
    damage(made, 1, state=True)
    assert max(made.members[1].disk.snapshots) == BOOTSTRAP
    made.start(1)
    made.settle()
    assert made.members[1].alive.role is not Role.LEADER
    made.run(5_000)
    assert not made.members[1].alive.recovering
    assert made.leader() in (2, 3)


def test_recovering_majority_is_told_in_words_and_elects_nobody() -> None:
    """Whoever still has a voice names them; they themselves say why they wait."""
    made = cluster()
    for node_id in (1, 2):
        damage(made, node_id)
    made.run(5_000)
    for node_id in (1, 2):
        made.start(node_id)
    made.run(10_000)
    assert all(member.alive.role is not Role.LEADER for member in made.members.values())
    words = str(made.members[3].alive.lost_votes)
    assert "too few of the metadata quorum's 3 votes" in words
    assert "node 1 (directory" in words
    assert "node 2 (directory" in words
    for node_id in (1, 2):
        assert "start the other voters" in str(made.members[node_id].alive.lost_votes)


def test_everybody_recovering_is_told_in_words() -> None:
    """Nobody asks for votes any more, and still nobody is silent."""
    made = cluster()
    for node_id in (1, 2, 3):
        damage(made, node_id)
    for node_id in (1, 2, 3):
        made.start(node_id)
    made.run(1_000)
    assert made.members[1].alive.lost_votes is None, "it may be a matter of a moment"
    made.run(9_000)
    for member in made.members.values():
        assert "the metadata quorum has no leader" in str(member.alive.lost_votes)


def test_damaged_observer_recovers_as_well() -> None:
    """Who has no vote has none to get back, and still joins nothing before it knows that."""
    made = cluster()
    made.add(9, bootstrap=[("n1", 9001)])
    made.run(2_000)
    made.crash(9)
    disk = made.members[9].disk
    disk.batches.clear()
    disk.durable, disk.recovering, disk.election = 0, True, None
    made.start(9)
    made.run(3_000)
    assert not made.members[9].alive.recovering
    assert made.log(9) == made.log(made.leader())


def test_five_of_which_two_are_damaged_at_once() -> None:
    """A minority: three others commit without them."""
    made = cluster(5)
    leader = made.leader()
    first, second = others(made, leader)[:2]
    damage(made, first, state=True)
    damage(made, second)
    made.propose(leader, b"without them")
    made.run(500)
    made.start(first)
    made.start(second)
    made.run(3_000)
    assert made.leader() == leader
    for node_id in (first, second):
        assert not made.members[node_id].alive.recovering
        assert [value for _, value in made.log(node_id)] == [b"kept", b"without them"]
