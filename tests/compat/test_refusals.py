"""What this version does not serve is refused in words a person understands, soon, by every client that asks."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from tests.compat.clients import aiokafka, kafka
from tests.compat.conftest import Broker, KafkaTools

pytestmark = pytest.mark.compat


def librdkafka_transaction(broker: Broker) -> None:
    Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": "t"}).init_transactions(30)


def kafka_python_transaction(broker: Broker) -> None:
    producer = kafka.KafkaProducer(bootstrap_servers=broker.bootstrap, transactional_id="t")
    try:
        producer.init_transactions()
    finally:
        producer.close()


def aiokafka_transaction(broker: Broker) -> None:
    async def begin() -> None:
        producer = aiokafka.AIOKafkaProducer(bootstrap_servers=broker.bootstrap, transactional_id="t")
        try:
            await asyncio.wait_for(producer.start(), 30)
        finally:
            await producer.stop()

    asyncio.run(begin())


@pytest.mark.parametrize(
    ("begin", "error"),
    [
        (librdkafka_transaction, KafkaException),
        (kafka_python_transaction, kafka.errors.TransactionalIdAuthorizationFailedError),
        (aiokafka_transaction, aiokafka.errors.TransactionalIdAuthorizationFailed),
    ],
)
def test_transactions_are_refused(
    shared_broker: Broker, begin: Callable[[Broker], None], error: type[Exception]
) -> None:
    """With an error no client retries; librdkafka also shows our words."""
    with pytest.raises(error) as refused:
        begin(shared_broker)
    if error is KafkaException:
        assert refused.value.args[0].fatal()
        assert "Transactions are not served" in refused.value.args[0].str()


def test_librdkafka_is_told_that_newer_groups_are_not_served(shared_broker: Broker) -> None:
    """group.protocol=consumer ends with a fatal error at the first poll."""
    consumer = Consumer(
        {
            "bootstrap.servers": shared_broker.bootstrap,
            "group.id": "g",
            "group.protocol": "consumer",
            "log_level": 0,
        }
    )
    consumer.subscribe([shared_broker.create_topic()])
    (message,) = consumer.consume(1, 20)
    consumer.close()
    assert message.error().code() == KafkaError._FATAL
    assert "API version not supported" in message.error().str()


@pytest.mark.java
@pytest.mark.parametrize(
    ("tool", "arguments", "words"),
    [
        (
            "kafka-producer-perf-test",
            "--num-records 1 --record-size 10 --throughput -1 --transactional-id t",
            "TransactionalIdAuthorizationException",
        ),
        (
            "kafka-console-consumer",
            "--command-property group.protocol=consumer --timeout-ms 20000",
            "Set group.protocol=classic on the consumer configs",
        ),
        (
            "kafka-console-share-consumer",
            "--timeout-ms 20000",
            "The cluster does not support the share group protocol",
        ),
    ],
)
def test_javas_tools_say_what_is_not_served(
    shared_broker: Broker, kafka_tools: KafkaTools, tool: str, arguments: str, words: str
) -> None:
    """They end by themselves, and their output names the reason."""
    topic = shared_broker.create_topic()
    at = ["--bootstrap-server", shared_broker.bootstrap, "--topic", topic]
    done = kafka_tools.run(tool, *at, *arguments.split(), check=False, timeout=60)
    assert words in done.stdout + done.stderr


@pytest.mark.parametrize("protocol", ["SSL", "SASL_PLAINTEXT"])
def test_security_we_do_not_speak_fails_and_harms_nobody(shared_broker: Broker, protocol: str) -> None:
    """A client that starts with TLS or SASL gets no connection; the next plain one is served."""
    settings: dict[str, Any] = {
        "bootstrap.servers": shared_broker.bootstrap,
        "security.protocol": protocol,
        "log_level": 0,
    }
    if protocol != "SSL":
        settings |= {"sasl.mechanism": "PLAIN", "sasl.username": "u", "sasl.password": "p"}
    with pytest.raises(KafkaException):
        Producer(settings).list_topics(timeout=1)

    topic = shared_broker.create_topic()
    plain = Producer({"bootstrap.servers": shared_broker.bootstrap})
    assert topic in plain.list_topics(timeout=10).topics


def test_a_group_id_of_another_kind_is_another_group(shared_broker: Broker) -> None:
    """A classic group works beside refused attempts to use its name for the newer protocol."""
    topic, group = shared_broker.create_topic(), f"group-{uuid.uuid4().hex[:8]}"
    newer = Consumer(
        {
            "bootstrap.servers": shared_broker.bootstrap,
            "group.id": group,
            "group.protocol": "consumer",
            "log_level": 0,
        }
    )
    newer.subscribe([topic])
    assert newer.consume(1, 20)[0].error().code() == KafkaError._FATAL
    newer.close()
    producer = Producer({"bootstrap.servers": shared_broker.bootstrap})
    producer.produce(topic, b"x")
    assert producer.flush(20) == 0
    classic = Consumer(
        {"bootstrap.servers": shared_broker.bootstrap, "group.id": group, "auto.offset.reset": "earliest"}
    )
    classic.subscribe([topic])
    assert [message.value() for message in classic.consume(1, 20)] == [b"x"]
    classic.close()
