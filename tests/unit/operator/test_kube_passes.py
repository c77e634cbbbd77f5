"""The operator against an API server in memory: it converges, then writes nothing, wherever it was killed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from moldau_broker.base.errors import ErrorCode
from moldau_operator.errors import AdminError
from moldau_operator.seams.api_server import ApiError
from moldau_operator.seams.broker_admin import GroupAge, PartitionView
from moldau_operator.testing.controllers import settle
from moldau_operator.testing.kube_world import NAMESPACE, KubeWorld

Scenario = Callable[[KubeWorld], Awaitable[None]]


async def three_nodes(world: KubeWorld) -> None:
    world.put("Cluster", "demo", replicas=3, storage={"size": "1Gi"})
    await world.converge()


async def create(world: KubeWorld) -> None:
    world.put(
        "Cluster", "demo", replicas=3, listeners=[{"name": "outside", "type": "nodeport", "port": 9094}]
    )
    world.put("Topic", "orders", cluster="demo", partitions=3, replicas=3, deletionPolicy="Delete")


async def scale_out(world: KubeWorld) -> None:
    world.put("Cluster", "demo", replicas=5, storage={"size": "1Gi"})


async def roll(world: KubeWorld) -> None:
    world.put("Cluster", "demo", replicas=3, storage={"size": "1Gi"}, image="moldau/broker:2")


async def grow(world: KubeWorld) -> None:
    world.put("Cluster", "demo", replicas=3, storage={"size": "2Gi"})


async def delete_topic(world: KubeWorld) -> None:
    world.put("Topic", "orders", cluster="demo", partitions=3, replicas=3, deletionPolicy="Delete")
    await world.converge()
    world.api.remove("Topic", NAMESPACE, "orders")


async def test_a_cluster_becomes_its_objects_and_is_ready() -> None:
    """One StatefulSet, its file, its Services and its budget; the status says so."""
    world = KubeWorld()
    await create(world)
    await world.converge()
    assert list(world.api.of("StatefulSet")) == ["demo-kafka"]
    assert list(world.api.of("Pod")) == ["demo-kafka-0", "demo-kafka-1", "demo-kafka-2"]
    assert list(world.api.of("ConfigMap")) == ["demo-kafka-config", "demo-ledger"]
    assert len(world.api.of("Service")) == 5
    assert world.api.of("PodDisruptionBudget")["demo-kafka"]["spec"]["maxUnavailable"] == 1
    assert world.ready_condition("Cluster", "demo") == ("True", "AsDeclared")
    status = world.status("Cluster", "demo")
    assert (status["clusterId"], status["readyReplicas"]) == ("cluster-1", 3)
    assert status["bootstrap"] == "demo-kafka-bootstrap.team.svc:9092"
    assert world.ready_condition("Topic", "orders") == ("True", "AsDeclared")
    assert world.brokers.topics["orders"].partitions == 3


async def test_a_converged_namespace_causes_no_writes() -> None:
    """Ten looks, and after a restart of the operator ten more."""
    world = KubeWorld()
    await create(world)
    await world.converge()
    before = len(world.api.writes)
    for number in range(20):
        if number == 10:
            world.restart()
        await world.step()
    assert world.api.writes[before:] == []
    assert not [call for call in world.api.calls[-100:] if call.verb in {"apply", "create", "delete"}]


async def test_a_change_that_pods_cannot_take_over_restarts_them_one_by_one() -> None:
    """Never two at a time, and each with the new image."""
    world = KubeWorld()
    await three_nodes(world)
    first = len(world.api.calls)
    await roll(world)
    most_missing = 0
    for _ in range(30):
        await world.passes.run()
        going = [pod for pod in world.api.of("Pod").values() if "deletionTimestamp" in pod["metadata"]]
        most_missing = max(most_missing, len(going))
        settle(world.api)
        world.clock.advance(1_000)
    deleted = [call.name for call in world.api.calls[first:] if call.verb == "delete" and call.kind == "Pod"]
    assert sorted(deleted) == ["demo-kafka-0", "demo-kafka-1", "demo-kafka-2"]
    assert most_missing == 1
    images = {pod["spec"]["containers"][0]["image"] for pod in world.api.of("Pod").values()}
    assert images == {"moldau/broker:2"}


async def test_a_bad_image_stops_the_roll_at_the_first_pod_and_heals() -> None:
    """The other nodes go on with the old one."""
    world = KubeWorld()
    await three_nodes(world)
    world.ready = lambda pod: pod["spec"]["containers"][0]["image"] != "bad"
    world.put("Cluster", "demo", replicas=3, storage={"size": "1Gi"}, image="bad")
    for _ in range(10):
        await world.step()
    images = [pod["spec"]["containers"][0]["image"] for pod in world.api.of("Pod").values()]
    assert sorted(images) == ["bad", "moldau/broker:1", "moldau/broker:1"]
    await roll(world)
    await world.converge()
    images = [pod["spec"]["containers"][0]["image"] for pod in world.api.of("Pod").values()]
    assert images == ["moldau/broker:2"] * 3
    assert world.ready_condition("Cluster", "demo")[0] == "True"


async def test_storage_grows_without_a_restart_and_never_shrinks() -> None:
    """Claims are patched, the set is made anew without its pods; a smaller size changes nothing."""
    world = KubeWorld()
    await three_nodes(world)
    pods = {name: pod["metadata"]["uid"] for name, pod in world.api.of("Pod").items()}
    await grow(world)
    await world.converge()
    sizes = {
        c["spec"]["resources"]["requests"]["storage"] for c in world.api.of("PersistentVolumeClaim").values()
    }
    assert sizes == {"2Gi"}
    assert {name: pod["metadata"]["uid"] for name, pod in world.api.of("Pod").items()} == pods
    await three_nodes(world)
    sizes = {
        c["spec"]["resources"]["requests"]["storage"] for c in world.api.of("PersistentVolumeClaim").values()
    }
    assert sizes == {"2Gi"}


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("StatefulSet", "demo-kafka"),
        ("Service", "demo-kafka-brokers"),
        ("ConfigMap", "demo-kafka-config"),
        ("Pod", "demo-kafka-1"),
        ("PodDisruptionBudget", "demo-kafka"),
    ],
)
async def test_what_a_hand_deletes_comes_back(kind: str, name: str) -> None:
    """As it was, under the same cluster id."""
    world = KubeWorld()
    await three_nodes(world)
    before = world.outcome()
    world.api.remove(kind, NAMESPACE, name)
    await world.step()
    await world.converge()
    assert world.outcome() == before


async def test_a_cluster_made_again_over_its_claims_keeps_its_id() -> None:
    """The claims say whose data there is; nothing is minted beside them."""
    world = KubeWorld()
    await three_nodes(world)
    world.api.remove("Cluster", NAMESPACE, "demo")
    await world.converge()
    assert not world.api.of("StatefulSet")
    assert len(world.api.of("PersistentVolumeClaim")) == 3
    world.passes._mint = lambda: "another"
    world.restart()
    world._mint = lambda: "another"  # type: ignore[method-assign]
    world.restart()
    await three_nodes(world)
    assert world.status("Cluster", "demo")["clusterId"] == "cluster-1"


async def test_a_new_operator_version_restarts_nothing() -> None:
    """Its brokers' image is used for what is made from then on."""
    world = KubeWorld()
    await three_nodes(world)
    pods = {name: pod["metadata"]["uid"] for name, pod in world.api.of("Pod").items()}
    world.image = "moldau/broker:9"
    world.restart()
    await world.converge()
    assert {name: pod["metadata"]["uid"] for name, pod in world.api.of("Pod").items()} == pods


async def test_a_bad_resource_touches_no_running_pod() -> None:
    """A condition says what is wrong; what runs goes on."""
    world = KubeWorld()
    await three_nodes(world)
    before = len(world.api.writes)
    world.put("Cluster", "demo", replicas=3, storage={"size": "1Gi"}, template={"hostNetwork": True})
    await world.converge()
    assert world.ready_condition("Cluster", "demo") == ("False", "InvalidSpec")
    assert {call.kind for call in world.api.writes[before:]} == {"Cluster"}


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
async def test_a_topic_goes_with_its_resource_only_if_it_says_so(policy: str) -> None:
    """It is gone at once, whether the operator is there or not; the topic follows when the operator looks."""
    world = KubeWorld()
    await three_nodes(world)
    world.put("Topic", "orders", cluster="demo", partitions=1, replicas=3, deletionPolicy=policy)
    await world.converge()
    world.api.remove("Topic", NAMESPACE, "orders")
    assert not world.api.of("Topic")
    await world.converge()
    assert ("orders" in world.brokers.topics) is (policy == "Retain")


async def test_a_topic_without_its_cluster_goes_at_once() -> None:
    """A deleted namespace must not hang on a cluster that is gone."""
    world = KubeWorld()
    await three_nodes(world)
    world.put("Topic", "orders", cluster="demo", partitions=1, replicas=3, deletionPolicy="Delete")
    await world.converge()
    world.api.remove("Cluster", NAMESPACE, "demo")
    world.api.remove("Topic", NAMESPACE, "orders")
    assert not world.api.of("Topic")
    assert not world.api.of("ConfigMap")
    await world.converge()
    assert not world.api.of("ConfigMap")


async def test_a_refusing_server_is_asked_again() -> None:
    """A conflict or an outage leaves a reason, and the next pass goes on."""
    world = KubeWorld()
    await create(world)
    refused: list[Any] = []

    def refuse(call: Any) -> ApiError | None:
        if call.verb == "apply" and call.kind == "StatefulSet" and len(refused) < 3:
            refused.append(call)
            return ApiError(500, "etcd is full")
        return None

    world.api.refuse = refuse
    await world.step()
    conditions = world.status("Cluster", "demo")["conditions"]
    assert "etcd is full" in conditions[0]["message"]
    await world.converge()
    assert len(refused) == 3
    assert world.ready_condition("Cluster", "demo")[0] == "True"


async def test_a_groups_lag_is_in_its_status_and_written_every_ten_seconds_at_most() -> None:
    """Records and seconds, of the group and of each topic; what is not known any more is gone, not zero."""
    world = KubeWorld()

    def writes() -> list[Any]:
        return [call for call in world.api.writes if call.kind == "ConsumerGroup"]

    await three_nodes(world)
    world.brokers.add_topic("orders", 1, 3).logs[0] = (0, 10)
    group = world.brokers.groups["billing"] = world.group({("orders", 0): 4})
    world.put("ConsumerGroup", "billing", cluster="demo", maxLag={"seconds": 30})
    group.age = GroupAge(seconds=12.0, by_topic={"orders": 12.0})
    await world.converge()
    found = world.status("ConsumerGroup", "billing")
    assert (found["lag"], found["lagSeconds"]) == (6, 12)
    assert found["topics"] == [{"topic": "orders", "lag": 6, "lagSeconds": 12}]
    assert (world.condition("ConsumerGroup", "billing", "LagWithinBudget") or {})["status"] == "True"
    before = len(writes())
    for second in range(1, 13):
        group.age = GroupAge(seconds=12.0 + second, by_topic={"orders": 12.0 + second})
        await world.step()
    assert len(writes()) == before + 1
    group.age = None
    for _ in range(12):
        await world.step()
    found = world.status("ConsumerGroup", "billing")
    assert "lagSeconds" not in found
    assert found["topics"] == [{"topic": "orders", "lag": 6}]
    assert (world.condition("ConsumerGroup", "billing", "LagWithinBudget") or {})["status"] == "Unknown"


async def test_partitions_without_a_replica_are_counted_in_the_columns_people_read() -> None:
    """Of the Cluster and of the Topic; written when the count changes, also by an operator just started."""
    world = KubeWorld()
    await three_nodes(world)
    world.put("Topic", "orders", cluster="demo", partitions=3, replicas=3)
    await world.converge()

    def counts() -> tuple[int | None, int | None]:
        cluster, topic = world.status("Cluster", "demo"), world.status("Topic", "orders")
        return cluster.get("underReplicatedPartitions"), topic.get("underReplicated")

    assert counts() == (0, 0)
    world.ready = lambda pod: pod["metadata"]["name"] != "demo-kafka-2"
    world.settle()
    await world.step()
    assert counts() == (3, 3)
    await world.step()
    world.restart()
    before = len(world.api.writes)
    for _ in range(10):
        await world.step()
    assert (counts(), len(world.api.writes)) == ((3, 3), before)
    world.ready = lambda _pod: True
    world.settle()
    await world.converge()
    assert counts() == (0, 0)
    world.brokers.unreachable = AdminError(ErrorCode.NETWORK_EXCEPTION, "cut")
    await world.step()
    await world.step()
    assert counts() == (None, 0)


async def test_leaders_are_balanced_and_the_status_says_how_even_they_are() -> None:
    """All led by one broker at first; then each leads one, and an even cluster is not written to again."""
    world = KubeWorld()
    await create(world)
    await world.converge()
    for _ in range(30):
        await world.step()
    leaders = [one.leader for one in world.brokers.topics["orders"].placement]
    assert sorted(leaders, key=str) == [0, 1, 2]
    balance = world.status("Cluster", "demo")["balance"]
    assert (balance["maxLeaders"], balance["optimum"], balance["message"]) == (1, 1, "")
    before = len(world.api.writes)
    for _ in range(30):
        await world.step()
    assert len(world.api.writes) == before


async def test_a_plan_in_the_status_is_carried_out_once_its_hash_is_approved() -> None:
    """A new broker: the plan waits, survives the operator that made it, and moves when the resource says so."""
    world = KubeWorld()
    await three_nodes(world)
    topic = world.brokers.add_topic("orders", 12, 2)
    for number in range(12):
        nodes = (number % 3, (number + 1) % 3)
        topic.placement[number] = PartitionView(nodes[0], nodes, nodes)
    world.put("Cluster", "demo", replicas=4, storage={"size": "1Gi"})
    await world.converge()
    for _ in range(60):
        await world.step()
    plan = world.status("Cluster", "demo")["balance"]["lastPlan"]
    assert (plan["state"], plan["moves"], plan["lowerBound"]) == ("WaitingForApproval", 6, 0)
    world.restart()
    before = len(world.api.writes)
    for _ in range(10):
        await world.step()
    assert len(world.api.writes) == before, "waiting needs no writes"
    assert not world.brokers.moves
    balance = {"approvedPlan": plan["hash"]}
    world.put("Cluster", "demo", replicas=4, storage={"size": "1Gi"}, balance=balance)
    for _ in range(60):
        await world.step()
        world.brokers.finish_moves()
    found = world.status("Cluster", "demo")["balance"]["lastPlan"]
    assert (found["hash"], found["state"], found["done"]) == (plan["hash"], "Done", 6)
    assert sum(3 in one.replicas for one in topic.placement) == 6
    assert (world.brokers.overrides, topic.overrides) == ({}, {})
