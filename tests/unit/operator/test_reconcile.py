"""The reconcilers against in-memory nodes and brokers: batches, failures, and a second pass without any write."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from moldau_broker.base.errors import ErrorCode
from moldau_operator.errors import AdminError
from moldau_operator.plan.cluster_facts import ClusterFacts
from moldau_operator.reconcile.cluster import ClusterReconciler
from moldau_operator.reconcile.consumergroup import GroupReconciler
from moldau_operator.reconcile.holdoff import LONGEST_MS, HoldOff
from moldau_operator.reconcile.report import Report
from moldau_operator.reconcile.topic import BATCH, DRIFT_SHOWN_MS, TopicReconciler
from moldau_operator.resources.cluster import Cluster
from moldau_operator.resources.conditions import ConditionType, Reason, find, is_true
from moldau_operator.resources.consumergroup import (
    AtOffsets,
    AtTime,
    ConsumerGroup,
    Edge,
    MaxLag,
    OffsetReset,
)
from moldau_operator.resources.meta import DeletionPolicy, Key
from moldau_operator.resources.status import ClusterStatus, GroupStatus, TopicStatus
from moldau_operator.resources.topic import Topic
from moldau_operator.seams.broker_admin import GroupAge, Obstacle, Partition, PartitionView
from moldau_operator.testing.brokers import FakeBrokers
from moldau_operator.testing.groups import FakeGroup
from moldau_operator.testing.platform import FakeClock, FakePlatform, FakeStore

MakeTopic = Callable[..., Topic]
MakeGroup = Callable[..., ConsumerGroup]
MakeCluster = Callable[..., Cluster]


class Bench:
    """Everything behind the seams, and passes over it."""

    def __init__(self) -> None:
        self.platform = FakePlatform()
        self.brokers = FakeBrokers(brokers=3, disks=self.platform.disks)
        self.store = FakeStore()
        self.clock = FakeClock()
        self._topics = TopicReconciler(self.brokers, self.store, self.clock)
        self._groups = GroupReconciler(self.brokers, self.store, self.clock)
        self._cluster = ClusterReconciler(
            self.platform, self.brokers, self.store, self.clock, lambda: "cluster-1"
        )

    async def topics(self, *topics: Topic, paused: bool = False) -> Report[TopicStatus]:
        statuses = {k: s for k, s in self.store.statuses.items() if isinstance(s, TopicStatus)}
        return await self._topics.reconcile(
            topics, statuses, ClusterFacts(brokers=3, config={}, paused=paused)
        )

    async def groups(self, *groups: ConsumerGroup) -> Report[GroupStatus]:
        statuses = {k: s for k, s in self.store.statuses.items() if isinstance(s, GroupStatus)}
        return await self._groups.reconcile(groups, statuses)

    async def cluster(self, cluster: Cluster) -> Report[ClusterStatus]:
        old = self.store.statuses.get(cluster.key)
        assert old is None or isinstance(old, ClusterStatus)
        return await self._cluster.reconcile(cluster, old)

    def reason(self, key: Key) -> Reason:
        found = find(self.store.statuses[key].conditions, ConditionType.READY)
        assert found is not None
        return found.reason

    def quiet(self) -> None:
        """Forget what was called and written so far."""
        self.brokers.calls.clear()
        self.store.writes = 0


@pytest.fixture
def bench() -> Bench:
    """An empty cluster of three brokers."""
    return Bench()


class TestTopics:
    """Topics of one cluster."""

    async def test_topics_are_created_and_then_left_alone(self, bench: Bench, make_topic: MakeTopic) -> None:
        """Create, see, rest: from then on no change and no write, however often."""
        topics = [make_topic("orders", partitions=6), make_topic("payments", config={"retention.ms": "5"})]
        assert (await bench.topics(*topics)).actions == [
            "create topic orders: declared, and not there yet",
            "create topic payments: declared, and not there yet",
        ]
        assert bench.brokers.topics["payments"].overrides == {"retention.ms": "5"}
        assert (await bench.topics(*topics)).actions == []
        bench.quiet()
        for _ in range(10):
            assert (await bench.topics(*topics)).converged
        assert (bench.brokers.changes, bench.store.writes) == ([], 0)

    async def test_thousands_of_topics_cost_a_handful_of_calls(
        self, bench: Bench, make_topic: MakeTopic
    ) -> None:
        """Two thousand at once are batched."""
        topics = [make_topic(f"t{number}") for number in range(2_000)]
        await bench.topics(*topics)
        assert len(bench.brokers.topics) == 2_000
        assert len(bench.brokers.calls) == 2 * 2_000 / BATCH

    async def test_one_bad_topic_spoils_no_other(self, bench: Bench, make_topic: MakeTopic) -> None:
        """Its refusal is its own condition."""
        bench.brokers.refuse["create_topics", "bad"] = AdminError(ErrorCode.INVALID_CONFIG, "no such setting")
        bad, good = make_topic("bad"), make_topic("good")
        report = await bench.topics(bad, good)
        assert list(bench.brokers.topics) == ["good"]
        assert bench.reason(bad.key) is Reason.INVALID_SPEC
        assert [event.message for event in report.events if event.warning] == [
            "cannot create topic bad: declared, and not there yet: no such setting"
        ]

    async def test_a_refused_topic_is_retried_with_growing_pauses(
        self, bench: Bench, make_topic: MakeTopic
    ) -> None:
        """And told once, not at every attempt."""
        bench.brokers.refuse["create_topics", "bad"] = AdminError(ErrorCode.POLICY_VIOLATION, "too many")
        bad = make_topic("bad")
        events = []
        for _ in range(600):
            events += (await bench.topics(bad)).events
            bench.clock.advance(500)
        attempts = bench.brokers.calls.count("create_topics")
        assert 8 <= attempts <= 12, "300 s with pauses of 1, 2, 4, 8, 16, 32, 60, 60 ... seconds"
        assert len(events) == 1
        assert bench.reason(bad.key) is Reason.REFUSED_BY_BROKER

    async def test_an_edit_ends_the_pause(self, bench: Bench, make_topic: MakeTopic) -> None:
        """A person who fixed the spec does not wait."""
        bench.brokers.refuse["create_topics", "bad"] = AdminError(ErrorCode.INVALID_CONFIG, "no")
        await bench.topics(make_topic("bad"))
        bench.brokers.refuse.clear()
        assert (await bench.topics(make_topic("bad"))).actions == []
        assert len((await bench.topics(make_topic("bad", generation=2))).actions) == 1

    async def test_a_retriable_failure_is_not_stalled(self, bench: Bench, make_topic: MakeTopic) -> None:
        """It heals by itself, so nobody is called."""
        bench.brokers.refuse["create_topics", "orders"] = AdminError(ErrorCode.NOT_CONTROLLER, "moved")
        topic = make_topic()
        report = await bench.topics(topic)
        assert bench.reason(topic.key) is Reason.RETRYING
        assert report.pending == {topic.key}
        bench.brokers.refuse.clear()
        bench.clock.advance(60_000)
        assert len((await bench.topics(topic)).actions) == 1

    async def test_unreachable_brokers_change_nothing(self, bench: Bench, make_topic: MakeTopic) -> None:
        """The error is the caller's; statuses stay."""
        topic = make_topic()
        await bench.topics(topic)
        await bench.topics(topic)
        before = dict(bench.store.statuses)
        bench.brokers.unreachable = AdminError(ErrorCode.BROKER_NOT_AVAILABLE, "gone")
        with pytest.raises(AdminError):
            await bench.topics(topic)
        assert bench.store.statuses == before

    async def test_drift_is_shown_for_a_while_and_corrected(
        self, bench: Bench, make_topic: MakeTopic
    ) -> None:
        """Reported at once, untouched while it is shown, then brought back; each is told once."""
        topic = make_topic(config={"retention.ms": "5"})
        await bench.topics(topic)
        await bench.topics(topic)
        bench.brokers.topics["orders"].overrides["retention.ms"] = "9"
        bench.quiet()
        told = [str(event) for event in (await bench.topics(topic)).events]
        for _ in range(3):
            told += [str(event) for event in (await bench.topics(topic)).events]
        assert is_true(bench.store.statuses[topic.key].conditions, ConditionType.DRIFTED)
        assert bench.brokers.changes == []
        bench.clock.advance(DRIFT_SHOWN_MS)
        told += [str(event) for event in (await bench.topics(topic)).events]
        told += [str(event) for event in (await bench.topics(topic)).events]
        assert bench.brokers.topics["orders"].overrides == {"retention.ms": "5"}
        assert told == [
            "Topic orders: changed behind its resource: retention.ms 9 -> 5",
            "alter topic orders: retention.ms 9 -> 5",
            "Topic orders: is as declared",
        ]

    async def test_a_removed_resource_keeps_or_deletes_its_topic(
        self, bench: Bench, make_topic: MakeTopic
    ) -> None:
        """Retain says so and forgets; Delete deletes and forgets."""
        kept, dropped = make_topic("kept"), make_topic("dropped", deletion_policy=DeletionPolicy.DELETE)
        await bench.topics(kept, dropped)
        await bench.topics(kept, dropped)
        report = await bench.topics()
        assert list(bench.brokers.topics) == ["kept"]
        assert bench.store.statuses == {}
        assert {str(event) for event in report.events} == {
            "Topic kept: is no longer declared; topic kept is kept (deletionPolicy: Retain)",
            "delete topic dropped: Topic dropped is gone and its deletionPolicy is Delete",
        }

    async def test_a_deletion_that_fails_is_tried_again(self, bench: Bench, make_topic: MakeTopic) -> None:
        """The status stays until the topic is gone."""
        topic = make_topic(deletion_policy=DeletionPolicy.DELETE)
        await bench.topics(topic)
        await bench.topics(topic)
        bench.brokers.refuse["delete_topics", "orders"] = AdminError(ErrorCode.NOT_CONTROLLER, "moved")
        assert (await bench.topics()).pending == {topic.key}
        bench.brokers.refuse.clear()
        await bench.topics()
        assert (bench.brokers.topics, bench.store.statuses) == ({}, {})

    async def test_two_resources_for_one_topic_make_one_topic(
        self, bench: Bench, make_topic: MakeTopic
    ) -> None:
        """The older has it, the other says who has it."""
        winner = make_topic("a", topic_name="t", uid="1", config={"retention.ms": "5"})
        loser = make_topic("b", topic_name="t", uid="2", config={"retention.ms": "9"})
        for _ in range(3):
            await bench.topics(loser, winner)
        assert bench.brokers.topics["t"].overrides == {"retention.ms": "5"}
        assert bench.reason(loser.key) is Reason.RESOURCE_CONFLICT
        bench.quiet()
        assert (await bench.topics(loser, winner)).converged
        assert bench.store.writes == 0

    async def test_the_status_is_kept_before_the_topic_is_created(
        self, bench: Bench, make_topic: MakeTopic
    ) -> None:
        """A crash in between must not make our own topic look like somebody else's."""
        topic = make_topic()

        async def crash(*_: object) -> None:
            status = bench.store.statuses[topic.key]
            assert isinstance(status, TopicStatus)
            assert status.owned
            raise KeyboardInterrupt

        bench.brokers.create_topics = crash  # type: ignore[method-assign, assignment]
        with pytest.raises(KeyboardInterrupt):
            await bench.topics(topic)

    async def test_a_paused_cluster_is_left_alone(self, bench: Bench, make_topic: MakeTopic) -> None:
        """Nothing is created or deleted."""
        topic = make_topic(deletion_policy=DeletionPolicy.DELETE)
        assert (await bench.topics(topic, paused=True)).converged
        assert bench.brokers.changes == []


class TestGroups:
    """Consumer groups of one cluster."""

    async def test_groups_are_observed_in_five_calls(self, bench: Bench, make_group: MakeGroup) -> None:
        """States, commits, which topics live, log ends, ages: whatever the number of groups. Commits before ends."""
        bench.brokers.add_topic("orders").logs[0] = (0, 10)
        bench.brokers.groups["a"] = FakeGroup("Stable", 1, {Partition("orders", 0): 4})
        a, b = make_group("a", max_lag=MaxLag(records=5)), make_group("b")
        report = await bench.groups(a, b)
        calls = ["describe_groups", "committed_offsets", "partitions_of", "offsets_at", "group_ages"]
        assert bench.brokers.calls == calls
        assert (report.statuses[a.key].lag, report.statuses[b.key].lag) == (6, None)
        assert [str(event) for event in report.events] == ["ConsumerGroup a: 6 records behind, allowed 5"]
        bench.quiet()
        assert (await bench.groups(a, b)).converged
        assert bench.store.writes == 0

    async def test_lag_in_seconds_is_what_the_brokers_told_last(
        self, bench: Bench, make_group: MakeGroup
    ) -> None:
        """A group whose coordinator does not answer keeps its lag in records and has no seconds, not old ones."""
        bench.brokers.add_topic("orders").logs[0] = (0, 10)
        billing = bench.brokers.groups["billing"] = FakeGroup("Stable", 1, {Partition("orders", 0): 4})
        group = make_group(max_lag=MaxLag(seconds=30))
        billing.age = GroupAge(seconds=42.7, by_topic={"orders": 42.7})
        found = (await bench.groups(group)).statuses[group.key]
        assert (found.lag, found.lag_seconds, found.seconds_by_topic) == (6, 42, {"orders": 42})
        budget = find(found.conditions, ConditionType.LAG_WITHIN_BUDGET)
        assert budget is not None
        assert budget.message == "42 seconds behind, allowed 30"
        billing.age = None
        found = (await bench.groups(group)).statuses[group.key]
        assert (found.lag, found.lag_seconds, found.seconds_by_topic) == (6, None, {})

    async def test_offsets_in_deleted_topics_do_not_count(self, bench: Bench, make_group: MakeGroup) -> None:
        """Nobody can consume them any more."""
        bench.brokers.groups["billing"] = FakeGroup("Empty", 0, {Partition("gone", 0): 4})
        report = await bench.groups(make_group())
        assert report.statuses[make_group().key].lag is None

    @pytest.mark.parametrize(
        ("to", "expected"),
        [(Edge.EARLIEST, 2), (Edge.LATEST, 10), (AtTime(5, "5"), 5), (AtOffsets({"orders": {0: 7}}), 7)],
    )
    async def test_a_reset_is_applied_once(
        self, bench: Bench, make_group: MakeGroup, to: Edge | AtTime | AtOffsets, expected: int
    ) -> None:
        """Then never again, though consumers move on from there."""
        place = Partition("orders", 0)
        bench.brokers.add_topic("orders").logs[0] = (2, 10)
        group = bench.brokers.groups["billing"] = FakeGroup("Empty", 0, {place: 4})
        wanted = make_group(reset=OffsetReset(id="r1", to=to))
        report = await bench.groups(wanted)
        assert (len(report.actions), group.committed) == (1, {place: expected})
        group.committed[place] = 6
        for _ in range(3):
            assert (await bench.groups(wanted)).actions == []
        assert group.committed == {place: 6}

    async def test_a_reset_waits_for_the_group_to_be_empty(self, bench: Bench, make_group: MakeGroup) -> None:
        """Refused while consumers run, applied when they stop."""
        bench.brokers.add_topic("orders").logs[0] = (0, 10)
        group = bench.brokers.groups["billing"] = FakeGroup("Stable", 1, {Partition("orders", 0): 4})
        wanted = make_group(reset=OffsetReset(id="r1", to=Edge.EARLIEST))
        assert (await bench.groups(wanted)).actions == []
        group.state, group.members = "Empty", 0
        assert len((await bench.groups(wanted)).actions) == 1

    async def test_a_crash_around_the_reset_keeps_its_offsets(
        self, bench: Bench, make_group: MakeGroup
    ) -> None:
        """Killed before the commit: the same offsets are committed later, though the log has grown."""
        place = Partition("orders", 0)
        log = bench.brokers.add_topic("orders").logs
        log[0] = (0, 10)
        group = bench.brokers.groups["billing"] = FakeGroup("Empty", 0, {place: 4})
        wanted = make_group(reset=OffsetReset(id="r1", to=Edge.LATEST))
        bench.brokers.refuse["reset_offsets", "billing"] = AdminError(ErrorCode.NETWORK_EXCEPTION, "cut")
        await bench.groups(wanted)
        bench.brokers.refuse.clear()
        log[0] = (0, 99)
        await bench.groups(wanted)
        assert group.committed == {place: 10}

    async def test_a_lost_answer_resets_nothing_twice(self, bench: Bench, make_group: MakeGroup) -> None:
        """The consumers are back and have committed since: the coordinator says that it is done."""
        place = Partition("orders", 0)
        bench.brokers.add_topic("orders").logs[0] = (0, 10)
        group = bench.brokers.groups["billing"] = FakeGroup("Empty", 0, {place: 4})
        wanted = make_group(reset=OffsetReset(id="r1", to=Edge.EARLIEST))
        bench.brokers.lost["billing"] = AdminError(ErrorCode.NETWORK_EXCEPTION, "cut")
        report = await bench.groups(wanted)
        assert report.statuses[wanted.key].pending_reset is not None
        assert group.committed == {place: 0}
        group.state, group.members, group.committed[place] = "Stable", 1, 8
        report = await bench.groups(wanted)
        assert report.statuses[wanted.key].last_reset_id == "r1"
        assert (group.members, group.committed) == (1, {place: 8})

    @pytest.mark.parametrize("force", [False, True])
    async def test_members_are_removed_by_force_alone(
        self, bench: Bench, make_group: MakeGroup, force: bool
    ) -> None:
        """Otherwise they stay, and the condition says what to do."""
        place = Partition("orders", 0)
        bench.brokers.add_topic("orders").logs[0] = (0, 10)
        group = bench.brokers.groups["billing"] = FakeGroup("Stable", 2, {place: 4})
        wanted = make_group(reset=OffsetReset(id="r1", to=Edge.EARLIEST, force=force))
        report = await bench.groups(wanted)
        found = find(report.statuses[wanted.key].conditions, ConditionType.OFFSETS_RESET)
        assert found is not None
        assert found.reason is (Reason.RESET_APPLIED if force else Reason.GROUP_ACTIVE)
        assert (group.members, group.committed) == ((0, {place: 0}) if force else (2, {place: 4}))

    @pytest.mark.parametrize(
        ("code", "reason"),
        [
            (ErrorCode.NON_EMPTY_GROUP, Reason.GROUP_ACTIVE),
            (ErrorCode.OFFSET_OUT_OF_RANGE, Reason.RETRYING),
        ],
    )
    async def test_a_reset_that_was_refused_is_decided_anew(
        self, bench: Bench, make_group: MakeGroup, code: ErrorCode, reason: Reason
    ) -> None:
        """Somebody joined between look and commit, or the log moved on: the next try goes where latest is then."""
        place = Partition("orders", 0)
        log = bench.brokers.add_topic("orders").logs
        log[0] = (0, 10)
        group = bench.brokers.groups["billing"] = FakeGroup("Empty", 0, {place: 4})
        wanted = make_group(reset=OffsetReset(id="r1", to=Edge.LATEST))
        bench.brokers.refuse["reset_offsets", "billing"] = AdminError(code, "1 members are active: c-1")
        report = await bench.groups(wanted)
        found = find(report.statuses[wanted.key].conditions, ConditionType.OFFSETS_RESET)
        assert found is not None
        assert (found.reason, report.statuses[wanted.key].pending_reset) == (reason, None)
        assert "c-1" in found.message
        bench.brokers.refuse.clear()
        log[0] = (0, 99)
        await bench.groups(wanted)
        assert group.committed == {place: 99}

    @pytest.mark.parametrize(
        ("reset", "words"),
        [
            (OffsetReset(id="r", to=Edge.LATEST), "the group has committed nothing, so name the topics"),
            (OffsetReset(id="r", to=Edge.LATEST, topics=("nope",)), "topic nope does not exist"),
            (
                OffsetReset(id="r", to=AtOffsets({"orders": {5: 1}})),
                "topic orders has 1 partition; there is no 5",
            ),
            (
                OffsetReset(id="r", to=AtOffsets({"orders": {0: 99}})),
                "orders-0 holds offsets 0 to 10; 99 is outside",
            ),
        ],
    )
    async def test_a_reset_that_makes_no_sense_is_refused_in_words(
        self, bench: Bench, make_group: MakeGroup, reset: OffsetReset, words: str
    ) -> None:
        """Before anything is committed."""
        bench.brokers.add_topic("orders").logs[0] = (0, 10)
        wanted = make_group(reset=reset)
        report = await bench.groups(wanted)
        found = find(report.statuses[wanted.key].conditions, ConditionType.OFFSETS_RESET)
        assert found is not None
        assert words in found.message
        assert bench.brokers.changes == []

    async def test_a_group_that_cannot_be_asked_spoils_no_other(
        self, bench: Bench, make_group: MakeGroup
    ) -> None:
        """Its coordinator may be loading."""
        error = AdminError(ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, "loading")
        bench.brokers.refuse["describe_groups", "a"] = error
        a, b = make_group("a"), make_group("b")
        report = await bench.groups(a, b)
        assert report.pending == {a.key}
        assert is_true(report.statuses[b.key].conditions, ConditionType.READY)

    async def test_a_removed_group_with_delete_goes_when_it_is_empty(
        self, bench: Bench, make_group: MakeGroup
    ) -> None:
        """Its members are not cut off."""
        group = bench.brokers.groups["billing"] = FakeGroup("Stable", 1)
        await bench.groups(make_group(deletion_policy=DeletionPolicy.DELETE))
        assert (await bench.groups()).pending
        group.state, group.members = "Empty", 0
        await bench.groups()
        assert (bench.brokers.groups, bench.store.statuses) == ({}, {})


class TestCluster:
    """The nodes of one cluster."""

    async def test_nodes_are_set_up_and_then_left_alone(
        self, bench: Bench, make_cluster: MakeCluster
    ) -> None:
        """Zero actions and zero writes from the second look on."""
        cluster = make_cluster(replicas=3)
        assert len((await bench.cluster(cluster)).actions) == 1
        report = await bench.cluster(cluster)
        assert report.converged
        assert report.statuses[cluster.key].cluster_id == "cluster-1"
        bench.quiet()
        for _ in range(10):
            assert (await bench.cluster(cluster)).converged
        assert (len(bench.platform.actions), bench.store.writes) == (1, 0)

    async def test_a_changed_setting_rolls_through_the_nodes(
        self, bench: Bench, make_cluster: MakeCluster
    ) -> None:
        """One restart per pass until all run it."""
        await bench.cluster(make_cluster(replicas=3))
        changed = make_cluster(replicas=3, config={"max.request.partition.size.limit": "9"}, generation=2)
        counts = [len((await bench.cluster(changed)).actions) for _ in range(6)]
        assert counts == [1, 1, 1, 1, 0, 0]
        assert all(node.running == node.wanted for node in bench.platform.nodes())

    async def test_what_the_platform_cannot_do_is_a_condition(
        self, bench: Bench, make_cluster: MakeCluster
    ) -> None:
        """In its words, and tried again."""
        bench.platform.refusal = "no free TCP port"
        cluster = make_cluster()
        report = await bench.cluster(cluster)
        found = find(report.statuses[cluster.key].conditions, ConditionType.READY)
        assert found is not None
        assert (found.reason, found.message) == (Reason.RETRYING, "no free TCP port")
        bench.platform.refusal = ""
        assert len((await bench.cluster(cluster)).actions) == 1

    async def test_another_cluster_id_is_told(self, bench: Bench, make_cluster: MakeCluster) -> None:
        """Somebody replaced the data."""
        cluster = make_cluster()
        await bench.cluster(cluster)
        await bench.cluster(cluster)
        bench.platform.disks[0] = "cluster-2"
        events = (await bench.cluster(cluster)).events
        assert [event.message for event in events] == [
            "its id changed from cluster-1 to cluster-2: the data was replaced",
            "set up pool kafka: cluster.id cluster-1 -> cluster-2",
        ]


class TestScale:
    """Nodes that come and go, and settings that need no restart."""

    async def settle(self, bench: Bench, cluster: Cluster) -> list[str]:
        """Passes until nothing more happens; everything that was done."""
        done: list[str] = []
        for _ in range(30):
            report = await bench.cluster(cluster)
            done += report.actions
            for broker in [node for node in range(3) if node not in bench.platform.by_id]:
                bench.brokers.fenced.add(broker)  # one that is stopped
            if report.converged:
                return done
            bench.brokers.finish_moves()
        raise AssertionError(done)

    async def test_fewer_replicas_drain_and_remove_nodes_one_by_one(
        self, bench: Bench, make_cluster: MakeCluster
    ) -> None:
        """The highest first; afterwards nothing remembers them, and nothing more is done."""
        await self.settle(bench, make_cluster(replicas=3))
        bench.brokers.add_topic("t", partitions=2).placement[1] = PartitionView(2, (2,), (2,))
        bench.brokers.add_topic("__consumer_offsets", replicas=3).internal = True
        done = await self.settle(bench, make_cluster(replicas=1, generation=2))
        assert done == [
            "move 1 partition: node 2 is no longer declared",
            "take node 2 out of the quorum: it is drained",
            "remove node 2: it is drained; everything it held lives on other nodes",
            "move 1 partition: node 2 is gone",
            "forget broker 2: there is no such node any more",
            "take node 1 out of the quorum: it is drained",
            "remove node 1: it is drained; everything it held lives on other nodes",
            "move 1 partition: node 1 is gone",
            "forget broker 1: there is no such node any more",
        ]
        assert (bench.brokers.voters, set(bench.platform.by_id), set(bench.platform.disks)) == ({0}, {0}, {0})
        status = bench.store.statuses[make_cluster().key]
        assert isinstance(status, ClusterStatus)
        assert status.node_ids == (0,)

    async def test_a_node_with_data_is_drained_also_after_everything_was_forgotten(
        self, bench: Bench, make_cluster: MakeCluster
    ) -> None:
        """Its disk alone says that it is a member: started again, then drained."""
        cluster = make_cluster(replicas=1)
        await bench.cluster(make_cluster(replicas=2))
        bench.store.statuses.clear()
        bench.platform.by_id.clear()
        bench.brokers.voters = {0, 1}
        done = await self.settle(bench, cluster)
        assert done[0] == "set up pool kafka: node 0 is declared and not running yet"
        assert "remove node 1: it is drained; everything it held lives on other nodes" in done
        assert set(bench.platform.by_id) == {0}

    async def test_what_cannot_leave_stays_and_says_why(
        self, bench: Bench, make_cluster: MakeCluster
    ) -> None:
        """Stalled with what to change; nothing is touched."""
        await self.settle(bench, make_cluster(replicas=3))
        bench.brokers.add_topic("t", replicas=3)
        bench.quiet()
        fewer = make_cluster(replicas=2, generation=2)
        report = await bench.cluster(fewer)
        found = find(report.statuses[fewer.key].conditions, ConditionType.STALLED)
        assert found is not None
        assert "topic t has up to 3 replicas" in found.message
        assert (report.actions, bench.brokers.changes, set(bench.platform.by_id)) == ([], [], {0, 1, 2})

    async def test_a_restart_waits_for_the_brokers_leave(
        self, bench: Bench, make_cluster: MakeCluster
    ) -> None:
        """The condition says why."""
        await self.settle(bench, make_cluster(replicas=3))
        bench.brokers.add_topic("orders", replicas=2)
        bench.brokers.busy[1] = (
            Obstacle("orders-0 would be below its min.insync.replicas", Partition("orders", 0)),
            Obstacle("the metadata quorum would lose its majority"),
        )
        changed = make_cluster(replicas=3, config={"max.request.partition.size.limit": "9"}, generation=2)
        await bench.cluster(changed)
        report = await bench.cluster(changed)
        assert bench.reason(changed.key) is Reason.ROLLING
        found = find(report.statuses[changed.key].conditions, ConditionType.READY)
        assert found is not None
        assert found.message == (
            "node 1 waits with its restart: orders-0 would be below its min.insync.replicas and 1 more"
        )
        bench.brokers.busy.clear()
        assert (await bench.cluster(changed)).actions == [
            "restart node 1: max.request.partition.size.limit unset -> 9"
        ]

    async def test_a_restart_does_not_wait_for_what_never_comes(
        self, bench: Bench, make_cluster: MakeCluster
    ) -> None:
        """A partition of one replica has no other one, and a quorum of two has no spare voter."""
        await self.settle(bench, make_cluster(replicas=2))
        bench.brokers.add_topic("alone")
        bench.brokers.voters = {0, 1}
        bench.brokers.busy[1] = (
            Obstacle("alone-0 has no other replica in sync", Partition("alone", 0)),
            Obstacle("the metadata quorum would lose its majority"),
        )
        changed = make_cluster(replicas=2, config={"max.request.partition.size.limit": "9"}, generation=2)
        await bench.cluster(changed)
        assert (await bench.cluster(changed)).actions == [
            "restart node 1: max.request.partition.size.limit unset -> 9"
        ]

    async def test_a_setting_that_brokers_take_restarts_nobody(
        self, bench: Bench, make_cluster: MakeCluster
    ) -> None:
        """The platform is told for the next start, the brokers for now."""
        await self.settle(bench, make_cluster(replicas=3))
        changed = make_cluster(replicas=3, config={"log.retention.bytes": "5000"}, generation=2)
        done = await self.settle(bench, changed)
        assert [line.split(":")[0] for line in done] == ["set up pool kafka", "change the brokers' settings"]
        assert bench.brokers.overrides == {"log.retention.bytes": "5000"}


def test_hold_off_doubles_up_to_a_minute(make_topic: MakeTopic) -> None:
    """1, 2, 4 ... 60 seconds, forgotten on success or a new generation."""
    holds, key = HoldOff(), make_topic().key
    now, waits = 0, []
    for _ in range(9):
        holds.failed(key, 1, now)
        wait = next(ms for ms in range(0, LONGEST_MS + 1, 500) if not holds.blocks(key, 1, now + ms))
        waits.append(wait)
        now += wait
    assert waits == [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000]
    assert not holds.blocks(key, 2, now)
    holds.succeeded(key)
    assert not holds.blocks(key, 1, now)
