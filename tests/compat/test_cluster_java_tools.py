"""Apache Kafka's own tools for clusters, unchanged, against three of our nodes."""

from __future__ import annotations

import json
import os
import re
import signal
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
    pytest.mark.xdist_group("cluster-java"),
    pytest.mark.timeout(180),
]

Run = Callable[..., str]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """Three nodes for all tests here; each leaves them as it found them."""
    with at_a_desk(tmp_path_factory.mktemp("cluster"), 3) as desk:
        desk.up()
        desk.eventually(lambda: len((desk.status()["quorum"] or {}).get("voters", ())) == 3, "three voters")
        yield desk


@pytest.fixture
def run(kafka_tools: KafkaTools, desk: Desk) -> Run:
    """`run("kafka-topics", "--list")`: what the tool printed."""
    everybody = desk.status()["bootstrap"]

    def start(tool: str, *arguments: str, bootstrap: str = everybody, **options: bool) -> str:
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


def test_kafka_metadata_quorum_describes_the_quorum(run: Run, desk: Desk) -> None:
    """Status and replication: one leader, three voters with their directories and addresses, nobody far behind."""
    status = run("kafka-metadata-quorum", "describe", "--status")
    leader = desk.status()["quorum"]["leader"]
    assert re.search(rf"LeaderId:\s+{leader}\b", status)
    assert re.search(r"HighWatermark:\s+\d+", status)
    (voters,) = re.findall(r"CurrentVoters:\s+(\[.*\])", status)
    assert [voter["id"] for voter in json.loads(voters)] == [0, 1, 2]
    assert all(
        re.match(r"CONTROLLER://127\.0\.0\.1:\d+", voter["endpoints"][0]) for voter in json.loads(voters)
    )
    lines = run("kafka-metadata-quorum", "describe", "--replication").splitlines()
    rows = {int(line.split()[0]): line.split() for line in lines[1:] if line.strip()}
    assert {node: row[-1] for node, row in rows.items()} == {
        node: "Leader" if node == leader else "Follower" for node in range(3)
    }
    directories = {row[1] for row in rows.values()}
    assert len(directories) == 3
    assert all(re.fullmatch(r"\S{22}", directory) for directory in directories)


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
    desk.eventually(
        lambda: {node for replicas in placement(desk, topic) for node in replicas} == {0, 1}, "all has moved"
    )
    assert "throttled" not in run("kafka-configs", "--describe", "--topic", topic)


def test_kafka_reassign_partitions_lists_and_cancels(
    run: Run, desk: Desk, topic: str, tmp_path: Path
) -> None:
    """A move throttled to a trickle does not end; cancelled, everything is where it was."""
    before = placement(desk, topic)
    desk.fill(topic, megabytes=8)
    number, newcomer = 0, next(node for node in range(3) if node not in before[0])
    target = {"topic": topic, "partition": number, "replicas": [before[number][0], newcomer]}
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"version": 1, "partitions": [target]}))
    file = ("--reassignment-json-file", str(plan))
    run("kafka-reassign-partitions", "--execute", *file, "--throttle", "1000")
    assert f"{topic}-{number}: replicas:" in run("kafka-reassign-partitions", "--list")
    assert "Successfully cancelled" in run("kafka-reassign-partitions", "--cancel", *file)
    assert "No partition reassignments found." in run("kafka-reassign-partitions", "--list")
    desk.eventually(lambda: placement(desk, topic) == before, "everything is where it was")


def test_kafka_leader_election_gives_leadership_back(run: Run, desk: Desk, topic: str) -> None:
    """Moved by a new order of replicas, elected on demand."""
    partitions = desk.admin().list_topics(topic, timeout=10).topics[topic].partitions
    leader = partitions[0].leader
    other = next(node for node in partitions[0].replicas if node != leader)
    reordered = [{"topic": topic, "partition": 0, "replicas": [other, leader]}]
    plan = desk.file.with_name("order.json")
    plan.write_text(json.dumps({"version": 1, "partitions": reordered}))
    run("kafka-reassign-partitions", "--execute", "--reassignment-json-file", str(plan))
    arguments = ("--election-type", "preferred", "--topic", topic, "--partition", "0")
    assert "completed" in run("kafka-leader-election", *arguments)

    def led_by_the_other() -> bool:
        """Whichever broker is asked: an election is answered before the last one has heard of it."""
        return desk.admin().list_topics(topic, timeout=10).topics[topic].partitions[0].leader == other

    desk.eventually(led_by_the_other, "the other one leads")
    assert "Valid replica already elected" in run("kafka-leader-election", *arguments)


def test_kafka_features_and_kafka_cluster_describe_the_cluster(run: Run, desk: Desk) -> None:
    """Levels that run, the id on every disk, and where everybody listens, controllers as well."""
    found = run("kafka-features", "describe")
    assert re.search(r"Feature: kraft\.version\s.*FinalizedVersionLevel: 1\b", found)
    assert re.search(r"Feature: metadata\.version\s.*FinalizedVersionLevel: \S+", found)
    meta = (desk.folder / "nodes" / "1" / "data" / "meta.properties").read_text()
    (cluster_id,) = re.findall(r"^cluster\.id=(\S+)$", meta, re.MULTILINE)
    assert f"Cluster ID: {cluster_id}" in run("kafka-cluster", "cluster-id")
    endpoints = run("kafka-cluster", "list-endpoints")
    rows = {int(line.split()[0]): line.split() for line in endpoints.splitlines()[1:] if line.strip()}
    assert {node: f"{row[1]}:{row[2]}" for node, row in rows.items()} == {
        node["id"]: node["kafka"] for node in desk.status()["nodes"]
    }


def test_kafka_cluster_unregisters_only_who_is_there(kafka_tools: KafkaTools, desk: Desk) -> None:
    """A broker nobody knows is an error in words."""
    bootstrap = desk.status()["bootstrap"]
    done = kafka_tools.run(
        "kafka-cluster", "unregister", "--bootstrap-server", bootstrap, "--id", "77", check=False
    )
    assert "77" in done.stdout + done.stderr
    assert "not registered" in (done.stdout + done.stderr).lower() or "BrokerIdNotRegistered" in done.stderr


def test_kafka_topics_finds_what_is_under_replicated(run: Run, desk: Desk, topic: str) -> None:
    """Nothing while all is well; the partitions of a broker that is gone while it is gone."""
    assert topic not in run("kafka-topics", "--describe", "--under-replicated-partitions")
    sleeper = next(node for node in (2, 1, 0) if node != desk.status()["quorum"]["leader"])
    mine = [n for n, replicas in enumerate(placement(desk, topic)) if sleeper in replicas]
    with desk.asleep(sleeper) as others:
        deadline = time.monotonic() + 60
        while True:
            arguments = ("--describe", "--under-replicated-partitions", "--topic", topic)
            found = run("kafka-topics", *arguments, bootstrap=others)
            under = [int(n) for n in re.findall(rf"Topic: {topic}\s+Partition: (\d+)", found)]
            if under == mine or time.monotonic() > deadline:
                break
        assert under == mine


def test_kafka_verifiable_clients_work_through_a_bounce(
    kafka_tools: KafkaTools, desk: Desk, topic: str
) -> None:
    """A broker is killed and comes back; every record that was acknowledged is consumed.

    The producer does not retry (`retries=0` is its own), so what was under way to the killed broker fails.
    """
    bootstrap = desk.status()["bootstrap"]
    producing = kafka_tools.popen(
        "kafka-verifiable-producer",
        ["--bootstrap-server", bootstrap, "--topic", topic, "--max-messages", "3000", "--throughput", "300"],
    )
    consuming = kafka_tools.popen(
        "kafka-verifiable-consumer",
        [
            "--bootstrap-server",
            bootstrap,
            "--topic",
            topic,
            "--group-id",
            topic,
            "--reset-policy",
            "earliest",
            "--verbose",
        ],
    )
    assert producing.stdout is not None
    assert consuming.stdout is not None
    try:
        sent: set[str] = set()
        failed = 0
        killed = False
        for line in producing.stdout:
            event = json.loads(line) if line.startswith("{") else {}
            if event.get("name") == "producer_send_success":
                assert event["value"] not in sent
                sent.add(event["value"])
            failed += event.get("name") == "producer_send_error"
            if len(sent) > 500 and not killed:
                killed = True
                os.kill(desk.status()["nodes"][1]["pid"], signal.SIGKILL)
        assert killed
        assert len(sent) + failed == 3000
        assert failed < 1500
        missing, deadline = set(sent), time.monotonic() + 60
        for line in consuming.stdout:
            event = json.loads(line) if line.startswith("{") else {}
            if event.get("name") == "record_data":
                missing.discard(event["value"])
            if not missing:
                break
            assert time.monotonic() < deadline, len(missing)
    finally:
        for process in (producing, consuming):
            process.kill()
            process.communicate()
