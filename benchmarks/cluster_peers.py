"""Clusters of three brokers under load: ours and, where MOLDAU_KAFKA_TOOLS names a launcher, Apache Kafka's."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil
from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic
from tests.chaos.nodes import Cluster, Kafka, Moldau

CLIENT: Final = {"reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 200, "log_level": 0}
START_S_MAX: Final = 120.0

FAST_PROFILE: Final[Mapping[str, str]] = {
    "broker.session.timeout.ms": "1500",
    "broker.heartbeat.interval.ms": "200",
    "controller.quorum.fetch.timeout.ms": "600",
    "controller.quorum.election.timeout.ms": "300",
    "controller.quorum.election.backoff.max.ms": "200",
}
"""That of docs/failover.md, for networks without surprises: failures are believed sooner, and a busy machine may be
mistaken for a dead one."""


class ClusterPeer:
    """Three brokers, under the face that the loads know from a single one."""

    replication = 3

    def __init__(self, name: str, cluster: Cluster) -> None:
        self.name, self.cluster = name, cluster
        self.prepared = False

    @property
    def bootstrap(self) -> str:
        return self.cluster.bootstrap

    @property
    def port(self) -> int:
        return self.cluster.nodes[min(self.cluster.nodes)].port

    def start(self) -> float:
        """Start all nodes; gives the seconds from exec to the first record acknowledged with acks=all."""
        if not self.prepared:
            self.cluster.prepare()
            self.prepared = True
        begun = time.perf_counter()
        for node in self.cluster.nodes:
            self.cluster.start(node)
        first_record(self.bootstrap, f"first-{time.monotonic_ns()}")
        return time.perf_counter() - begun

    def stop(self) -> None:
        self.cluster.close()

    def fresh(self) -> None:
        """Forget everything stored; the next start is the first one."""
        self.stop()
        shutil.rmtree(self.cluster.folder)
        self.cluster.folder.mkdir(parents=True)
        self.cluster.nodes.clear()
        self.prepared = False

    def processes(self) -> list[psutil.Process]:
        """All nodes' processes, helpers included."""
        found = []
        for node in self.cluster.nodes.values():
            if node.running:
                assert node.process is not None
                main = psutil.Process(node.process.pid)
                found += [main, *main.children(recursive=True)]
        return found

    def cpu_seconds(self) -> float:
        return sum(sum(process.cpu_times()[:2]) for process in self.processes())

    def rss_mb(self) -> float:
        return sum(process.memory_info().rss for process in self.processes()) / 1e6


def first_record(bootstrap: str, topic: str) -> None:
    """Create a topic of three replicas as soon as that can be, and write one record with acks=all."""
    deadline = time.monotonic() + START_S_MAX
    admin = AdminClient({"bootstrap.servers": bootstrap, **CLIENT})
    while True:
        try:
            admin.create_topics([NewTopic(topic, 1, 3)], request_timeout=5)[topic].result(6)
            break
        except (KafkaException, TimeoutError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
    produce_one(bootstrap, topic)


def produce_one(bootstrap: str, topic: str, partition: int = 0) -> None:
    """One record with acks=all, tried until it is acknowledged."""
    failed: list[str] = []
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "retry.backoff.ms": 20, **CLIENT})
    producer.produce(
        topic,
        b"one",
        partition=partition,
        on_delivery=lambda error, _: failed.append(error.str()) if error else None,
    )
    if producer.flush(START_S_MAX) or failed:
        raise RuntimeError(f"no record could be written to {topic}: {failed}")


def make_peers(folder: Path, *, fast: bool = False) -> list[ClusterPeer]:
    """Ours, and Kafka's if there is one; with `fast`, only ours, with the fast profile."""
    settings = dict(FAST_PROFILE) if fast else {}
    name = "moldau-fast" if fast else "moldau"
    found = [ClusterPeer(name, Moldau(folder / name, 3, None, settings))]
    if os.environ.get("MOLDAU_KAFKA_TOOLS") and not fast:
        kafka = Kafka(folder / "kafka", 3)
        kafka.heap = "-Xmx1G -Xms1G"
        found.append(ClusterPeer("kafka", kafka))
    for peer in found:
        with suppress(FileExistsError):
            peer.cluster.folder.mkdir(parents=True)
    return found
