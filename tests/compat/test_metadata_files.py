"""The metadata log, its snapshots and the whole folder, as Apache Kafka's own programs read them."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions

pytestmark = pytest.mark.java

FOLDER = "__cluster_metadata-0"


@pytest.fixture
def history(make_broker: Callable[..., Any]) -> Any:
    """A stopped broker with a history: topics made, changed and deleted, a kill, a clean stop, snapshots on the way."""
    broker = make_broker(metadata_log_max_record_bytes_between_snapshots="600")
    broker.kept = broker.create_topic(3, retention_ms="100000")
    gone = broker.create_topic(2)
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    admin.create_partitions([NewPartitions(broker.kept, 5)])[broker.kept].result(20)
    setting = ConfigEntry("cleanup.policy", "compact", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource("topic", broker.kept, incremental_configs=[setting])
    admin.incremental_alter_configs([resource])[resource].result(20)
    producer = Producer({"bootstrap.servers": broker.bootstrap, "enable.idempotence": True})
    producer.produce(broker.kept, b"value", key=b"key")
    assert producer.flush(20) == 0
    broker.kill()
    broker.start()
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})  # kept alive until the answer is there
    admin.delete_topics([gone])[gone].result(20)
    assert broker.stop() == 0
    return broker


def files(folder: Path, suffix: str) -> list[Path]:
    return sorted((folder / FOLDER).glob(f"*{suffix}"))


def test_metadata_log_and_snapshots_are_read_by_kafka_dump_log(history: Any, kafka_tools: Any) -> None:
    """Every batch is valid, every record decodes, and they say what was done."""
    (log,) = files(history.data, ".log")
    snapshots = files(history.data, ".checkpoint")
    assert len(snapshots) == 2
    everything = [log, *snapshots, history.data / "bootstrap.checkpoint"]
    named = ",".join(str(path) for path in everything)
    dump = kafka_tools.run("kafka-dump-log", "--cluster-metadata-decoder", "--files", named).stdout
    assert "isvalid: false" not in dump
    assert not re.search(r"(?i)exception|could not|unknown", dump)
    for kind in ("LeaderChange", "KRaftVersion", "KRaftVoters", "SnapshotHeader", "SnapshotFooter"):
        assert kind in dump
    for kind in (
        "FEATURE_LEVEL",
        "REGISTER_BROKER",
        "BROKER_REGISTRATION_CHANGE",
        "TOPIC",
        "PARTITION",
        "PARTITION_CHANGE",
        "CONFIG",
        "PRODUCER_IDS",
        "REMOVE_TOPIC",
    ):
        assert f'"{kind}_RECORD"' in dump
    offsets = [
        int(found) for found in re.findall(r"^\| offset: (\d+)", dump.split("Dumping ")[1], re.MULTILINE)
    ]
    assert offsets == list(range(offsets[0], offsets[-1] + 1))


def test_metadata_snapshot_is_read_by_kafka_metadata_shell(history: Any, kafka_tools: Any) -> None:
    """The shell loads the newest snapshot and shows the topic that was kept."""
    newest = str(files(history.data, ".checkpoint")[-1])
    deadline = time.monotonic() + 60
    # With a command on its line the shell may look before it has loaded, also at Kafka's own snapshots: ask again.
    while time.monotonic() < deadline:
        shown = kafka_tools.run(
            "kafka-metadata-shell", "--snapshot", newest, "ls", "/image/topics/byName", check=False
        ).stdout
        if history.kept in shown.split():
            return
    raise AssertionError(f"{history.kept} is not in {newest}")


@pytest.mark.slow
def test_metadata_folder_starts_as_an_apache_kafka_broker(
    history: Any, kafka_tools: Any, tmp_path: Path
) -> None:
    """A copy of the folder, metadata and logs, taken over by Apache Kafka: the topics, their ids and their settings.

    Mixed clusters are no goal; that the bytes mean the same to Kafka is.
    """
    home = tmp_path / "kafka"
    port = str(history.port)

    def launcher(*arguments: str) -> str:
        done = subprocess.run(
            [kafka_tools.launcher, *arguments, "--dir", str(home)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    launcher("up", "--prepare", "--port", port)
    data = home / "node1" / "data"
    shutil.rmtree(data)
    shutil.copytree(history.data, data)
    (data / ".lock").unlink(missing_ok=True)
    try:
        launcher("up", "--port", port)
        described = kafka_tools.run(
            "kafka-topics", "--bootstrap-server", history.bootstrap, "--describe", "--topic", history.kept
        ).stdout
        assert "PartitionCount: 5" in described
        assert "cleanup.policy=compact" in described
        assert "retention.ms=100000" in described
        quorum = kafka_tools.run(
            "kafka-metadata-quorum", "--bootstrap-server", history.bootstrap, "describe", "--status"
        ).stdout
        assert re.search(r"LeaderEpoch:\s+3\b", quorum)
        consumed = kafka_tools.run(
            "kafka-console-consumer",
            "--bootstrap-server",
            history.bootstrap,
            "--topic",
            history.kept,
            "--from-beginning",
            "--max-messages",
            "1",
            "--timeout-ms",
            "20000",
        ).stdout
        assert consumed.strip() == "value"
    finally:
        launcher("kill")
        launcher("down", "--wipe")
