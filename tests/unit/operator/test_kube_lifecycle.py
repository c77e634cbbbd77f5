"""A Cluster's life on Kubernetes: rolls, revisions, budgets, rebuilding, and what is shown of it while it happens."""

from __future__ import annotations

from typing import Any

import pytest

from moldau_operator.seams.api_server import ApiError
from moldau_operator.seams.broker_admin import Obstacle, PartitionView
from moldau_operator.testing.kube_world import NAMESPACE, KubeWorld

DISK = {"size": "1Gi"}
ROLLED = "moldau/broker:2"


def put(world: KubeWorld, **spec: Any) -> None:
    world.put("Cluster", "demo", **{"replicas": 3, "storage": DISK, **spec})


async def running(**spec: Any) -> KubeWorld:
    world = KubeWorld()
    world.slow = True
    put(world, **spec)
    world.put("Topic", "orders", cluster="demo", partitions=3, replicas=3)
    await world.converge()
    assert world.is_ready("Cluster", "demo")
    return world


def uids(world: KubeWorld) -> dict[str, str]:
    return {name: pod["metadata"]["uid"] for name, pod in world.api.of("Pod").items()}


def restarted(world: KubeWorld, first_call: int) -> list[int]:
    """The nodes whose pods the operator deleted, in order."""
    calls = world.api.calls[first_call:]
    return [
        int(call.name[-1]) for call in calls if (call.verb, call.kind) == ("delete", "Pod") and call.wrote
    ]


async def test_a_roll_takes_the_controller_last_and_never_goes_below_min_isr() -> None:
    """One node at a time, the next when the last one's replicas are back in sync."""
    world = await running(config={"min.insync.replicas": 2})
    world.brokers.min_isr = 2
    world.brokers.controller = 0
    first = len(world.api.calls)
    put(world, config={"min.insync.replicas": 2}, image=ROLLED)
    for _ in range(40):
        await world.step()
        in_sync = [len(one.in_sync) for topic in world.brokers.topics.values() for one in topic.placement]
        assert min(in_sync) >= 2
    assert world.is_ready("Cluster", "demo")
    assert restarted(world, first) == [1, 2, 0]
    assert {pod["spec"]["containers"][0]["image"] for pod in world.api.of("Pod").values()} == {ROLLED}


async def test_each_wait_of_a_roll_is_shown_with_its_reason_while_it_lasts() -> None:
    """Whose turn it is, how many are done, who holds it up, since when; and nothing once it is over."""
    world = await running()
    first = len(world.api.calls)
    put(world, image=ROLLED)
    seen: list[dict[str, Any]] = []
    for _ in range(30):
        await world.step()
        seen.append(world.status("Cluster", "demo").get("rollout") or {})
    shown = [one for one in seen if one]
    assert "set up pool kafka" in seen[0]["reason"]
    assert seen[1]["reason"] == f"restarting node 1: image moldau/broker:1 -> {ROLLED}"
    assert (seen[1]["total"], seen[1]["updated"], seen[1]["current"]) == (3, 0, 1)
    assert "starting" in seen[2]["reason"]
    assert seen[2]["blockedBy"]["node"] == 1
    updated = [one["updated"] for one in shown]
    assert updated == sorted(updated)
    assert restarted(world, first) == [1, 2, 0]
    assert seen[-1] == {}
    assert world.is_ready("Cluster", "demo")


async def test_a_roll_that_the_brokers_do_not_allow_says_which_partition_and_writes_it_once() -> None:
    """A follower that is behind is waited for; the status does not change with every look."""
    world = await running()
    world.brokers.busy = {node: (Obstacle("orders-0 has no other replica in sync"),) for node in range(3)}
    first = len(world.api.calls)
    put(world, image=ROLLED)
    for _ in range(3):
        await world.step()
    written = len(world.api.writes)
    for _ in range(10):
        await world.step()
    assert world.api.writes[written:] == []
    assert restarted(world, first) == []
    blocked = world.status("Cluster", "demo")["rollout"]["blockedBy"]
    assert "orders-0 has no other replica in sync" in blocked["reason"]
    assert blocked["since"]
    world.brokers.busy = {}
    await world.converge()
    assert sorted(restarted(world, first)) == [0, 1, 2]


async def test_another_restarted_at_restarts_every_node_once() -> None:
    """And the same one again restarts nobody."""
    world = await running()
    first = len(world.api.calls)
    put(world, rollout={"restartedAt": "2027-03-01T12:00:00Z"})
    await world.converge()
    assert sorted(restarted(world, first)) == [0, 1, 2]
    first = len(world.api.calls)
    put(world, rollout={"restartedAt": "2027-03-01T12:00:00Z"})
    await world.converge()
    assert restarted(world, first) == []


async def test_a_new_operator_restarts_nobody_until_its_revision_is_adopted() -> None:
    """Pinned by default; Auto follows the operator; back to Pinned stays with what is there."""
    world = await running()
    before = uids(world)
    world.image = "moldau/broker:9"
    world.restart()
    await world.converge()
    assert uids(world) == before
    put(world, rollout={"podRevision": "Auto"})
    await world.converge()
    images = {pod["spec"]["containers"][0]["image"] for pod in world.api.of("Pod").values()}
    assert images == {"moldau/broker:9"}
    adopted = uids(world)
    put(world)
    await world.converge()
    assert uids(world) == adopted


async def test_a_setting_that_running_brokers_take_is_given_without_a_restart() -> None:
    """log.retention.ms is dynamic, num.network.threads of ours is not."""
    world = await running()
    first = len(world.api.calls)
    put(world, config={"log.retention.ms": 5000})
    await world.converge()
    assert restarted(world, first) == []
    assert world.brokers.overrides == {"log.retention.ms": "5000"}


async def test_evictions_are_allowed_only_while_every_partition_can_spare_a_replica() -> None:
    """The budget is one or none, as the partitions are, and is written on change only."""
    world = await running(config={"min.insync.replicas": 2})
    budget = world.api.of("PodDisruptionBudget")
    assert budget["demo-kafka"]["spec"]["maxUnavailable"] == 1
    key = ("Pod", NAMESPACE, "demo-kafka-2")
    world.ready = lambda pod: pod["metadata"]["name"] != "demo-kafka-2"
    world.api.patch(key, lambda pod: pod["status"].update(conditions=[{"type": "Ready", "status": "False"}]))
    for _ in range(3):
        await world.step()
    assert world.api.of("PodDisruptionBudget")["demo-kafka"]["spec"]["maxUnavailable"] == 0
    assert world.status("Topic", "orders")["underReplicated"] == 3
    world.ready = lambda _pod: True
    await world.converge()
    assert world.api.of("PodDisruptionBudget")["demo-kafka"]["spec"]["maxUnavailable"] == 1
    assert world.status("Topic", "orders")["underReplicated"] == 0
    writes = [call for call in world.api.writes if call.kind == "PodDisruptionBudget"]
    assert len(writes) == 3


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
async def test_a_deleted_cluster_leaves_its_volumes_unless_it_says_otherwise(policy: str) -> None:
    """The set itself carries the policy, so no finalizer of ours can hang a namespace."""
    world = await running(deletionPolicy=policy)
    keeps = world.api.of("StatefulSet")["demo-kafka"]["spec"]["persistentVolumeClaimRetentionPolicy"]
    assert keeps == {"whenDeleted": policy, "whenScaled": "Retain"}
    assert not world.api.of("Cluster")["demo"]["metadata"].get("finalizers")


async def test_a_namespace_is_rebuilt_from_its_volumes_under_the_same_id() -> None:
    """Everything but claims is gone, statuses too: no id is minted beside data, at whatever call that is decided."""
    origin = await running()
    for kind in ("Cluster", "Topic", "StatefulSet", "Service", "ConfigMap", "PodDisruptionBudget", "Pod"):
        for name in list(origin.api.of(kind)):
            origin.api.remove(kind, NAMESPACE, name)
    origin.settle()
    assert {kind for kind, _, _ in origin.api.objects} == {"PersistentVolumeClaim"}
    put(origin)
    straight = origin.fork()
    straight.cluster_id = "another"
    await straight.converge()
    assert straight.status("Cluster", "demo")["clusterId"] == "cluster-1"
    text = straight.api.of("ConfigMap")["demo-kafka-config"]["data"]["demo-kafka-0.properties"]
    assert "cluster.id=cluster-1" in text
    for index in range(len(straight.api.calls)):
        world = origin.fork()
        world.cluster_id = "another"
        world.api.kill_at = index
        await world.converge()
        assert world.status("Cluster", "demo")["clusterId"] == "cluster-1", index


async def test_no_id_is_minted_while_the_volumes_cannot_be_read() -> None:
    """An API server that refuses to list claims is no empty namespace."""
    world = KubeWorld()
    put(world)
    world.api.refuse = lambda call: (
        ApiError(500, "etcd is slow") if call.kind == "PersistentVolumeClaim" else None
    )
    for _ in range(3):
        await world.step()
    assert world.api.of("StatefulSet") == {}
    assert not world.status("Cluster", "demo").get("clusterId")


async def test_conditions_say_which_generation_they_are_about_and_events_tell_changes_only() -> None:
    """Ten looks at a namespace that stays as it is: no event; every condition of every kind has its generation."""
    world = await running()
    world.put("ConsumerGroup", "billing", cluster="demo", groupId="billing", maxLag={"records": 5})
    world.put("Topic", "bad", cluster="demo", replicas=9)
    world.put("Topic", "lost", cluster="nowhere")
    await world.converge()
    for kind, name in (("Cluster", "demo"), ("Topic", "orders"), ("Topic", "bad"), ("Topic", "lost")):
        generation = world.api.of(kind)[name]["metadata"]["generation"]
        status = world.status(kind, name)
        assert status["observedGeneration"] == generation
        assert {one["observedGeneration"] for one in status["conditions"]} == {generation}
    told = []
    for _ in range(10):
        report = await world.step()
        assert report is not None
        told += [str(event) for event in report.events]
    assert told == []
    world.put("Topic", "bad", cluster="demo", replicas=8)
    report = await world.step()
    assert report is not None
    assert len([event for event in report.events if event.subject.name == "bad"]) <= 1


async def test_ten_looks_at_everything_write_nothing() -> None:
    """Every kind, with lag, a bad one and one without its cluster; after a restart of the operator too."""
    world = await running()
    world.brokers.groups["billing"] = world.group({("orders", 0): 3})
    world.brokers.topics["orders"].logs[0] = (0, 10)
    world.put("ConsumerGroup", "billing", cluster="demo", groupId="billing", maxLag={"records": 50})
    world.put("Topic", "bad", cluster="demo", replicas=9)
    world.put("Topic", "lost", cluster="nowhere")
    await world.converge()
    for restart in (False, True):
        if restart:
            world.restart()
        written, calls = len(world.api.writes), len(world.api.calls)
        for _ in range(10):
            await world.step()
        assert world.api.writes[written:] == []
        assert {call.verb for call in world.api.calls[calls:]} <= {"get", "list"}


async def test_lag_is_written_every_ten_seconds_at_most_and_only_when_it_moved() -> None:
    """A record every second is no write every second."""
    world = await running()
    group = world.brokers.groups["billing"] = world.group({("orders", 0): 0})
    world.put("ConsumerGroup", "billing", cluster="demo", groupId="billing")
    await world.converge()
    written = len(world.api.writes)
    for number in range(60):
        world.brokers.topics["orders"].logs[0] = (0, 10 + number)
        await world.step()
    moved = world.api.writes[written:]
    assert {(call.kind, call.name) for call in moved} == {("ConsumerGroup", "billing")}
    assert 5 <= len(moved) <= 7
    assert group.committed
    await world.step()
    for _ in range(12):
        await world.step()
    assert world.status("ConsumerGroup", "billing")["lag"] == 69
    written = len(world.api.writes)
    for _ in range(30):
        await world.step()
    assert world.api.writes[written:] == []


async def test_a_partition_that_lost_its_follower_keeps_its_other_nodes_from_restarting() -> None:
    """The roll that is under way waits, though every pod is ready."""
    world = await running(config={"min.insync.replicas": 2})
    world.brokers.min_isr = 2
    placement = world.brokers.topics["orders"].placement
    world.brokers.replicas_follow = lambda _serving: None  # type: ignore[method-assign]
    placement[0] = PartitionView(0, (0, 1, 2), (0, 1))
    first = len(world.api.calls)
    put(world, config={"min.insync.replicas": 2}, image=ROLLED)
    for _ in range(10):
        await world.step()
    assert restarted(world, first) == []  # node 2 could stop, and is not the first in the order
    placement[0] = PartitionView(0, (0, 1, 2), (0, 1, 2))
    await world.converge()
    assert sorted(restarted(world, first)) == [0, 1, 2]
