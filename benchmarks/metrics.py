"""`python -m benchmarks.metrics`: what a scrape costs, as promised in docs/metrics.md. Exit status 1 on a miss.

A broker runs in this process, on its own event loop, beside a task that notes how long the loop was held; the scraper
is a process of its own. "Held" is the CPU time of the loop's thread between two turns, so that other load on the
machine does not count; the wall time is printed beside it.
"""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from rich.console import Console
from rich.table import Table

from moldau_broker.server.__main__ import settle_garbage_collector
from moldau_broker.server.app import App
from moldau_broker.server.config import load_config
from moldau_broker.server.descriptors import raise_limit
from moldau_broker.testing.raw import RawClient
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.find_coordinator import FindCoordinatorRequest
from moldau_broker.wire.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HOST = "127.0.0.1"
HELD_MS_MAX = 20.0
CORE_SHARE_MAX = 0.02
SCRAPE_EVERY_S = 5.0
SCRAPERS_MAX = 8
TOPIC = "load"
SCRAPERS = ThreadPoolExecutor(max_workers=SCRAPERS_MAX, thread_name_prefix="scraper")

SCRAPER = """
import http.client, json, sys, time
port, count, pause = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
took = []
for _ in range(count):
    begun = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/metrics", headers={"Accept-Encoding": "gzip"})
    answer = connection.getresponse()
    body = answer.read()
    took.append(time.perf_counter() - begun)
    assert answer.status == 200 and answer.getheader("Content-Encoding") == "gzip"
    connection.close()
    time.sleep(max(pause - took[-1], 0))
print(json.dumps({"took": took, "bytes": len(body)}))
"""


@dataclass(frozen=True)
class Size:
    """A broker's load, and the promise for it."""

    partitions: int
    groups: int
    scrape_s_max: float
    core_share_max: float | None

    @property
    def group_partitions(self) -> int:
        return self.partitions * self.groups


SIZES = (Size(1_000, 1, 0.1, CORE_SHARE_MAX), Size(1_000, 50, 1.0, None))


@dataclass
class Loop:
    """How long the event loop was held, at most, since `reset`."""

    cpu_ms: float = 0.0
    wall_ms: float = 0.0
    holds: list[float] = field(default_factory=list)

    def reset(self) -> None:
        self.cpu_ms = self.wall_ms = 0.0
        self.holds.clear()

    async def watch(self) -> None:
        """Turn after turn; the timer of a millisecond leaves the loop idle in between."""
        while True:
            wall, cpu = time.perf_counter(), time.thread_time()
            await asyncio.sleep(0.001)
            held = (time.thread_time() - cpu) * 1000
            self.cpu_ms = max(self.cpu_ms, held)
            self.wall_ms = max(self.wall_ms, (time.perf_counter() - wall) * 1000 - 1)
            if held > 5:
                self.holds.append(held)


@asynccontextmanager
async def broker(folder: str) -> AsyncIterator[App]:
    settings = {
        "listeners": f"CLIENT://{HOST}:0,INTERNAL://{HOST}:0,CONTROLLER://{HOST}:0",
        "http.port": "0",
        "log.dirs": folder,
        "offsets.topic.num.partitions": "8",
        "max.partitions.per.broker": "5000",
    }
    app = App(load_config(None, [f"{name}={value}" for name, value in settings.items()]))
    await app.start()
    try:
        yield app
    finally:
        await app.stop()


def fill(port: int, size: Size) -> None:
    """A topic with some records in each partition, and groups that have committed different ones."""
    bootstrap = f"{HOST}:{port}"
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(TOPIC, size.partitions, 1)])[TOPIC].result(120)
    producer = Producer(
        {"bootstrap.servers": bootstrap, "linger.ms": 100, "queue.buffering.max.messages": 10**6}
    )
    for record in range(size.groups + 1):
        for partition in range(size.partitions):
            producer.produce(TOPIC, b"record %d" % record, partition=partition)
        producer.poll(0)
    assert producer.flush(120) == 0
    for group in range(size.groups):
        request = OffsetCommitRequest(
            group_id=f"group-{group}",
            topics=[
                OffsetCommitRequestTopic(
                    name=TOPIC,
                    partitions=[
                        OffsetCommitRequestPartition(partition_index=index, committed_offset=group)
                        for index in range(size.partitions)
                    ],
                )
            ],
        )
        deadline = time.monotonic() + 60
        with RawClient(HOST, port, timeout=30) as client:
            while True:
                client.call(ApiKey.FIND_COORDINATOR, 3, FindCoordinatorRequest(key=request.group_id))
                answer = client.call(ApiKey.OFFSET_COMMIT, 8, request)
                if not any(one.error_code for topic in answer.topics for one in topic.partitions):
                    break
                assert time.monotonic() < deadline, "no coordinator"
                time.sleep(0.1)


async def scrape(port: int, count: int, pause: float) -> dict[str, list[float] | int]:
    """By a thread: to start a process takes its parent a while, and that is not the scrape's doing.

    By one of our own: the broker compresses its page on the loop's few threads, which would all be waiting for it.
    """
    command = [sys.executable, "-c", SCRAPER, str(port), str(count), str(pause)]
    run = functools.partial(subprocess.run, command, capture_output=True, check=True)
    done = await asyncio.get_running_loop().run_in_executor(SCRAPERS, run)
    return json.loads(done.stdout)


def yardstick_ms() -> float:
    """CPU time of a fixed piece of Python, the best of five: how fast this machine is at this moment."""
    found = []
    for _ in range(5):
        begun = time.thread_time()
        "".join([f"{number!r}\n" for number in range(200_000)])
        found.append((time.thread_time() - begun) * 1000)
    return min(found)


async def cpu_share(seconds: float, during: Callable[[], Awaitable[object]]) -> float:
    """CPU seconds of this process in each second, while something goes on."""
    cpu, begun = time.process_time(), time.perf_counter()
    await asyncio.gather(during(), asyncio.sleep(seconds))
    return (time.process_time() - cpu) / (time.perf_counter() - begun)


async def measure(size: Size, table: Table, scrapes: int) -> bool:
    with tempfile.TemporaryDirectory(prefix="moldau-bench-") as folder:
        async with broker(folder) as app:
            await asyncio.to_thread(fill, app.ports["CLIENT"], size)
            settle_garbage_collector()
            loop = Loop()
            watching = asyncio.create_task(loop.watch())
            port = app.ports["http"]
            first = await scrape(port, 1, 0)
            held_first = loop.cpu_ms
            lines = 0
            while lines < size.group_partitions:  # until the groups have been looked up
                await asyncio.sleep(1.1)
                pieces = (await app.telemetry.page()).pieces
                page = await asyncio.to_thread(
                    b"".join, pieces
                )  # 20 MB: not the broker's doing, so not on its loop
                lines = await asyncio.to_thread(page.count, b"\nkafka_consumergroup_group_lag_seconds{")
            loop.reset()
            said = await scrape(port, scrapes, 1.3)
            took = sorted(said["took"])
            held_cpu, held_wall = loop.cpu_ms, loop.wall_ms
            before = app.telemetry.renderings
            begun = time.perf_counter()
            await asyncio.gather(*(scrape(port, 10, 0.1) for _ in range(SCRAPERS_MAX)))
            per_second = (app.telemetry.renderings - before) / (time.perf_counter() - begun)
            watching.cancel()
            share = None
            if size.core_share_max is not None:
                count = 6
                busy = await cpu_share(count * SCRAPE_EVERY_S, lambda: scrape(port, count, SCRAPE_EVERY_S))
                await asyncio.sleep(65)  # until nobody looks after the groups any more
                idle = await cpu_share(20, lambda: asyncio.sleep(0))
                share = busy - idle
            median, worst, most = statistics.median(took), took[-1], size.scrape_s_max
            rows = [
                ("scrape, median", f"{median * 1000:.0f} ms", f"{most * 1000:.0f} ms", median <= most),
                ("scrape, slowest", f"{worst * 1000:.0f} ms", "", True),
                ("event loop held", f"{held_cpu:.1f} ms", f"{HELD_MS_MAX:.0f} ms", held_cpu <= HELD_MS_MAX),
                (
                    "held by the first scrape",
                    f"{held_first:.1f} ms",
                    f"{HELD_MS_MAX:.0f} ms",
                    held_first <= HELD_MS_MAX,
                ),
                ("first scrape", f"{first['took'][0] * 1000:.0f} ms", "", True),
                ("event loop held, wall", f"{held_wall:.1f} ms", "", True),
                (
                    f"renderings a second, {SCRAPERS_MAX} scrapers",
                    f"{per_second:.2f}",
                    "1",
                    per_second <= 1.0,
                ),
                (
                    "page, plain / gzip",
                    f"{len(page) / 1e6:.2f} / {int(said['bytes']) / 1e6:.2f} MB",
                    "",
                    True,
                ),
            ]
            if share is not None:
                rows.append(
                    (
                        f"of a core, every {SCRAPE_EVERY_S:.0f} s",
                        f"{share:.2%}",
                        f"{CORE_SHARE_MAX:.0%}",
                        share <= CORE_SHARE_MAX,
                    )
                )
            label = f"{size.partitions:,} + {size.group_partitions:,}"
            for name, value, limit, good in rows:
                verdict = "" if not limit else "[green]ok[/]" if good else "[red]miss[/]"
                table.add_row(label, name, value, limit, verdict)
            return all(good for *_, good in rows)


def main() -> int:
    logging.getLogger().setLevel(logging.ERROR)
    raise_limit()
    console = Console(width=110 if not sys.stdout.isatty() else None)
    table = Table(title="What a scrape costs", title_justify="left")
    for heading in ("partitions + group-partitions", "measure", "figure", "at most", ""):
        table.add_column(heading, justify="right" if heading in ("figure", "at most") else "left")
    try:
        import uvloop

        factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    except ImportError:
        factory = asyncio.new_event_loop
    good, before_ms = True, yardstick_ms()
    wanted = [int(text) for text in sys.argv[1:]] or range(len(SIZES))
    for size in (SIZES[index] for index in wanted):
        with asyncio.Runner(loop_factory=factory) as runner:
            good &= runner.run(measure(size, table, scrapes=10))
    console.print(table)
    console.print(
        f"200,000 numbers to text: {before_ms:.0f} ms of CPU before, {yardstick_ms():.0f} after;"
        " compare that before you compare runs"
    )
    busy = os.getloadavg()[0]
    if busy > (os.cpu_count() or 1):
        console.print(f"load average {busy:.1f}: the times are upper bounds")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
