"""The controller as its driver sees it."""

from __future__ import annotations

import pytest

from moldau_broker.base.errors import ErrorCode
from moldau_broker.metadata.controller import OPERATIONS, ControllerCore
from moldau_broker.metadata.unavailable import unavailable_response
from moldau_broker.testing.control import ControlBench
from moldau_broker.testing.error_answers import error_answer
from moldau_broker.wire.apis import API_SCHEMAS, ApiKey
from moldau_broker.wire.messages.allocate_producer_ids import AllocateProducerIdsRequest
from moldau_broker.wire.messages.alter_partition_reassignments import (
    AlterPartitionReassignmentsRequest,
    ReassignablePartition,
    ReassignableTopic,
)
from moldau_broker.wire.messages.create_topics import CreatableTopic, CreateTopicsRequest
from moldau_broker.wire.messages.delete_topics import DeleteTopicsRequest, DeleteTopicState
from moldau_broker.wire.messages.elect_leaders import ElectLeadersRequest, TopicPartitions
from moldau_broker.wire.messages.update_features import FeatureUpdateKey, UpdateFeaturesRequest
from moldau_broker.wire.schema import Struct, fields_of

REQUESTS: dict[ApiKey, Struct] = {
    ApiKey.CREATE_TOPICS: CreateTopicsRequest(topics=[CreatableTopic(name="a")]),
    ApiKey.DELETE_TOPICS: DeleteTopicsRequest(topics=[DeleteTopicState(name="a")]),
    ApiKey.ELECT_LEADERS: ElectLeadersRequest(topic_partitions=[TopicPartitions(topic="a", partitions=[0])]),
    ApiKey.ALTER_PARTITION_REASSIGNMENTS: AlterPartitionReassignmentsRequest(
        topics=[ReassignableTopic(name="a", partitions=[ReassignablePartition(partition_index=0)])]
    ),
    ApiKey.UPDATE_FEATURES: UpdateFeaturesRequest(feature_updates=[FeatureUpdateKey(feature="f")]),
}


def errors(value: object) -> set[int]:
    """Every error code anywhere in a response."""
    found: set[int] = set()
    if isinstance(value, Struct):
        for field in fields_of(type(value)):
            inner = getattr(value, field.name)
            found |= {inner} if field.name == "error_code" else errors(inner)
    elif isinstance(value, (list, tuple)):
        for item in value:
            found |= errors(item)
    return found


@pytest.mark.parametrize("key", sorted(OPERATIONS))
def test_every_operation_has_an_answer_without_a_controller(key: ApiKey) -> None:
    """Of its own type, with the error in every place there is for one."""
    request = REQUESTS.get(key, API_SCHEMAS[key].request())
    response = unavailable_response(key, request, ErrorCode.NOT_CONTROLLER, "nobody leads")
    assert isinstance(response, API_SCHEMAS[key].response)
    assert errors(response) == errors(error_answer(key, request, ErrorCode.NOT_CONTROLLER))


def test_inactive_controller_has_nothing_due() -> None:
    """Not before it leads, and not after."""
    bench = ControlBench()
    bench.add_brokers(1)
    assert bench.core.next_deadline_ms is not None
    bench.core.deactivate()
    assert bench.core.next_deadline_ms is None
    assert bench.core.tick(bench.now_ms + 60_000, bench.view) == []
    assert ControllerCore().next_deadline_ms is None


def test_producer_id_blocks_come_from_the_log() -> None:
    """Each block is somebody's alone, also across controllers; a stale broker gets none."""
    bench = ControlBench()
    bench.add_brokers(1)
    epoch = bench.image.brokers[1].epoch
    request = AllocateProducerIdsRequest(broker_id=1, broker_epoch=epoch)
    first = bench.ask(ApiKey.ALLOCATE_PRODUCER_IDS, request)
    bench.fail_over()
    second = bench.ask(ApiKey.ALLOCATE_PRODUCER_IDS, request)
    assert (first.producer_id_start, first.producer_id_len) == (0, 1_000)
    assert second.producer_id_start == 1_000
    stale = AllocateProducerIdsRequest(broker_id=1, broker_epoch=epoch - 1)
    assert bench.ask(ApiKey.ALLOCATE_PRODUCER_IDS, stale).error_code == ErrorCode.STALE_BROKER_EPOCH
