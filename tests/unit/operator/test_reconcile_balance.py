"""Balance against brokers in memory: leaders change, plans wait, move, stop, go on, and nothing is done twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from moldau_broker.base.errors import ErrorCode
from moldau_operator.errors import AdminError
from moldau_operator.plan.balance_pace import Pacing
from moldau_operator.plan.departure import ClusterSeen
from moldau_operator.plan.throttles import FOLLOWER_REPLICAS, LEADER_REPLICAS, RATES
from moldau_operator.reconcile.balance import BalanceReconciler, BalanceReport
from moldau_operator.resources.balance_status import BalanceStatus, PlanState, PlanStatus
from moldau_operator.resources.cluster import Approval, Balance, BalanceMode, Cluster
from moldau_operator.resources.status import ClusterStatus
from moldau_operator.seams.broker_admin import ClusterView, Partition, PartitionLoad, PartitionView
from moldau_operator.testing.brokers import FakeBrokers
from moldau_operator.testing.platform import FakeClock, FakeStore

MakeCluster = Callable[..., Cluster]
AUTO = Balance(mode=BalanceMode.AUTO, approval=Approval.AUTO)
STEP_MS = 5_000


class Bench:
    """Brokers, a clock, and passes that share nothing but the status when asked to."""

    def __init__(self, make: MakeCluster, brokers: int = 3) -> None:
        self.brokers = FakeBrokers(brokers=brokers)
        self.store = FakeStore()
        self.clock = FakeClock()
        self.cluster = make(brokers)
        self.restart()

    def restart(self) -> None:
        """Another process, which knows what is in the status and nothing else."""
        self.reconciler = BalanceReconciler(self.brokers, self.clock, Pacing())

    @property
    def status(self) -> ClusterStatus:
        found = self.store.statuses.get(
            self.cluster.key, ClusterStatus(node_ids=tuple(range(self.brokers.brokers)))
        )
        assert isinstance(found, ClusterStatus)
        return found

    @property
    def balance(self) -> BalanceStatus:
        assert self.status.balance is not None
        return self.status.balance

    @property
    def plan(self) -> PlanStatus:
        assert self.balance.last_plan is not None
        return self.balance.last_plan

    def want(self, balance: Balance) -> None:
        self.cluster = replace(self.cluster, spec=replace(self.cluster.spec, balance=balance))

    def fill(self, topic: str, placement: list[PartitionView], size: int = 0) -> None:
        self.brokers.add_topic(topic, len(placement), len(placement[0].replicas)).placement[:] = placement
        for number in range(len(placement)):
            self.brokers.sizes[Partition(topic, number)] = size

    async def one_pass(self) -> BalanceReport:
        self.clock.advance(STEP_MS)
        view = await self.brokers.describe_cluster()
        seen = ClusterSeen(view=view, overrides=await self.brokers.broker_overrides())
        return await self.reconciler.run(self.cluster, self.status, seen, self.store)

    async def passes(self, count: int) -> list[str]:
        """What was done in so many passes."""
        return [action for _ in range(count) for action in (await self.one_pass()).actions]

    def leaders(self) -> Counter[int | None]:
        return Counter(one.leader for topic in self.brokers.topics.values() for one in topic.placement)


@pytest.fixture
def bench(make_cluster: MakeCluster) -> Bench:
    return Bench(make_cluster)


def spread_out(count: int, leader: int | None = None) -> list[PartitionView]:
    """Partitions on all three brokers, led by the first of each or by one broker."""
    replicas = [tuple((index + shift) % 3 for shift in range(3)) for index in range(count)]
    return [PartitionView(one[0] if leader is None else leader, one, one) for one in replicas]


async def test_an_even_cluster_is_only_looked_at(bench: Bench) -> None:
    """A status once, and then neither a write nor a change, for as many passes as there are."""
    bench.fill("t", spread_out(9))
    await bench.passes(2)
    assert (bench.balance.max_leaders, bench.balance.optimum, bench.balance.message) == (3, 3, "")
    bench.store.writes = 0
    assert await bench.passes(20) == []
    assert bench.store.writes == 0
    assert bench.brokers.changes == []


async def test_leaders_go_where_they_should_and_no_data_moves(bench: Bench) -> None:
    """All on one broker: after the usual while they are spread by elections alone; then there is rest."""
    bench.fill("t", spread_out(9, leader=0))
    done = await bench.passes(4)
    assert done == ["balance leaders: 6 changes, at most 9 -> 3 on a broker"]
    assert bench.leaders() == {0: 3, 1: 3, 2: 3}
    assert bench.brokers.changes == ["elect_preferred"]
    assert await bench.passes(20) == []


async def test_preferred_leaders_follow_where_they_are_no_good(bench: Bench) -> None:
    """Everybody prefers broker 0: replicas are put in another order, which stays when brokers elect by themselves."""
    bench.fill("t", [PartitionView(0, (0, 1, 2), (0, 1, 2)) for _ in range(9)])
    done = await bench.passes(4)
    assert done == ["balance leaders: 6 changes, at most 9 -> 3 on a broker; 6 preferred leaders set"]
    assert bench.leaders() == {0: 3, 1: 3, 2: 3}
    assert not bench.brokers.moves
    before = [one.leader for one in bench.brokers.topics["t"].placement]
    await bench.brokers.elect_preferred([Partition("t", number) for number in range(9)])
    assert [one.leader for one in bench.brokers.topics["t"].placement] == before


async def test_a_broker_that_is_away_keeps_its_leaderships_until_it_returns(bench: Bench) -> None:
    """Killed, its partitions are led by others; back in sync it leads them again, and nothing was moved."""
    bench.fill("t", spread_out(9))
    await bench.passes(2)
    before = list(bench.brokers.topics["t"].placement)
    placement = bench.brokers.topics["t"].placement
    bench.brokers.fenced.add(2)
    for number, one in enumerate(before):
        others = tuple(node for node in one.in_sync if node != 2)
        placement[number] = one._replace(in_sync=others, leader=others[0])
    assert await bench.passes(20) == []
    assert bench.balance.message.startswith("node 2 is away")
    bench.brokers.fenced.clear()
    assert await bench.passes(10) == [], "its replicas catch up"
    for number, one in enumerate(placement):
        placement[number] = one._replace(in_sync=before[number].in_sync)
    assert await bench.passes(5) == ["balance leaders: 3 changes, at most 6 -> 3 on a broker"]
    assert placement == before
    assert "move_replicas" not in bench.brokers.calls


async def test_a_hot_partition_changes_the_plan(bench: Bench) -> None:
    """Counts are even, but both partitions that carry something are led by broker 0: one of them leaves."""
    bench.fill("t", spread_out(9))
    await bench.passes(5)
    for number in (0, 3):
        bench.brokers.loads[Partition("t", number)] = PartitionLoad(5e6, 5e6, 100)
    assert await bench.passes(10) == []
    (done,) = await bench.passes(10)
    assert done.startswith("balance leaders: 2 changes, at most 3 -> 3 on a broker, 40.2 -> 20.1 MB/s")
    assert len({bench.brokers.topics["t"].placement[number].leader for number in (0, 3)}) == 2
    assert bench.leaders() == {0: 3, 1: 3, 2: 3}
    assert await bench.passes(50) == []


async def test_off_and_paused_do_nothing(bench: Bench) -> None:
    """Not even a status; a pause leaves the one that is there."""
    bench.fill("t", spread_out(9, leader=0))
    bench.want(Balance(mode=BalanceMode.OFF))
    assert await bench.passes(10) == []
    assert bench.status.balance is None
    bench.cluster = replace(bench.cluster, spec=replace(bench.cluster.spec, pause=True, balance=Balance()))
    assert await bench.passes(10) == []
    assert bench.brokers.changes == []


async def test_what_brokers_refuse_is_said_and_tried_again(bench: Bench) -> None:
    """One call that fails spoils one pass."""
    bench.fill("t", spread_out(9, leader=0))
    bench.brokers.unreachable = AdminError(ErrorCode.REQUEST_TIMED_OUT, "no answer came")
    report = await bench.reconciler.reconcile(bench.cluster, bench.status, view_of(bench), {})
    assert report.balance is not None
    assert report.balance.message == "cannot balance now: no answer came"
    bench.brokers.unreachable = None
    await bench.passes(5)
    assert bench.leaders() == {0: 3, 1: 3, 2: 3}
    assert bench.balance.message == ""


def view_of(bench: Bench) -> ClusterView:
    """As the brokers would tell, without asking them."""
    return ClusterView(
        cluster_id="cluster-1", controller_id=0, broker_ids=tuple(range(bench.brokers.brokers))
    )


# -- replicas -------------------------------------------------------------------------------------------------


@pytest.fixture
def grown(make_cluster: MakeCluster) -> Bench:
    """Four brokers, the last of which is new: 24 partitions of 100 MB lie on the others."""
    bench = Bench(make_cluster, brokers=4)
    bench.fill("t", spread_out(24), size=100 * 1024 * 1024)
    return bench


async def settle(bench: Bench, passes: int = 60) -> list[str]:
    """Passes in which a move arrives each time."""
    done = []
    for _ in range(passes):
        done += (await bench.one_pass()).actions
        for place in sorted(bench.brokers.moves)[:1]:
            bench.brokers.finish_moves(place)
    return done


def held(bench: Bench) -> Counter[int]:
    return Counter(node for one in bench.brokers.topics["t"].placement for node in one.replicas)


async def test_a_new_broker_is_planned_for_and_nothing_moves_unasked(grown: Bench) -> None:
    """LeadersOnly: the plan stands in the status, says what it costs, and stays the same plan while it waits."""
    events = [event for _ in range(8) for event in (await grown.one_pass()).events]
    assert [event.message[:53] for event in events] == [
        "balance: broker 3 has 0 of 18.0 replicas: 17 replicas"
    ]
    plan = grown.plan
    assert (plan.state, plan.moves, plan.done) == (PlanState.WAITING, 17, 0)
    assert plan.bytes == 17 * 100 * 1024 * 1024
    assert 0 <= plan.gap_percent < 5
    assert plan.eta == "34s"
    assert [(one.id, one.replicas_before, one.replicas_after > 15) for one in plan.brokers][3] == (3, 0, True)
    assert grown.balance.message == f"plan {plan.hash} waits for spec.balance.approvedPlan: {plan.hash}"
    grown.store.writes = 0
    assert await grown.passes(50) == []
    assert grown.plan == plan
    assert grown.store.writes == 0
    assert grown.brokers.changes == []


async def test_an_approved_plan_is_carried_out_throttled_and_cleaned_up_after(grown: Bench) -> None:
    """Rates before throttles before moves; at the end nothing is left of them, and leaders follow."""
    await grown.passes(8)
    grown.want(Balance(approved_plan=grown.plan.hash))
    await grown.one_pass()
    assert grown.plan.state is PlanState.MOVING
    assert grown.brokers.changes == [], "the state is written down first"
    await grown.one_pass()
    assert grown.brokers.changes == ["alter_brokers", "alter_topics", "move_replicas"]
    assert grown.brokers.overrides == dict.fromkeys(RATES, str(50 * 1024 * 1024))
    throttled = grown.brokers.topics["t"].overrides
    assert set(throttled) == {LEADER_REPLICAS, FOLLOWER_REPLICAS}
    assert throttled[FOLLOWER_REPLICAS] == ",".join(
        f"{place.number}:3" for place in sorted(grown.brokers.moves)
    )
    assert len(grown.brokers.moves) == 5, "no more than one broker can take at once"
    done = await settle(grown)
    assert f"balance: plan {grown.plan.hash} is done, 17 replicas moved" in done
    assert (grown.plan.state, grown.plan.done, grown.plan.encoded) == (PlanState.DONE, 17, "")
    assert grown.brokers.overrides == grown.brokers.topics["t"].overrides == {}
    assert held(grown)[3] == 17
    assert max(grown.leaders().values()) == 6
    assert await grown.passes(50) == []


async def test_auto_needs_no_approval_and_keeps_its_budget(grown: Bench) -> None:
    """A plan of at most so many bytes after the other, until everybody is near enough."""
    grown.want(replace(AUTO, budget_bytes=600 * 1024 * 1024))
    done = await settle(grown, 200)
    finished = [line for line in done if line.endswith("moved")]
    assert len(finished) >= 2
    assert all(line.endswith("6 replicas moved") for line in finished[:2])
    assert held(grown)[3] >= 15
    assert grown.brokers.overrides == grown.brokers.topics["t"].overrides == {}


async def test_another_operator_goes_on_where_the_last_one_was_killed(grown: Bench) -> None:
    """After every single pass another process takes over: the plan is the same, and so is the end."""
    grown.want(AUTO)
    hashes = set()
    for _ in range(100):
        grown.restart()
        await grown.one_pass()
        if grown.status.balance is not None and grown.balance.last_plan is not None:
            hashes.add(grown.plan.hash)
        for place in sorted(grown.brokers.moves)[:1]:
            grown.brokers.finish_moves(place)
        if not hashes:
            for _ in range(8):  # patience is not remembered: one process has to see the trouble last
                await grown.one_pass()
    assert len(hashes) == 1
    assert (grown.plan.state, grown.plan.done) == (PlanState.DONE, 17)
    assert held(grown)[3] == 17
    assert grown.brokers.overrides == grown.brokers.topics["t"].overrides == {}


async def test_a_plan_is_stopped_at_once_and_goes_on_when_it_is_approved_again(grown: Bench) -> None:
    """What is on its way goes back, what has arrived stays, throttles go; the same hash goes on with the rest."""
    await grown.passes(8)
    approved = Balance(approved_plan=grown.plan.hash)
    grown.want(approved)
    await settle(grown, 8)
    arrived = held(grown)[3]
    assert 0 < arrived < 17
    grown.want(Balance())
    assert await grown.passes(1) == [f"balance: plan {grown.plan.hash} is stopped, 4 moves taken back"]
    assert grown.plan.state is PlanState.STOPPED
    assert (grown.brokers.moves, grown.brokers.overrides, grown.brokers.topics["t"].overrides) == ({}, {}, {})
    assert held(grown)[3] == arrived
    assert not [action for action in await grown.passes(20) if "leaders" not in action]
    grown.want(approved)
    await settle(grown)
    assert (grown.plan.state, held(grown)[3]) == (PlanState.DONE, 17)


async def test_a_failing_broker_holds_a_plan_up_and_nothing_else(grown: Bench) -> None:
    """Moves towards it wait; when it serves again they go on."""
    grown.want(AUTO)
    await settle(grown, 12)
    arrived = held(grown)[3]
    grown.brokers.fenced.add(3)
    grown.brokers.moves.clear()
    await grown.passes(20)
    assert (grown.plan.state, held(grown)[3], grown.brokers.moves) == (PlanState.MOVING, arrived, {})
    grown.brokers.fenced.clear()
    await settle(grown)
    assert (grown.plan.state, held(grown)[3]) == (PlanState.DONE, 17)


async def test_a_plan_that_no_longer_fits_is_replaced(grown: Bench) -> None:
    """Its topic is gone: another plan, if one is needed, has another name, and the old approval does not count."""
    await grown.passes(8)
    old = grown.plan.hash
    grown.fill("u", spread_out(24), size=100 * 1024 * 1024)
    del grown.brokers.topics["t"]
    await grown.passes(10)
    assert grown.plan.hash != old
    grown.want(Balance(approved_plan=old))
    await grown.passes(10)
    assert grown.plan.state is PlanState.WAITING
    assert grown.brokers.moves == {}


async def test_nothing_is_planned_while_a_node_leaves(grown: Bench) -> None:
    """Its drain has the brokers to itself."""
    grown.store.statuses[grown.cluster.key] = ClusterStatus(node_ids=(0, 1, 2, 3, 4))
    await grown.passes(20)
    assert grown.balance.last_plan is None


async def test_rates_that_a_person_declared_are_left_alone(grown: Bench) -> None:
    """The Cluster's own settings say how fast moves may be."""
    spec = replace(grown.cluster.spec, config=dict.fromkeys(RATES, "1000000"), balance=AUTO)
    grown.cluster = replace(grown.cluster, spec=spec)
    grown.brokers.overrides.update(dict.fromkeys(RATES, "1000000"))
    await settle(grown)
    assert grown.plan.state is PlanState.DONE
    assert grown.brokers.overrides == dict.fromkeys(RATES, "1000000")
    assert "alter_brokers" not in grown.brokers.changes
