"""Topics that change while a broker is away."""

from __future__ import annotations

import subprocess
import sys

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from moldau_broker.testing.cluster import ProcessCluster

pytestmark = [pytest.mark.compat, pytest.mark.timeout(120)]


def test_topic_made_anew_is_hosted_by_a_broker_that_missed_its_deletion() -> None:
    """The folder of the old one is kept under another name, however often that broker was started in between."""
    with ProcessCluster(3) as cluster:
        admin = AdminClient({"bootstrap.servers": cluster.bootstrap})

        def create() -> None:
            admin.create_topics([NewTopic("t", 3, 3)])["t"].result(20)

        def produce(value: bytes) -> None:
            producer = Producer({"bootstrap.servers": cluster.bootstrap, "acks": "all"})
            for partition in range(3):
                producer.produce("t", value, partition=partition)
            assert producer.flush(20) == 0

        def in_sync() -> bool:
            partitions = admin.list_topics("t", timeout=10).topics["t"].partitions.values()
            return [sorted(one.isrs) for one in partitions] == [[1, 2, 3]] * 3

        create()
        produce(b"old")
        cluster.kill(3)
        admin.delete_topics(["t"])["t"].result(20)
        cluster.start(3)
        cluster.restart(3)  # its first image after this start knows nothing of the topic any more
        create()
        produce(b"new")
        cluster.wait("all replicas are in sync", in_sync)
        assert not cluster.node(3).events("log.unusable")
        assert len(cluster.node(3).events("log.stray")) == 3


def test_moldau_topic_alter_gives_a_topic_more_replicas_and_fewer() -> None:
    """By hand, on real brokers in two racks: a copy in each, what was there stays; then back to one, nothing copied."""
    racks = {node: {"broker.rack": f"r{node % 2}"} for node in (1, 2, 3)}
    with ProcessCluster(3, node_settings=racks) as cluster:
        admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
        admin.create_topics([NewTopic("t", 6, 1)])["t"].result(20)
        producer = Producer({"bootstrap.servers": cluster.bootstrap, "acks": "all"})
        for partition in range(6):
            producer.produce("t", b"x" * 50_000, partition=partition)
        assert producer.flush(20) == 0

        def placed() -> list[set[int]]:
            partitions = admin.list_topics("t", timeout=10).topics["t"].partitions
            assert all(set(one.isrs) <= set(one.replicas) for one in partitions.values())
            return [set(partitions[number].isrs) for number in range(6)]

        def alter(replicas: int) -> str:
            words = ["topic", "alter", "t", "--replicas", str(replicas), "-b", cluster.bootstrap]
            done = subprocess.run(
                [sys.executable, "-m", "moldau_cli", *words], capture_output=True, text=True, check=False
            )
            return done.stdout + done.stderr

        first = placed()
        assert "altered: 2 replicas: 6 partitions moving" in alter(2)
        cluster.wait("two copies each are in sync", lambda: all(len(one) == 2 for one in placed()))
        second = placed()
        assert all(before < after for before, after in zip(first, second, strict=True))
        assert all({node % 2 for node in one} == {0, 1} for one in second)
        assert "4 replicas need 4 brokers, and 3 are up" in alter(4)
        assert "altered: 1 replica: 6 partitions moving" in alter(1)
        cluster.wait("one copy each is left", lambda: all(len(one) == 1 for one in placed()))
        assert all(after < before for after, before in zip(placed(), second, strict=True))
