"""Apache Kafka's own command-line tools, unchanged, against our broker."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Producer
from tests.compat.conftest import Broker, KafkaTools

pytestmark = [pytest.mark.compat, pytest.mark.java]

Run = Callable[..., str]


@pytest.fixture
def run(kafka_tools: KafkaTools, shared_broker: Broker) -> Run:
    """`run("kafka-topics", "--list")`: what the tool printed."""

    def start(tool: str, *arguments: str, text: str | None = None) -> str:
        return kafka_tools.run(
            tool, "--bootstrap-server", shared_broker.bootstrap, *arguments, text=text
        ).stdout

    return start


@pytest.fixture
def name() -> str:
    return f"java-{uuid.uuid4().hex[:8]}"


def fill(broker: Broker, topic: str, count: int, partition: int = 0) -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    for i in range(count):
        producer.produce(topic, b"%d" % i, partition=partition)
    assert producer.flush(20) == 0


def test_kafka_topics_from_creation_to_deletion(run: Run, name: str) -> None:
    """Created with settings, described, grown, listed and deleted."""
    run("kafka-topics", "--create", "--topic", name, "--partitions", "2", "--config", "retention.ms=1000")
    grown = run("kafka-topics", "--alter", "--topic", name, "--partitions", "3")
    assert grown == ""
    described = run("kafka-topics", "--describe", "--topic", name)
    assert re.search(
        rf"Topic: {name}\s+TopicId: \S{{22}}\s+PartitionCount: 3\s+ReplicationFactor: 1", described
    )
    assert "retention.ms=1000" in described
    for partition in range(3):
        assert re.search(rf"Partition: {partition}\s+Leader: 1\s+Replicas: 1\s+Isr: 1\b", described)
    assert name in run("kafka-topics", "--list").split()
    run("kafka-topics", "--delete", "--topic", name)
    assert name not in run("kafka-topics", "--list").split()


def test_kafka_topics_reports_errors(kafka_tools: KafkaTools, shared_broker: Broker) -> None:
    """What the broker refuses ends the tool with its words and a status."""
    topic = shared_broker.create_topic()
    at = ["--bootstrap-server", shared_broker.bootstrap]
    done = kafka_tools.run("kafka-topics", *at, "--create", "--topic", topic, check=False)
    assert done.returncode == 1
    assert f"Topic '{topic}' already exists." in done.stdout


def test_kafka_configs_of_topics_and_brokers(run: Run, shared_broker: Broker) -> None:
    """Set, shown with source and default, and reset."""
    topic = shared_broker.create_topic()
    run(
        "kafka-configs",
        "--alter",
        "--topic",
        topic,
        "--add-config",
        "retention.ms=2000,cleanup.policy=[compact,delete]",
    )
    run("kafka-configs", "--alter", "--topic", topic, "--delete-config", "retention.ms")
    described = run("kafka-configs", "--describe", "--topic", topic)
    assert "cleanup.policy=compact,delete" in described
    assert "DYNAMIC_TOPIC_CONFIG:cleanup.policy=compact,delete" in described
    assert "DEFAULT_CONFIG:log.cleanup.policy=delete" in described
    assert "retention.ms" not in described

    run("kafka-configs", "--alter", "--broker", "1", "--add-config", "log.segment.bytes=2000000")
    assert "log.segment.bytes=2000000" in run("kafka-configs", "--describe", "--broker", "1")
    run("kafka-configs", "--alter", "--broker", "1", "--delete-config", "log.segment.bytes")
    everything = run("kafka-configs", "--describe", "--topic", topic, "--all")
    assert "segment.bytes=1073741824" in everything


def rows(printed: str, first_column: str) -> list[dict[str, str]]:
    """A tool's table as dictionaries, by its header line."""
    lines = [line.split() for line in printed.splitlines() if line.strip()]
    start = next(i for i, line in enumerate(lines) if line[0] == first_column)
    return [dict(zip(lines[start], line, strict=False)) for line in lines[start + 1 :]]


def test_kafka_consumer_groups_describes_resets_and_deletes(
    run: Run, shared_broker: Broker, name: str
) -> None:
    """Lag after reading a part; offsets set back, shifted and forgotten; the group deleted."""
    topic = shared_broker.create_topic()
    fill(shared_broker, topic, 10)
    read = run(
        "kafka-console-consumer", "--topic", topic, "--group", name, "--from-beginning", "--max-messages", "4"
    )
    assert read.split() == ["0", "1", "2", "3"]

    described = rows(run("kafka-consumer-groups", "--describe", "--group", name), "GROUP")
    assert [(r["TOPIC"], r["CURRENT-OFFSET"], r["LOG-END-OFFSET"], r["LAG"]) for r in described] == [
        (topic, "4", "10", "6")
    ]
    listed = rows(run("kafka-consumer-groups", "--list", "--state", "--type"), "GROUP")
    (mine,) = [row for row in listed if row["GROUP"] == name]
    assert (mine["TYPE"], mine["STATE"]) == ("Classic", "Empty")

    def reset(*how: str) -> str:
        printed = run("kafka-consumer-groups", "--reset-offsets", "--group", name, "--topic", topic, *how)
        (row,) = rows(printed, "GROUP")
        return row["NEW-OFFSET"]

    assert reset("--to-earliest", "--execute") == "0"
    assert reset("--shift-by", "3", "--execute") == "3"
    assert reset("--to-datetime", "2020-01-01T00:00:00.000", "--dry-run") == "0"
    read = run("kafka-console-consumer", "--topic", topic, "--group", name, "--max-messages", "1")
    assert read.split() == ["3"]
    forgotten = run("kafka-consumer-groups", "--delete-offsets", "--group", name, "--topic", topic)
    assert "Successful" in forgotten
    assert "was successful" in run("kafka-consumer-groups", "--delete", "--group", name)


def test_offsets_and_log_dirs_after_deleting_records(run: Run, shared_broker: Broker, tmp_path: Path) -> None:
    """kafka-get-offsets, kafka-delete-records and kafka-log-dirs agree on what is there."""
    topic = shared_broker.create_topic(2)
    fill(shared_broker, topic, 10)
    assert run("kafka-get-offsets", "--topic", topic).split() == [f"{topic}:0:10", f"{topic}:1:0"]

    wish = tmp_path / "delete.json"
    wish.write_text(json.dumps({"version": 1, "partitions": [{"topic": topic, "partition": 0, "offset": 6}]}))
    assert "low_watermark: 6" in run("kafka-delete-records", "--offset-json-file", str(wish))
    earliest = run("kafka-get-offsets", "--topic", topic, "--time", "earliest")
    assert earliest.split() == [f"{topic}:0:6", f"{topic}:1:0"]

    told = json.loads(run("kafka-log-dirs", "--describe", "--topic-list", topic).strip().splitlines()[-1])
    (broker,) = told["brokers"]
    (folder,) = broker["logDirs"]
    sizes = {p["partition"]: p["size"] for p in folder["partitions"]}
    assert set(sizes) == {f"{topic}-0", f"{topic}-1"}
    assert sizes[f"{topic}-0"] > 0 == sizes[f"{topic}-1"]


def test_the_cluster_and_its_groups_are_named(
    run: Run, kafka_tools: KafkaTools, shared_broker: Broker
) -> None:
    """kafka-cluster, kafka-groups and kafka-features answer, the latter with the finalized metadata version."""
    cluster = kafka_tools.run(
        "kafka-cluster", "cluster-id", "--bootstrap-server", shared_broker.bootstrap
    ).stdout
    assert re.fullmatch(r"Cluster ID: \S{22}\n", cluster)
    run("kafka-groups", "--list")
    features = kafka_tools.run(
        "kafka-features", "--bootstrap-server", shared_broker.bootstrap, "describe"
    ).stdout
    assert re.search(r"Feature: metadata.version\s.*FinalizedVersionLevel: 4.3-IV0", features)


def test_end_to_end_latency_runs(run: Run, kafka_tools: KafkaTools, shared_broker: Broker) -> None:
    """kafka-e2e-latency sends and receives one record at a time, acks=all."""
    topic = shared_broker.create_topic()
    printed = kafka_tools.run("kafka-e2e-latency", shared_broker.bootstrap, topic, "50", "all", "100").stdout
    assert float(re.findall(r"Avg latency: ([\d.]+) ms", printed)[0]) < 1000
