"""How long the cleaner takes for a large compacted log, what memory it takes, and what its neighbours feel.

    python benchmarks/compaction.py [--mib 1024] [--keys 1000000] [--value 200] [--codec none] [--dir DIR]

Fills one partition, then has it cleaned as a broker would, while a client's part is played in this process: a
batch is appended and flushed every few milliseconds. Prints the time, the extra memory of all processes
together, and the latency of those appends before and during the round.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from moldau_broker.base.topic_config import TopicConfig
from moldau_broker.storage.compact_cleaner import Candidate, Cleaner
from moldau_broker.storage.compact_job import CleanerSettings
from moldau_broker.storage.disk import OsDisk
from moldau_broker.storage.loading import Opening, open_log
from moldau_broker.storage.log import Log
from moldau_broker.storage.place import OpenFiles, Place
from moldau_broker.wire.compression import Codec, compress
from moldau_broker.wire.primitives import varint
from moldau_broker.wire.records import Record, build_batch, parse_header

MIB = 1024 * 1024
RECORDS_PER_BATCH = 64
EXTRA_MEMORY_MIB_MAX = 64
P99_RATIO_MAX = 2.0


def make_log(disk: OsDisk, topic: str, config: TopicConfig) -> Log:
    """An empty log."""
    folder = f"{topic}-0"
    disk.make_folder(folder)
    how = Opening(clean=True, now_ms=now_ms())
    return open_log(topic, 0, config, Place(disk, folder), OpenFiles(64), how)


def now_ms() -> int:
    """Wall time."""
    return time.time_ns() // 1_000_000


def fill(log: Log, size: int, keys: int, value_size: int, codec: int, rng: random.Random) -> int:
    """Append batches of random keys until the log has `size` bytes; the number of records."""
    template = build_batch([Record(0, now_ms(), b"", b"")], last_offset_delta=RECORDS_PER_BATCH - 1)
    header = bytes(template[:61])
    deltas = [varint(n) for n in range(RECORDS_PER_BATCH)]
    values = [rng.randbytes(value_size // 2) + bytes(value_size - value_size // 2) for _ in range(256)]
    tail = [varint(value_size) + value + b"\0" for value in values]
    records = 0
    while log.size_bytes < size:
        body = bytearray()
        for delta in deltas:
            key = b"user-%010d" % rng.randrange(keys)
            content = b"\0\0" + delta + varint(len(key)) + key + tail[rng.randrange(256)]
            body += varint(len(content)) + content
        packed = compress(codec, body) if codec else bytes(body)
        log.append(
            seal(header, packed, codec), parse_header(header)._replace(last_offset_delta=63), 0, now_ms()
        )
        records += RECORDS_PER_BATCH
    log.roll(now_ms=now_ms())
    log.sync()
    return records


def seal(header: bytes, packed: bytes, codec: int) -> bytearray:
    """A whole batch of 64 records around a body."""
    from moldau_broker.wire.checksums import crc32c

    batch = bytearray(header) + packed
    batch[8:12] = (len(batch) - 12).to_bytes(4, "big")
    batch[21:23] = codec.to_bytes(2, "big")
    batch[57:61] = RECORDS_PER_BATCH.to_bytes(4, "big")
    batch[17:21] = crc32c(memoryview(batch)[21:]).to_bytes(4, "big")
    return batch


@dataclass(slots=True)
class Probe:
    """Samples memory, and plays a client: append, flush, take the time."""

    log: Log
    latencies: list[float] = field(default_factory=list)
    own_peak: int = 0
    child_peak: int = 0
    running: bool = True

    async def appends(self) -> None:
        """One durable append every 5 ms."""
        batch = build_batch([Record(n, now_ms(), b"k", bytes(100)) for n in range(10)])
        header = parse_header(batch)
        while self.running:
            began = time.perf_counter()
            self.log.append(batch, header, 0, now_ms())
            await asyncio.to_thread(self.log.flush)
            self.latencies.append(time.perf_counter() - began)
            await asyncio.sleep(0.005)

    async def memory(self) -> None:
        """Proportional set size of this process and its children, every 50 ms."""
        me = psutil.Process()
        while self.running:
            own = me.memory_full_info().pss
            children = 0
            for child in me.children():
                try:
                    children += child.memory_full_info().pss
                except psutil.Error:
                    continue
            self.own_peak = max(self.own_peak, own)
            self.child_peak = max(self.child_peak, children)
            await asyncio.sleep(0.05)


def p99(latencies: list[float]) -> float:
    """99th percentile in ms."""
    return sorted(latencies)[int(len(latencies) * 0.99)] * 1_000


async def measure(arguments: argparse.Namespace, path: Path) -> bool:
    """Fill, clean, print; whether the bounds were kept."""
    disk = OsDisk(path)
    config = TopicConfig(
        cleanup_policy=frozenset({"compact"}),
        segment_bytes=arguments.segment_mib * MIB,
        file_delete_delay_ms=0,
    )
    log = make_log(disk, "compacted", config)
    neighbour = make_log(disk, "neighbour", TopicConfig())
    codec = Codec[arguments.codec.upper()]
    began = time.perf_counter()
    records = fill(log, arguments.mib * MIB, arguments.keys, arguments.value, codec, random.Random(1))
    print(
        f"{records:,} records in {log.size_bytes / MIB:,.0f} MiB, {len(log.segments)} segments, "
        f"{arguments.keys:,} keys, {arguments.codec}; written in {time.perf_counter() - began:.1f} s"
    )
    problems: list[str] = []
    cleaner = Cleaner(
        disk,
        lambda: [Candidate(log, log.log_end_offset)],
        CleanerSettings(map_bytes_max=arguments.map_mib * MIB),
        wall_ms=now_ms,
        on_problem=lambda _, text: problems.append(text),
    )
    quiet = Probe(neighbour)
    tasks = [asyncio.create_task(quiet.appends()), asyncio.create_task(quiet.memory())]
    await asyncio.sleep(arguments.quiet)
    quiet.running = False
    await asyncio.gather(*tasks)
    busy = Probe(neighbour)
    tasks = [asyncio.create_task(busy.appends()), asyncio.create_task(busy.memory())]
    began = time.perf_counter()
    rounds = 0
    while await cleaner.clean_dirtiest():
        rounds += 1
    seconds = time.perf_counter() - began
    busy.running = False
    await asyncio.gather(*tasks)
    counters = cleaner.counters
    extra = counters.last_memory_kib / 1024 + max(0, busy.own_peak - quiet.own_peak) / MIB
    ratio = p99(busy.latencies) / p99(quiet.latencies)
    print(
        f"cleaned in {seconds:.1f} s, {rounds} round(s), {counters.swaps} swap(s): "
        f"{counters.records_read:,} -> {counters.records_written:,} records, "
        f"{counters.bytes_read / MIB:,.0f} -> {counters.bytes_written / MIB:,.0f} MiB, "
        f"map {counters.last_map_used:.0%} full"
    )
    print(
        f"extra memory {extra:.1f} MiB (at most {EXTRA_MEMORY_MIB_MAX}): cleaning process "
        f"{counters.last_memory_kib / 1024:.1f} RSS ({busy.child_peak / MIB:.1f} PSS), "
        f"owner {(busy.own_peak - quiet.own_peak) / MIB:+.1f} PSS"
    )
    print(
        f"durable append p50/p99: quiet {p50(quiet.latencies):.2f}/{p99(quiet.latencies):.2f} ms, "
        f"cleaning {p50(busy.latencies):.2f}/{p99(busy.latencies):.2f} ms, "
        f"p99 ratio {ratio:.2f} (at most {P99_RATIO_MAX})"
    )
    for problem in problems:
        print("problem:", problem)
    return extra <= EXTRA_MEMORY_MIB_MAX and ratio <= P99_RATIO_MAX and not problems


def p50(latencies: list[float]) -> float:
    """Median in ms."""
    return sorted(latencies)[len(latencies) // 2] * 1_000


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
    parser.add_argument("--map-mib", type=int, default=32)
    parser.add_argument("--quiet", type=float, default=5.0, help="seconds of the comparison before")
    parser.add_argument("--dir", type=Path, help="where to work (default: a temporary directory)")
    arguments = parser.parse_args()
    path = Path(tempfile.mkdtemp(prefix="moldau-compaction-", dir=arguments.dir))
    try:
        return 0 if asyncio.run(measure(arguments, path)) else 1
    finally:
        shutil.rmtree(path, ignore_errors=True)


if __name__ == "__main__":
    raise SystemExit(main())
