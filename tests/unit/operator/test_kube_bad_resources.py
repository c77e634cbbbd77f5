"""Bad resources and bad moments: a condition says so, and what runs goes on (each a row of the list of them)."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from moldau_broker.base.errors import ErrorCode
from moldau_operator.errors import AdminError
from moldau_operator.seams.api_server import ApiError
from moldau_operator.testing.kube_world import NAMESPACE, KubeWorld

DISK = {"size": "2Gi"}
TOPIC: dict[str, Any] = {"cluster": "demo", "partitions": 2, "replicas": 3}


async def running(replicas: int = 3, *, admission: bool = True, **spec: Any) -> KubeWorld:
    world = KubeWorld(admission=admission)
    world.put("Cluster", "demo", **{"replicas": replicas, "storage": DISK, **spec})
    await world.converge()
    assert world.is_ready("Cluster", "demo")
    return world


def uids(world: KubeWorld, kind: str = "Pod") -> dict[str, str]:
    return {name: one["metadata"]["uid"] for name, one in world.api.of(kind).items()}


def sizes(world: KubeWorld) -> set[str]:
    claims = world.api.of("PersistentVolumeClaim").values()
    return {one["spec"]["resources"]["requests"]["storage"] for one in claims}


def words(world: KubeWorld, kind: str, name: str, of_type: str = "Ready") -> str:
    found = world.condition(kind, name, of_type)
    assert found is not None, world.status(kind, name)
    return f"{found['reason']}: {found['message']}"


BYPASSED = [
    ("Cluster", {"config": {"log.dirs": "elsewhere"}}, "log.dirs"),
    ("Cluster", {"config": {"advertised.listeners": "A://x:1"}}, "advertised.listeners"),
    ("Cluster", {"config": {"node.id": 9}}, "node.id"),
    ("Cluster", {"storage": {"size": "10GB"}}, "10Gi"),
    ("Cluster", {"storage": {"size": "1e99"}}, "size"),
    ("Cluster", {"replicas": 0}, "replicas"),
    ("Cluster", {"replicas": "three"}, "replicas"),
    ("Cluster", {"template": {"hostNetwork": True}}, "hostNetwork"),
    ("Cluster", {"template": {"volumes": [{"hostPath": {"path": "/"}}]}}, "volumes"),
    ("Cluster", {"template": {"securityContext": {"privileged": True}}}, "securityContext"),
    ("Cluster", {"template": {"serviceAccountName": "admin"}}, "serviceAccountName"),
    (
        "Cluster",
        {"config": {"default.replication.factor": 2, "min.insync.replicas": 3}},
        "min.insync.replicas",
    ),
    ("Cluster", {"listeners": [{"name": "mine", "port": 9091}]}, "9091"),
]


@pytest.mark.parametrize(("kind", "change", "word"), BYPASSED, ids=[one[2] for one in BYPASSED])
async def test_a_spec_that_slipped_past_the_schema_touches_nothing(
    kind: str, change: dict[str, Any], word: str
) -> None:
    """InvalidSpec names the field; only the status is written, and it is healed by a good spec."""
    world = await running(admission=False)
    before, written = uids(world), len(world.api.writes)
    world.put(kind, "demo", **{"replicas": 3, "storage": DISK, **change})
    await world.converge()
    assert words(world, kind, "demo").startswith("InvalidSpec")
    assert word in words(world, kind, "demo")
    assert {(call.kind, call.name) for call in world.api.writes[written:]} == {("Cluster", "demo")}
    assert uids(world) == before
    world.put(kind, "demo", replicas=3, storage=DISK)
    await world.converge()
    assert world.is_ready("Cluster", "demo")
    assert uids(world) == before


async def test_fewer_partitions_and_another_name_are_refused_where_the_schema_was_bypassed() -> None:
    """The topic stays as it is, under its name."""
    world = await running(admission=False)
    world.put("Topic", "orders", **TOPIC)
    await world.converge()
    world.put("Topic", "orders", **{**TOPIC, "partitions": 1})
    await world.converge()
    assert words(world, "Topic", "orders").startswith("NotSupported: partitions is 1, but the topic has 2")
    world.put("Topic", "orders", **{**TOPIC, "topicName": "other"})
    await world.converge()
    assert words(world, "Topic", "orders").startswith("Immutable")
    assert {name: one.partitions for name, one in world.brokers.topics.items()} == {"orders": 2}


async def test_more_replicas_than_brokers_wait_for_brokers() -> None:
    """InvalidSpec; when brokers grow the topic is made without anybody touching it."""
    world = await running()
    world.put("Topic", "orders", **{**TOPIC, "replicas": 5})
    await world.converge()
    assert words(world, "Topic", "orders").startswith(
        "InvalidSpec: replicas is 5, but the cluster has 3 brokers"
    )
    world.put("Cluster", "demo", replicas=5, storage=DISK)
    await world.converge()
    assert world.is_ready("Topic", "orders")
    assert world.brokers.topics["orders"].replicas == 5


async def test_another_replication_factor_is_a_reassignment_in_stages() -> None:
    """Replicas are added and taken away where they are, no topic is made anew."""
    world = await running()
    world.put("Topic", "orders", **{**TOPIC, "replicas": 1})
    await world.converge()
    topic_id = world.brokers.topics["orders"].topic_id
    for replicas in (3, 2):
        world.put("Topic", "orders", **{**TOPIC, "replicas": replicas})
        await world.converge()
        placement = world.brokers.topics["orders"].placement
        assert {len(one.replicas) for one in placement} == {replicas}
    assert world.brokers.topics["orders"].topic_id == topic_id
    assert "move_replicas" in world.brokers.changes


async def test_min_isr_above_replicas_is_invalid_and_equal_to_it_a_warning() -> None:
    """The first would refuse every write, the second one broker down would."""
    world = await running(admission=False)
    world.put("Topic", "never", **TOPIC, config={"min.insync.replicas": 4})
    world.put("Topic", "tight", **TOPIC, config={"min.insync.replicas": 3})
    await world.converge()
    assert words(world, "Topic", "never").startswith("InvalidSpec")
    assert "min.insync.replicas is 4" in words(world, "Topic", "never")
    assert "never" not in world.brokers.topics
    assert world.is_ready("Topic", "tight")
    assert words(world, "Topic", "tight", "Warning").startswith("MinIsrIsReplicas")


async def test_of_two_resources_for_one_topic_the_older_has_it() -> None:
    """The other says whose it is, and stays refused when the winner goes, until it is changed itself."""
    world = await running()
    world.put("Topic", "first", **TOPIC, topicName="orders", config={"retention.ms": 1})
    world.put("Topic", "second", **TOPIC, topicName="orders", config={"retention.ms": 2})
    await world.converge()
    assert world.is_ready("Topic", "first")
    assert words(world, "Topic", "second").startswith("ResourceConflict")
    assert world.brokers.topics["orders"].overrides == {"retention.ms": "1"}
    world.api.remove("Topic", NAMESPACE, "first")
    for _ in range(3):
        await world.converge()
    assert words(world, "Topic", "second").startswith("ResourceConflict")
    assert world.brokers.topics["orders"].overrides == {"retention.ms": "1"}
    world.put("Topic", "second", **TOPIC, topicName="orders", config={"retention.ms": 3})
    await world.converge()
    assert world.is_ready("Topic", "second")
    assert world.brokers.topics["orders"].overrides == {"retention.ms": "3"}


async def test_of_two_made_in_one_second_the_lower_uid_has_it() -> None:
    """A tie has the same end wherever and whenever it is decided."""
    world = await running()
    made = [world.put("Topic", name, **TOPIC, topicName="orders") for name in ("b", "a")]
    for one in made:
        one["metadata"]["creationTimestamp"] = "2027-01-01T00:00:00Z"
    low = min(made, key=lambda one: str(one["metadata"]["uid"]))["metadata"]["name"]
    await world.converge()
    assert [name for name in ("a", "b") if world.is_ready("Topic", name)] == [low]


async def test_less_storage_is_refused_alone_and_the_rest_of_the_change_is_made() -> None:
    """The image rolls, the volumes stay as they are, and a warning says what was not done."""
    world = await running()
    claims = uids(world, "PersistentVolumeClaim")
    world.put("Cluster", "demo", replicas=3, storage={"size": "1Gi"}, image="moldau/broker:2")
    await world.converge()
    images = {pod["spec"]["containers"][0]["image"] for pod in world.api.of("Pod").values()}
    assert images == {"moldau/broker:2"}
    assert sizes(world) == {"2Gi"}
    assert uids(world, "PersistentVolumeClaim") == claims
    assert "never shrink" in words(world, "Cluster", "demo", "Warning")
    world.put("Cluster", "demo", replicas=3, storage=DISK, image="moldau/broker:2")
    await world.converge()
    assert world.condition("Cluster", "demo", "Warning") is None


async def test_another_storage_class_is_refused_and_growth_beside_it_is_made() -> None:
    """Only the offending half of the change is left out."""
    world = await running(storage={"size": "2Gi", "class": "slow"})
    world.put("Cluster", "demo", replicas=3, storage={"size": "3Gi", "class": "fast"})
    await world.converge()
    assert sizes(world) == {"3Gi"}
    classes = {one["spec"]["storageClassName"] for one in world.api.of("PersistentVolumeClaim").values()}
    assert classes == {"slow"}
    assert "cannot replace slow" in words(world, "Cluster", "demo", "Warning")


async def test_growth_that_the_storage_class_refuses_is_a_warning() -> None:
    """The set is made for larger volumes without a restart, so that new nodes have them; the old keep theirs."""
    world = await running()
    world.api.expandable = False
    before = uids(world)
    world.put("Cluster", "demo", replicas=3, storage={"size": "5Gi"})
    await world.converge()
    assert "stays smaller than 5Gi" in words(world, "Cluster", "demo", "Warning")
    assert world.is_ready("Cluster", "demo")
    assert uids(world) == before
    template = world.api.of("StatefulSet")["demo-kafka"]["spec"]["volumeClaimTemplates"][0]
    assert (template["spec"]["resources"]["requests"]["storage"], sizes(world)) == ("5Gi", {"2Gi"})
    world.api.expandable = True
    world.restart()
    await world.converge()
    assert sizes(world) == {"5Gi"}
    assert world.condition("Cluster", "demo", "Warning") is None


async def test_a_volume_that_a_hand_made_larger_is_left_alone() -> None:
    """Growth is never undone."""
    world = await running()
    key = ("PersistentVolumeClaim", NAMESPACE, "data-demo-kafka-1")
    world.api.patch(key, lambda one: one["spec"]["resources"]["requests"].update(storage="9Gi"))
    written = len(world.api.writes)
    for _ in range(3):
        await world.step()
    assert world.api.writes[written:] == []
    world.put("Cluster", "demo", replicas=3, storage={"size": "4Gi"})
    await world.converge()
    assert sizes(world) == {"4Gi", "9Gi"}


async def test_fewer_nodes_are_drained_and_refused_only_where_replicas_forbid_it() -> None:
    """The refusal lists the topics, nothing moves and nothing stops; with fewer replicas it goes on by itself."""
    world = await running(5)
    world.put("Topic", "orders", **{**TOPIC, "replicas": 5})
    await world.converge()
    before = uids(world)
    world.put("Cluster", "demo", replicas=3, storage=DISK)
    for _ in range(5):
        await world.step()
    assert words(world, "Cluster", "demo").startswith("InvalidSpec: spec.replicas: 3 brokers would be left")
    assert "orders" in words(world, "Cluster", "demo")
    assert uids(world) == before
    world.put("Topic", "orders", **TOPIC)
    await world.converge()
    assert world.is_ready("Cluster", "demo")
    assert list(world.api.of("Pod")) == ["demo-kafka-0", "demo-kafka-1", "demo-kafka-2"]
    assert {node for one in world.brokers.topics["orders"].placement for node in one.replicas} == {0, 1, 2}


async def test_an_even_quorum_is_a_warning_and_voters_go_one_at_a_time() -> None:
    """From three to one by way of two: never two changes in one pass."""
    world = await running(4)
    assert words(world, "Cluster", "demo", "Warning").startswith("EvenQuorum")
    world.put("Cluster", "demo", replicas=3, storage=DISK)
    await world.converge()
    assert world.condition("Cluster", "demo", "Warning") is None
    world.put("Cluster", "demo", replicas=1, storage=DISK)
    voters = [len(world.brokers.voters)]
    for _ in range(12):
        await world.step()
        voters.append(len(world.brokers.voters))
    assert voters[-1] == 1
    assert max(a - b for a, b in pairwise(voters)) == 1


@pytest.mark.parametrize("bad", [{"image": "bad"}, {"resources": {"requests": {"memory": "900Gi"}}}])
async def test_a_change_that_no_pod_survives_stops_at_the_first_and_heals(bad: dict[str, Any]) -> None:
    """The others serve on with what they had; the status names the node and since when."""
    world = await running()
    world.put("Topic", "orders", **TOPIC)
    await world.converge()

    def fits(pod: dict[str, Any]) -> bool:
        container = pod["spec"]["containers"][0]
        return container["image"] != "bad" and "requests" not in container["resources"]

    world.ready = fits
    before = uids(world)
    world.put("Cluster", "demo", **{"replicas": 3, "storage": DISK, **bad})
    for _ in range(12):
        await world.step()
    assert len(before.items() & uids(world).items()) == 2
    assert len(world.brokers.fenced) == 1
    rollout = world.status("Cluster", "demo")["rollout"]
    (broken,) = world.brokers.fenced
    assert (rollout["total"], rollout["updated"], rollout["blockedBy"]["node"]) == (3, 0, broken)
    since = rollout["blockedBy"]["since"]
    for _ in range(5):
        await world.step()
    assert world.status("Cluster", "demo")["rollout"]["blockedBy"]["since"] == since
    world.put("Cluster", "demo", replicas=3, storage=DISK, image="moldau/broker:2")
    await world.converge()
    assert world.is_ready("Cluster", "demo")
    assert "rollout" not in world.status("Cluster", "demo")


async def test_a_topic_waits_for_its_cluster_and_goes_without_it() -> None:
    """Pending, never Failed; its end needs no brokers."""
    world = KubeWorld()
    world.put("Topic", "orders", **TOPIC, deletionPolicy="Delete")
    world.put("ConsumerGroup", "billing", cluster="demo", groupId="billing", deletionPolicy="Delete")
    await world.converge()
    assert words(world, "Topic", "orders") == "Pending: Cluster demo is not there"
    assert words(world, "ConsumerGroup", "billing") == "Pending: Cluster demo is not there"
    world.put("Cluster", "demo", replicas=3, storage=DISK)
    await world.converge()
    assert world.is_ready("Topic", "orders")
    for kind, name in (("Cluster", "demo"), ("Topic", "orders"), ("ConsumerGroup", "billing")):
        world.api.remove(kind, NAMESPACE, name)
    await world.converge()
    assert [world.api.of(kind) for kind in ("Cluster", "Topic", "ConsumerGroup")] == [{}, {}, {}]


async def test_a_deletion_returns_while_brokers_are_down_and_is_done_later_unless_it_was_released() -> None:
    """Who asked for the data's end gets it when the brokers are back; the annotation takes that back."""
    world = await running()
    for name in ("one", "two"):
        world.put("Topic", name, **TOPIC, deletionPolicy="Delete")
    await world.converge()
    world.brokers.unreachable = AdminError(ErrorCode.BROKER_NOT_AVAILABLE, "all are down")
    note = {"moldau.dev/release": "true"}
    world.api.patch(("Topic", NAMESPACE, "one"), lambda one: one["metadata"].update(annotations=note))
    await world.step()
    for name in ("one", "two"):
        world.api.remove("Topic", NAMESPACE, name)
    assert world.api.of("Topic") == {}
    for _ in range(5):
        report = await world.step()
        assert report is not None
        assert report.busy
    assert sorted(world.brokers.topics) == ["one", "two"]
    world.brokers.unreachable = None
    await world.converge()
    assert list(world.brokers.topics) == ["one"]


@pytest.mark.parametrize("opted_in", [False, True])
async def test_a_topic_deleted_behind_its_resource_comes_back_only_if_it_says_so(opted_in: bool) -> None:
    """Its records are gone either way, and an empty topic may be worse than none."""
    world = await running()
    world.put("Topic", "orders", **TOPIC, **({"recreate": True} if opted_in else {}))
    await world.converge()
    del world.brokers.topics["orders"]
    for _ in range(12):
        await world.step()
    assert ("orders" in world.brokers.topics) is opted_in
    assert world.is_ready("Topic", "orders") is opted_in
    if not opted_in:
        assert words(world, "Topic", "orders").startswith("DeletedBehind")


async def test_a_setting_changed_behind_a_resource_is_shown_before_it_is_set_back() -> None:
    """Whoever changed it can see who changed it back."""
    world = await running()
    world.put("Topic", "orders", **TOPIC, config={"retention.ms": 1000})
    await world.converge()
    world.brokers.topics["orders"].overrides["retention.ms"] = "5"
    seen = []
    for _ in range(12):
        await world.step()
        shown = world.condition("Topic", "orders", "Drifted")
        seen.append((shown is not None, world.brokers.topics["orders"].overrides["retention.ms"]))
    assert (True, "5") in seen
    assert seen[-1] == (False, "1000")


@pytest.mark.parametrize("policy", ["Refuse", "Adopt", None])
async def test_a_topic_that_was_there_first_is_taken_over_unless_that_is_refused(policy: str | None) -> None:
    """Refused, it is neither changed nor ever deleted."""
    world = await running()
    world.brokers.add_topic("orders", 2, 3, retention_ms="7")
    adoption = {"adoptionPolicy": policy} if policy else {}
    world.put("Topic", "orders", **TOPIC, config={"retention.ms": 9}, deletionPolicy="Delete", **adoption)
    await world.converge()
    taken = world.is_ready("Topic", "orders")
    assert world.brokers.topics["orders"].overrides["retention.ms"] == ("9" if taken else "7")
    if policy is not None:
        assert taken is (policy == "Adopt")
    if not taken:
        assert words(world, "Topic", "orders").startswith("AdoptionRefused")
    world.api.remove("Topic", NAMESPACE, "orders")
    await world.converge()
    assert ("orders" in world.brokers.topics) is not taken


async def test_a_paused_cluster_is_looked_at_and_never_changed() -> None:
    """Nothing but statuses is written, whatever else was declared; unpaused it catches up."""
    world = await running()
    before, written, asked = uids(world), len(world.api.writes), len(world.brokers.changes)
    world.put("Cluster", "demo", replicas=5, storage={"size": "3Gi"}, image="moldau/broker:2", pause=True)
    world.put("Topic", "orders", **TOPIC)
    await world.converge()
    assert words(world, "Cluster", "demo").startswith("Paused")
    assert words(world, "Topic", "orders").startswith("Paused")
    assert uids(world) == before
    assert {call.kind for call in world.api.writes[written:]} <= {"Cluster", "Topic"}
    assert world.brokers.changes[asked:] == []
    world.put("Cluster", "demo", replicas=5, storage={"size": "3Gi"}, image="moldau/broker:2")
    await world.converge()
    assert len(world.api.of("Pod")) == 5
    assert world.is_ready("Topic", "orders")


async def test_a_hundred_edits_a_second_come_to_the_last_one() -> None:
    """What was declared in between is nobody's any more."""
    world = await running()
    for number in range(100):
        world.put("Topic", "orders", **TOPIC, config={"retention.ms": 1000 + number})
        if number % 10 == 0:
            await world.passes.run()
    passes = await world.converge()
    assert world.brokers.topics["orders"].overrides == {"retention.ms": "1099"}
    assert passes < 20
    assert world.status("Topic", "orders")["observedGeneration"] == 100


async def test_one_cluster_that_cannot_be_looked_after_leaves_the_others_alone() -> None:
    """A refused write of one is no reason to pass over the next."""
    world = KubeWorld()
    world.put("Cluster", "a", replicas=1, storage=DISK)
    world.put("Cluster", "b", replicas=1, storage=DISK)
    world.api.refuse = lambda call: (
        ApiError(422, "no") if (call.kind, call.name) == ("Cluster", "a") else None
    )
    for _ in range(5):
        await world.step()
    assert world.status("Cluster", "b")
    assert "b-kafka-0" in world.api.of("Pod")
