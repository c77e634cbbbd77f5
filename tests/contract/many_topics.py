"""The operator's process of `test_many_topics`: all it has in a pod, with brokers in memory. Prints its figures."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from moldau_broker.base.clock import SystemClock
from moldau_broker.base.memory import peak_memory_kib
from moldau_operator.adapters.kube_api import connect
from moldau_operator.handlers.fence import FencedApi
from moldau_operator.handlers.lease import Lease
from moldau_operator.handlers.operator import Operator
from moldau_operator.handlers.passes import Passes
from moldau_operator.settings import OperatorSettings
from moldau_operator.testing.brokers import FakeBrokers


async def main(namespace: str, topics: int) -> None:
    api, clock, brokers = await connect(), SystemClock(), FakeBrokers(brokers=3)
    lease = Lease(api, namespace, "it", clock)
    passes = Passes(
        FencedApi(api, lambda: lease.is_held),
        namespace,
        "moldau/broker:1",
        clock,
        make_admin=lambda _kafka, _http: brokers,
        mint=lambda: "cluster-1",
    )
    settings = OperatorSettings(namespace=namespace, broker_image="x", identity="it", resync_s=1.0)
    operator = Operator(api, lease, passes, settings, clock)
    took: list[float] = []
    real = passes.run

    async def timed() -> Any:
        began = time.monotonic()
        try:
            return await real()
        finally:
            took.append(time.monotonic() - began)

    passes.run = timed  # type: ignore[method-assign]
    began = time.monotonic()
    task = asyncio.create_task(operator.run())
    while len(brokers.topics) < topics:
        await asyncio.sleep(0.05)
        if task.done():
            sys.exit(f"the operator left with {task.result()}")
    ready_s = 0.0
    quiet = 0
    while quiet < 3:
        before, changes = len(took), len(brokers.changes)
        await asyncio.sleep(0.3)
        if len(took) > before and took[-1] < 60 and len(brokers.changes) == changes:
            quiet += 1
            ready_s = ready_s or time.monotonic() - began
    cpu = time.process_time()
    await asyncio.sleep(3)
    figures = {
        "topics": len(brokers.topics),
        "create_calls": brokers.calls.count("create_topics"),
        "seconds": round(ready_s, 1),
        "passes": len(took),
        "last_pass_s": round(took[-1], 2),
        "idle_cpu": round((time.process_time() - cpu) / 3, 3),
        "rss_mib": round(peak_memory_kib() / 1024, 1),
    }
    print(json.dumps(figures), flush=True)  # noqa: T201 (its answer)
    operator.request_stop()
    await task
    await api.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
