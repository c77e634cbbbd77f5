"""What a Topic or ConsumerGroup with deletionPolicy Delete leaves to do: nothing waits for it, and it is done."""

from __future__ import annotations

import json
from typing import Any

import pytest

from moldau_operator.handlers.ledger import Ledger
from moldau_operator.handlers.store import FINALIZER
from moldau_operator.names import API_VERSION
from moldau_operator.resources.bundle import read_resource
from moldau_operator.resources.cluster import Cluster
from moldau_operator.resources.located import locate
from moldau_operator.resources.meta import Kind
from moldau_operator.seams.api_server import ApiError
from moldau_operator.specs.ledger import Entry
from moldau_operator.testing.apiserver import Killed
from moldau_operator.testing.kube_world import NAMESPACE, KubeWorld

RELEASE = {"moldau.dev/release": "true"}


def topic(world: KubeWorld, name: str = "orders", **spec: Any) -> None:
    wanted = {"cluster": "demo", "partitions": 1, "replicas": 3, "deletionPolicy": "Delete", **spec}
    world.put("Topic", name, **wanted)


async def running(*topics: str) -> KubeWorld:
    world = KubeWorld()
    world.put("Cluster", "demo", replicas=3, storage={"size": "1Gi"})
    for name in topics:
        topic(world, name)
    await world.converge()
    return world


def lines(world: KubeWorld) -> dict[str, dict[str, Any]]:
    """The ledger by resource name."""
    data = (world.api.of("ConfigMap").get("demo-ledger") or {}).get("data") or {}
    found = {uid: json.loads(text) for uid, text in data.items()}
    return {line["name"]: {**line, "uid": uid} for uid, line in found.items()}


def remove(world: KubeWorld, name: str = "orders", kind: str = "Topic") -> None:
    """Deleted, and gone when that returns: nothing holds it."""
    world.api.remove(kind, NAMESPACE, name)
    assert name not in world.api.of(kind)


async def test_the_ledger_says_what_is_left_and_belongs_to_the_cluster() -> None:
    """Only of resources that own something and want it deleted; no finalizer anywhere."""
    world = await running("orders")
    topic(world, "kept", deletionPolicy="Retain")
    world.put("ConsumerGroup", "billing", cluster="demo", groupId="bills", deletionPolicy="Delete")
    await world.converge()
    there = world.api.of("Topic")["orders"]
    assert lines(world) == {
        "orders": {
            "kind": "Topic",
            "name": "orders",
            "topicName": "orders",
            "topicId": world.brokers.topics["orders"].topic_id,
            "uid": there["metadata"]["uid"],
        },
        "billing": {
            "kind": "ConsumerGroup",
            "name": "billing",
            "groupId": "bills",
            "uid": world.api.of("ConsumerGroup")["billing"]["metadata"]["uid"],
        },
    }
    metadata = world.api.of("ConfigMap")["demo-ledger"]["metadata"]
    assert metadata["ownerReferences"][0]["uid"] == world.api.of("Cluster")["demo"]["metadata"]["uid"]
    assert not [one for one in world.api.objects.values() if one["metadata"].get("finalizers")]


async def test_the_line_is_there_before_the_resource_is_ready() -> None:
    """While the ledger cannot be written nobody is told Ready, and a deletion then leaves the topic."""
    world = await running()
    world.api.refuse = lambda call: ApiError(500, "etcd is full") if call.name == "demo-ledger" else None
    topic(world)
    for _ in range(5):
        await world.step()
    assert "orders" in world.brokers.topics
    assert not world.is_ready("Topic", "orders")
    gone = world.fork()
    remove(gone)
    await gone.converge()
    assert "orders" in gone.brokers.topics
    world.api.refuse = lambda _call: None
    await world.converge()
    assert world.is_ready("Topic", "orders")
    remove(world)
    await world.converge()
    assert "orders" not in world.brokers.topics


async def test_an_operator_that_was_away_does_what_was_left_when_it_is_back() -> None:
    """Topic and group, after a restart; then the lines are struck out."""
    world = await running("orders")
    world.brokers.groups["bills"] = world.group({("orders", 0): 0})
    world.put("ConsumerGroup", "billing", cluster="demo", groupId="bills", deletionPolicy="Delete")
    await world.converge()
    remove(world)
    remove(world, "billing", "ConsumerGroup")
    world.restart()
    await world.converge()
    assert "orders" not in world.brokers.topics
    assert "bills" not in world.brokers.groups
    assert lines(world) == {}


async def test_a_paused_cluster_and_nodes_that_are_down_leave_the_line_for_later() -> None:
    """Nothing is forgotten meanwhile."""
    world = await running("orders")
    world.put("Cluster", "demo", replicas=3, storage={"size": "1Gi"}, pause=True)
    await world.converge()
    remove(world)
    for _ in range(3):
        await world.step()
    assert list(lines(world)) == ["orders"]
    world.ready = lambda _pod: False
    await world.step()
    world.put("Cluster", "demo", replicas=3, storage={"size": "1Gi"})
    for _ in range(3):
        report = await world.step()
        assert report is not None
        assert report.busy
    assert "orders" in world.brokers.topics
    world.ready = lambda _pod: True
    await world.converge()
    assert "orders" not in world.brokers.topics
    assert lines(world) == {}


async def test_a_group_with_members_is_deleted_when_they_have_left() -> None:
    """Its line stays until then."""
    world = await running("orders")
    group = world.brokers.groups["bills"] = world.group({("orders", 0): 0})
    group.state, group.members = "Stable", 1
    world.put("ConsumerGroup", "billing", cluster="demo", groupId="bills", deletionPolicy="Delete")
    await world.step()
    await world.step()
    remove(world, "billing", "ConsumerGroup")
    for _ in range(3):
        await world.step()
    assert "billing" in lines(world)
    group.state, group.members = "Empty", 0
    await world.converge()
    assert "bills" not in world.brokers.groups
    assert list(lines(world)) == ["orders"]


@pytest.mark.parametrize("how", ["released", "retained"])
async def test_who_is_released_or_retained_goes_without_deleting_anything(how: str) -> None:
    """The line is struck out while the resource is there."""
    world = await running("orders")
    assert "orders" in lines(world)
    if how == "released":
        key = ("Topic", NAMESPACE, "orders")
        world.api.patch(key, lambda one: one["metadata"].update(annotations=dict(RELEASE)))
    else:
        topic(world, deletionPolicy="Retain")
    await world.converge()
    assert lines(world) == {}
    remove(world)
    await world.converge()
    assert "orders" in world.brokers.topics


@pytest.mark.parametrize("adoption", ["Adopt", "Refuse"])
async def test_a_resource_made_anew_for_the_same_topic_takes_it_over(adoption: str) -> None:
    """Between two looks: the topic stays with its records, and the line is the new one's."""
    world = await running("orders")
    before, was = world.brokers.topics["orders"].topic_id, lines(world)["orders"]["uid"]
    remove(world)
    topic(world, adoptionPolicy=adoption)
    await world.converge()
    assert world.is_ready("Topic", "orders")
    assert world.brokers.topics["orders"].topic_id == before
    assert lines(world)["orders"]["uid"] == world.api.of("Topic")["orders"]["metadata"]["uid"] != was
    remove(world)
    await world.converge()
    assert "orders" not in world.brokers.topics


async def test_a_resource_made_anew_for_another_topic_does_not_save_the_old_one() -> None:
    """The name of the resource is not the name of the topic."""
    world = await running("orders")
    remove(world)
    topic(world, topicName="orders-v2")
    await world.converge()
    assert list(world.brokers.topics) == ["orders-v2"]
    assert lines(world)["orders"]["topicName"] == "orders-v2"


async def test_a_topic_made_again_behind_a_resource_that_is_gone_is_not_deleted() -> None:
    """It has another id."""
    world = await running("orders")
    remove(world)
    del world.brokers.topics["orders"]
    world.brokers.add_topic("orders", 1, 3)
    await world.converge()
    assert "orders" in world.brokers.topics
    assert lines(world) == {}


async def test_a_resource_that_can_no_longer_be_read_keeps_its_topic() -> None:
    """A mistake in the spec is no deletion, and what it names is no one's to delete."""
    world = KubeWorld(admission=False)
    world.put("Cluster", "demo", replicas=3, storage={"size": "1Gi"})
    topic(world)
    await world.converge()
    topic(world, colour="red")
    await world.converge()
    assert world.ready_condition("Topic", "orders") == ("False", "InvalidSpec")
    assert "orders" in world.brokers.topics
    assert "orders" in lines(world)
    remove(world)
    topic(world, colour="red")
    await world.converge()
    assert "orders" in world.brokers.topics
    remove(world)
    await world.converge()
    assert "orders" not in world.brokers.topics


@pytest.mark.parametrize("deleted", [False, True])
async def test_finalizers_of_an_earlier_version_go_and_the_line_comes_first(deleted: bool) -> None:
    """Also of a resource that hung when the operator was upgraded: it goes, and its topic with it."""
    world = await running("orders")
    world.api.remove("ConfigMap", NAMESPACE, "demo-ledger")
    metadata = {"name": "orders", "namespace": NAMESPACE, "finalizers": [FINALIZER]}
    await world.api.apply({"apiVersion": API_VERSION, "kind": "Topic", "metadata": metadata})
    if deleted:
        world.api.remove("Topic", NAMESPACE, "orders")
    assert world.api.of("Topic")["orders"]["metadata"]["finalizers"] == [FINALIZER]
    world.restart()
    await world.converge()
    if deleted:
        assert world.api.of("Topic") == {}
        assert "orders" not in world.brokers.topics
    else:
        assert not world.api.of("Topic")["orders"]["metadata"].get("finalizers")
        assert "orders" in lines(world)


async def test_a_ledger_that_a_hand_deleted_comes_back_and_a_quiet_one_is_never_written() -> None:
    """With the next look."""
    world = await running("orders")
    before = lines(world)
    world.api.remove("ConfigMap", NAMESPACE, "demo-ledger")
    await world.step()
    assert lines(world) == before
    written = len(world.api.writes)
    for restart in (False, True):
        if restart:
            world.restart()
        for _ in range(5):
            await world.step()
    assert world.api.writes[written:] == []


async def test_many_topics_are_one_write_of_the_ledger() -> None:
    """Not one for each."""
    world = await running()
    for number in range(60):
        topic(world, f"topic-{number}")
    await world.converge()
    assert len(lines(world)) == 60
    assert len([call for call in world.api.writes if call.name == "demo-ledger"]) == 1


async def test_no_line_is_lost_wherever_an_operator_dies_while_a_ledger_is_split() -> None:
    """Lines are written to their new place before they leave the old one."""
    world = await running()
    cluster = read_resource(locate(world.api.of("Cluster")["demo"]), [])
    assert isinstance(cluster, Cluster)

    def many(count: int) -> dict[str, Entry | None]:
        found = [f"uid-{number:032d}" for number in range(count)]
        return {uid: Entry(kind=Kind.TOPIC, name=uid, uid=uid, holds=uid, topic_id="i" * 22) for uid in found}

    ledger = Ledger(world.api)
    await ledger.read(cluster)
    await ledger.keep(many(1_000))
    assert len([name for name in world.api.of("ConfigMap") if "ledger" in name]) == 1
    for after_effect in (False, True):
        deaths = 0
        while await _dies_while_it_is_split(
            world.fork(), cluster, many(1_000), many(3_500), deaths, after_effect
        ):
            deaths += 1
        assert deaths == 2, "one for each part"


async def _dies_while_it_is_split(
    world: KubeWorld,
    cluster: Cluster,
    small: dict[str, Entry | None],
    large: dict[str, Entry | None],
    index: int,
    after_effect: bool,
) -> bool:
    """Dies at a write, is started again; gives whether it died."""
    ledger, again = Ledger(world.api), Ledger(world.api)
    await ledger.read(cluster)
    world.api.kill_at, world.api.kill_after_effect = len(world.api.calls) + index, after_effect
    died = False
    try:
        await ledger.keep(large)
    except Killed:
        died = True
    world.api.kill_at = None
    await again.read(cluster)
    assert small.keys() <= {key.uid for key in again.gone((), NAMESPACE)}
    await again.keep(large)
    await again.read(cluster)
    assert {key.uid for key in again.gone((), NAMESPACE)} == large.keys()
    return died
