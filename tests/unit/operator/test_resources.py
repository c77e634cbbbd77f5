"""Reading Cluster, Topic and ConsumerGroup: defaults, validation, words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from moldau_operator.resources.bundle import Bundle, read_bundle, read_resource
from moldau_operator.resources.cluster import BalanceMode, Cluster, Role
from moldau_operator.resources.consumergroup import AtOffsets, AtTime, Edge
from moldau_operator.resources.located import Problem, ResourcesInvalid, locate
from moldau_operator.resources.meta import DeletionPolicy, Key, Kind
from moldau_operator.resources.topic import AdoptionPolicy, same_setting

QUICKSTART = Path(__file__).parents[3] / "examples" / "quickstart.yaml"


def document(kind: str, spec: dict[str, Any], name: str = "demo", **metadata: Any) -> str:
    return yaml.safe_dump(
        {
            "apiVersion": "moldau.dev/v1alpha1",
            "kind": kind,
            "metadata": {"name": name, **metadata},
            "spec": spec,
        }
    )


def read(*documents: str) -> Bundle:
    return read_bundle("\n---\n".join(documents), "f.yaml")


def cluster(**spec: Any) -> Cluster:
    return read(document("Cluster", {"replicas": 3, **spec})).clusters[0]


def complaints(kind: str, spec: dict[str, Any], **metadata: Any) -> list[str]:
    with pytest.raises(ResourcesInvalid) as caught:
        read(document(kind, spec, **metadata))
    return [f"{problem.path}: {problem.message}" for problem in caught.value.problems]


def complaint(kind: str, spec: dict[str, Any], **metadata: Any) -> str:
    (only,) = complaints(kind, spec, **metadata)
    return only


def test_quickstart_is_one_cluster_two_topics_and_one_group() -> None:
    """The example that everything begins with reads without a complaint."""
    bundle = read_bundle(QUICKSTART.read_bytes(), "quickstart.yaml")
    assert [cluster.metadata.name for cluster in bundle.clusters] == ["demo"]
    assert [topic.spec.topic_name for topic in bundle.topics] == ["orders", "payments"]
    assert [group.spec.group_id for group in bundle.groups] == ["billing"]
    assert bundle.groups[0].spec.max_lag.records == 10_000


def test_the_operators_sample_resources_read() -> None:
    """The shapes users will write for Kubernetes are the same ones."""
    bundle = read_bundle(
        """
apiVersion: moldau.dev/v1alpha1
kind: Cluster
metadata: {name: demo}
spec:
  replicas: 3
  storage: {size: 1Gi}
  config: {num.partitions: 6, default.replication.factor: 3, min.insync.replicas: 2}
  balance: {mode: LeadersOnly}
---
apiVersion: moldau.dev/v1alpha1
kind: Topic
metadata: {name: orders}
spec: {cluster: demo, partitions: 6, replicas: 3, config: {retention.ms: 604800000}}
---
apiVersion: moldau.dev/v1alpha1
kind: ConsumerGroup
metadata: {name: billing}
spec: {cluster: demo, groupId: billing, maxLag: {records: 10000, seconds: 60}}
""",
        "sample.yaml",
    )
    spec = bundle.clusters[0].spec
    assert (spec.replicas, spec.brokers, spec.balance.mode) == (3, 3, BalanceMode.LEADERS_ONLY)
    assert spec.config["min.insync.replicas"] == "2"
    assert bundle.topics[0].spec.config == {"retention.ms": "604800000"}


def test_a_cluster_without_pools_is_one_pool_of_combined_nodes() -> None:
    """Ids count from 0, and every node has both roles."""
    (pool,) = cluster(rack="a", storage={"size": "1Gi", "class": "fast"}).spec.pools
    assert list(pool.node_ids) == [0, 1, 2]
    assert pool.roles == frozenset(Role)
    assert (pool.rack, str(pool.storage.size), pool.storage.storage_class) == ("a", "1Gi", "fast")


def test_pools_carry_their_own_ids_and_roles() -> None:
    """Each pool says where its ids begin and what its nodes do."""
    spec = {
        "pools": [
            {"name": "brains", "nodeIdBase": 100, "replicas": 3, "roles": ["controller"]},
            {"name": "brawn", "nodeIdBase": 0, "replicas": 5, "roles": ["broker"]},
        ]
    }
    read_cluster = read(document("Cluster", spec)).clusters[0]
    assert [pool.node_ids.start for pool in read_cluster.spec.pools] == [100, 0]
    assert read_cluster.spec.brokers == 5


def test_defaults_of_topic_and_group() -> None:
    """What is not said has the default the documentation promises."""
    bundle = read(
        document("Topic", {"cluster": "demo"}, "t"), document("ConsumerGroup", {"cluster": "demo"}, "g")
    )
    topic, group = bundle.topics[0].spec, bundle.groups[0].spec
    assert (topic.topic_name, topic.partitions, topic.replicas, topic.recreate) == ("t", None, None, False)
    assert (topic.deletion_policy, topic.adoption_policy) == (DeletionPolicy.RETAIN, AdoptionPolicy.ADOPT)
    assert (group.group_id, group.max_lag.records, group.reset) == ("g", None, None)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (
            {"replicas": 3, "rollout": {"maxParallelPerRack": 2}},
            "nodes restart one at a time; set it to 1 or leave it out",
        ),
        ({"replicas": 0}, "spec.replicas: is 0; it must be at least 1"),
        ({"replicas": -1}, "spec.replicas: is -1; it must be at least 1"),
        ({"replicas": "3"}, "spec.replicas: must be a whole number, not text '3'"),
        ({"replicas": 1.5}, "spec.replicas: must be a whole number"),
        ({"replicas": True}, "spec.replicas: must be a whole number, not true or false"),
        ({}, "spec.replicas: is missing; give the number of nodes, or list pools"),
        (
            {"replicas": 1, "storage": {"size": "10GB"}},
            "10GB is not a quantity; write 10Gi or 10G without the B",
        ),
        ({"replicas": 1, "storage": {"size": "-5Gi"}}, "-5Gi is negative"),
        ({"replicas": 1, "storage": {"size": "1e400"}}, "'1e400' is not a quantity"),
        ({"replicas": 1, "storage": {"size": ""}}, "'' is not a quantity"),
        ({"replicas": 1, "storage": {}}, "spec.storage.size: is missing"),
        ({"replicas": 1, "config": {"listeners": "x"}}, "listeners cannot be set here: it follows from"),
        ({"replicas": 1, "config": {"log.dirs": "/x"}}, "log.dirs cannot be set here"),
        ({"replicas": 1, "config": {"node.id": 5}}, "node.id cannot be set here"),
        (
            {"replicas": 1, "config": {"num.partition": 5}},
            "is not a broker setting; did you mean num.partitions?",
        ),
        ({"replicas": 1, "config": {"ssl.keystore.location": "/k"}}, "TLS is not served yet"),
        ({"replicas": 1, "config": {"retention.ms": 5}}, "is a topic setting, not a broker setting"),
        ({"replicas": 1, "config": {"num.partitions": "x"}}, "num.partitions=x: must be a whole number"),
        (
            {"replicas": 1, "config": {"num.partitions": [1]}},
            "must be text, a number or true/false, not a list",
        ),
        ({"replicas": 1, "config": {"default.replication.factor": 3}}, "but the cluster has 1 broker"),
        ({"replicas": 1, "balanse": {}}, "spec: balanse is not a known field; did you mean balance?"),
        (
            {"replicas": 1, "balance": {"mode": "auto"}},
            "is auto; it must be one of Off, LeadersOnly, Auto; did you mean Auto?",
        ),
        (
            {"replicas": 1, "resources": {"requests": {"cpu": 2}, "limits": {"cpu": 1}}},
            "asks for more cpu (2) than limits",
        ),
        (
            {"replicas": 1, "listeners": [{"name": "a", "port": 9, "type": "x"}]},
            "must be one of internal, nodeport",
        ),
        ({"pools": []}, "spec.pools: is empty"),
        (
            {"replicas": 1, "pools": [{"name": "a", "nodeIdBase": 0, "replicas": 1}]},
            "cannot stand beside pools",
        ),
        ({"pools": [{"name": "a", "replicas": 1}]}, "nodeIdBase: is missing"),
        ({"pools": [{"name": "a", "nodeIdBase": 0, "replicas": 1, "roles": ["broker"]}]}, "role controller"),
    ],
)
def test_a_bad_cluster_is_refused_in_words(spec: dict[str, Any], words: str) -> None:
    """Reliability 4b: quantities, replicas, forbidden keys, unknown fields, wrong types."""
    assert words in complaint("Cluster", spec)


def test_pools_whose_ids_overlap_are_refused() -> None:
    """Two nodes with one id would share a volume's identity."""
    pools = [
        {"name": "a", "nodeIdBase": 0, "replicas": 3},
        {"name": "b", "nodeIdBase": 2, "replicas": 1},
    ]
    assert "gives ids 2..2, but pool a has 0..2" in complaint("Cluster", {"pools": pools})


def test_min_isr_above_the_default_replication_factor_is_refused() -> None:
    """Every acks=all write would fail."""
    words = complaint(
        "Cluster", {"replicas": 3, "config": {"default.replication.factor": 2, "min.insync.replicas": 3}}
    )
    assert "min.insync.replicas is 3, but default.replication.factor is 2" in words


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({}, "spec.cluster: is missing; give the name of the Cluster"),
        ({"cluster": "d", "partitions": 0}, "spec.partitions: is 0; it must be at least 1"),
        ({"cluster": "d", "partitions": 10**7}, "it must be at most 100,000"),
        ({"cluster": "d", "topicName": "a/b"}, "spec.topicName: 'a/b' must be letters, digits"),
        ({"cluster": "d", "topicName": ".."}, "'..' must be letters"),
        ({"cluster": "d", "topicName": "x" * 250}, "at most 249"),
        ({"cluster": "d", "topicName": "__consumer_offsets"}, "is kept by the brokers themselves"),
        ({"cluster": "d", "config": {"retention.mss": 1}}, "did you mean retention.ms?"),
        (
            {"cluster": "d", "config": {"cleanup.policy": "shred"}},
            "every item must be one of compact, delete",
        ),
        ({"cluster": "d", "config": {"preallocate": True}}, "not acted on here"),
        ({"cluster": "d", "replicas": 1, "config": {"min.insync.replicas": 2}}, "but replicas is 1"),
        ({"cluster": "d", "recreate": "yes"}, "spec.recreate: must be true or false, not yes"),
        ({"cluster": "d", "deletionPolicy": "delete"}, "did you mean Delete?"),
        ({"cluster": 5}, 'must be text, not a number; put it in quotes: cluster: "5"'),
        ({"cluster": "d", "config": "x"}, "must be a mapping of settings, not text"),
        ({"cluster": "d", "config": {"a" * 20: "b" * 5000}}, "is longer than 4,096 characters"),
    ],
)
def test_a_bad_topic_is_refused_in_words(spec: dict[str, Any], words: str) -> None:
    """Reliability 4b: names, numbers, settings, policies."""
    assert words in complaint("Topic", spec)


def test_a_config_of_a_megabyte_is_refused_by_its_size() -> None:
    """One complaint, not one per entry."""
    assert "at most 512" in complaint(
        "Topic", {"cluster": "d", "config": {f"k{i}": "v" for i in range(20_000)}}
    )


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"cluster": "d", "groupId": ""}, "'' must not be empty"),
        ({"cluster": "d", "maxLag": {"records": -1}}, "must be at least 0"),
        ({"cluster": "d", "maxLag": {"record": 1}}, "did you mean records?"),
        ({"cluster": "d", "offsets": {"reset": {"id": "a"}}}, "spec.offsets.reset.to: is missing"),
        ({"cluster": "d", "offsets": {"reset": {"to": "latest"}}}, "spec.offsets.reset.id: is missing"),
        (
            {"cluster": "d", "offsets": {"reset": {"id": "a", "to": "newest"}}},
            "newest is not a place in a log",
        ),
        (
            {"cluster": "d", "offsets": {"reset": {"id": "a", "to": "2026-01-31T08:00:00"}}},
            "a time with its zone",
        ),
        (
            {"cluster": "d", "offsets": {"reset": {"id": "a", "to": {"t": {"x": 1}}}}},
            "'x' is not a partition's number",
        ),
        (
            {"cluster": "d", "offsets": {"reset": {"id": "a", "to": {"t": {0: -1}}}}},
            "is -1; it must be at least 0",
        ),
    ],
)
def test_a_bad_group_is_refused_in_words(spec: dict[str, Any], words: str) -> None:
    """Group ids, budgets and resets."""
    assert words in complaint("ConsumerGroup", spec)


@pytest.mark.parametrize(
    ("to", "target"),
    [
        ("earliest", Edge.EARLIEST),
        ("latest", Edge.LATEST),
        ("1970-01-01T00:00:01.5Z", AtTime(1500, "1970-01-01T00:00:01.5Z")),
        ("1970-01-01T01:00:00+01:00", AtTime(0, "1970-01-01T01:00:00+01:00")),
        (1700000000000, AtTime(1_700_000_000_000, "1700000000000")),
        ({"orders": {0: 5, "1": 7}}, AtOffsets({"orders": {0: 5, 1: 7}})),
    ],
)
def test_offset_resets_name_a_place_in_the_log(to: Any, target: object) -> None:
    """Ends, times with a zone, milliseconds, and offsets by partition."""
    group = read(
        document("ConsumerGroup", {"cluster": "d", "offsets": {"reset": {"id": "r", "to": to}}})
    ).groups[0]
    assert group.spec.reset is not None
    assert group.spec.reset.to == target


def test_every_problem_is_reported_with_its_line() -> None:
    """One pass shows all of them, in the order of the text."""
    text = (
        "apiVersion: moldau.dev/v1alpha1\nkind: Topic\nmetadata: {name: Orders_}\n"
        "spec:\n  cluster: demo\n  partitons: 3\n  replicas: 0\n"
    )
    with pytest.raises(ResourcesInvalid) as caught:
        read_bundle(text, "f.yaml")
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("f.yaml:3: Topic Orders_ metadata.name: 'Orders_' must be lower-case")
    assert (
        lines[1] == "f.yaml:6: Topic Orders_ spec: partitons is not a known field; did you mean partitions?"
    )
    assert lines[2] == "f.yaml:7: Topic Orders_ spec.replicas: is 0; it must be at least 1"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kind: Topic", "apiVersion: is missing; give moldau.dev/v1alpha1"),
        ("apiVersion: moldau.dev/v1\nkind: Topic", "is a version this moldau does not know"),
        ("apiVersion: v1\nkind: ConfigMap", "ConfigMap is not a kind moldau knows; known: Cluster, Topic"),
        ("apiVersion: moldau.dev/v1alpha1\nkind: Topc", "did you mean Topic?"),
        ("apiVersion: apps/v1\nkind: Topic", "apps/v1 is not moldau's"),
        ("- a", "must be a mapping, not a list"),
        ("hello", "must be a mapping, not text"),
        ("apiVersion: moldau.dev/v1alpha1\nkind: Topic\nspec: {cluster: d}", "metadata: is missing"),
    ],
)
def test_what_is_no_resource_of_ours_is_refused(text: str, words: str) -> None:
    """Strangers in a file are named, not skipped."""
    with pytest.raises(ResourcesInvalid) as caught:
        read_bundle(text, "f.yaml")
    assert words in str(caught.value)


def test_the_same_resource_twice_is_refused() -> None:
    """Which of the two would be meant nobody can know."""
    topic = document("Topic", {"cluster": "demo"}, "orders")
    with pytest.raises(ResourcesInvalid, match="Topic orders: stands on line"):
        read(topic, topic)


def test_what_an_api_server_adds_is_accepted() -> None:
    """`kubectl get -o yaml` output can be fed back: lists, status and server-side metadata."""
    item = {
        "apiVersion": "moldau.dev/v1alpha1",
        "kind": "Topic",
        "metadata": {
            "name": "t",
            "uid": "u",
            "generation": 3,
            "managedFields": [{"a": 1}],
            "resourceVersion": "5",
        },
        "spec": {"cluster": "d"},
        "status": {"anything": True},
    }
    bundle = read_bundle(yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": [item]}), "f.yaml")
    assert (bundle.topics[0].metadata.uid, bundle.topics[0].metadata.generation) == ("u", 3)


def test_objects_of_an_api_read_without_places() -> None:
    """The operator reads the same resources from plain data."""
    problems: list[Problem] = []
    resource = read_resource(
        locate({"apiVersion": "moldau.dev/v1alpha1", "kind": "Topic", "metadata": {"name": "t"}, "spec": {}}),
        problems,
    )
    assert resource is not None
    assert [str(problem) for problem in problems] == [
        "Topic t spec.cluster: is missing; give the name of the Cluster it belongs to"
    ]


def test_a_bundle_points_at_any_field() -> None:
    """Later checks complain with the same precision as the reader."""
    bundle = read_bundle(QUICKSTART.read_bytes(), "q.yaml")
    key = Key(Kind.CLUSTER, "default", "demo")
    lines = QUICKSTART.read_text().splitlines()
    assert lines[bundle.where(key, "spec.replicas").line - 1].strip() == "replicas: 3"
    assert lines[bundle.where(key, "spec.nothing").line - 1].strip() == "spec:"


@pytest.mark.parametrize(
    ("name", "one", "other", "same"),
    [
        ("retention.ms", "1000", "+1000", True),
        ("cleanup.policy", "compact,delete", "delete, compact", True),
        ("preallocate", "TRUE", "true", True),
        ("min.cleanable.dirty.ratio", "0.5", ".50", True),
        ("retention.ms", "1000", "1001", False),
        ("no.such.setting", "a", "b", False),
    ],
)
def test_settings_are_compared_by_meaning(name: str, one: str, other: str, same: bool) -> None:
    """Two spellings of one value are no drift."""
    assert same_setting(name, one, other) is same
