"""A broker that is emptied stays empty: what is created meanwhile goes elsewhere, and somebody else leads."""

from __future__ import annotations

import asyncio

import pytest

from moldau_broker.client.admin.configs import Resource, ResourceType, alter_configs
from moldau_broker.client.admin.topics import CreatedTopic, NewTopic, create_topics
from moldau_broker.client.admin_api import AdminApi
from moldau_broker.client.cluster import Cluster
from moldau_broker.testing.cluster import HOST, ProcessCluster

pytestmark = [pytest.mark.compat, pytest.mark.timeout(120)]


async def test_draining_broker_gets_nothing_new() -> None:
    """Its replicas leave, and 20 topics made meanwhile and after a restart of it have none there, until cancelled."""
    with ProcessCluster(3, settings={"num.partitions": "2", "default.replication.factor": "2"}) as cluster:
        async with (
            Cluster(cluster.bootstrap) as client,
            AdminApi((HOST, cluster.node(1).http_port)) as admin,
        ):

            async def create(prefix: str) -> set[int]:
                """Ten topics; every broker that has a replica of them."""
                names = [f"{prefix}-{n}" for n in range(10)]
                made = await create_topics(client, [NewTopic(name=name) for name in names])
                assert all(isinstance(one, CreatedTopic) for one in made.values()), made
                infos = [await client.topic(name) for name in names]
                return {broker for info in infos for one in info.partitions for broker in one.replicas}

            assert await create("before") == {1, 2, 3}
            await admin.drain(3)
            assert await create("meanwhile") == {1, 2}
            async with asyncio.timeout(30):
                while (await admin.drain_progress(3)).replicas_left:
                    await asyncio.sleep(0.1)
                    await admin.drain(3)
            cluster.restart(3)
            assert await create("after") == {1, 2}
            assert (await admin.drain_progress(3)).replicas_left == 0
            await admin.cancel_drain(3)
            assert await create("again") == {1, 2, 3}


async def test_defaults_of_new_topics_change_without_a_restart() -> None:
    """For topics made by name only, whichever broker is asked."""
    with ProcessCluster(3) as cluster:
        async with Cluster(cluster.bootstrap) as client:

            async def shape(name: str) -> tuple[int, int]:
                made = (await create_topics(client, [NewTopic(name=name)]))[name]
                assert isinstance(made, CreatedTopic), made
                return made.partitions, made.replication_factor

            assert await shape("before") == (1, 1)
            everywhere = Resource(ResourceType.BROKER, "")
            changes = {"default.replication.factor": "3", "num.partitions": "4"}
            assert await alter_configs(client, {everywhere: changes}) == {everywhere: None}
            assert await shape("after") == (4, 3)
