"""Bad resources, refused before the operator sees them (the definitions as they are shipped), with words that help."""

from __future__ import annotations

from typing import Any

import pytest

from moldau_operator.seams.api_server import RESOURCES, ApiError

CLUSTER: dict[str, Any] = {"replicas": 3, "storage": {"size": "1Gi"}}
TOPIC: dict[str, Any] = {"cluster": "demo", "partitions": 3, "replicas": 3}
GROUP: dict[str, Any] = {"cluster": "demo", "groupId": "billing"}


def pool(name: str, base: int, replicas: int = 3, **more: Any) -> dict[str, Any]:
    return {"name": name, "nodeIdBase": base, "replicas": replicas, **more}


REFUSED_AT_ONCE: list[tuple[str, str, dict[str, Any], str]] = [
    ("no nodes", "Cluster", {"replicas": 0}, "replicas"),
    ("fewer than none", "Cluster", {"replicas": -1}, "replicas"),
    ("neither replicas nor pools", "Cluster", {"storage": {"size": "1Gi"}}, "give either replicas"),
    ("both", "Cluster", {"replicas": 3, "pools": [pool("a", 0)]}, "give either replicas"),
    (
        "storage beside pools",
        "Cluster",
        {"storage": {"size": "1Gi"}, "pools": [pool("a", 0)]},
        "move them into a pool",
    ),
    ("overlapping ids", "Cluster", {"pools": [pool("a", 0), pool("b", 2)]}, "space their nodeIdBase"),
    ("two pools of a name", "Cluster", {"pools": [pool("a", 0), pool("a", 10)]}, "Duplicate"),
    ("no controller", "Cluster", {"pools": [pool("a", 0, roles=["broker"])]}, "role controller"),
    ("no broker", "Cluster", {"pools": [pool("a", 0, roles=["controller"])]}, "role broker"),
    ("not a role", "Cluster", {"pools": [pool("a", 0, roles=["king"])]}, "roles"),
    ("quantity with B", "Cluster", {"replicas": 3, "storage": {"size": "10GB"}}, "size"),
    ("negative quantity", "Cluster", {"replicas": 3, "storage": {"size": "-5Gi"}}, "size"),
    ("endless quantity", "Cluster", {"replicas": 3, "storage": {"size": "1e400"}}, "size"),
    ("empty quantity", "Cluster", {"replicas": 3, "storage": {"size": ""}}, "size"),
    ("no size", "Cluster", {"replicas": 3, "storage": {"class": "fast"}}, "size"),
    ("log.dirs", "Cluster", {**CLUSTER, "config": {"log.dirs": "/tmp"}}, "the operator sets"),
    (
        "listeners as a setting",
        "Cluster",
        {**CLUSTER, "config": {"listeners": "X://:1"}},
        "the operator sets",
    ),
    ("node.id", "Cluster", {**CLUSTER, "config": {"node.id": 7}}, "the operator sets"),
    ("cluster.id", "Cluster", {**CLUSTER, "config": {"cluster.id": "x"}}, "the operator sets"),
    ("config of 501", "Cluster", {**CLUSTER, "config": {f"a.{n}": "1" for n in range(501)}}, "500"),
    ("text for a number", "Cluster", {"replicas": "three"}, "replicas"),
    (
        "two restarts at once",
        "Cluster",
        {**CLUSTER, "rollout": {"maxParallelPerRack": 2}},
        "nodes restart one at a time",
    ),
    ("port out of range", "Cluster", {**CLUSTER, "listeners": [{"name": "a", "port": 70000}]}, "port"),
    ("name of a million", "Topic", {**TOPIC, "topicName": "x" * 1_000}, "topicName"),
    ("blank in a name", "Topic", {**TOPIC, "topicName": "or ders"}, "topicName"),
    ("dots for a name", "Topic", {**TOPIC, "topicName": ".."}, "not a topic's"),
    ("a name of the brokers", "Topic", {**TOPIC, "topicName": "__cluster_metadata"}, "not a topic's"),
    ("no partitions", "Topic", {**TOPIC, "partitions": 0}, "partitions"),
    ("no replicas", "Topic", {**TOPIC, "replicas": 0}, "replicas"),
    ("no cluster", "Topic", {"partitions": 3}, "cluster"),
    (
        "min ISR above replicas",
        "Topic",
        {**TOPIC, "replicas": 2, "config": {"min.insync.replicas": 3}},
        "lower it",
    ),
    (
        "the same as text",
        "Topic",
        {**TOPIC, "replicas": 2, "config": {"min.insync.replicas": "3"}},
        "lower it",
    ),
    ("not a policy", "Topic", {**TOPIC, "deletionPolicy": "Maybe"}, "deletionPolicy"),
    ("group of nobody", "ConsumerGroup", {"groupId": "x"}, "cluster"),
    ("lag below none", "ConsumerGroup", {**GROUP, "maxLag": {"records": -1}}, "records"),
]

REFUSED_CHANGES: list[tuple[str, str, dict[str, Any], dict[str, Any], str]] = [
    ("fewer partitions", "Topic", TOPIC, {**TOPIC, "partitions": 2}, "may only grow"),
    ("another name", "Topic", {**TOPIC, "topicName": "a"}, {**TOPIC, "topicName": "b"}, "can never change"),
    ("a name now", "Topic", TOPIC, {**TOPIC, "topicName": "b"}, "can never change"),
    ("another cluster", "Topic", TOPIC, {**TOPIC, "cluster": "other"}, "cannot move to another Cluster"),
    ("another group", "ConsumerGroup", GROUP, {**GROUP, "groupId": "b"}, "can never change"),
    (
        "a group elsewhere",
        "ConsumerGroup",
        GROUP,
        {**GROUP, "cluster": "b"},
        "cannot move to another Cluster",
    ),
    ("another base", "Cluster", {"pools": [pool("a", 0)]}, {"pools": [pool("a", 10)]}, "can never change"),
    (
        "a pool less",
        "Cluster",
        {"pools": [pool("a", 0), pool("b", 10)]},
        {"pools": [pool("a", 0)]},
        "lower its replicas instead",
    ),
    ("pools no more", "Cluster", {"pools": [pool("a", 0)]}, CLUSTER, "list the pools again"),
]

TAKEN: list[tuple[str, str, dict[str, Any], dict[str, Any] | None]] = [
    ("even quorum", "Cluster", {"replicas": 4}, None),
    ("fewer nodes", "Cluster", CLUSTER, {**CLUSTER, "replicas": 1}),
    ("more storage", "Cluster", CLUSTER, {**CLUSTER, "storage": {"size": "2Gi"}}),
    ("a number for a quantity", "Cluster", {"replicas": 1, "storage": {"size": 1073741824}}, None),
    ("settings of every type", "Cluster", {"replicas": 1, "config": {"a.b": 1, "c": True, "d": "x"}}, None),
    ("one restart at once", "Cluster", {**CLUSTER, "rollout": {"maxParallelPerRack": 1}}, None),
    ("more partitions", "Topic", TOPIC, {**TOPIC, "partitions": 4}),
    ("another replication factor", "Topic", TOPIC, {**TOPIC, "replicas": 1}),
    ("min ISR as replicas", "Topic", {**TOPIC, "config": {"min.insync.replicas": 3}}, None),
]


async def put(server: Any, kind: str, spec: dict[str, Any]) -> Any:
    """As kubectl replaces a resource: whole, over whatever version is there."""
    wanted = server.ours(kind, "it", **spec)
    there = await server.api.get(RESOURCES[kind], server.namespace, "it")
    if there is None:
        return await server.api.create(wanted)
    return await server.api.replace({**there, "spec": spec})


async def refusal(server: Any, kind: str, spec: dict[str, Any]) -> str:
    with pytest.raises(ApiError) as refused:
        await put(server, kind, spec)
    assert refused.value.status in {400, 422}
    return str(refused.value)


@pytest.mark.parametrize(
    ("kind", "spec", "words"), [pytest.param(*one[1:], id=one[0]) for one in REFUSED_AT_ONCE]
)
async def test_a_bad_resource_is_refused_with_words(
    server: Any, kind: str, spec: dict[str, Any], words: str
) -> None:
    """Nothing of it is stored."""
    assert words in await refusal(server, kind, spec)
    assert await server.api.get(RESOURCES[kind], server.namespace, "it") is None


@pytest.mark.parametrize(
    ("kind", "before", "after", "words"), [pytest.param(*one[1:], id=one[0]) for one in REFUSED_CHANGES]
)
async def test_a_change_that_can_never_be_is_refused_with_words(
    server: Any, kind: str, before: dict[str, Any], after: dict[str, Any], words: str
) -> None:
    """What was there stays as it was."""
    await put(server, kind, before)
    assert words in await refusal(server, kind, after)
    assert (await server.api.get(RESOURCES[kind], server.namespace, "it"))["spec"] == before


@pytest.mark.parametrize(("kind", "before", "after"), [pytest.param(*one[1:], id=one[0]) for one in TAKEN])
async def test_what_the_operator_decides_itself_is_let_through(
    server: Any, kind: str, before: dict[str, Any], after: dict[str, Any] | None
) -> None:
    """A drain, a warning, a reassignment: the request reaches the operator as it was written."""
    await put(server, kind, before)
    if after is not None:
        await put(server, kind, after)
    assert (await server.api.get(RESOURCES[kind], server.namespace, "it"))["spec"] == (after or before)


async def test_fields_that_nobody_knows_are_dropped(server: Any) -> None:
    """A structural schema keeps what it describes, and settings as they are."""
    spec = {**TOPIC, "partitons": 5, "config": {"retention.ms": 1, "nobody.knows": "x"}}
    found = await put(server, "Topic", spec)
    assert found["spec"] == {**TOPIC, "config": {"retention.ms": 1, "nobody.knows": "x"}}


@pytest.mark.parametrize(("kind", "spec"), [("Cluster", CLUSTER), ("Topic", TOPIC), ("ConsumerGroup", GROUP)])
async def test_what_nobody_has_looked_at_yet_says_so(server: Any, kind: str, spec: dict[str, Any]) -> None:
    """Whoever waits by kstatus would take a resource without a status for done before the operator has seen it."""
    await put(server, kind, spec)
    found = await server.api.get(RESOURCES[kind], server.namespace, "it")
    assert found["status"] == {"observedGeneration": -1}
