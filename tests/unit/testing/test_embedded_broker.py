"""A broker inside a test's process: quick to come, faithful, restartable, and gone without a trace."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from moldau_broker.base.errors import ErrorCode
from moldau_broker.testing.broker import EmbeddedBroker, RawClient, StartError
from moldau_broker.testing.logs import make_batch
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.metadata import MetadataRequest
from moldau_broker.wire.messages.produce import PartitionProduceData, ProduceRequest, TopicProduceData


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as broker:
        yield broker


def produce(client: RawClient, topic: str, *, acks: int = -1) -> Any:
    """Write one record to partition 0; the partition's answer."""
    data = PartitionProduceData(index=0, records=memoryview(make_batch()))
    request = ProduceRequest(
        acks=acks, timeout_ms=5_000, topic_data=[TopicProduceData(name=topic, partition_data=[data])]
    )
    return client.call(ApiKey.PRODUCE, 9, request).responses[0].partition_responses[0]


def test_a_broker_is_ready_in_a_third_of_a_second() -> None:
    """From nothing to served, imports aside; the quickest counts, as other tests share the machine."""
    took = []
    begun = time.perf_counter()
    while not took or (min(took) >= 0.3 and time.perf_counter() < begun + 60):
        began = time.perf_counter()
        with EmbeddedBroker() as broker, broker.connect() as client:
            client.call(ApiKey.METADATA, 9, MetadataRequest())
            took.append(time.perf_counter() - began)
    assert min(took) < 0.3, took


def test_a_topic_can_be_used_when_create_topic_returns(broker: EmbeddedBroker) -> None:
    """No waiting for metadata: the next request finds it."""
    topic = broker.create_topic(partitions=3, settings={"cleanup.policy": "compact"})
    with broker.connect() as client:
        described = client.call(ApiKey.METADATA, 9, MetadataRequest(topics=None))
    assert [len(one.partitions) for one in described.topics if one.name == topic] == [3]
    assert broker.end_offset(topic, 2) == 0


def test_a_refused_topic_is_told_in_words(broker: EmbeddedBroker) -> None:
    """A test that asks for the impossible fails where it asks."""
    with pytest.raises(ValueError, match="retention"):
        broker.create_topic(settings={"retention.ms": "soon"})
    with pytest.raises(LookupError):
        broker.end_offset("no-such-topic")


def test_a_restarted_broker_keeps_its_address_and_its_data(tmp_path: Path) -> None:
    """Clients reconnect to the same port and find what they wrote."""
    broker = EmbeddedBroker(data_dir=tmp_path / "data").start()
    topic, bootstrap, cluster_id = broker.create_topic(), broker.bootstrap, broker.cluster_id
    with broker.connect() as client:
        assert produce(client, topic).base_offset == 0
        broker.restart()
        assert client.closed_by_peer()
    assert (broker.bootstrap, broker.cluster_id) == (bootstrap, cluster_id)
    with RawClient.to(bootstrap) as client:
        assert produce(client, topic).base_offset == 1
    broker.close()
    assert (tmp_path / "data" / f"{topic}-0").is_dir(), "a folder that was given is kept"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a port that is held cannot be listened on")
def test_a_broker_that_is_stopped_keeps_its_ports() -> None:
    """Nobody else can have them before it starts again; afterwards everybody can."""
    broker = EmbeddedBroker().start()
    broker.stop()
    for name in ("CLIENT", "INTERNAL", "CONTROLLER"):
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", broker.ports[name]))
    broker.start()
    broker.close()
    socket.create_server(("127.0.0.1", broker.ports["CLIENT"])).close()


LEAVES_NOTHING = """
import threading
from moldau_broker.testing.broker import ApiKey, EmbeddedBroker
from moldau_broker.testing.logs import make_batch
from moldau_broker.wire.messages.produce import PartitionProduceData, ProduceRequest, TopicProduceData

broker = EmbeddedBroker().start()
data = PartitionProduceData(index=0, records=memoryview(make_batch()))
topic = TopicProduceData(name=broker.create_topic(), partition_data=[data])
with broker.connect() as client:
    answer = client.call(ApiKey.PRODUCE, 9, ProduceRequest(acks=-1, timeout_ms=30_000, topic_data=[topic]))
assert answer.responses[0].partition_responses[0].base_offset == 0
folder = broker.data_dir
assert folder.is_dir()
assert threading.active_count() > 1
broker.close()
broker.close()
assert not folder.exists()
assert threading.enumerate() == [threading.main_thread()]
"""


def test_a_closed_broker_leaves_neither_thread_nor_file() -> None:
    """Its threads have ended, its temporary folder is gone, and closing again does no harm.

    In a process of its own: other brokers of this one begin threads when they like.
    """
    done = subprocess.run([sys.executable, "-c", LEAVES_NOTHING], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_broker_that_cannot_start_says_why(broker: EmbeddedBroker) -> None:
    """The error its process would end with is raised where `start` was called."""
    taken = f"CLIENT://127.0.0.1:{broker.ports['CLIENT']},INTERNAL://127.0.0.1:0,CONTROLLER://127.0.0.1:0"
    with pytest.raises(StartError, match="cannot listen"):
        EmbeddedBroker({"listeners": taken}).start()
    with pytest.raises(StartError, match="in use"):
        EmbeddedBroker(data_dir=broker.data_dir).start()


def test_errors_of_questions_come_back(broker: EmbeddedBroker) -> None:
    """What a question raises on the broker's thread is raised in the test."""
    with pytest.raises(ZeroDivisionError):
        broker.ask(lambda _: 1 // 0)


def test_controls_hold_over_a_restart() -> None:
    """A client that is made to fail keeps failing while its broker bounces."""
    with EmbeddedBroker() as broker:
        topic = broker.create_topic()
        broker.fail(ApiKey.PRODUCE, ErrorCode.NOT_LEADER_OR_FOLLOWER)
        broker.restart()
        with broker.connect() as client:
            assert produce(client, topic).error_code == ErrorCode.NOT_LEADER_OR_FOLLOWER
        broker.clear_controls()
        with broker.connect() as client:
            assert produce(client, topic).error_code == ErrorCode.NONE
