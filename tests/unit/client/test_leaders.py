"""A question to the leaders of many partitions, repeated only where that may help."""

from __future__ import annotations

from typing import Any

from moldau_broker.base.errors import ErrorCode
from moldau_broker.client.admin.offsets import ListedOffset, list_offsets
from moldau_broker.client.cluster import Cluster
from moldau_broker.client.errors import BrokerUnreachable, RequestFailed
from moldau_broker.client.partitions import LATEST, TopicPartition
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.list_offsets import (
    ListOffsetsPartitionResponse,
    ListOffsetsRequest,
    ListOffsetsResponse,
    ListOffsetsTopicResponse,
)

P0, P1 = TopicPartition("t", 0), TopicPartition("t", 1)


def offsets(offset: int, *errors: ErrorCode) -> Any:
    """A script that answers every partition with `offset`, after one answer for each of `errors`."""
    left = list(errors)

    def answer(request: ListOffsetsRequest, _version: int) -> ListOffsetsResponse:
        error = left.pop(0) if left else ErrorCode.NONE
        topics = [
            ListOffsetsTopicResponse(
                name=topic.name,
                partitions=[
                    ListOffsetsPartitionResponse(
                        partition_index=p.partition_index, error_code=error, offset=offset
                    )
                    for p in topic.partitions
                ],
            )
            for topic in request.topics
        ]
        return ListOffsetsResponse(topics=topics)

    return answer


async def test_leaders_are_asked_each_for_its_own(cluster: Cluster, scripted: Any, new_broker: Any) -> None:
    """One request to each leader, with its partitions only; answers in the order of the question."""
    other = await new_broker(2)
    scripted.nodes.append(other)
    scripted.topics["t"] = [2, 1]
    scripted.scripts[ApiKey.LIST_OFFSETS] = offsets(10)
    other.scripts[ApiKey.LIST_OFFSETS] = offsets(20)
    found = await list_offsets(cluster, {P0: LATEST, P1: LATEST})
    assert found == {P0: ListedOffset(20, -1, -1), P1: ListedOffset(10, -1, -1)}
    assert list(found) == [P0, P1]
    [request] = other.seen(ApiKey.LIST_OFFSETS)
    assert [p.partition_index for p in request.topics[0].partitions] == [0]


async def test_leaders_are_looked_up_again_after_not_leader(cluster: Cluster, scripted: Any) -> None:
    """A retriable error means fresh metadata and another try."""
    scripted.scripts[ApiKey.LIST_OFFSETS] = offsets(3, ErrorCode.NOT_LEADER_OR_FOLLOWER)
    found = await list_offsets(cluster, {P0: LATEST})
    assert found == {P0: ListedOffset(3, -1, -1)}
    assert len([r for r in scripted.seen(ApiKey.METADATA) if r.topics]) == 2


async def test_leaders_are_asked_once_without_patience(cluster: Cluster, scripted: Any) -> None:
    """deadline_ms=0 takes the answers as they are: what `describe` wants."""
    scripted.scripts[ApiKey.LIST_OFFSETS] = offsets(3, ErrorCode.NOT_LEADER_OR_FOLLOWER)
    scripted.topics["t"] = [1, -1]
    found = await list_offsets(cluster, {P0: LATEST, P1: LATEST}, deadline_ms=0)
    codes = [error.code for error in found.values() if isinstance(error, RequestFailed)]
    assert codes == [ErrorCode.NOT_LEADER_OR_FOLLOWER, ErrorCode.LEADER_NOT_AVAILABLE]
    assert len(scripted.seen(ApiKey.LIST_OFFSETS)) == 1


async def test_leaders_missing_topics_and_partitions_fail_at_once(cluster: Cluster, scripted: Any) -> None:
    """What does not exist is not waited for, and spoils nothing else."""
    scripted.scripts[ApiKey.LIST_OFFSETS] = offsets(3)
    gone, beyond = TopicPartition("gone", 0), TopicPartition("t", 9)
    found = await list_offsets(cluster, {gone: LATEST, beyond: LATEST, P0: LATEST})
    assert str(found[gone]) == "topic gone: UNKNOWN_TOPIC_OR_PARTITION"
    assert str(found[beyond]) == "partition 9 of topic t: UNKNOWN_TOPIC_OR_PARTITION"
    assert found[P0] == ListedOffset(3, -1, -1)
    assert len(scripted.seen(ApiKey.LIST_OFFSETS)) == 1


async def test_leaders_that_are_down_fail_only_their_partitions(
    cluster: Cluster, scripted: Any, new_broker: Any
) -> None:
    """The other partitions are answered; the error names the broker."""
    other = await new_broker(2)
    await other.stop()
    scripted.nodes.append(other)
    scripted.topics["t"] = [1, 2]
    scripted.scripts[ApiKey.LIST_OFFSETS] = offsets(3)
    found = await list_offsets(cluster, {P0: LATEST, P1: LATEST}, deadline_ms=0)
    assert found[P0] == ListedOffset(3, -1, -1)
    assert isinstance(found[P1], BrokerUnreachable)
