"""What clients of a broker feel while it cleans a large compacted topic.

    python benchmarks/compaction_broker.py [--mib 1024] [--keys 1000000] [--acks 1] [--rate 500]

Starts a broker on a prepared data directory, produces to another topic at a steady rate, then lets the cleaner
loose on the large one. Prints produce latencies before and meanwhile, and the memory of broker and cleaner.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
from compaction import EXTRA_MEMORY_MIB_MAX, MIB, P99_RATIO_MAX, fill, now_ms, p50, p99
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic

from moldau_broker.base.topic_config import TopicConfig
from moldau_broker.storage.disk import OsDisk
from moldau_broker.storage.loading import Opening, open_log
from moldau_broker.storage.place import OpenFiles, Place
from moldau_broker.wire.compression import Codec

LARGE, SMALL = "large", "small"
PAGE = os.sysconf("SC_PAGE_SIZE")


def free_port() -> int:
    """A port nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextlib.contextmanager
def broker(path: Path, port: int) -> Iterator[psutil.Process]:
    """A broker on `path` that looks for dirty logs every second."""
    settings = {
        "log.dirs": path,
        "listeners": f"CLIENT://127.0.0.1:{port},INTERNAL://127.0.0.1:0,CONTROLLER://127.0.0.1:0",
        "http.port": free_port(),
        "log.cleaner.backoff.ms": 1000,
    }
    sets = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    process = subprocess.Popen(
        [sys.executable, "-m", "moldau_broker.server", *sets],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.05)
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(60)


def prepare(path: Path, arguments: argparse.Namespace) -> int:
    """Make the topics through a broker, then fill the large one's files while it is down."""
    port = free_port()
    with broker(path, port):
        admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{port}", "log_level": 0})
        compacted = {
            "cleanup.policy": "compact",
            "min.cleanable.dirty.ratio": "1",
            "segment.bytes": str(arguments.segment_mib * MIB),
        }
        topics = [NewTopic(LARGE, 1, config=compacted), NewTopic(SMALL, 1)]
        for future in admin.create_topics(topics).values():
            future.result(30)
    config = TopicConfig(cleanup_policy=frozenset({"compact"}), segment_bytes=arguments.segment_mib * MIB)
    place = Place(OsDisk(path), f"{LARGE}-0")
    log = open_log(LARGE, 0, config, place, OpenFiles(64), Opening(clean=True, now_ms=now_ms()))
    codec = Codec[arguments.codec.upper()]
    records = fill(log, arguments.mib * MIB, arguments.keys, arguments.value, codec, random.Random(1))
    log.close(clean=True)
    return records


class Load:
    """A producer at a steady rate, each record on its own; collects the time to its acknowledgement."""

    def __init__(self, bootstrap: str, acks: str, rate: int) -> None:
        self._producer = Producer(
            {"bootstrap.servers": bootstrap, "acks": acks, "linger.ms": 0, "log_level": 0}
        )
        self._rate = rate
        self.latencies: list[float] = []
        self.errors = 0

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set."""
        due = time.perf_counter()
        while not stop.is_set():
            began = time.perf_counter()

            def acked(error: object, _: object, began: float = began) -> None:
                self.errors += error is not None
                self.latencies.append(time.perf_counter() - began)

            self._producer.produce(SMALL, value=bytes(256), on_delivery=acked)
            due += 1 / self._rate
            while (left := due - time.perf_counter()) > 0:
                self._producer.poll(left)
        self._producer.flush(30)

    def take(self) -> list[float]:
        """The latencies since the last call."""
        taken, self.latencies = self.latencies, []
        return taken


def main() -> int:
    """Entry point; exit status 1 if a bound was missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--value", type=int, default=200)
    parser.add_argument("--codec", default="none", choices=[codec.name.lower() for codec in Codec])
    parser.add_argument("--segment-mib", type=int, default=256)
    parser.add_argument("--acks", default="1", choices=["1", "all"])
    parser.add_argument("--rate", type=int, default=500)
    parser.add_argument("--nice", type=int, help="give the cleaning process another priority (as root)")
    parser.add_argument("--quiet", type=float, default=15.0, help="seconds of the comparison before")
    parser.add_argument("--dir", type=Path, help="where to work (default: a temporary directory)")
    arguments = parser.parse_args()
    path = Path(tempfile.mkdtemp(prefix="moldau-compaction-", dir=arguments.dir))
    try:
        records = prepare(path / "data", arguments)
        print(f"{records:,} records, {arguments.mib} MiB, {arguments.keys:,} keys, {arguments.codec}")
        return 0 if measure(path / "data", arguments) else 1
    finally:
        shutil.rmtree(path, ignore_errors=True)


def measure(path: Path, arguments: argparse.Namespace) -> bool:
    """Load before and during a round; whether the bounds were kept."""
    port = free_port()
    with broker(path, port) as process:
        bootstrap = f"127.0.0.1:{port}"
        load = Load(bootstrap, arguments.acks, arguments.rate)
        stop = threading.Event()
        thread = threading.Thread(target=load.run, args=(stop,), daemon=True)
        thread.start()
        try:
            time.sleep(3)  # connections, first segments
            load.take()
            time.sleep(arguments.quiet)
            quiet, own = load.take(), process.memory_info().rss
            if not quiet:
                raise SystemExit("nothing was acknowledged; see " + str(path.parent / "broker.log"))
            let_loose(bootstrap)
            seconds, peak, extra = watch(process, own, load, arguments.nice)
            busy = load.take()
        finally:
            stop.set()
            thread.join(60)
        size = sum(file.stat().st_size for file in (path / f"{LARGE}-0").glob("*.log"))
    ratio, memory = p99(busy) / p99(quiet), (peak + extra) / MIB
    print(f"cleaned in {seconds:.1f} s to {size / MIB:,.0f} MiB")
    print(
        f"produce acks={arguments.acks}, {arguments.rate}/s of 256 B, p50/p99: "
        f"quiet {p50(quiet):.2f}/{p99(quiet):.2f} ms, cleaning {p50(busy):.2f}/{p99(busy):.2f} ms "
        f"({len(quiet):,} and {len(busy):,} records, {load.errors} errors)"
    )
    print(f"p99 ratio {ratio:.2f} (at most {P99_RATIO_MAX})")
    print(
        f"extra memory {memory:.1f} MiB (at most {EXTRA_MEMORY_MIB_MAX}): cleaning process {peak / MIB:.1f} RSS, "
        f"broker +{extra / MIB:.1f} on {own / MIB:.1f}"
    )
    return ratio <= P99_RATIO_MAX and memory <= EXTRA_MEMORY_MIB_MAX and not load.errors


def watch(process: psutil.Process, own: int, load: Load, nice: int | None) -> tuple[float, int, int]:
    """Wait for a round to begin and to end: (seconds, peak RSS of the cleaner, growth of the broker's).

    The load shares this interpreter, so looking must cost next to nothing: no walk over all processes.
    """
    began, extra, peak = time.perf_counter(), 0, 0
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    started = False
    while True:
        pids = children.read_text().split()
        if pids and not started:
            started, began = True, time.perf_counter()
            load.take()
            if nice is not None:
                time.sleep(0.3)  # it sets its own first
                psutil.Process(int(pids[0])).nice(nice)
        if started and not pids:
            return time.perf_counter() - began, peak, extra
        if time.perf_counter() - began > 600:
            raise SystemExit("no round began, or it does not end")
        with contextlib.suppress(OSError):
            peak = max(peak, sum(resident(pid) for pid in pids))
            extra = max(extra, resident(process.pid) - own)
        time.sleep(0.05)


def resident(pid: int | str) -> int:
    """Resident bytes of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE


def let_loose(bootstrap: str) -> None:
    """Make the large topic dirty enough to be cleaned."""
    change = ConfigEntry("min.cleanable.dirty.ratio", "0.1", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, LARGE, incremental_configs=[change])
    admin = AdminClient({"bootstrap.servers": bootstrap})  # must live until the answer is there
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(30)


if __name__ == "__main__":
    raise SystemExit(main())
