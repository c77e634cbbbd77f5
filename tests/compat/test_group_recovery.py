"""Groups and offsets of real clients over the death of the broker."""

import time

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

pytestmark = pytest.mark.compat


def _consumer(broker, group, **settings):
    return Consumer(
        {
            "bootstrap.servers": broker.bootstrap,
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "session.timeout.ms": 30_000,
            "heartbeat.interval.ms": 500,
            "reconnect.backoff.max.ms": 200,
            **settings,
        }
    )


def _committed(broker, group, topic, partitions):
    reader = _consumer(broker, group)
    try:
        found = reader.committed([TopicPartition(topic, index) for index in range(partitions)], timeout=20)
        return [one.offset for one in found]
    finally:
        reader.close()


def _poll_until(consumer, wanted, seconds=30):
    """Values of `wanted` messages."""
    seen = []
    deadline = time.monotonic() + seconds
    while len(seen) < wanted and time.monotonic() < deadline:
        message = consumer.poll(0.1)
        if message is not None and message.error() is None:
            seen.append(message.value())
    return seen


def test_committed_offsets_survive_kill_9(broker):
    """Every commit that was answered is there; the last one wins."""
    topic = broker.create_topic(partitions=3)
    writer = _consumer(broker, "g")
    for offset in range(1, 31):
        positions = [TopicPartition(topic, index, offset + index) for index in range(3)]
        writer.commit(offsets=positions, asynchronous=False)
    broker.kill()
    broker.start()
    assert _committed(broker, "g", topic, 3) == [30, 31, 32]
    writer.close()


def test_group_members_go_on_after_kill_9(broker):
    """The group is read back with its members: the same member id, no rebalance, no message lost or repeated."""
    topic = broker.create_topic()
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    producer.produce(topic, b"before")
    producer.flush(20)
    consumer = _consumer(broker, "g")
    consumer.subscribe([topic])
    assert _poll_until(consumer, 1) == [b"before"]
    consumer.commit(asynchronous=False)
    before = consumer.memberid()
    broker.kill()
    broker.start()
    producer.produce(topic, b"after")
    assert producer.flush(30) == 0
    assert _poll_until(consumer, 1) == [b"after"]
    assert consumer.memberid() == before
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    members = admin.describe_consumer_groups(["g"])["g"].result(20).members
    assert [member.member_id for member in members] == [before]
    consumer.close()


def test_deleted_topic_takes_its_offsets_with_it(broker):
    """A topic of the same name made later begins without any."""
    topic = broker.create_topic()
    writer = _consumer(broker, "g")
    writer.commit(offsets=[TopicPartition(topic, 0, 7)], asynchronous=False)
    assert _committed(broker, "g", topic, 1) == [7]
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    admin.delete_topics([topic])[topic].result(20)
    assert _committed(broker, "g", topic, 1) == [-1001]
    broker.kill()
    broker.start()
    assert _committed(broker, "g", topic, 1) == [-1001]
    writer.close()
