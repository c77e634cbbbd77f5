"""Puts what was read from disk into an answer that the core has prepared. Pure."""

from __future__ import annotations

from typing import TypeVar

from moldau_broker.base.errors import ErrorCode
from moldau_broker.raft.protocol import whole_error
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.codec import Buffer
from moldau_broker.wire.messages.fetch import FetchResponse
from moldau_broker.wire.messages.fetch_snapshot import FetchSnapshotResponse
from moldau_broker.wire.schema import Struct, replace

S = TypeVar("S", bound=Struct)


def with_records(response: Struct, data: Buffer) -> Struct:
    """A Fetch answer for one partition, with these batches in it."""
    assert isinstance(response, FetchResponse), "log data belongs into a Fetch answer"
    topic = response.responses[0]
    partition = replace(topic.partitions[0], records=memoryview(data))
    return replace(response, responses=(replace(topic, partitions=(partition,)),))


def with_piece(response: Struct, data: Buffer, size: int) -> Struct:
    """A FetchSnapshot answer for one partition, with this piece of a file of `size` bytes in it."""
    assert isinstance(response, FetchSnapshotResponse), "a piece belongs into a FetchSnapshot answer"
    topic = response.topics[0]
    partition = replace(topic.partitions[0], unaligned_records=memoryview(data), size=size)
    return replace(response, topics=(replace(topic, partitions=(partition,)),))


def with_error(response: Struct, error: int) -> Struct:
    """The answer with its partition's error set instead of data."""
    if isinstance(response, FetchResponse):
        topic = response.responses[0]
        return replace(
            response,
            responses=(replace(topic, partitions=(replace(topic.partitions[0], error_code=error),)),),
        )
    assert isinstance(response, FetchSnapshotResponse), "only these two carry data"
    piece = response.topics[0]
    return replace(
        response,
        topics=(replace(piece, partitions=(replace(piece.partitions[0], error_code=error),)),),
    )


def unsaved(response: Struct) -> Struct:
    """What is answered instead when quorum-state could not be written: nothing is promised."""
    key = response.__schema__.key
    assert key is not None, "answers have a key"
    return whole_error(ApiKey(key), ErrorCode.KAFKA_STORAGE_ERROR)
