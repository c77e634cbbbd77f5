"""The lines of a ledger, and the ConfigMaps they are in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from moldau_operator.resources.cluster import Cluster
from moldau_operator.resources.meta import Kind
from moldau_operator.specs.ledger import (
    SHARD_BYTES,
    Entry,
    declared_name,
    entry_of,
    ledger_labels,
    ledger_maps,
    read_ledger,
)

MakeCluster = Callable[..., Cluster]

OWNED = {"owned": True, "topicName": "orders", "topicId": "id-1"}
LINE = Entry(kind=Kind.TOPIC, name="o", uid="u-1", holds="orders", topic_id="id-1")


def topic(policy: str = "Delete", **annotations: str) -> dict[str, Any]:
    metadata = {"name": "o", "uid": "u-1", "annotations": annotations}
    return {"kind": "Topic", "metadata": metadata, "spec": {"cluster": "demo", "deletionPolicy": policy}}


@pytest.fixture
def cluster(make_cluster: MakeCluster) -> Cluster:
    found = make_cluster()
    return replace(found, metadata=replace(found.metadata, uid="cluster-uid"))


def many(count: int) -> dict[str, Entry]:
    return {
        f"uid-{n:032d}": Entry(
            kind=Kind.TOPIC,
            name=f"topic-{n:05d}",
            uid=f"uid-{n:032d}",
            holds=f"topic-{n:05d}",
            topic_id="i" * 22,
        )
        for n in range(count)
    }


def test_only_what_is_owned_and_to_be_deleted_has_a_line() -> None:
    """Not before the topic was seen, not with Retain, not when it is released."""
    assert entry_of(topic(), OWNED) == LINE
    assert entry_of(topic(), None) is None
    assert entry_of(topic(), {**OWNED, "owned": False}) is None
    assert entry_of(topic(), {**OWNED, "topicId": ""}) is None
    assert entry_of(topic("Retain"), OWNED) is None
    assert entry_of(topic(**{"moldau.dev/release": "true"}), OWNED) is None
    group = {**topic(), "kind": "ConsumerGroup"}
    assert entry_of(group, {"groupId": "bills"}) == Entry(
        kind=Kind.CONSUMER_GROUP, name="o", uid="u-1", holds="bills"
    )
    assert entry_of(group, {}) is None


def test_the_name_a_resource_claims_is_its_own_unless_it_says_another() -> None:
    """Also where nothing else of it can be read."""
    assert declared_name(topic()) == "o"
    assert declared_name({**topic(), "spec": {"topicName": "orders"}}) == "orders"
    assert declared_name({**topic(), "kind": "ConsumerGroup", "spec": {"groupId": "bills"}}) == "bills"
    assert declared_name({**topic(), "spec": None}) == "o"


def test_what_is_written_is_read_again_by_the_same_cluster_only(cluster: Cluster) -> None:
    """A Cluster made anew under the name does not carry out what was left to the former one."""
    group = Entry(kind=Kind.CONSUMER_GROUP, name="b", uid="u-2", holds="bills-Σ")
    entries = {"u-1": LINE, "u-2": group}
    (found,) = ledger_maps(cluster, entries, ())
    assert found["metadata"]["name"] == "demo-ledger"
    assert found["metadata"]["ownerReferences"][0]["uid"] == "cluster-uid"
    assert ledger_labels(cluster).items() <= found["metadata"]["labels"].items()
    assert read_ledger([found], cluster) == entries
    other = replace(cluster, metadata=replace(cluster.metadata, uid="another"))
    assert read_ledger([found], other) == {}


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "1", '{"kind":"Pod","name":"x"}', '{"kind":"Topic","name":"x","topicName":"y"}']
)
def test_a_line_that_says_nothing_deletes_nothing(cluster: Cluster, text: str) -> None:
    """Whoever wrote it."""
    (found,) = ledger_maps(cluster, {"u-1": LINE}, ())
    found["data"]["u-2"] = text
    assert read_ledger([found], cluster) == {"u-1": LINE}


def test_a_large_ledger_is_split_and_every_line_is_in_one_part(cluster: Cluster) -> None:
    """Two thousand are one part; twenty thousand are several, each far below what a ConfigMap holds."""
    assert len(ledger_maps(cluster, many(2_000), ())) == 1
    entries = many(20_000)
    maps = ledger_maps(cluster, entries, ())
    assert len(maps) == 8
    assert [one["metadata"]["name"] for one in maps[:2]] == ["demo-ledger", "demo-ledger-1"]
    assert sum(len(one["data"]) for one in maps) == len(entries)
    assert read_ledger(maps, cluster) == entries
    for one in maps:
        assert sum(len(uid) + len(text) for uid, text in one["data"].items()) <= SHARD_BYTES


def test_more_parts_only_split_what_there_is_and_there_are_never_fewer(cluster: Cluster) -> None:
    """So a part that is new gains, one that was there loses, and none does both."""
    small, large = many(4_000), many(8_000)
    before, after = ledger_maps(cluster, small, ()), ledger_maps(cluster, large, ())
    assert len(after) == 2 * len(before)
    for number, one in enumerate(before):
        assert set(one["data"]) <= set(after[number]["data"]) | set(after[number + len(before)]["data"])
    names = [one["metadata"]["name"] for one in after]
    assert len(ledger_maps(cluster, {}, names)) == len(after)
    assert len(ledger_maps(cluster, {}, names[-1:])) == len(after), "one was made before the others"
