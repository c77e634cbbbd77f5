"""AlterPartition: every refusal, in Kafka's order, and what is written otherwise."""

from __future__ import annotations

import pytest

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import NULL_UUID
from moldau_broker.metadata.image import RECOVERED, RECOVERING
from moldau_broker.testing.control import ControlBench
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.alter_partition import (
    AlterPartitionRequest,
    AlterPartitionRequestPartitionData,
    AlterPartitionRequestTopicData,
)


@pytest.fixture
def cluster() -> ControlBench:
    """Three brokers, topic t on all of them, led by 1."""
    bench = ControlBench()
    bench.add_brokers(1, 2, 3)
    bench.create_topic("t", [[1, 2, 3]])
    return bench


@pytest.mark.parametrize("version", [2, 3])
def test_isr_shrinks_and_grows(cluster: ControlBench, version: int) -> None:
    """The answer is the partition as it is from then on."""
    answer = cluster.alter_isr("t", [1, 2], version=version)
    assert (answer.error_code, answer.isr, answer.leader_id, answer.partition_epoch) == (0, (1, 2), 1, 1)
    answer = cluster.alter_isr("t", [1, 2, 3], version=version)
    assert cluster.partition("t").isr == tuple(answer.isr) == (1, 2, 3)
    assert cluster.partition("t").leader_epoch == 0


def test_isr_that_is_so_already_writes_nothing(cluster: ControlBench) -> None:
    """A request asked twice is answered twice."""
    before = cluster.partition("t")
    answer = cluster.alter_isr("t", [1, 2, 3])
    assert (answer.error_code, cluster.written, cluster.partition("t")) == (0, (), before)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"leader_epoch": 8}, ErrorCode.NOT_CONTROLLER),
        ({"partition_epoch": 8}, ErrorCode.NOT_CONTROLLER),
        ({"leader_epoch": -1}, ErrorCode.FENCED_LEADER_EPOCH),
        ({"broker_id": 2}, ErrorCode.INVALID_REQUEST),
        ({"partition_epoch": -1}, ErrorCode.INVALID_UPDATE_VERSION),
        ({"leader_recovery_state": RECOVERING}, ErrorCode.INVALID_REQUEST),
        ({"leader_recovery_state": 7}, ErrorCode.INVALID_REQUEST),
        ({"epochs": {2: 1}}, ErrorCode.INELIGIBLE_REPLICA),
        ({"partition_index": 5}, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
    ],
)
def test_isr_change_is_refused(cluster: ControlBench, changes: dict[str, object], error: ErrorCode) -> None:
    """And changes nothing."""
    before = cluster.partition("t")
    answer = cluster.alter_isr("t", [1, 2], **changes)
    assert answer.error_code == error
    assert cluster.partition("t") == before


@pytest.mark.parametrize("isr", [[2, 3], [1, 1], [1, 4], []])
def test_isr_must_be_replicas_with_the_leader(cluster: ControlBench, isr: list[int]) -> None:
    """No strangers, nobody twice, never without the leader."""
    cluster.add_brokers(4)
    assert cluster.alter_isr("t", isr).error_code == ErrorCode.INVALID_REQUEST


def test_fenced_and_leaving_brokers_cannot_join_the_isr(cluster: ControlBench) -> None:
    """Nor can one that restarted since the leader last heard of it (KIP-903)."""
    old = cluster.image.brokers[3].epoch
    cluster.kill(3)
    assert cluster.alter_isr("t", [1, 2, 3]).error_code == ErrorCode.INELIGIBLE_REPLICA
    cluster.restart(3)
    assert cluster.alter_isr("t", [1, 2, 3], epochs={3: old}).error_code == ErrorCode.INELIGIBLE_REPLICA
    assert cluster.alter_isr("t", [1, 2, 3]).error_code == 0
    cluster.create_topic("other", [[3, 1]])
    cluster.heartbeat(3, want_shut_down=True)
    assert cluster.alter_isr("t", [1, 2, 3]).error_code == ErrorCode.INELIGIBLE_REPLICA


def test_stale_leader_is_told_so_at_the_top(cluster: ControlBench) -> None:
    """An older incarnation of a broker changes nothing at all."""
    request = AlterPartitionRequest(broker_id=1, broker_epoch=0)
    response = cluster.ask(ApiKey.ALTER_PARTITION, request)
    assert response.error_code == ErrorCode.STALE_BROKER_EPOCH


def test_unknown_topic_ids_are_named_each(cluster: ControlBench) -> None:
    """A topic that was deleted meanwhile fails alone."""
    wanted = AlterPartitionRequestPartitionData(partition_index=0)
    request = AlterPartitionRequest(
        broker_id=1,
        broker_epoch=cluster.image.brokers[1].epoch,
        topics=[AlterPartitionRequestTopicData(topic_id=NULL_UUID, partitions=[wanted])],
    )
    response = cluster.ask(ApiKey.ALTER_PARTITION, request)
    assert response.topics[0].partitions[0].error_code == ErrorCode.UNKNOWN_TOPIC_ID


def test_recovering_isr_has_one_member(cluster: ControlBench) -> None:
    """It grows with the recovery's end, not before (KIP-704)."""
    cluster.create_topic("cheap", [[1, 2, 3]], unclean_leader_election_enable="true")
    cluster.alter_isr("cheap", [1])
    cluster.kill(1)
    refused = cluster.alter_isr("cheap", [2, 3], leader_recovery_state=RECOVERING)
    assert refused.error_code == ErrorCode.INVALID_REQUEST
    assert cluster.alter_isr("cheap", [2, 3], leader_recovery_state=RECOVERED).error_code == 0
