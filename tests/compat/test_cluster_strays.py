"""What topics leave behind on a broker that was away when they were deleted; many partitions made at once."""

from __future__ import annotations

import asyncio
import sys
import time

import pytest

from moldau_broker.client.admin.topics import CreatedTopic, NewTopic, create_topics, delete_topics
from moldau_broker.client.cluster import Cluster
from moldau_broker.client.producer import Producer
from moldau_broker.testing.cluster import ProcessCluster

pytestmark = [pytest.mark.compat, pytest.mark.timeout(180)]


async def make(client: Cluster, *names: str) -> None:
    made = await create_topics(client, [NewTopic(name=n, partitions=2, replication_factor=3) for n in names])
    assert all(isinstance(one, CreatedTopic) for one in made.values()), made
    async with Producer(client) as producer:
        for name in names:
            for partition in range(2):
                await producer.send(name, value=name.encode(), partition=partition)


async def test_folders_of_topics_deleted_while_a_broker_was_away_are_removed() -> None:
    """Set aside when it is registered again, gone after the delay; nothing else is, after a crash neither."""
    with ProcessCluster(3, settings={"log.segment.delete.delay.ms": "1000"}) as cluster:
        node = cluster.node(3)

        def left(*topics: str) -> list[str]:
            return [one.name for one in node.data_dir.iterdir() if one.name.startswith(topics)]

        async with Cluster(cluster.bootstrap) as client:
            await make(client, "kept", "gone", "again")
            cluster.kill(3)
            assert await delete_topics(client, ["gone", "again"]) == {"gone": None, "again": None}
            await make(client, "again")
            cluster.start(3)
            assert len(node.events("log.stray")) >= 2
            cluster.wait("the strays are gone", lambda: not left("gone-"), within=30)
            assert sorted(one for one in left("again-") if not one.endswith("-stray")) == [
                "again-0",
                "again-1",
            ]
            cluster.restart(3)  # the namesake's are known to be gone at the next start at the latest
            cluster.wait("all strays are gone", lambda: not [n for n in left("") if "stray" in n], within=30)
            assert sorted(left("kept-", "again-")) == ["again-0", "again-1", "kept-0", "kept-1"]
            cluster.kill(1, 2)
            cluster.start(1, 2)
            await client.retry(lambda: client.refresh(["kept"]))
            async with Producer(client) as producer:
                await producer.send("kept", value=b"more", partition=0)


async def test_loop_goes_on_while_a_thousand_partitions_are_made(capsys: pytest.CaptureFixture[str]) -> None:
    """One node, one request; what others wait for meanwhile is measured from outside and printed.

    A busy machine stalls any one request for seconds, so the slowest is only told; `test_slices` holds the slices.
    """
    with ProcessCluster(1) as cluster:
        async with Cluster(cluster.bootstrap) as client, Cluster(cluster.bootstrap) as other:
            await other.refresh(())
            delays: list[float] = []
            done = asyncio.Event()

            async def probe() -> None:
                """Small requests over a connection of their own, one after the other."""
                while not done.is_set():
                    began = time.perf_counter()
                    await other.refresh(())
                    delays.append(time.perf_counter() - began)
                    await asyncio.sleep(0.002)

            probing = asyncio.create_task(probe())
            await asyncio.sleep(0.3)
            usual = max(delays)
            began = time.perf_counter()
            made = await create_topics(
                client, [NewTopic(name="many", partitions=1_000, replication_factor=1)]
            )
            assert isinstance(made["many"], CreatedTopic), made
            answered = time.perf_counter() - began
            async with Producer(client) as producer:
                for partition in range(1_000):
                    await producer.send("many", value=b"v", partition=partition)
            took = time.perf_counter() - began
            done.set()
            await probing
            during = sorted(delays)
            told = (
                f"1,000 partitions: answered after {answered:.3f} s, all written after {took:.3f} s; of {len(delays)} "
                f"small requests the slowest took {during[-1] * 1e3:.0f} ms, half of them less than "
                f"{during[len(during) // 2] * 1e3:.1f} ms; before that the slowest took {usual * 1e3:.0f} ms"
            )
            with capsys.disabled():
                sys.stdout.write(f"\n{told}\n")
            assert during[len(during) // 2] < 0.25
