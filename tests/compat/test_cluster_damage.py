"""A disk that changes what it was given: the damaged copy is noticed, given up and fetched again; good ones stay."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from moldau_broker.client.admin.topics import NewTopic, create_topics
from moldau_broker.client.admin_api import AdminApi
from moldau_broker.client.cluster import Cluster
from moldau_broker.client.consumer import Consumer
from moldau_broker.client.errors import ClientError
from moldau_broker.client.partitions import TopicPartition
from moldau_broker.client.producer import Producer
from moldau_broker.testing.cluster import HOST, ProcessCluster

pytestmark = [pytest.mark.compat, pytest.mark.timeout(180)]

RECORDS = 400
SCRUB_AT_ONCE = {"log.scrub.interval.ms": "500", "log.scrub.max.bytes.per.second": str(64 << 20)}
SEGMENT = "00000000000000000000.log"


def segment(cluster: ProcessCluster, node_id: int, topic: str) -> Path:
    return cluster.node(node_id).data_dir / f"{topic}-0" / SEGMENT


def flip(path: Path, at: float) -> None:
    """One bit, in the body of the first batch with enough of it that begins at this fraction of the file or above."""
    data = path.read_bytes()
    position = 0
    while position + 12 <= len(data) * at or _size(data, position) < 100:
        position += _size(data, position)
    with path.open("r+b") as file:
        file.seek(position + 61 + 20)
        byte = file.read(1)[0]
        file.seek(position + 61 + 20)
        file.write(bytes([byte ^ 4]))


def _size(data: bytes, position: int) -> int:
    """Of the batch that lies there."""
    return 12 + int.from_bytes(data[position + 8 : position + 12], "big")


async def fill(cluster: Cluster, topic: str) -> list[bytes]:
    """Records in many batches, all acknowledged by all; what they hold."""
    made = await create_topics(
        cluster, [NewTopic(name=topic, assignment={0: [1, 2, 3]}, config={"min.insync.replicas": "2"})]
    )
    assert not isinstance(made[topic], ClientError)
    values = [b"%06d" % n + bytes(100) for n in range(RECORDS)]
    async with Producer(cluster) as producer:
        for n, value in enumerate(values):
            await producer.send(topic, value=value, partition=0)
            if n % 10 == 9:
                await producer.flush()
    return values


async def read_all(cluster: Cluster, topic: str, count: int) -> list[bytes | None]:
    consumer = Consumer(cluster)
    consumer.assign({TopicPartition(topic, 0): 0})
    seen: list[bytes | None] = []
    async with asyncio.timeout(30):
        while len(seen) < count:
            seen += [record.value for fetched in await consumer.poll(500) for record in fetched.records]
    await consumer.close()
    return seen


async def healed(cluster: ProcessCluster, client: Cluster, topic: str) -> None:
    """Until all three are in sync again, with the same bytes."""
    partition = TopicPartition(topic, 0)
    async with asyncio.timeout(40):
        while True:
            await client.retry(lambda: client.refresh([topic]))
            known = client.metadata.partition(partition)
            logs = {p.read_bytes() for n in (1, 2, 3) if (p := segment(cluster, n, topic)).exists()}
            if known is not None and sorted(known.isr) == [1, 2, 3] and len(logs) == 1:
                return
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("restarted", [False, True], ids=["newest batches", "read from disk"])
async def test_leader_that_turns_out_damaged_while_it_serves_hands_over(restarted: bool) -> None:
    """A consumer meets it: another replica gives all records, the damaged one is set aside and fetched again."""
    with ProcessCluster(3) as cluster:
        async with Cluster(cluster.bootstrap) as client:
            values = await fill(client, "t")
            if restarted:
                cluster.restart(1)
                await healed(cluster, client, "t")
            known = client.metadata.partition(TopicPartition("t", 0))
            assert known is not None
            leader = known.leader
            sound = {node: segment(cluster, node, "t").read_bytes() for node in (1, 2, 3) if node != leader}
            assert len(set(sound.values())) == 1
            flip(segment(cluster, leader, "t"), 0.5)

            assert await read_all(client, "t", RECORDS) == values  # lost = 0
            known = client.metadata.partition(TopicPartition("t", 0))
            assert known is not None
            assert known.leader != leader
            async with Producer(client) as producer:
                await producer.send("t", value=b"after", partition=0)
            await healed(cluster, client, "t")
            for node, before in sound.items():
                assert segment(cluster, node, "t").read_bytes().startswith(before)
            assert len(cluster.node(leader).events("replica.begun_anew")) == 1
            strays = [one for one in cluster.node(leader).data_dir.iterdir() if one.name.endswith("-stray")]
            assert len(strays) == 1
            assert await read_all(client, "t", RECORDS + 1) == [*values, b"after"]


async def test_leader_whose_follower_meets_the_damage_hands_over() -> None:
    """A follower begins anew and asks for everything; the sound one leads, and nobody fetches damage for good."""
    with ProcessCluster(3) as cluster:
        async with Cluster(cluster.bootstrap) as client:
            values = await fill(client, "t")
            await healed(cluster, client, "t")
            before = segment(cluster, 2, "t").read_bytes()
            flip(segment(cluster, 1, "t"), 0.7)
            cluster.kill(3)
            cluster.wipe(3)
            cluster.start(3)
            await healed(cluster, client, "t")
            known = client.metadata.partition(TopicPartition("t", 0))
            assert known is not None
            assert known.leader == 2
            assert segment(cluster, 2, "t").read_bytes() == before
            assert await read_all(client, "t", RECORDS) == values
            assert len(cluster.node(1).events("replica.begun_anew")) == 1


@pytest.mark.parametrize("which", [0, -1], ids=["closed segment", "active segment"])
@pytest.mark.parametrize("victim", [1, 3], ids=["leader", "follower"])
async def test_damage_that_nobody_reads_is_found_and_healed(victim: int, which: int) -> None:
    """A bit flips in a segment of one replica; no reader comes, and it is fetched again from sound ones."""
    with ProcessCluster(3, settings=SCRUB_AT_ONCE) as cluster:
        async with Cluster(cluster.bootstrap) as client:
            config = {"min.insync.replicas": "2", "segment.bytes": str(1 << 20)}
            made = await create_topics(client, [NewTopic(name="t", assignment={0: [1, 2, 3]}, config=config)])
            assert not isinstance(made["t"], ClientError)
            values = [b"%06d" % n + bytes(50_000) for n in range(60)]
            async with Producer(client) as producer:
                for value in values:
                    await producer.send("t", value=value, partition=0)
                    await producer.flush()
            await healed(cluster, client, "t")
            names = sorted(path.name for path in segment(cluster, 2, "t").parent.glob("*.log"))
            assert len(names) > 1, "the first segment is closed"
            sound = segment(cluster, 2, "t").with_name(names[which]).read_bytes()
            damaged = segment(cluster, victim, "t").with_name(names[which])
            flip(damaged, 0.5)
            async with asyncio.timeout(40):
                while True:
                    if cluster.node(victim).events("replica.begun_anew"):
                        break
                    await asyncio.sleep(0.1)
            await healed(cluster, client, "t")
            assert damaged.read_bytes() == sound
            (found,) = cluster.node(victim).events("log.damage_found")
            assert found["topic"] == "t"
            assert not any(cluster.node(node).events("log.damage_found") for node in {1, 2, 3} - {victim})
            assert await read_all(client, "t", 60) == values  # lost = 0


async def test_damage_of_a_metadata_log_is_shown_with_what_to_do_and_the_node_goes_on() -> None:
    """Nobody reads it: it is said, counted and shown by the node that has it, which leads the quorum on."""
    with ProcessCluster(3, settings=SCRUB_AT_ONCE) as cluster:
        async with Cluster(cluster.bootstrap) as client:
            await fill(client, "t")
            node = cluster.node(cluster.controller())
            (log,) = (node.data_dir / "__cluster_metadata-0").glob("*.log")
            flip(log, 0.5)
            async with AdminApi((HOST, node.http_port), timeout_ms=15_000) as admin, asyncio.timeout(40):
                while not (damage := await admin.metadata_damage()):  # noqa: ASYNC110 - another process finds it
                    await asyncio.sleep(0.1)
            assert [one.file for one in damage] == [f"__cluster_metadata-0/{log.name}"]
            assert "start it anew: it fetches from them" in damage[0].advice
            found = node.events("log.damage_found")[0]
            assert (found["topic"], found["outcome"]) == ("__cluster_metadata", damage[0].advice)
            assert cluster.controller() == node.id
            assert await read_all(client, "t", RECORDS)
        command = ["-m", "moldau_cli", "cluster", "quorum", "--bootstrap-server", cluster.bootstrap]
        process = await asyncio.create_subprocess_exec(
            sys.executable, *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
        )
        _, said = await process.communicate()
        assert process.returncode == 0
        assert said.decode().splitlines() == [
            f"warning: the metadata log of node {node.id} is damaged: {damage[0].reason}. {damage[0].advice}"
        ]
