"""What only a cluster can be put through: failover, many partitions, all nodes killed at once."""

from __future__ import annotations

import itertools
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from benchmarks.cluster_peers import CLIENT, ClusterPeer, produce_one
from moldau_broker.wire.records import Record, build_batch

PROBE_S: Final = 0.01
CALM_S: Final = 2.0
PATIENCE_S: Final = 120.0


class Probe:
    """One record each 10 ms to one partition, acks=all; remembers when each was acknowledged.

    Its patience is short: with its defaults librdkafka alone takes more than a second to turn to a new leader.
    """

    def __init__(self, bootstrap: str, topic: str) -> None:
        self.acknowledged: list[float] = []
        self.failed = 0
        self._topic = topic
        self._stop = threading.Event()
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "acks": "all",
                "enable.idempotence": True,
                "linger.ms": 0,
                "retry.backoff.ms": 20,
                "retry.backoff.max.ms": 100,
                "topic.metadata.refresh.fast.interval.ms": 50,
                "delivery.timeout.ms": 300_000,
                "request.timeout.ms": 5_000,
                **CLIENT,
            }
        )
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()
        self._producer.flush(PATIENCE_S)

    def _run(self) -> None:
        for at in itertools.count():
            if self._stop.is_set():
                return
            self._producer.produce(self._topic, b"%09d" % at, partition=0, on_delivery=self._delivered)
            self._producer.poll(PROBE_S)

    def _delivered(self, error: Any, _: Any) -> None:
        if error is None:
            self.acknowledged.append(time.perf_counter())
        else:
            self.failed += 1

    def gap_since(self, instant: float) -> float:
        """The longest time between two acknowledgements that ended after `instant`."""
        times = [*self.acknowledged]
        return max((b - a for a, b in itertools.pairwise(times) if b > instant), default=0.0)

    def wait_for_more(self, count: int = 50) -> None:
        """Until so many more are acknowledged."""
        reached = len(self.acknowledged) + count
        deadline = time.monotonic() + PATIENCE_S
        while len(self.acknowledged) < reached:
            if time.monotonic() > deadline:
                raise RuntimeError("the partition does not come back")
            time.sleep(0.01)


def failover(peer: ClusterPeer, rounds: int, *, graceful: bool) -> list[float]:
    """Seconds that a partition could not be written after its leader was killed, or asked to stop, of each round."""
    topic = f"failover-{time.monotonic_ns()}"
    admin = AdminClient({"bootstrap.servers": peer.bootstrap, **CLIENT})
    admin.create_topics([NewTopic(topic, 1, 3, config={"min.insync.replicas": "2"})])[topic].result(30)
    cluster, gaps = peer.cluster, []
    cluster.wait("in sync", lambda: cluster.in_sync([topic]))
    with Probe(peer.bootstrap, topic) as probe:
        probe.wait_for_more()
        for _ in range(rounds):
            time.sleep(CALM_S)
            leader = cluster.leader(f"{topic}-0")
            begun = time.perf_counter()
            if graceful:
                cluster.terminate(leader)
            else:
                cluster.kill(leader)
            probe.wait_for_more()
            gaps.append(probe.gap_since(begun))
            cluster.start(leader)
            cluster.wait("in sync again", lambda: cluster.in_sync([topic]))
    if probe.failed:
        raise RuntimeError(f"{probe.failed} probes failed on {peer.name}")
    return gaps


def thousand_partitions(peer: ClusterPeer, partitions: int = 1_000) -> float:
    """Seconds from asking for the partitions until each has acknowledged a record."""
    topic = f"many-{time.monotonic_ns()}"
    admin = AdminClient({"bootstrap.servers": peer.bootstrap, **CLIENT})
    producer = Producer(
        {
            "bootstrap.servers": peer.bootstrap,
            "acks": "all",
            "linger.ms": 0,
            "retry.backoff.ms": 50,
            "topic.metadata.refresh.fast.interval.ms": 100,
            **CLIENT,
        }
    )
    failed: list[str] = []
    begun = time.perf_counter()
    new = NewTopic(topic, partitions, 3, config={"file.delete.delay.ms": "100"})
    admin.create_topics([new], operation_timeout=60)[topic].result(PATIENCE_S)
    for at in range(partitions):
        producer.produce(
            topic,
            b"one",
            partition=at,
            on_delivery=lambda error, _: failed.append(error.str()) if error else None,
        )
    left = producer.flush(PATIENCE_S)
    seconds = time.perf_counter() - begun
    admin.delete_topics([topic])[topic].result(PATIENCE_S)
    if left or failed:
        raise RuntimeError(
            f"{left} partitions of {peer.name} gave no answer, {len(failed)} refused: {failed[:3]}"
        )
    return seconds


def unclean_start(peer: ClusterPeer, megabytes: int) -> float:
    """Seconds from starting three killed nodes, each with so much log nobody has vouched for, to an acks=all record."""
    partitions = 3
    topic = f"unclean-{time.monotonic_ns()}"
    admin = AdminClient({"bootstrap.servers": peer.bootstrap, **CLIENT})
    new = NewTopic(topic, partitions, 3, config={"segment.bytes": str(1 << 30), "retention.ms": "-1"})
    admin.create_topics([new])[topic].result(30)
    for at in range(partitions):
        produce_one(peer.bootstrap, topic, at)
    cluster = peer.cluster
    cluster.wait("in sync", lambda: cluster.in_sync([topic]))
    time.sleep(1)
    cluster.kill(*cluster.nodes)
    for node in cluster.nodes.values():
        for at in range(partitions):
            grow(node.data / f"{topic}-{at}", megabytes * 1_000_000 // partitions)
    os.sync()
    begun = time.perf_counter()
    for node_id in cluster.nodes:
        cluster.start(node_id)
    with ThreadPoolExecutor(partitions) as pool:
        list(pool.map(lambda at: produce_one(peer.bootstrap, topic, at), range(partitions)))
    seconds = time.perf_counter() - begun
    cluster.wait("in sync", lambda: cluster.in_sync([topic]))
    admin = AdminClient({"bootstrap.servers": peer.bootstrap, **CLIENT})
    admin.delete_topics([topic])[topic].result(PATIENCE_S)
    return seconds


def grow(folder: Path, size: int) -> None:
    """Let a log that nobody has open be what it would be after a burst: 100-record batches, and no index of them."""
    now = int(time.time() * 1000)
    batch = build_batch([Record(at, now, None, bytes(100)) for at in range(100)], leader_epoch=0)
    count = size // len(batch)
    (log,) = folder.glob("*.log")
    step = 512
    with log.open("wb") as file:
        for first in range(0, count, step):
            some = min(step, count - first)
            data = bytearray(batch * some)
            for at in range(some):
                start = at * len(batch)
                data[start : start + 8] = ((first + at) * 100).to_bytes(8, "big")
            file.write(data)
    for name in ("*.index", "*.timeindex", "*.snapshot"):
        for path in folder.glob(name):
            with suppress(FileNotFoundError):
                path.unlink()


def replica_sync_rate(folder: Path, megabytes: int = 150, replicas: int = 3) -> float:
    """MB/s that each of three writers gets at once, of 1 MB writes with fdatasync: what RF 3 can at most take in."""
    block = os.urandom(1_000_000)

    def write(number: int) -> None:
        path = folder / f"fdatasync-probe-{number}"
        handle = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        try:
            for _ in range(megabytes):
                os.write(handle, block)
                os.fdatasync(handle)
        finally:
            os.close(handle)
            path.unlink()

    begun = time.perf_counter()
    with ThreadPoolExecutor(replicas) as pool:
        list(pool.map(write, range(replicas)))
    return megabytes / (time.perf_counter() - begun)
