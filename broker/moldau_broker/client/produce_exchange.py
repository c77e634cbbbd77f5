"""Batches to a Produce request, and its answers back to the batches. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from moldau_broker.client.accumulator import PendingBatch
from moldau_broker.client.metadata import Metadata
from moldau_broker.client.partitions import TopicPartition
from moldau_broker.wire.messages.produce import (
    PartitionProduceData,
    PartitionProduceResponse,
    ProduceRequest,
    ProduceResponse,
    TopicProduceData,
)

T = TypeVar("T")


def produce_request(
    batches: Sequence[PendingBatch[T]], metadata: Metadata, *, acks: int, timeout_ms: int
) -> ProduceRequest:
    """One request with these encoded batches, of as many partitions."""
    by_topic: dict[str, list[PartitionProduceData]] = {}
    for batch in batches:
        assert batch.encoded is not None
        by_topic.setdefault(batch.partition.topic, []).append(
            PartitionProduceData(index=batch.partition.partition, records=memoryview(batch.encoded))
        )
    return ProduceRequest(
        acks=acks,
        timeout_ms=timeout_ms,
        topic_data=[
            TopicProduceData(topic_id=metadata.topics[name].topic_id, name=name, partition_data=data)
            for name, data in by_topic.items()
        ],
    )


def match_answers(
    batches: Sequence[PendingBatch[T]], request: ProduceRequest, answer: ProduceResponse
) -> Iterator[tuple[PendingBatch[T], PartitionProduceResponse | None]]:
    """Each batch with its answer, None if it is missing.

    Answers name topics by name or (v13) by the id of the request, whatever metadata says by now.
    """
    names = {topic.topic_id: topic.name for topic in request.topic_data}
    found = {
        TopicPartition(topic.name or names.get(topic.topic_id, ""), partition.index): partition
        for topic in answer.responses
        for partition in topic.partition_responses
    }
    for batch in batches:
        yield batch, found.get(batch.partition)


def detail_of(response: PartitionProduceResponse) -> str | None:
    """The broker's own words on a refused batch: of the first record it names, else of the batch."""
    for record in response.record_errors:
        if record.batch_index_error_message:
            return record.batch_index_error_message
    return response.error_message
