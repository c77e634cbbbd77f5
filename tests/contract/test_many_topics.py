"""Two thousand Topics at once: a handful of requests to the brokers, and an operator that stays small."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

import pytest

from moldau_operator.testing.controllers import settle

TOPICS = 2_000
RSS_MIB_MAX = 200


@pytest.mark.timeout(600)
async def test_two_thousand_topics_are_made_in_batches_by_a_small_operator(server: Any) -> None:
    """One process with its watches, its Lease and its client, against an API server over HTTP."""
    if server.emulation is None:
        pytest.skip("brokers in memory need pods in memory")
    api = server.emulation.api
    api.put(server.ours("Cluster", "demo", replicas=3, storage={"size": "1Gi"}))
    for number in range(TOPICS):
        api.put(server.ours("Topic", f"topic-{number:04d}", cluster="demo", partitions=3, replicas=3))
    script = server.path.parent / "many_topics.py"
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        str(script),
        server.namespace,
        str(TOPICS),
        env={**os.environ, "KUBECONFIG": server.kubeconfig},
        stdout=asyncio.subprocess.PIPE,
    )
    reading = asyncio.create_task(child.communicate())
    while not reading.done():
        await asyncio.sleep(0.2)
        settle(api)
    assert child.returncode == 0
    figures = json.loads(reading.result()[0])
    print(figures)  # noqa: T201 (measured, and read by people)
    assert figures["topics"] == TOPICS
    assert figures["create_calls"] <= 5
    assert figures["rss_mib"] <= RSS_MIB_MAX
    statuses = [one["status"] for one in api.of("Topic").values()]
    ready = [one for status in statuses for one in status["conditions"] if one["type"] == "Ready"]
    assert [one["status"] for one in ready] == ["True"] * TOPICS
