"""Topics and groups as resources: changed, drifted, refused, measured, reset, deleted."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from tests.e2e.conftest import CLUSTER, Demo, say
from tests.e2e.kube import Kube, Refused

EDIT_S_MAX = 3.0


def is_deleted(demo: Demo, name: str) -> float:
    """Until the operator has kept a deletion policy: the resource itself never waits for it; gives the seconds."""
    admin = AdminClientOf(demo)
    return demo.kube.wait(f"topic {name} is deleted", lambda: name not in admin.names(), 15)


@pytest.fixture
def topic(demo: Demo) -> Iterator[str]:
    """A Topic of its own, deleted with its topic at the end."""
    name = f"t{time.monotonic_ns() % 10**9}"
    demo.kube.put("Topic", name, cluster=CLUSTER, partitions=3, replicas=3, deletionPolicy="Delete")
    demo.kube.ready("topic", name, 20)
    yield name
    demo.kube.delete("topic", name)
    is_deleted(demo, name)


class AdminClientOf:
    """What a client sees of topics."""

    def __init__(self, demo: Demo) -> None:
        self.client = AdminClient({"bootstrap.servers": demo.outside})

    def names(self) -> set[str]:
        return set(self.client.list_topics(timeout=10).topics)

    def partitions(self, topic: str) -> int:
        return len(self.client.list_topics(topic, timeout=10).topics[topic].partitions)

    def replicas(self, topic: str) -> set[int]:
        found = self.client.list_topics(topic, timeout=10).topics[topic].partitions.values()
        return {len(one.replicas) for one in found}

    def setting(self, topic: str, name: str) -> str:
        resource = ConfigResource(ResourceType.TOPIC, topic)
        return str(self.client.describe_configs([resource])[resource].result(10)[name].value)

    def change(self, topic: str, name: str, value: str) -> None:
        entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
        self.client.incremental_alter_configs([resource])[resource].result(10)


def test_an_edit_is_done_in_seconds(demo: Demo, topic: str) -> None:
    """A setting and more partitions, as clients see them."""
    admin = AdminClientOf(demo)
    demo.kube.patch("topic", topic, {"config": {"retention.ms": 123456}})
    took = demo.kube.wait("the setting", lambda: admin.setting(topic, "retention.ms") == "123456", 20)
    say(f"edit of a Topic to the topic's setting: {took:.1f} s (promised: {EDIT_S_MAX:.0f} s)")
    assert took <= EDIT_S_MAX
    demo.kube.patch("topic", topic, {"partitions": 5})
    took = demo.kube.wait("five partitions", lambda: admin.partitions(topic) == 5, 20)
    assert took <= EDIT_S_MAX


def test_a_replication_factor_is_a_staged_reassignment(demo: Demo, topic: str) -> None:
    """One fewer and up again, while the topic is there."""
    admin = AdminClientOf(demo)
    for replicas in (2, 3):
        demo.kube.patch("topic", topic, {"replicas": replicas})
        demo.kube.wait(f"{replicas} replicas", lambda n=replicas: admin.replicas(topic) == {n}, 60)
        demo.kube.ready("topic", topic, 30)


def test_drift_is_shown_and_then_corrected(demo: Demo, topic: str) -> None:
    """A setting changed behind the resource: the condition says so, then the resource wins."""
    admin = AdminClientOf(demo)
    demo.kube.patch("topic", topic, {"config": {"retention.ms": 1000000}})
    demo.kube.wait("the setting", lambda: admin.setting(topic, "retention.ms") == "1000000", 20)
    demo.kube.ready("topic", topic)
    admin.change(topic, "retention.ms", "5")
    demo.kube.wait(
        "Drifted is shown",
        lambda: demo.kube.condition("topic", topic, "Drifted").get("status") == "True",
        30,
    )
    say(str(demo.kube.condition("topic", topic, "Drifted")["message"]))
    demo.kube.wait("the resource wins", lambda: admin.setting(topic, "retention.ms") == "1000000", 30)
    demo.kube.ready("topic", topic, 30)


def test_a_topic_deleted_behind_the_resource_is_made_again_only_if_asked(demo: Demo, topic: str) -> None:
    """The condition says what to do; `recreate` does it."""
    admin = AdminClientOf(demo)
    admin.client.delete_topics([topic])[topic].result(10)
    demo.kube.wait(
        "it is said",
        lambda: demo.kube.condition("topic", topic, "Ready").get("reason") == "DeletedBehind",
        30,
    )
    time.sleep(3)
    assert topic not in admin.names()
    demo.kube.patch("topic", topic, {"recreate": True})
    demo.kube.wait("it is there again", lambda: topic in admin.names(), 30)
    demo.kube.ready("topic", topic, 30)


def test_a_topic_resource_that_goes_leaves_its_topic(demo: Demo) -> None:
    """Retain is the default; the next resource of that name finds its records."""
    admin = AdminClientOf(demo)
    demo.kube.put("Topic", "kept", cluster=CLUSTER, partitions=1, replicas=3)
    demo.kube.ready("topic", "kept", 20)
    demo.kube.delete("topic", "kept")
    assert "kept" in admin.names()
    demo.kube.put("Topic", "kept", cluster=CLUSTER, partitions=1, replicas=3, deletionPolicy="Delete")
    demo.kube.ready("topic", "kept", 20)
    demo.kube.delete("topic", "kept")
    took = is_deleted(demo, "kept")
    say(f"Topic deleted to topic deleted: {took:.1f} s")


REFUSED_AT_ONCE = [
    ("Topic", {"cluster": CLUSTER, "partitions": 0}, "partitions"),
    ("Topic", {"cluster": CLUSTER, "partitions": 3, "topicName": "no/slash"}, "topicName"),
    ("Topic", {"cluster": CLUSTER, "partitions": 3, "colour": "red"}, "colour"),
    ("Cluster", {"replicas": 0}, "replicas"),
    ("Cluster", {"replicas": -1}, "replicas"),
    ("Cluster", {"replicas": 1, "storage": {"size": "10GB"}}, "size"),
    ("Cluster", {"replicas": 1, "storage": {"size": "-5Gi"}}, "size"),
    ("Cluster", {"replicas": 1, "pools": [{"name": "a", "nodeIdBase": 0, "replicas": 1}]}, "pools"),
    (
        "Topic",
        {"cluster": CLUSTER, "partitions": 1, "replicas": 2, "config": {"min.insync.replicas": 3}},
        "min.insync.replicas",
    ),
    ("ConsumerGroup", {"cluster": CLUSTER, "groupId": ""}, "groupId"),
]


@pytest.mark.parametrize(("kind", "spec", "word"), REFUSED_AT_ONCE)
def test_what_can_never_work_is_refused_at_once(
    kube: Kube, kind: str, spec: dict[str, object], word: str
) -> None:
    """By the API server, with the field's name; `kubectl apply` of strangers' fields warns or refuses."""
    with pytest.raises(Refused) as refused:
        kube.put(kind, "bad", **spec)
    assert word in str(refused.value)
    assert kube.get(kind.lower(), "bad") is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"partitions": 2}, "may only grow"),
        ({"topicName": "other"}, "topicName"),
        ({"cluster": "other"}, "cluster"),
    ],
)
def test_what_can_never_change_is_refused_at_once(
    demo: Demo, topic: str, change: dict[str, object], words: str
) -> None:
    """By a rule of the definition, in words that say what to do."""
    with pytest.raises(Refused) as refused:
        demo.kube.patch("topic", topic, change)
    say(str(refused.value).splitlines()[-1])
    assert words.lower() in str(refused.value).lower()


BAD_BUT_ACCEPTED = [
    ({"cluster": CLUSTER, "partitions": 1, "replicas": 7}, "InvalidSpec", "7"),
    ({"cluster": CLUSTER, "partitions": 1, "replicas": 1}, "InvalidSpec", "min.insync.replicas"),
    (
        {"cluster": CLUSTER, "partitions": 1, "config": {"no.such.setting": 1}},
        "InvalidSpec",
        "no.such.setting",
    ),
    ({"cluster": "nowhere", "partitions": 1}, "Pending", "nowhere"),
]


@pytest.mark.parametrize(("spec", "reason", "word"), BAD_BUT_ACCEPTED)
def test_a_bad_topic_gets_a_condition_and_goes_when_deleted(
    demo: Demo, spec: dict[str, object], reason: str, word: str
) -> None:
    """Ready is False with what to change, for this generation; deletion never hangs."""
    demo.kube.put("Topic", "bad", **spec)
    try:
        demo.kube.wait(
            reason, lambda: demo.kube.condition("topic", "bad", "Ready").get("reason") == reason, 20
        )
        found = demo.kube.condition("topic", "bad", "Ready")
        assert found["status"] == "False"
        assert found["observedGeneration"] == demo.kube.here("topic", "bad")["metadata"]["generation"]
        assert word in found["message"]
    finally:
        demo.kube.delete("topic", "bad", within=30)


def test_two_resources_of_one_topic(demo: Demo, topic: str) -> None:
    """The older one keeps it; when that goes the other one is not promoted silently."""
    demo.kube.put("Topic", "second", cluster=CLUSTER, topicName=topic, partitions=3, replicas=3)
    try:
        demo.kube.wait(
            "the conflict is said",
            lambda: demo.kube.condition("topic", "second", "Ready").get("reason") == "ResourceConflict",
            20,
        )
        assert topic in demo.kube.condition("topic", "second", "Ready")["message"]
        assert demo.kube.is_ready("topic", topic)
    finally:
        demo.kube.delete("topic", "second")


def test_lag_is_in_kubectl_and_within_its_budget_or_not(demo: Demo, topic: str) -> None:
    """In records and in seconds, as somebody with a budget wants it."""
    producer = Producer({"bootstrap.servers": demo.outside, "acks": "all"})
    for number in range(30):
        producer.produce(topic, b"%d" % number, partition=number % 3)
    assert producer.flush(20) == 0
    consumer = Consumer({"bootstrap.servers": demo.outside, "group.id": topic, "enable.auto.commit": False})
    consumer.commit(offsets=[TopicPartition(topic, number, 4) for number in range(3)], asynchronous=False)
    demo.kube.put(
        "ConsumerGroup", topic, cluster=CLUSTER, groupId=topic, maxLag={"records": 100, "seconds": 3600}
    )
    try:
        demo.kube.wait(
            "18 records",
            lambda: demo.kube.here("consumergroup", topic).get("status", {}).get("lag") == 18,
            20,
        )
        demo.kube.wait(
            "within budget",
            lambda: demo.kube.condition("consumergroup", topic, "LagWithinBudget").get("status") == "True",
            20,
        )
        say(demo.kube.run("get", "consumergroup", topic).replace("\n", "\n  "))
        demo.kube.patch("consumergroup", topic, {"maxLag": {"records": 10, "seconds": 3600}})
        demo.kube.wait(
            "over budget",
            lambda: demo.kube.condition("consumergroup", topic, "LagWithinBudget").get("status") == "False",
            20,
        )
        demo.kube.patch("consumergroup", topic, {"offsets": {"reset": {"id": "again", "to": "earliest"}}})
        demo.kube.wait(
            "all of it",
            lambda: demo.kube.here("consumergroup", topic)["status"].get("lag") == 30,
            30,
        )
        assert demo.kube.here("consumergroup", topic)["status"]["lastResetId"] == "again"
        places = consumer.committed([TopicPartition(topic, number) for number in range(3)], timeout=10)
        assert [place.offset for place in places] == [0, 0, 0]
    finally:
        consumer.close()
        demo.kube.delete("consumergroup", topic)


def test_a_reset_waits_while_members_are_active(demo: Demo, topic: str) -> None:
    """Refused with the reason, and done once they have left."""
    consumer = Consumer({"bootstrap.servers": demo.outside, "group.id": topic, "auto.offset.reset": "latest"})
    consumer.subscribe([topic])
    deadline = time.monotonic() + 30
    while not consumer.assignment():
        assert time.monotonic() < deadline
        consumer.poll(0.2)
    consumer.commit(offsets=[TopicPartition(topic, 0, 0)], asynchronous=False)
    reset = {"reset": {"id": "one", "to": "earliest"}}
    demo.kube.put("ConsumerGroup", topic, cluster=CLUSTER, groupId=topic, offsets=reset)
    try:
        demo.kube.wait(
            "refused",
            lambda: (
                demo.kube.condition("consumergroup", topic, "OffsetsReset").get("reason") == "GroupActive"
            ),
            20,
        )
        consumer.close()
        demo.kube.wait(
            "applied",
            lambda: demo.kube.here("consumergroup", topic)["status"].get("lastResetId") == "one",
            30,
        )
    finally:
        demo.kube.delete("consumergroup", topic)
