"""Nodes that leave: the order of steps, what is waited for, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from moldau_operator.plan.actions import MoveReplicas, RemoveVoter, UnregisterBroker
from moldau_operator.plan.departure import ClusterSeen, Stay, plan_departure, plan_forgotten
from moldau_operator.seams.broker_admin import (
    ClusterView,
    MoveView,
    Partition,
    PartitionView,
    QuorumMember,
    QuorumView,
    TopicView,
)
from moldau_operator.seams.platform import RetireNode


def topic(name: str, *placement: tuple[int, ...], internal: bool = False) -> TopicView:
    return TopicView(
        name=name,
        topic_id=name,
        partitions=len(placement),
        replicas=max(map(len, placement)),
        internal=internal,
        placement=tuple(PartitionView(replicas[0], replicas, replicas) for replicas in placement),
    )


MakeSeen = Callable[..., ClusterSeen]


@pytest.fixture
def see() -> MakeSeen:
    """Three brokers that vote, these topics, and whatever else is given."""

    def make(*topics: TopicView, voters: tuple[int, ...] = (0, 1, 2), **more: object) -> ClusterSeen:
        seen = ClusterSeen(
            view=ClusterView(cluster_id="c", controller_id=0, broker_ids=(0, 1, 2)),
            quorum=QuorumView(leader_id=0, leader_epoch=1, voters=tuple(map(QuorumMember, voters))),
            topics={one.name: one for one in topics},
        )
        return replace(seen, **more)  # type: ignore[arg-type]

    return make


TWO_STAY = [Stay(id=0), Stay(id=1)]


def test_the_highest_id_is_drained_first(see: MakeSeen) -> None:
    """One at a time, and straight to nodes that stay; what is left is told."""
    found = plan_departure(
        [1, 2], [Stay(id=0)], see(topic("t", (1,), (2,)), sizes={Partition("t", 1): 3_200_000})
    )
    (action,) = found.actions
    assert isinstance(action, MoveReplicas)
    assert action.targets == {Partition("t", 1): (0,)}
    assert str(action) == "move 1 partition: node 2 is no longer declared"
    assert found.waiting == "node 2 is drained: 1 replica left, 3.2 MB"


def test_a_drain_fills_no_disk_beyond_what_it_holds(see: MakeSeen) -> None:
    """The broker with the fewest replicas has the smallest disk: what does not fit there goes where it does."""
    stay = [Stay(id=0, capacity=100), Stay(id=1, capacity=10_000)]
    held = topic("held", (1,), (1,), (1,), (1,))
    sizes = {Partition("t", number): 60 for number in range(3)}
    found = plan_departure([2], stay, see(held, topic("t", (2,), (2,), (2,)), sizes=sizes))
    (action,) = found.actions
    assert isinstance(action, MoveReplicas)
    assert sorted(action.targets.values()) == [(0,), (1,), (1,)]


def test_a_drain_keeps_racks_apart(see: MakeSeen) -> None:
    """The brokers' own racks count where the pools name none."""
    view = ClusterView(
        cluster_id="c", controller_id=0, broker_ids=(0, 1, 2, 3), racks={0: "a", 1: "b", 2: "b", 3: "a"}
    )
    stay = [Stay(id=0), Stay(id=1), Stay(id=2)]
    found = plan_departure([3], stay, see(topic("t", (3, 1), (3, 2)), view=view))
    (action,) = found.actions
    assert isinstance(action, MoveReplicas)
    assert action.targets == {Partition("t", 0): (1, 0), Partition("t", 1): (2, 0)}


def test_a_partition_on_two_leaving_nodes_moves_once(see: MakeSeen) -> None:
    """Both of its replicas are copied to nodes that stay."""
    found = plan_departure([2, 3], TWO_STAY, see(topic("t", (2, 3))))
    (action,) = found.actions
    assert isinstance(action, MoveReplicas)
    assert set(action.targets[Partition("t", 0)]) == {0, 1}


def test_moves_under_way_are_waited_for(see: MakeSeen) -> None:
    """Nothing is asked for twice."""
    moves = {Partition("t", 0): MoveView((0,), (2,))}
    found = plan_departure([2], TWO_STAY, see(topic("t", (0, 2)), moves=moves))
    assert (found.actions, found.waiting) == ((), "node 2 is drained: 1 replica left, 0.0 MB")


def test_so_many_move_at_once_and_no_more(see: MakeSeen) -> None:
    """The next pass moves the next ones; they spread over the nodes that stay."""
    moves = {Partition("u", number): MoveView((0,), (2,)) for number in range(10)}
    found = plan_departure(
        [2], TWO_STAY, see(topic("t", *[(2,)] * 60), topic("u", *[(2,)] * 10), moves=moves)
    )
    (action,) = found.actions
    assert isinstance(action, MoveReplicas)
    assert sorted(node for target in action.targets.values() for node in target) == [0] * 20 + [1] * 20


def test_a_drained_voter_leaves_the_quorum_and_stops_at_once(see: MakeSeen) -> None:
    """In one pass, so that it does not join again."""
    found = plan_departure([2], TWO_STAY, see(topic("t", (0, 1))))
    assert [type(action) for action in found.actions] == [RemoveVoter, RetireNode]


def test_a_drained_observer_only_stops(see: MakeSeen) -> None:
    """It has no vote to give up."""
    found = plan_departure([2], TWO_STAY, see(voters=(0, 1)))
    assert [type(action) for action in found.actions] == [RetireNode]


def test_the_only_voter_waits_for_another(see: MakeSeen) -> None:
    """A quorum of none could never be told anything again."""
    found = plan_departure([2], TWO_STAY, see(voters=(2,)))
    assert (found.actions, found.waiting) == (
        (),
        "node 2 is the only voter; another one has to join first",
    )


def test_nothing_is_done_while_the_brokers_cannot_be_asked() -> None:
    """It says so."""
    found = plan_departure([2], TWO_STAY, ClusterSeen())
    assert found.waiting == "node 2 leaves once the brokers can be asked"


class TestRefusals:
    """What cannot be done, before anything moves."""

    def test_too_few_brokers_for_a_replication_factor(self, see: MakeSeen) -> None:
        """Topics are named, and both ways out."""
        found = plan_departure([2], TWO_STAY, see(topic("b", (0, 1, 2)), topic("a", (2,))))
        assert found.actions == ()
        assert found.refusal == (
            "2 brokers would be left, but topic b has up to 3 replicas: lower spec.replicas of the topics first, "
            "or keep 3 nodes"
        )

    def test_many_topics_are_counted(self, see: MakeSeen) -> None:
        """A condition is read by people."""
        found = plan_departure([2], TWO_STAY, see(*(topic(f"t{n}", (0, 1, 2)) for n in range(8))))
        assert "topics t0, t1, t2, t3, t4 and 3 more have up to 3 replicas" in found.refusal

    def test_a_factor_that_is_being_lowered_is_not_in_the_way(self, see: MakeSeen) -> None:
        """The Topic's own resource moves it in the same pass."""
        seen = see(topic("t", (0, 1, 2)), wanted_replicas={"t": 2})
        assert plan_departure([2], TWO_STAY, seen).refusal == ""

    def test_racks_that_cannot_hold_a_topic_apart(self, see: MakeSeen) -> None:
        """Two of four replicas per rack fit neither where one broker is left."""
        staying = [Stay(id=0, rack="a"), *(Stay(id=node, rack="b") for node in (1, 2, 3))]
        seen = see(topic("t", (0, 9, 1, 2)))
        assert plan_departure([9], staying, seen).refusal == (
            "the racks that would be left cannot hold topic t apart: keep a node in another rack, or lower "
            "spec.replicas of the topics"
        )

    def test_racks_that_are_no_worse_than_before_are_no_reason(self, see: MakeSeen) -> None:
        """One rack has one broker and keeps it: the other has to hold three of four as it did."""
        staying = [Stay(id=0, rack="a"), *(Stay(id=node, rack="b") for node in (1, 2, 3))]
        view = ClusterView(cluster_id="c", controller_id=0, broker_ids=(0, 1, 2, 3, 9), racks={9: "b"})
        seen = see(topic("t", (0, 9, 1, 2)), view=view)
        assert plan_departure([9], staying, seen).refusal == ""

    def test_disks_that_are_too_small(self, see: MakeSeen) -> None:
        """Counted with what lies on them already."""
        gigabyte = 10**9
        sizes = {Partition("t", 0): 3 * gigabyte, Partition("t", 1): 4 * gigabyte}
        seen = see(topic("t", (0,), (2,)), sizes=sizes)
        small = [Stay(id=0, capacity=6 * gigabyte)]
        assert "4.0 GB would have to move, and the disks" in plan_departure([2], small, seen).refusal
        assert plan_departure([2], [Stay(id=0, capacity=8 * gigabyte)], seen).refusal == ""

    def test_no_broker_would_be_left(self, see: MakeSeen) -> None:
        """A cluster of controllers holds nothing."""
        assert plan_departure([0, 1, 2], [], see()).refusal == "no broker would be left: keep one"


class TestInternalTopics:
    """Topics that the brokers keep for themselves: the controller keeps them at as many replicas as fit."""

    def test_they_move_while_they_fit(self, see: MakeSeen) -> None:
        """Like any other."""
        found = plan_departure([2], TWO_STAY, see(topic("__consumer_offsets", (2, 0), internal=True)))
        (action,) = found.actions
        assert isinstance(action, MoveReplicas)
        assert action.targets == {Partition("__consumer_offsets", 0): (0, 1)}

    def test_what_does_not_fit_stops_with_its_node(self, see: MakeSeen) -> None:
        """Others have a copy; shrunk before, it would be raised again at once."""
        found = plan_departure([2], TWO_STAY, see(topic("__consumer_offsets", (2, 0, 1), internal=True)))
        assert [type(action) for action in found.actions] == [RemoveVoter, RetireNode]

    def test_the_only_copy_in_sync_does_not_stop(self, see: MakeSeen) -> None:
        """Its followers have to catch up first."""
        offsets = topic("__consumer_offsets", (2, 0, 1), internal=True)
        behind = replace(offsets, placement=(PartitionView(2, (2, 0, 1), (2,)),))
        found = plan_departure([2], TWO_STAY, see(behind))
        assert (found.actions, found.waiting) == (
            (),
            "node 2 has the only copy of __consumer_offsets-0 that is in sync",
        )

    def test_their_replicas_on_nodes_that_are_gone_are_struck_off(self, see: MakeSeen) -> None:
        """Then the broker can be forgotten."""
        view = ClusterView(cluster_id="c", controller_id=0, broker_ids=(0, 1), fenced_ids=(2,))
        seen = see(topic("__consumer_offsets", (2, 0, 1), internal=True), voters=(0, 1), view=view)
        (action,) = plan_forgotten({0, 1}, seen)
        assert isinstance(action, MoveReplicas)
        assert action.targets == {Partition("__consumer_offsets", 0): (0, 1)}


def test_what_is_gone_is_forgotten_by_quorum_and_brokers(see: MakeSeen) -> None:
    """Voters one at a time; a broker once it is fenced and holds nothing."""
    view = ClusterView(cluster_id="c", controller_id=0, broker_ids=(0,), fenced_ids=(1, 7, 8))
    seen = see(topic("t", (0, 8)), voters=(0, 1, 7, 8), view=view)
    removed, forgotten, moved = plan_forgotten({0, 1}, seen)
    assert isinstance(removed, RemoveVoter)
    assert removed.voter.id == 7
    assert isinstance(forgotten, UnregisterBroker)
    assert forgotten.broker_id == 7
    assert isinstance(moved, MoveReplicas)
    assert plan_forgotten({0, 1, 7, 8}, seen) == ()
