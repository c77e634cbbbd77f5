"""The process of `test_kube_many_topics`: operator, API server and brokers in one. Prints what it took."""

from __future__ import annotations

import asyncio
import json
import sys
import time

import moldau_operator.__main__  # what a pod has loaded counts
from moldau_broker.base.memory import peak_memory_kib
from moldau_operator.testing.kube_world import KubeWorld

LOOK_MS = 60_000


async def main(topics: int) -> None:
    world = KubeWorld()
    world.put("Cluster", "demo", replicas=3, storage={"size": "1Gi"})
    await world.converge()
    for number in range(topics):
        world.put("Topic", f"topic-{number:04d}", cluster="demo", partitions=3, replicas=3)
    calls, began = len(world.brokers.calls), time.process_time()
    passes = await world.converge()
    figures = {
        "program": moldau_operator.__main__.__name__,
        "ready": sum(world.is_ready("Topic", name) for name in world.api.of("Topic")),
        "creations": world.brokers.calls[calls:].count("create_topics"),
        "passes": passes,
        "cpu_s": round(time.process_time() - began, 2),
    }
    world.clock.advance(LOOK_MS)  # how even the brokers are is looked at now and then, and written down once
    await world.passes.run()
    began, written = time.process_time(), len(world.api.writes)
    await world.passes.run()
    figures["quiet_pass_cpu_s"] = round(time.process_time() - began, 2)
    figures["quiet_pass_writes"] = len(world.api.writes) - written
    figures["rss_mib"] = round(peak_memory_kib() / 1024, 1)
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
