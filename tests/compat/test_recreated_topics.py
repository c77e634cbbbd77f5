"""A topic deleted and made again under the same name is another topic, for readers, writers and groups."""

from __future__ import annotations

import time
import uuid

import pytest
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaError, Producer
from confluent_kafka.admin import AdminClient, NewTopic
from tests.compat.conftest import Broker
from tests.compat.members import eventually

pytestmark = pytest.mark.compat


@pytest.fixture(scope="module")
def broker_settings() -> dict[str, str]:
    """Producers that look for their topic would make it, between its deletion and its creation by the test."""
    return {"auto.create.topics.enable": "false"}


def recreate(broker: Broker, topic: str, partitions: int = 1) -> None:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    admin.delete_topics([topic])[topic].result(20)

    def created() -> bool:
        error = admin.create_topics([NewTopic(topic, partitions, 1)])[topic].exception(20)
        if error is not None:  # until the deletion is done everywhere
            assert error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS
        return error is None

    eventually("the topic is made again", created)


def test_a_running_consumer_reads_the_new_topic(shared_broker: Broker) -> None:
    """It is told that its topic id is unknown, asks again, and reads the new topic from its beginning."""
    topic = shared_broker.create_topic()
    producer = Producer(
        {"bootstrap.servers": shared_broker.bootstrap, "topic.metadata.refresh.interval.ms": 200}
    )
    consumer = Consumer(
        {
            "bootstrap.servers": shared_broker.bootstrap,
            "group.id": f"group-{uuid.uuid4().hex[:8]}",
            "auto.offset.reset": "earliest",
            "topic.metadata.refresh.interval.ms": 200,
        }
    )
    consumer.subscribe([topic])
    for i in range(20):
        producer.produce(topic, b"old %d" % i)
    assert producer.flush(20) == 0
    assert len(consumer.consume(20, 20)) == 20

    recreate(shared_broker, topic)

    def delivered() -> bool:
        reports: list[KafkaError | None] = []
        producer.produce(topic, b"new", on_delivery=lambda error, _: reports.append(error))
        assert producer.flush(20) == 0
        return reports == [None]

    eventually("the producer finds the new topic", delivered)
    values = []
    deadline = time.monotonic() + 30
    while not values and time.monotonic() < deadline:
        values = [m.value() for m in consumer.consume(1, 1) if m.error() is None]
    consumer.close()
    assert values == [b"new"]


def test_an_idempotent_producer_starts_over_on_the_new_topic(shared_broker: Broker) -> None:
    """Sequence numbers belong to the topic that is gone; a fresh producer's records get offsets from 0."""
    topic = shared_broker.create_topic()
    for _ in range(2):
        producer = Producer({"bootstrap.servers": shared_broker.bootstrap, "enable.idempotence": True})
        offsets: list[int] = []
        for i in range(50):
            producer.produce(
                topic, b"%d" % i, partition=0, on_delivery=lambda _, m, seen=offsets: seen.append(m.offset())
            )
        assert producer.flush(20) == 0
        assert offsets == list(range(50))
        recreate(shared_broker, topic)


def test_commits_of_a_deleted_topic_are_gone(shared_broker: Broker) -> None:
    """A group that returns to the new topic has no offset there."""
    topic, group = shared_broker.create_topic(), f"group-{uuid.uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": shared_broker.bootstrap})
    producer = Producer({"bootstrap.servers": shared_broker.bootstrap})
    producer.produce(topic, b"x")
    assert producer.flush(20) == 0
    consumer = Consumer(
        {"bootstrap.servers": shared_broker.bootstrap, "group.id": group, "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([topic])
    assert len(consumer.consume(1, 20)) == 1
    consumer.commit(asynchronous=False)
    consumer.close()

    recreate(shared_broker, topic)
    answer = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group].result(20)
    assert [at for at in answer.topic_partitions if at.offset >= 0] == []
