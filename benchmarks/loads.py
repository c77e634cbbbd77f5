"""The loads, each against one peer: what is run and what is read off."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from pathlib import Path

from confluent_kafka.admin import AdminClient, NewTopic

from benchmarks.host_memory import have_at_hand
from benchmarks.peers import Peer

NOT_LEADER = "error 6"
DRIVERS = Path(__file__).parent / "drivers"
SECONDS_PER_PARTITION = 0.035
"""Until leaders are elected and followers fetch, which goes on in the background; what Kafka takes for a thousand."""


def build_drivers(folder: Path) -> None:
    """Compile the C drivers; needs a C compiler and librdkafka's headers."""
    for name, libraries in {"librdkafka_load": ["-lrdkafka", "-lpthread"], "raw_load": []}.items():
        source = DRIVERS / f"{name}.c"
        command = ["cc", "-O2", "-Wall", "-o", str(folder / name), str(source), *libraries]
        if subprocess.run(command, check=False).returncode:
            raise SystemExit(
                f"cannot build {name}: install a C compiler and librdkafka's development package"
            )


class Topics:
    """Fresh topics on a peer, deleted at once after use so that the disk does not fill."""

    def __init__(self, peer: Peer) -> None:
        self.admin = AdminClient({"bootstrap.servers": peer.bootstrap})
        self.replication = peer.replication
        self.count = 0

    def make(self, partitions: int) -> str:
        self.count += 1
        name = f"bench-{os.getpid()}-{self.count}"
        topic = NewTopic(name, partitions, self.replication, config={"file.delete.delay.ms": "100"})
        self.admin.create_topics([topic])[name].result(60)
        time.sleep(1)  # a broker elects leaders in the background; the raw driver waits longer, see `_driver`
        return name

    def drop(self, name: str) -> None:
        self.admin.delete_topics([name])[name].result(60)


class Loads:
    """Runs loads against a peer."""

    def __init__(self, peer: Peer, binaries: Path) -> None:
        self.peer = peer
        self.binaries = binaries
        self.topics = Topics(peer)

    def _driver(self, name: str, *arguments: object) -> tuple[dict[str, float], float]:
        """A driver's report and the CPU seconds the broker used meanwhile."""
        command = [str(self.binaries / name), *map(str, arguments)]
        for _ in range(20):
            before = self.peer.cpu_seconds()
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
            if done.returncode == 0 or done.stderr.strip() != NOT_LEADER:
                break
            time.sleep(1)
        if done.returncode:
            raise RuntimeError(f"{name} {arguments} on {self.peer.name}: {done.stderr.strip()[-500:]}")
        return json.loads(done.stdout), self.peer.cpu_seconds() - before

    def _have_memory(self, megabytes: int) -> None:
        """For so much on every replica, and what the driver holds of it."""
        have_at_hand(self.binaries, (self.peer.replication + 1) * megabytes)

    def produce(
        self, *, size: int, codec: str, producers: int, acks: str, megabytes: int
    ) -> dict[str, float]:
        partitions = 6 if producers > 1 else 1
        topic = self.topics.make(partitions)
        self._have_memory(megabytes)
        records = megabytes * 1_000_000 // size
        report, cpu = self._driver(
            "librdkafka_load",
            "produce",
            self.peer.bootstrap,
            topic,
            partitions,
            records,
            size,
            codec,
            acks,
            producers,
        )
        self.topics.drop(topic)
        return {
            "MB/s": report["bytes"] / 1e6 / report["seconds"],
            "CPU s/GB": cpu / (report["bytes"] / 1e9),
        }

    def consume(self, *, size: int, megabytes: int, acks: str = "1") -> dict[str, float]:
        """librdkafka and the Java consumer read what was just written."""
        topic = self.topics.make(6)
        self._have_memory(megabytes)
        records = megabytes * 1_000_000 // size
        self._driver(
            "librdkafka_load", "produce", self.peer.bootstrap, topic, 6, records, size, "none", acks, 1
        )
        report, cpu = self._driver("librdkafka_load", "consume", self.peer.bootstrap, topic, 6, records)
        values = {
            "MB/s": report["bytes"] / 1e6 / report["seconds"],
            "CPU s/GB": cpu / (report["bytes"] / 1e9),
        }
        java = self._java_consume(topic, records)
        if java is not None:
            values["Java MB/s"] = java
        self.topics.drop(topic)
        return values

    def _java_consume(self, topic: str, records: int) -> float | None:
        launcher = os.environ.get("MOLDAU_KAFKA_TOOLS")
        if not launcher:
            return None
        done = subprocess.run(
            [
                *(launcher, "run", "kafka-consumer-perf-test"),
                *("--bootstrap-server", self.peer.bootstrap, "--topic", topic),
                *("--num-records", str(records), "--timeout", "30000", "--hide-header"),
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        # start, end, MB, MB/s, records, records/s, rebalance ms, fetch ms, fetch MB/s, fetch records/s
        for line in done.stdout.splitlines():
            columns = [column.strip() for column in line.split(",")]
            if len(columns) >= 9 and re.match(r"\d{4}-", columns[0]):
                return float(columns[8]) * 1.048576
        raise RuntimeError(
            f"kafka-consumer-perf-test on {self.peer.name}: {done.stdout[-300:]} {done.stderr[-300:]}"
        )

    def latency(
        self, *, rate: int, seconds: int, size: int, acks: str = "1", silent: int = 0
    ) -> dict[str, float]:
        """Among `silent` other partitions, in which nothing happens."""
        others = [self.topics.make(silent)] if silent else []
        time.sleep(silent * SECONDS_PER_PARTITION)
        topic = self.topics.make(1)
        report, cpu = self._driver(
            "librdkafka_load", "latency", self.peer.bootstrap, topic, rate, seconds, size, acks
        )
        for name in (topic, *others):
            self.topics.drop(name)
        return {
            "p50 ms": report["p50_ms"],
            "p99 ms": report["p99_ms"],
            # the consumer also waits two seconds before the first message
            "CPU us/msg": cpu * 1e6 / report["records"],
        }

    def requests(self, *, connections: int, in_flight: int, seconds: int) -> dict[str, float]:
        topic = self.topics.make(64)
        report, cpu = self._driver(
            "raw_load", "127.0.0.1", self.peer.port, topic, 64, connections, in_flight, seconds, 100
        )
        self.topics.drop(topic)
        return {
            "k req/s": report["requests"] / report["seconds"] / 1e3,
            "CPU us/req": cpu * 1e6 / report["requests"],
            "p99 ms": report["p99_ms"],
        }


def disk_sync_rate(folder: Path, megabytes: int = 300) -> float:
    """MB/s of 1 MB writes, each followed by fdatasync: what a durable log can at most take in."""
    path = folder / "fdatasync-probe"
    block = os.urandom(1_000_000)
    handle = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    try:
        begun = time.perf_counter()
        for _ in range(megabytes):
            os.write(handle, block)
            os.fdatasync(handle)
        return megabytes / (time.perf_counter() - begun)
    finally:
        os.close(handle)
        path.unlink()
