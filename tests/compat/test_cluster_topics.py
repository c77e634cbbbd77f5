"""Topics that change while a broker is away."""

from __future__ import annotations

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
