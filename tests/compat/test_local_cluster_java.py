"""Apache Kafka's own tools against a cluster that `moldau up` looks after: what both may change meet here."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import NewTopic
from tests.compat.conftest import KafkaTools
from tests.compat.desk import Desk, at_a_desk

pytestmark = [
    pytest.mark.compat,
    pytest.mark.java,
    pytest.mark.timeout(180),
]

Run = Callable[..., str]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """Three nodes for all tests here; each leaves them as it found them."""
    with at_a_desk(tmp_path_factory.mktemp("cluster"), 3) as desk:
        desk.up()
        yield desk


@pytest.fixture
def run(kafka_tools: KafkaTools, desk: Desk) -> Run:
    """`run("kafka-topics", "--list")`: what the tool printed."""
    bootstrap = desk.status()["bootstrap"]

    def start(tool: str, *arguments: str, **options: bool) -> str:
        at = ("--bootstrap-server", bootstrap)
        order = (*arguments, *at) if tool == "kafka-cluster" else (*at, *arguments)
        return kafka_tools.run(tool, *order, **options).stdout  # type: ignore[arg-type]

    return start


@pytest.fixture
def topic(desk: Desk, request: pytest.FixtureRequest) -> Iterator[str]:
    """A topic of three partitions with two replicas each, and 300 records."""
    name = f"java-{request.node.name[5:40].replace('_', '-')}"
    admin = desk.admin()
    assignment = [[0, 1], [1, 2], [2, 0]]
    admin.create_topics([NewTopic(name, 3, replica_assignment=assignment)])[name].result(20)
    producer = Producer({"bootstrap.servers": desk.status()["bootstrap"], "acks": "all"})
    for number in range(300):
        producer.produce(name, b"%d" % number * 100, partition=number % 3)
    assert producer.flush(20) == 0
    yield name
    admin.delete_topics([name])[name].result(20)


def placement(desk: Desk, topic: str) -> list[list[int]]:
    partitions = desk.admin().list_topics(topic, timeout=10).topics[topic].partitions
    return [list(partitions[number].replicas) for number in sorted(partitions)]


def test_kafka_metadata_quorum_removes_and_adds_a_controller(
    run: Run, desk: Desk, kafka_tools: KafkaTools
) -> None:
    """By id and directory; the tool reads the new voter's own properties file."""
    leader = desk.status()["quorum"]["leader"]
    node = next(one for one in (2, 1, 0) if one != leader)
    folder = desk.folder / "nodes" / str(node)
    meta = (folder / "data" / "meta.properties").read_text()
    (directory,) = re.findall(r"^directory\.id=(\S+)$", meta, re.MULTILINE)
    arguments = ("--controller-id", str(node), "--controller-directory-id", directory)
    assert "Removed" in run("kafka-metadata-quorum", "remove-controller", *arguments)
    desk.eventually(lambda: len(desk.status()["quorum"]["voters"]) == 2, "two voters")
    bootstrap = desk.status()["bootstrap"]
    properties = str(folder / "server.properties")
    added = kafka_tools.run(
        "kafka-metadata-quorum",
        "--bootstrap-server",
        bootstrap,
        "--command-config",
        properties,
        "add-controller",
    ).stdout
    assert f"Added controller {node} with directory id {directory}" in added
    assert [voter["id"] for voter in desk.status()["quorum"]["voters"]] == [0, 1, 2]


def test_kafka_reassign_partitions_generates_executes_and_verifies(
    run: Run, desk: Desk, topic: str, tmp_path: Path
) -> None:
    """A plan of its own, carried out with a throttle, verified until it is done; the throttle is gone again."""
    wanted = tmp_path / "topics.json"
    wanted.write_text(json.dumps({"version": 1, "topics": [{"topic": topic}]}))
    generated = run(
        "kafka-reassign-partitions",
        "--generate",
        "--topics-to-move-json-file",
        str(wanted),
        "--broker-list",
        "0,1",
    )
    proposed = json.loads(generated.split("Proposed partition reassignment configuration")[1])
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps(proposed))
    file = ("--reassignment-json-file", str(plan))
    executed = run("kafka-reassign-partitions", "--execute", *file, "--throttle", "50000000")
    assert "Successfully started partition reassignments" in executed
    deadline = time.monotonic() + 60
    while "is still in progress" in (verified := run("kafka-reassign-partitions", "--verify", *file)):
        assert time.monotonic() < deadline, verified
    assert verified.count("is completed.") == 3, verified
    assert {node for replicas in placement(desk, topic) for node in replicas} == {0, 1}
    assert "throttled" not in run("kafka-configs", "--describe", "--topic", topic)


def test_kafka_cluster_unregisters_only_who_is_there(kafka_tools: KafkaTools, desk: Desk) -> None:
    """A broker nobody knows is an error in words."""
    bootstrap = desk.status()["bootstrap"]
    done = kafka_tools.run(
        "kafka-cluster", "unregister", "--bootstrap-server", bootstrap, "--id", "77", check=False
    )
    assert "77" in done.stdout + done.stderr
    assert "not registered" in (done.stdout + done.stderr).lower() or "BrokerIdNotRegistered" in done.stderr
