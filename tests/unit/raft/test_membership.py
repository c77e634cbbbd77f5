"""Voters come, go and move: KIP-853, one change at a time, in force when appended."""

from __future__ import annotations

from typing import Any

import pytest

from moldau_broker.base.errors import ErrorCode
from moldau_broker.raft.quorum import Voter, VoterEndpoint, VoterKey
from moldau_broker.raft.state import Role
from moldau_broker.testing.raft import CLUSTER_ID, RaftCluster
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages import update_raft_voter
from moldau_broker.wire.messages.add_raft_voter import AddRaftVoterRequest, Listener
from moldau_broker.wire.messages.remove_raft_voter import RemoveRaftVoterRequest
from moldau_broker.wire.messages.update_raft_voter import UpdateRaftVoterRequest
from moldau_broker.wire.schema import replace

BOOTSTRAP = [("n1", 9001)]


def cluster(size: int = 3) -> RaftCluster:
    made = RaftCluster()
    made.add_voters(size)
    made.run(1_000)
    return made


def with_observer(made: RaftCluster, node_id: int = 9) -> RaftCluster:
    made.add(node_id, bootstrap=BOOTSTRAP)
    made.run(1_000)
    return made


def add_request(voter: Voter, **changes: Any) -> AddRaftVoterRequest:
    fields: dict[str, Any] = {
        "cluster_id": CLUSTER_ID,
        "timeout_ms": 5_000,
        "voter_id": voter.key.node_id,
        "voter_directory_id": voter.key.directory_id,
        "listeners": tuple(Listener(name=at.name, host=at.host, port=at.port) for at in voter.endpoints),
    }
    return AddRaftVoterRequest(**(fields | changes))


def remove_request(key: VoterKey, **changes: Any) -> RemoveRaftVoterRequest:
    fields: dict[str, Any] = {
        "cluster_id": CLUSTER_ID,
        "voter_id": key.node_id,
        "voter_directory_id": key.directory_id,
    }
    return RemoveRaftVoterRequest(**(fields | changes))


def update_request(made: RaftCluster, voter: Voter) -> UpdateRaftVoterRequest:
    return UpdateRaftVoterRequest(
        cluster_id=CLUSTER_ID,
        current_leader_epoch=made.members[made.leader()].alive.epoch,
        voter_id=voter.key.node_id,
        voter_directory_id=voter.key.directory_id,
        listeners=tuple(
            update_raft_voter.Listener(name=at.name, host=at.host, port=at.port) for at in voter.endpoints
        ),
        kraft_version_feature=update_raft_voter.KRaftVersionFeature(max_supported_version=1),
    )


def asked(made: RaftCluster, key: ApiKey, request: Any, node_id: int | None = None) -> ErrorCode:
    """The error of the answer, once there is one without time passing."""
    number = made.ask(node_id or made.leader(), key, request)
    made.settle()
    return ErrorCode(made.answers[number].error_code)  # type: ignore[attr-defined]


def voters(made: RaftCluster, node_id: int) -> list[int]:
    return [key.node_id for key in made.members[node_id].alive.voters.keys]


def test_quorum_grows_from_one_to_five_and_shrinks_to_one_without_a_new_epoch() -> None:
    """Nodes join by themselves, are removed one by one, and the first leader leads throughout, writing."""
    made = RaftCluster()
    made.add(1, voters=(1,))
    for node_id in (2, 3, 4, 5):
        made.add(node_id, bootstrap=BOOTSTRAP, auto_join=True)
        made.run(1_000)
        made.propose(1, b"%d" % node_id)
    made.run(1_000)
    assert all(voters(made, node_id) == [1, 2, 3, 4, 5] for node_id in made.members)
    for node_id in (5, 4, 3, 2):
        key = made.members[node_id].me.key
        assert asked(made, ApiKey.REMOVE_RAFT_VOTER, remove_request(key)) is ErrorCode.NONE
        made.propose(1, b"-%d" % node_id)
        made.settle()
    assert voters(made, 1) == [1]
    assert made.members[1].alive.epoch == 1
    assert [value for _, value in made.log(1)] == [b"2", b"3", b"4", b"5", b"-5", b"-4", b"-3", b"-2"]
    assert made.members[1].committed == made.members[1].disk.end


def test_adding_answers_when_the_change_is_committed() -> None:
    """The new set needs its own majority: with the new voter's disk stuck and one of two away nothing commits."""
    made = with_observer(cluster(2))
    leader = made.leader()
    other = 3 - leader
    made.hold(9)
    made.hold(other)
    number = made.ask(leader, ApiKey.ADD_RAFT_VOTER, add_request(made.voter(9)))
    made.settle()
    assert number not in made.answers
    assert voters(made, leader) == [1, 2, 9]
    made.hold(9, held=False)
    made.settle()
    assert made.answers[number].error_code == 0  # type: ignore[attr-defined]
    assert voters(made, other) == [1, 2, 9]


def test_adding_may_be_answered_when_appended() -> None:
    """`ack_when_committed` false: whoever adds itself must not wait for its own disk.

    Reference: KIP-1186, AddRaftVoter version 1.
    """
    made = with_observer(cluster(1))
    made.hold(9)
    request = add_request(made.voter(9), ack_when_committed=False)
    assert asked(made, ApiKey.ADD_RAFT_VOTER, request) is ErrorCode.NONE
    assert made.members[1].committed < made.members[1].disk.end


def test_adding_times_out_but_may_still_happen() -> None:
    """The answer comes in time; the change stays in the log and commits later."""
    made = with_observer(cluster(1))
    made.hold(9)
    number = made.ask(1, ApiKey.ADD_RAFT_VOTER, add_request(made.voter(9), timeout_ms=300))
    made.run(310)
    assert made.answers[number].error_code == ErrorCode.REQUEST_TIMED_OUT  # type: ignore[attr-defined]
    made.hold(9, held=False)
    made.settle()
    assert made.members[1].committed == made.members[1].disk.end
    assert voters(made, 9) == [1, 9]


def test_adding_needs_a_voter_that_has_caught_up() -> None:
    """A node that has never fetched, or not for long, would stop the quorum."""
    made = cluster(3)
    assert asked(made, ApiKey.ADD_RAFT_VOTER, add_request(made.voter(9))) is ErrorCode.REQUEST_TIMED_OUT
    with_observer(made)
    made.crash(9)
    made.run(10_000)
    assert asked(made, ApiKey.ADD_RAFT_VOTER, add_request(made.voter(9))) is ErrorCode.REQUEST_TIMED_OUT


@pytest.mark.parametrize("levels", [(0, 0), (2, 3)])
def test_adding_needs_a_voter_that_can_run_the_quorums_version(levels: tuple[int, int]) -> None:
    """A voter that cannot read the quorum's records would stop it: INVALID_REQUEST, and nothing is written.

    Reference: KIP-853, AddRaftVoter; Kafka's AddVoterHandler.
    """
    made = with_observer(cluster(3))
    member = made.members[9]
    member.me = member.me._replace(kraft_versions=levels)
    end = made.members[made.leader()].disk.end
    assert asked(made, ApiKey.ADD_RAFT_VOTER, add_request(made.voter(9))) is ErrorCode.INVALID_REQUEST
    assert voters(made, made.leader()) == [1, 2, 3]
    assert made.members[made.leader()].disk.end == end


def test_a_new_voter_is_known_with_the_versions_it_has_said() -> None:
    """The VotersRecord says what it answered, not what the leader could run itself."""
    made = with_observer(cluster(3))
    member = made.members[9]
    member.me = member.me._replace(kraft_versions=(1, 7))
    assert asked(made, ApiKey.ADD_RAFT_VOTER, add_request(made.voter(9))) is ErrorCode.NONE
    known = made.members[made.leader()].alive.voters.by_id(9)
    assert known is not None
    assert known.kraft_versions == (1, 7)


def test_adding_times_out_where_the_new_voter_does_not_answer() -> None:
    """It fetches, and cannot be reached: other changes wait no longer than that, and it is not added later."""
    made = with_observer(cluster(3))
    leader = made.leader()
    made.cut.add((leader, 9))
    number = made.ask(leader, ApiKey.ADD_RAFT_VOTER, add_request(made.voter(9), timeout_ms=300))
    key = made.voter(next(one for one in (1, 2, 3) if one != leader)).key
    assert asked(made, ApiKey.REMOVE_RAFT_VOTER, remove_request(key)) is ErrorCode.REQUEST_TIMED_OUT
    made.run(299)
    assert number not in made.answers
    made.run(1)
    assert made.answers[number].error_code == ErrorCode.REQUEST_TIMED_OUT  # type: ignore[attr-defined]
    made.cut.clear()
    made.run(3_000)
    assert voters(made, leader) == [1, 2, 3]
    assert asked(made, ApiKey.REMOVE_RAFT_VOTER, remove_request(key)) is ErrorCode.NONE


def test_a_leader_that_loses_office_answers_who_waits_for_a_newcomer() -> None:
    """What the newcomer says later goes to nobody."""
    made = with_observer(cluster(3))
    leader = made.leader()
    made.cut.add((9, leader))
    number = made.ask(leader, ApiKey.ADD_RAFT_VOTER, add_request(made.voter(9)))
    made.settle()
    made.resign(leader)
    assert made.answers[number].error_code == ErrorCode.NOT_LEADER_OR_FOLLOWER  # type: ignore[attr-defined]
    made.cut.clear()
    made.run(3_000)
    assert voters(made, made.leader()) == [1, 2, 3]


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"cluster_id": "other"}, ErrorCode.INCONSISTENT_CLUSTER_ID),
        ({"listeners": ()}, ErrorCode.INVALID_REQUEST),
        ({"listeners": (Listener(name="C", host="", port=1),)}, ErrorCode.INVALID_REQUEST),
        ({"voter_directory_id": bytes(16)}, ErrorCode.INVALID_REQUEST),
        ({"voter_id": -1}, ErrorCode.INVALID_REQUEST),
        ({"voter_id": 1}, ErrorCode.DUPLICATE_VOTER),
    ],
)
def test_adding_refuses(changes: dict[str, Any], error: ErrorCode) -> None:
    """Each condition by its own error, and the voters stay what they were."""
    made = with_observer(cluster(3))
    assert asked(made, ApiKey.ADD_RAFT_VOTER, add_request(made.voter(9), **changes)) is error
    assert voters(made, 1) == [1, 2, 3]


def test_one_change_at_a_time() -> None:
    """While a change is not committed the next one is refused, to be tried again.

    Reference: Raft section 6 with single-server changes; KIP-853.
    """
    made = with_observer(cluster(3))
    leader = made.leader()
    for node_id in (1, 2, 3):
        if node_id != leader:
            made.hold(node_id)
    made.hold(9)
    made.ask(leader, ApiKey.ADD_RAFT_VOTER, add_request(made.voter(9)))
    made.settle()
    removed = made.voter(leader).key
    answer = asked(made, ApiKey.REMOVE_RAFT_VOTER, remove_request(removed))
    assert answer is ErrorCode.REQUEST_TIMED_OUT


def test_no_change_before_the_leader_has_committed_in_its_epoch() -> None:
    """A new leader may hold an uncommitted change of the last one: it must be settled first.

    Reference: Ongaro's correction of single-server changes; KIP-853.
    """
    made = cluster(3)
    first = made.leader()
    for node_id in (1, 2, 3):
        made.hold(node_id)
    made.crash(first)
    made.run(1_000)
    second = made.leader()
    assert made.members[second].alive.epoch == 2
    key = made.voter(first).key
    answer = asked(made, ApiKey.REMOVE_RAFT_VOTER, remove_request(key))
    assert answer is ErrorCode.REQUEST_TIMED_OUT


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"voter_id": 7}, ErrorCode.VOTER_NOT_FOUND),
        ({"voter_directory_id": b"x" * 16}, ErrorCode.VOTER_NOT_FOUND),
        ({"cluster_id": "other"}, ErrorCode.INCONSISTENT_CLUSTER_ID),
    ],
)
def test_removing_refuses(changes: dict[str, Any], error: ErrorCode) -> None:
    """Only a voter, known by id and directory, can be removed."""
    made = cluster(3)
    assert asked(made, ApiKey.REMOVE_RAFT_VOTER, remove_request(made.voter(2).key, **changes)) is error


def test_removing_the_last_voter_is_refused() -> None:
    """A quorum of nobody could never decide anything again."""
    made = cluster(1)
    answer = asked(made, ApiKey.REMOVE_RAFT_VOTER, remove_request(made.voter(1).key))
    assert answer is ErrorCode.INVALID_REQUEST
    assert made.leader() == 1


def one_down() -> tuple[RaftCluster, int, int, int]:
    """Three voters of which one has been down for long: the leader, that one, and the other one."""
    made = cluster(3)
    leader = made.leader()
    down, live = (node_id for node_id in (1, 2, 3) if node_id != leader)
    made.crash(down)
    made.run(5_000)
    return made, leader, down, live


def test_removing_a_voter_that_the_rest_needs_is_refused_until_the_dead_one_is_gone_or_back() -> None:
    """Of three, one is down: without another live one nobody could commit, not even the way back."""
    made, leader, dead, live = one_down()
    number = made.ask(leader, ApiKey.REMOVE_RAFT_VOTER, remove_request(made.voter(live).key))
    made.settle()
    answer: Any = made.answers[number]
    assert answer.error_code == ErrorCode.INVALID_REQUEST
    assert f"the 2 voters left could not commit anything: {dead} does not fetch" in answer.error_message
    assert voters(made, leader) == [1, 2, 3]
    leaving = made.voter(leader).key  # the leader itself is one that the rest needs
    assert asked(made, ApiKey.REMOVE_RAFT_VOTER, remove_request(leaving)) is ErrorCode.INVALID_REQUEST
    assert asked(made, ApiKey.REMOVE_RAFT_VOTER, remove_request(made.members[dead].me.key)) is ErrorCode.NONE
    assert asked(made, ApiKey.REMOVE_RAFT_VOTER, remove_request(made.voter(live).key)) is ErrorCode.NONE
    made.propose(leader, b"goes on")
    made.settle()
    assert made.members[leader].committed == made.members[leader].disk.end


def test_a_voter_that_came_back_lets_another_one_be_removed() -> None:
    """As soon as it fetches it counts again."""
    made, leader, away, live = one_down()
    key = made.voter(live).key
    assert asked(made, ApiKey.REMOVE_RAFT_VOTER, remove_request(key)) is ErrorCode.INVALID_REQUEST
    made.start(away)
    made.run(2_000)
    assert made.leader() == leader
    assert asked(made, ApiKey.REMOVE_RAFT_VOTER, remove_request(key)) is ErrorCode.NONE


def test_change_is_refused_by_whoever_does_not_lead() -> None:
    """NOT_LEADER_OR_FOLLOWER: the tool turns to the leader."""
    made = with_observer(cluster(3))
    follower = next(node_id for node_id in (1, 2, 3) if node_id != made.leader())
    answer = asked(made, ApiKey.ADD_RAFT_VOTER, add_request(made.voter(9)), follower)
    assert answer is ErrorCode.NOT_LEADER_OR_FOLLOWER


def test_leader_that_is_removed_goes_on_until_the_change_is_committed() -> None:
    """It does not count itself for that commit, then resigns; the others elect at once.

    Reference: Raft section 6; KIP-853.
    """
    made = cluster(3)
    leader = made.leader()
    rest = [node_id for node_id in (1, 2, 3) if node_id != leader]
    for node_id in rest:
        made.hold(node_id)
    number = made.ask(leader, ApiKey.REMOVE_RAFT_VOTER, remove_request(made.voter(leader).key))
    made.settle()
    assert made.members[leader].alive.role is Role.LEADER
    made.hold(rest[0], held=False)
    made.settle()
    assert number not in made.answers
    made.hold(rest[1], held=False)
    made.settle()
    assert made.answers[number].error_code == 0  # type: ignore[attr-defined]
    assert made.leader() in rest
    made.run(5_000)
    assert made.members[leader].alive.role is Role.FOLLOWER
    assert voters(made, made.leader()) == rest


def test_change_is_taken_back_with_the_log() -> None:
    """A set that was appended but never committed is in force no more once it is truncated away.

    Reference: KIP-853, "voters are those of the log".
    """
    made = with_observer(cluster(3))
    leader = made.leader()
    made.isolate(leader)
    made.ask(leader, ApiKey.REMOVE_RAFT_VOTER, remove_request(made.voter(leader).key))
    made.settle()
    assert leader not in voters(made, leader)
    made.run(5_000)
    made.cut.clear()
    made.run(2_000)
    assert voters(made, leader) == [1, 2, 3]
    assert voters(made, made.leader()) == [1, 2, 3]


def test_waiting_change_is_answered_when_the_leader_loses_office() -> None:
    """Whether the change was made is then not known; the answer says where to look."""
    made = with_observer(cluster(3))
    leader = made.leader()
    for node_id in (1, 2, 3, 9):
        if node_id != leader:
            made.hold(node_id)
    number = made.ask(leader, ApiKey.ADD_RAFT_VOTER, add_request(made.voter(9)))
    made.settle()
    assert voters(made, leader) == [1, 2, 3, 9]
    made.isolate(leader)
    made.run(3_000)
    assert made.answers[number].error_code == ErrorCode.NOT_LEADER_OR_FOLLOWER  # type: ignore[attr-defined]


def test_wiped_voter_comes_back_under_a_new_directory() -> None:
    """It has its old self removed, then itself added; in between it has no vote.

    Reference: KIP-853.
    """
    made = cluster(3)
    leader = made.leader()
    wiped = next(node_id for node_id in (1, 2, 3) if node_id != leader)
    made.crash(wiped)
    made.wipe(wiped)
    made.members[wiped].options = {"bootstrap": [(f"n{leader}", 9000 + leader)], "auto_join": True}
    made.start(wiped)
    assert not made.members[wiped].alive.is_voter
    made.run(3_000)
    assert made.members[wiped].me.key in made.members[leader].alive.voters
    assert voters(made, leader) == [1, 2, 3]
    assert made.leader() == leader


def test_removed_node_does_not_join_again_by_itself() -> None:
    """Who was removed on purpose stays out, although it joins by itself after a start."""
    made = RaftCluster()
    made.add(1, voters=(1,))
    made.add(2, bootstrap=BOOTSTRAP, auto_join=True)
    made.run(2_000)
    assert voters(made, 1) == [1, 2]
    assert asked(made, ApiKey.REMOVE_RAFT_VOTER, remove_request(made.voter(2).key)) is ErrorCode.NONE
    made.run(5_000)
    assert voters(made, 1) == [1]
    made.crash(2)
    made.start(2)
    made.run(2_000)
    assert voters(made, 1) == [1, 2]


def test_node_that_was_a_voter_for_a_moment_does_not_join_again() -> None:
    """However short it voted, it saw that: its removal is meant."""
    made = RaftCluster()
    made.add(1, voters=(1,))
    made.add(2, bootstrap=BOOTSTRAP, auto_join=True)
    while voters(made, 2) != [1, 2]:
        made.run(1)
    made.settle()
    assert asked(made, ApiKey.REMOVE_RAFT_VOTER, remove_request(made.voter(2).key)) is ErrorCode.NONE
    made.run(20_000)
    assert voters(made, 1) == [1]


def test_observer_without_the_controller_role_only_follows() -> None:
    """A dedicated broker replicates and never asks to be a voter."""
    made = with_observer(cluster(3))
    made.run(5_000)
    assert voters(made, 9) == [1, 2, 3]
    assert made.members[9].committed == made.members[made.leader()].committed


def test_voter_that_moved_tells_its_new_address() -> None:
    """UpdateRaftVoter by itself, once it follows; the same address again writes nothing.

    Reference: KIP-853.
    """
    made = cluster(3)
    leader = made.leader()
    moved = next(node_id for node_id in (1, 2, 3) if node_id != leader)
    member = made.members[moved]
    made.crash(moved)
    member.me = member.me._replace(endpoints=(VoterEndpoint("CONTROLLER", "elsewhere", 9000 + moved),))
    made.start(moved)
    made.run(2_000)
    known = made.members[leader].alive.voters.by_id(moved)
    assert known is not None
    assert known.endpoints[0].host == "elsewhere"
    end = made.members[leader].disk.end
    assert asked(made, ApiKey.UPDATE_RAFT_VOTER, update_request(made, member.me)) is ErrorCode.NONE
    assert made.members[leader].disk.end == end


def test_update_of_a_stranger_is_refused() -> None:
    """Only who is in the set can be updated, not without a listener, nor beyond the quorum's kraft.version."""
    made = cluster(3)
    stranger = update_request(made, made.voter(9))
    assert asked(made, ApiKey.UPDATE_RAFT_VOTER, stranger) is ErrorCode.VOTER_NOT_FOUND
    too_new = update_request(made, made.voter(2))
    levels = update_raft_voter.KRaftVersionFeature(min_supported_version=2, max_supported_version=3)
    too_new = replace(too_new, kraft_version_feature=levels)
    assert asked(made, ApiKey.UPDATE_RAFT_VOTER, too_new) is ErrorCode.INVALID_REQUEST
    nowhere = update_request(made, made.voter(2)._replace(endpoints=()))
    assert asked(made, ApiKey.UPDATE_RAFT_VOTER, nowhere) is ErrorCode.INVALID_REQUEST


def test_snapshot_states_the_voters_of_its_end_not_of_the_log() -> None:
    """An uncommitted set does not get into a snapshot."""
    made = with_observer(cluster(3))
    leader = made.leader()
    for node_id in (1, 2, 3, 9):
        if node_id != leader:
            made.hold(node_id)
    made.ask(leader, ApiKey.ADD_RAFT_VOTER, add_request(made.voter(9)))
    made.settle()
    node = made.members[leader].alive
    assert [key.node_id for key in node.history.at(node.high_watermark).keys] == [1, 2, 3]
    assert voters(made, leader) == [1, 2, 3, 9]
