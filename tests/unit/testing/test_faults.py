"""Faults on request: each verdict does what it says, to the requests it was meant for and no others."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from moldau_broker.base.errors import ErrorCode
from moldau_broker.testing.broker import Close, Delay, EmbeddedBroker, RawClient, Silence
from moldau_broker.testing.logs import make_batch
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.create_topics import CreatableTopic, CreateTopicsRequest
from moldau_broker.wire.messages.heartbeat import HeartbeatRequest, HeartbeatResponse
from moldau_broker.wire.messages.metadata import MetadataRequest, MetadataRequestTopic
from moldau_broker.wire.messages.produce import PartitionProduceData, ProduceRequest, TopicProduceData


@pytest.fixture(scope="module")
def shared() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as broker:
        yield broker


@pytest.fixture
def broker(shared: EmbeddedBroker) -> Iterator[EmbeddedBroker]:
    """The module's broker, without the controls of the test before."""
    yield shared
    shared.clear_controls()


@pytest.fixture
def client(broker: EmbeddedBroker) -> Iterator[RawClient]:
    with broker.connect() as client:
        yield client


@pytest.fixture
def topic(broker: EmbeddedBroker) -> str:
    return broker.create_topic()


def one_record(topic: str, acks: int = -1) -> ProduceRequest:
    data = PartitionProduceData(index=0, records=memoryview(make_batch()))
    return ProduceRequest(
        acks=acks, timeout_ms=5_000, topic_data=[TopicProduceData(name=topic, partition_data=[data])]
    )


def produce(client: RawClient, topic: str, acks: int = -1) -> Any:
    return client.call(ApiKey.PRODUCE, 9, one_record(topic, acks)).responses[0].partition_responses[0]


def test_an_error_fails_the_request_and_changes_nothing(
    broker: EmbeddedBroker, client: RawClient, topic: str
) -> None:
    """The request does not reach its handler, and `times` bounds how often."""
    control = broker.fail(ApiKey.PRODUCE, ErrorCode.NOT_ENOUGH_REPLICAS, times=2)
    codes = [produce(client, topic).error_code for _ in range(4)]
    assert codes == [ErrorCode.NOT_ENOUGH_REPLICAS, ErrorCode.NOT_ENOUGH_REPLICAS, 0, 0]
    assert broker.end_offset(topic) == 2
    assert (control.seen, control.used) == (2, 2)


@pytest.mark.parametrize("acks", [1, -1])
def test_a_repeated_produce_is_still_shown_to_its_control(
    broker: EmbeddedBroker, client: RawClient, topic: str, acks: int
) -> None:
    """The short way of repeated requests does not lead around a control that comes later."""
    for _ in range(3):
        assert produce(client, topic, acks).error_code == 0
    with broker.fail(ApiKey.PRODUCE, ErrorCode.KAFKA_STORAGE_ERROR) as control:
        for _ in range(3):
            assert produce(client, topic, acks).error_code == ErrorCode.KAFKA_STORAGE_ERROR
    for _ in range(3):
        assert produce(client, topic, acks).error_code == 0
    assert control.used == 3
    assert broker.end_offset(topic) == 6


def test_none_leaves_a_request_alone(broker: EmbeddedBroker, client: RawClient, topic: str) -> None:
    """A control may pick by what the request says; the context says who asks."""
    seen: list[tuple[str | None, int]] = []

    def decide(context: Any, request: ProduceRequest) -> ErrorCode | None:
        seen.append((context.client_id, request.acks))
        return ErrorCode.REQUEST_TIMED_OUT if request.acks == 1 else None

    broker.control(ApiKey.PRODUCE, decide)
    assert produce(client, topic, -1).error_code == 0
    assert produce(client, topic, 1).error_code == ErrorCode.REQUEST_TIMED_OUT
    assert seen == [("raw", -1), ("raw", 1)]


def test_the_newest_control_is_asked_first(broker: EmbeddedBroker, client: RawClient, topic: str) -> None:
    """And the next one when it has no opinion."""
    broker.fail(ApiKey.PRODUCE, ErrorCode.REQUEST_TIMED_OUT)
    broker.fail(ApiKey.PRODUCE, ErrorCode.KAFKA_STORAGE_ERROR, times=1)
    assert produce(client, topic).error_code == ErrorCode.KAFKA_STORAGE_ERROR
    assert produce(client, topic).error_code == ErrorCode.REQUEST_TIMED_OUT


def test_a_response_is_sent_as_it_is(broker: EmbeddedBroker, client: RawClient) -> None:
    """A control can say anything that the API can."""
    made_up = HeartbeatResponse(throttle_time_ms=1234, error_code=ErrorCode.REBALANCE_IN_PROGRESS)
    broker.control(ApiKey.HEARTBEAT, lambda context, request: made_up)
    assert client.call(ApiKey.HEARTBEAT, 4, HeartbeatRequest(group_id="g", member_id="m")) == made_up


def test_close_ends_the_connection_before_anything_happens(
    broker: EmbeddedBroker, client: RawClient, topic: str
) -> None:
    """The request is lost."""
    broker.control(ApiKey.PRODUCE, lambda context, request: Close())
    client.post(ApiKey.PRODUCE, 9, one_record(topic))
    assert client.closed_by_peer()
    assert broker.end_offset(topic) == 0


@pytest.mark.parametrize("acks", [1, -1])
def test_close_after_handling_loses_only_the_answer(
    broker: EmbeddedBroker, client: RawClient, topic: str, acks: int
) -> None:
    """The classic trap of retries: written, and the client cannot know."""
    broker.control(ApiKey.PRODUCE, lambda context, request: Close(after_handling=True))
    client.post(ApiKey.PRODUCE, 9, one_record(topic, acks))
    assert client.closed_by_peer()
    assert broker.end_offset(topic) == 1


def test_close_after_handling_waits_for_what_is_asynchronous(
    broker: EmbeddedBroker, client: RawClient
) -> None:
    """A topic is there although its creator was cut off."""
    broker.control(ApiKey.CREATE_TOPICS, lambda context, request: Close(after_handling=True))
    wanted = CreatableTopic(name="made-without-answer", num_partitions=1, replication_factor=1)
    client.post(ApiKey.CREATE_TOPICS, 5, CreateTopicsRequest(topics=[wanted]))
    assert client.closed_by_peer()
    assert broker.end_offset("made-without-answer") == 0


@pytest.mark.parametrize("acks", [1, -1])
def test_delay_answers_late_what_took_effect_at_once(
    broker: EmbeddedBroker, client: RawClient, topic: str, acks: int
) -> None:
    """A slow broker, seen from outside; the write is there long before its answer."""
    with broker.control(ApiKey.PRODUCE, lambda context, request: Delay(60)), broker.connect() as patient:
        began = time.monotonic()
        patient.post(ApiKey.PRODUCE, 9, one_record(topic, acks))
        while broker.end_offset(topic) == 0:
            assert time.monotonic() - began < 30, "it waits with the write"
        assert not patient.readable()
    with broker.control(ApiKey.PRODUCE, lambda context, request: Delay(0.3)):
        began = time.monotonic()
        client.post(ApiKey.PRODUCE, 9, one_record(topic, acks))
        client.receive(ApiKey.PRODUCE, 9)
        assert time.monotonic() - began >= 0.3


def test_silence_leaves_the_connection_open(broker: EmbeddedBroker, client: RawClient) -> None:
    """No answer, and none to the requests behind it, as answers keep their order."""
    broker.control(ApiKey.HEARTBEAT, lambda context, request: Silence())
    client.post(ApiKey.HEARTBEAT, 4, HeartbeatRequest(group_id="g", member_id="m"))
    client.post(ApiKey.METADATA, 9, MetadataRequest())
    assert not client.closed_by_peer(within=0.2)
    with broker.connect() as other:
        other.call(ApiKey.METADATA, 9, MetadataRequest())


def test_a_failed_metadata_request_still_tells_the_brokers(
    broker: EmbeddedBroker, client: RawClient, topic: str
) -> None:
    """Clients need an address to ask again; only the topics have failed."""
    broker.fail(ApiKey.METADATA, ErrorCode.LEADER_NOT_AVAILABLE)
    response = client.call(ApiKey.METADATA, 9, MetadataRequest(topics=[MetadataRequestTopic(name=topic)]))
    assert [one.port for one in response.brokers] == [broker.ports["CLIENT"]]
    assert [(one.name, one.error_code) for one in response.topics] == [
        (topic, ErrorCode.LEADER_NOT_AVAILABLE)
    ]


def test_a_control_may_remove_itself(broker: EmbeddedBroker, client: RawClient, topic: str) -> None:
    """On the broker's own thread, while it decides."""

    def once(context: Any, request: Any) -> ErrorCode:
        control.remove()
        return ErrorCode.KAFKA_STORAGE_ERROR

    control = broker.control(ApiKey.PRODUCE, once)
    codes = [produce(client, topic).error_code for _ in range(3)]
    assert codes == [ErrorCode.KAFKA_STORAGE_ERROR, 0, 0]


def test_an_error_in_a_control_ends_the_connection(
    broker: EmbeddedBroker, client: RawClient, caplog: pytest.LogCaptureFixture
) -> None:
    """A bug in the test is not silent: it is in the log, with its stack."""
    broker.control(ApiKey.HEARTBEAT, lambda context, request: 1 // 0)  # type: ignore[arg-type, return-value]
    client.post(ApiKey.HEARTBEAT, 4, HeartbeatRequest(group_id="g", member_id="m"))
    assert client.closed_by_peer()
    assert "ZeroDivisionError" in caplog.text
