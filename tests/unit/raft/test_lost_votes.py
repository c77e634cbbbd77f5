"""A disk that took a needed vote along: said in words on both sides, mended by hand, and never by the quorum itself."""

from __future__ import annotations

import copy

import pytest

from moldau_broker.base.ids import format_uuid
from moldau_broker.raft.state import Role
from moldau_broker.testing.raft import RaftCluster


def cluster(size: int) -> RaftCluster:
    """With a leader, and a record that all have."""
    made = RaftCluster()
    made.add_voters(size)
    made.run(1_000)
    made.propose(made.leader(), b"kept")
    made.settle()
    return made


def wipe(made: RaftCluster, node_id: int, survivor: int, *, away_ms: int = 5_000) -> None:
    """It comes back with an empty disk, and knows where another one listens; by then no leader of two leads."""
    made.crash(node_id)
    made.run(away_ms)
    made.wipe(node_id)
    made.members[node_id].options = {"bootstrap": [(f"n{survivor}", 9000 + survivor)], "auto_join": True}
    made.start(node_id)


def words(made: RaftCluster, node_id: int) -> str:
    return str(made.members[node_id].alive.lost_votes)


@pytest.mark.parametrize("wiped", [1, 2])
def test_two_voters_of_which_one_is_wiped_say_so_and_elect_nobody(wiped: int) -> None:
    """Neither leads, however long; the survivor names the disk, the wiped one knows that it is its own."""
    made = cluster(2)
    survivor = 3 - wiped
    former = format_uuid(made.voter(wiped).key.directory_id)
    wipe(made, wiped, survivor)
    made.run(1_000)
    for _ in range(40):
        made.run(100)
        assert all(member.alive.role is not Role.LEADER for member in made.members.values())
        assert f"node {wiped} (directory {former})" in words(made, survivor)
        assert f"a disk that it does not have (directory {former})" in words(made, wiped)
    assert [key.node_id for key in made.members[survivor].alive.voters.keys] == [1, 2]


@pytest.mark.parametrize("wiped", [1, 2])
def test_two_voters_are_mended_with_a_copy_of_the_other_ones_log(wiped: int) -> None:
    """What docs/runbooks.md says to do by hand: the old directory id, and all that the other voter has.

    Both had everything that was committed, as both were needed; and every leader had the survivor's vote.
    """
    made = cluster(2)
    survivor = 3 - wiped
    wipe(made, wiped, survivor)
    made.run(1_000)
    made.crash(wiped)
    made.crash(survivor)
    member = made.members[wiped]
    member.disk = copy.deepcopy(made.members[survivor].disk)
    member.me = made.voter(wiped)
    made.start(wiped)
    made.start(survivor)
    made.run(2_000)
    leader = made.leader()
    made.propose(leader, b"new")
    made.settle()
    for node_id in (1, 2):
        assert [value for _, value in made.log(node_id)] == [b"kept", b"new"]
        assert made.members[node_id].alive.lost_votes is None


def test_a_leader_that_still_leads_takes_a_wiped_voter_in_again() -> None:
    """It has all that was committed, and removes the old voice by a change that needs only the new set's majority.

    Reference: KIP-853, a change is in force when it is appended.
    """
    made = cluster(2)
    leader = made.leader()
    wiped = 3 - leader
    wipe(made, wiped, leader, away_ms=100)
    made.run(3_000)
    assert made.members[leader].alive.role is Role.LEADER
    assert made.members[wiped].me.key in made.members[leader].alive.voters
    assert all(member.alive.lost_votes is None for member in made.members.values())


def test_three_voters_of_which_one_is_wiped_go_on_and_have_nothing_to_say() -> None:
    """There is a majority without it; it is taken in again."""
    made = cluster(3)
    survivor = made.leader()
    wiped = next(node_id for node_id in (1, 2, 3) if node_id != survivor)
    wipe(made, wiped, survivor)
    made.run(3_000)
    assert all(member.alive.lost_votes is None for member in made.members.values())
    assert made.members[wiped].alive.is_voter


def test_a_voter_that_is_down_is_no_lost_vote() -> None:
    """It may come back: waiting is right, and nobody is told to do something about disks."""
    made = cluster(2)
    made.crash(2)
    made.run(5_000)
    assert made.members[1].alive.role is not Role.LEADER
    assert made.members[1].alive.lost_votes is None
