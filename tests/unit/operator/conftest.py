"""Resources for the tests of plans and reconcilers."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from moldau_operator.adapters.ports import HOST, choose_ports
from moldau_operator.resources.cluster import Cluster, ClusterSpec, Pool
from moldau_operator.resources.consumergroup import ConsumerGroup, ConsumerGroupSpec
from moldau_operator.resources.meta import Metadata
from moldau_operator.resources.topic import Topic, TopicSpec


def _metadata(name: str, options: dict[str, Any]) -> Metadata:
    return Metadata(
        name=name,
        generation=options.pop("generation", 1),
        uid=options.pop("uid", name),
        created_at=options.pop("created_at", ""),
    )


@pytest.fixture
def make_topic() -> Callable[..., Topic]:
    """`make_topic("orders", partitions=6)`; generation, uid and created_at go to the metadata."""

    def make(name: str = "orders", **options: Any) -> Topic:
        metadata = _metadata(name, options)
        return Topic(metadata=metadata, spec=TopicSpec(**{"cluster": "demo", "topic_name": name, **options}))

    return make


@pytest.fixture
def make_group() -> Callable[..., ConsumerGroup]:
    """`make_group("billing", max_lag=MaxLag(records=10))`."""

    def make(name: str = "billing", **options: Any) -> ConsumerGroup:
        metadata = _metadata(name, options)
        spec = ConsumerGroupSpec(**{"cluster": "demo", "group_id": name, **options})
        return ConsumerGroup(metadata=metadata, spec=spec)

    return make


@pytest.fixture
def make_cluster() -> Callable[..., Cluster]:
    """`make_cluster(replicas=3, config={...})`: one pool of combined nodes unless pools are given."""

    def make(replicas: int = 1, **options: Any) -> Cluster:
        metadata = _metadata("demo", options)
        pools = options.pop("pools", (Pool(name="kafka", node_id_base=0, replicas=replicas),))
        return Cluster(metadata=metadata, spec=ClusterSpec(pools=pools, **options))

    return make


FAKE_NODE = '''
"""Stands in for a broker: answers any Kafka frame, /readyz, and behaves as behaviour.json in its folder says."""
import asyncio, json, os, signal, sys, pathlib

settings = dict(line.split("=", 1) for line in open(sys.argv[1]) if "=" in line and not line.startswith("#"))
behaviour = json.loads(pathlib.Path("behaviour.json").read_text()) if os.path.exists("behaviour.json") else {}
pathlib.Path("started").open("a").write("x")
pathlib.Path("environment.json").write_text(json.dumps(dict(os.environ)))
if "say" in behaviour:
    print(behaviour["say"], file=sys.stderr, flush=True)
if "exit" in behaviour:
    sys.exit(behaviour["exit"])

async def kafka(reader, writer):
    if behaviour.get("state", "serving") != "serving":
        await asyncio.sleep(60)
    while True:
        size = int.from_bytes(await reader.readexactly(4), "big")
        body = await reader.readexactly(size)
        writer.write((8).to_bytes(4, "big") + body[4:8] + bytes(4))

async def http(reader, writer):
    await reader.readuntil(b"\\r\\n\\r\\n")
    state = behaviour.get("state", "serving")
    body = json.dumps({"state": state, "recovery": {"logs": "3/9"} if state == "recovering" else {}}).encode()
    writer.write(b"HTTP/1.1 503 x\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body) + body)
    writer.close()

async def main():
    stop = asyncio.Event()
    if behaviour.get("ignore_term"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    client = settings["listeners"].split(",")[0].rsplit(":", 1)[1].strip()
    async with await asyncio.start_server(kafka, "127.0.0.1", int(client)):
        async with await asyncio.start_server(http, "127.0.0.1", int(settings["http.port"])):
            await stop.wait()

asyncio.run(main())
'''


@pytest.fixture
def fake_node(tmp_path: Path) -> tuple[str, ...]:
    """The command that runs a fake broker; its properties file is appended."""
    script = tmp_path / "fake_node.py"
    script.write_text(FAKE_NODE)
    return (sys.executable, str(script))


@pytest.fixture
def free_port() -> int:
    """A client port below the ephemeral range that is free now, other than what earlier tests were given."""
    _given["next"] += 7
    return choose_ports(_given["next"], HOST, ()).ports.kafka


_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_given = {"next": 21_000 + 2_000 * (_WORKER % 6) + os.getpid() % 300}
"""Tests in parallel processes look in different places: a node's four ports lie within 1,200 of each other, and
neighbouring workers have neighbouring process ids. Other sessions begin elsewhere by chance."""
