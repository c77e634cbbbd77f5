"""Apache Kafka's own tools against three brokers: the quorum, moves, elections, and clients through bounces.

MOLDAU_CLUSTER_KIND=kafka runs them against Apache Kafka itself, to test the tests.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from tests.chaos.nodes import KINDS, Cluster
from tests.compat.conftest import KafkaTools

pytestmark = [
    pytest.mark.compat,
    pytest.mark.java,
    pytest.mark.timeout(300),
    pytest.mark.xdist_group("cluster"),
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, kafka_tools: KafkaTools) -> Iterator[Cluster]:
    """Four brokers, so that a replica has somewhere to go; each test leaves all of them running."""
    kind = KINDS[os.environ.get("MOLDAU_CLUSTER_KIND", "moldau")]
    made = kind(tmp_path_factory.mktemp("cluster"), 4)
    made.prepare()
    try:
        made.start_all()
        yield made
    finally:
        made.close()


class Tools:
    """The tools, pointed at the cluster."""

    def __init__(self, tools: KafkaTools, cluster: Cluster) -> None:
        self.tools, self.cluster = tools, cluster

    def __call__(self, tool: str, *arguments: str, check: bool = True) -> str:
        at = ("--bootstrap-server", self.cluster.bootstrap)
        done = self.tools.run(tool, *at, *arguments, check=check)
        return done.stdout + done.stderr

    def late(self, tool: str, command: str) -> str:
        """For tools that want their servers behind the command."""
        return self.tools.run(tool, command, "--bootstrap-server", self.cluster.bootstrap).stdout


@pytest.fixture
def run(kafka_tools: KafkaTools, cluster: Cluster) -> Tools:
    return Tools(kafka_tools, cluster)


def make_topic(cluster: Cluster, partitions: int, replicas: list[int] | None = None) -> str:
    """A topic; with `replicas`, all partitions lie there, the first of them preferred."""
    name = f"java-{uuid.uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
    if replicas is None:
        new = NewTopic(name, partitions, 3)
    else:
        new = NewTopic(name, partitions, replica_assignment=[replicas] * partitions)
    admin.create_topics([new])[name].result(30)
    cluster.wait("in sync", lambda: cluster.in_sync([name]))
    return name


def test_kafka_metadata_quorum_describes_voters(run: Tools, cluster: Cluster) -> None:
    """All four vote, one leads, and none lags behind for long."""
    status = run("kafka-metadata-quorum", "describe", "--status")
    assert int(re.search(r"LeaderId:\s+(\d+)", status)[1]) == cluster.controller()  # type: ignore[index]
    assert int(re.search(r"HighWatermark:\s+(\d+)", status)[1]) > 0  # type: ignore[index]
    voters = json.loads(re.search(r"CurrentVoters:\s+(\[.*\])", status)[1])  # type: ignore[index]
    assert {voter["id"] for voter in voters} == set(cluster.nodes)
    replication = run("kafka-metadata-quorum", "describe", "--replication")
    rows = [line.split() for line in replication.splitlines() if re.match(r"\d+\s", line)]
    assert {int(row[0]) for row in rows} == set(cluster.nodes)
    assert [row[-1] for row in rows].count("Leader") == 1


def test_kafka_topics_finds_what_is_under_replicated(run: Tools, cluster: Cluster) -> None:
    """While one of its brokers is stopped a partition is listed, and no longer when it is back."""
    topic = make_topic(cluster, 1, [1, 2, 3])
    assert topic not in run("kafka-topics", "--describe", "--under-replicated-partitions")
    cluster.terminate(3)
    cluster.wait("3 has left", lambda: 3 not in cluster.partitions(1)[f"{topic}-0"].isr_nodes)
    listed = run("kafka-topics", "--describe", "--under-replicated-partitions", "--topic", topic)
    assert re.search(
        rf"Topic: {topic}\s+Partition: 0\s+Leader: \d\s+Replicas: 1,2,3\s+Isr: [12],[12]\b", listed
    )
    cluster.start(3)
    cluster.wait("in sync again", lambda: cluster.in_sync([topic]))
    assert topic not in run("kafka-topics", "--describe", "--under-replicated-partitions", "--topic", topic)


def plan(path: Path, topic: str, replicas: dict[int, list[int]]) -> str:
    partitions = [{"topic": topic, "partition": at, "replicas": to} for at, to in replicas.items()]
    path.write_text(json.dumps({"version": 1, "partitions": partitions}))
    return str(path)


def test_kafka_reassign_partitions_moves_and_verifies(run: Tools, cluster: Cluster, tmp_path: Path) -> None:
    """Executed with a throttle, verified complete, and the throttle is gone."""
    topic = make_topic(cluster, 2, [1, 2, 3])
    path = plan(tmp_path / "plan.json", topic, {0: [4, 2, 3], 1: [2, 3, 4]})
    execute = ["--reassignment-json-file", path, "--execute", "--throttle", "50000000"]
    assert "Successfully started partition reassignments" in run("kafka-reassign-partitions", *execute)
    verify = ["--reassignment-json-file", path, "--verify"]
    said = ""
    for _ in range(10):
        said = run("kafka-reassign-partitions", *verify)
        if said.count("is completed") == 2:
            break
        time.sleep(1)
    assert f"Reassignment of partition {topic}-0 is completed" in said
    assert "Clearing topic-level throttles" in said
    seen = cluster.partitions(1)
    assert list(seen[f"{topic}-0"].replica_nodes) == [4, 2, 3]
    assert list(seen[f"{topic}-1"].replica_nodes) == [2, 3, 4]


def test_kafka_reassign_partitions_cancels(run: Tools, cluster: Cluster, tmp_path: Path) -> None:
    """A move throttled to next to nothing is listed and cancelled, and the replicas are those of before."""
    topic = make_topic(cluster, 1, [1, 2, 3])
    producer = Producer({"bootstrap.servers": cluster.bootstrap})
    for _ in range(40):
        producer.produce(topic, bytes(100_000))
    assert producer.flush(30) == 0
    path = plan(tmp_path / "plan.json", topic, {0: [1, 2, 4]})
    run("kafka-reassign-partitions", "--reassignment-json-file", path, "--execute", "--throttle", "1000")
    assert f"{topic}-0" in run("kafka-reassign-partitions", "--list")
    said = run("kafka-reassign-partitions", "--reassignment-json-file", path, "--cancel")
    assert f"Successfully cancelled partition reassignment for: {topic}-0" in said
    assert "No partition reassignments found" in run("kafka-reassign-partitions", "--list")
    assert list(cluster.partitions(1)[f"{topic}-0"].replica_nodes) == [1, 2, 3]


def test_kafka_leader_election_brings_the_preferred_one_back(run: Tools, cluster: Cluster) -> None:
    """After a restart somebody else leads, until the tool asks."""
    topic = make_topic(cluster, 1, [2, 1, 3])
    cluster.terminate(2)
    cluster.wait("another leads", lambda: cluster.leader(f"{topic}-0") in (1, 3))
    cluster.start(2)
    cluster.wait("in sync again", lambda: cluster.in_sync([topic]))
    election = ["--election-type", "preferred", "--topic", topic, "--partition", "0"]
    assert "Successfully completed leader election" in run("kafka-leader-election", *election)
    cluster.wait("it leads", lambda: cluster.leader(f"{topic}-0") == 2)
    assert "Valid replica already elected" in run("kafka-leader-election", *election)


def test_kafka_features_and_cluster_describe(run: Tools, cluster: Cluster) -> None:
    """Finalized levels, the cluster's id, and all its endpoints."""
    features = run("kafka-features", "describe")
    assert re.search(r"Feature: metadata.version\s.*FinalizedVersionLevel: 4\.\d", features)
    assert re.search(r"Feature: kraft.version\s.*FinalizedVersionLevel: 1\b", features)
    assert re.search(r"Cluster ID: \S{22}", run.late("kafka-cluster", "cluster-id"))
    endpoints = run.late("kafka-cluster", "list-endpoints")
    for node in cluster.nodes.values():
        assert re.search(rf"^{node.id}\s+{node.host}\s+{node.port}\b", endpoints, re.MULTILINE)


def test_verifiable_clients_through_bounces(kafka_tools: KafkaTools, cluster: Cluster) -> None:
    """kafka-verifiable-producer and -consumer: every broker is killed in turn; all acknowledged is consumed."""
    topic, count = make_topic(cluster, 3), 6_000
    at = ("--bootstrap-server", cluster.bootstrap, "--topic", topic)
    consumer = kafka_tools.popen(
        "kafka-verifiable-consumer", [*at, "--group-id", topic, "--reset-policy", "earliest"]
    )
    sending = ["--throughput", "300", "--max-messages", str(count), "--acks", "-1", "--value-prefix", "1"]
    producer = kafka_tools.popen("kafka-verifiable-producer", [*at, *sending])
    acknowledged: list[tuple[int, int]] = []
    seen: dict[int, list[tuple[int, int]]] = {}

    def read_producer() -> None:
        for line in producer.stdout or ():
            event = json.loads(line) if line.startswith("{") else {}
            if event.get("name") == "producer_send_success":
                acknowledged.append((event["partition"], event["offset"]))

    def read_consumer() -> None:
        for line in consumer.stdout or ():
            event = json.loads(line) if line.startswith("{") else {}
            if event.get("name") == "records_consumed":
                for part in event["partitions"]:
                    seen.setdefault(part["partition"], []).append((part["minOffset"], part["maxOffset"]))

    threads = [threading.Thread(target=read, daemon=True) for read in (read_producer, read_consumer)]
    for thread in threads:
        thread.start()
    try:
        for node in list(cluster.nodes):
            cluster.kill(node)
            time.sleep(1)
            cluster.start(node)
            cluster.wait("in sync again", lambda: cluster.in_sync([topic]))
        producer.wait(120)
        threads[0].join(10)
        assert count // 2 < len(acknowledged) == len(set(acknowledged)), (
            "it does not retry, but mostly succeeds"
        )
        got: set[tuple[int, int]] = set()
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not got.issuperset(acknowledged):
            got = {
                (partition, offset)
                for partition, ranges in list(seen.items())
                for first, last in list(ranges)
                for offset in range(first, last + 1)
            }
            time.sleep(0.5)
        assert set(acknowledged) - got == set()
    finally:
        for process in (producer, consumer):
            process.terminate()
            process.wait(30)
        for thread in threads:
            thread.join(10)
        for process in (producer, consumer):
            assert process.stdout is not None
            process.stdout.close()
