"""Batches: when they close, when they are due, and that a partition has one in flight."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moldau_broker.client.accumulator import RECORD_OVERHEAD_BYTES, SEQUENCES, Accumulator, Identity
from moldau_broker.client.errors import ClientError
from moldau_broker.client.partitions import TopicPartition
from moldau_broker.wire.records import HEADER_SIZE, Record, build_batch

P0, P1 = TopicPartition("t", 0), TopicPartition("t", 1)


@pytest.fixture
def accumulator() -> Accumulator[int]:
    return Accumulator(batch_bytes_max=1000, linger_ms=10)


def put(
    accumulator: Accumulator[int], token: int, *, size: int = 10, now_ms: int = 0, at: TopicPartition = P0
) -> bool:
    return accumulator.append(at, token, now_ms, timestamp_ms=5, key=None, value=b"v" * size)


def test_accumulator_waits_for_linger(accumulator: Accumulator[int]) -> None:
    """A batch is due when its first record has waited long enough, or when flushed."""
    put(accumulator, 1, now_ms=100)
    put(accumulator, 2, now_ms=109)
    assert accumulator.due(109, flush=False) == []
    assert accumulator.next_due_ms(109, flush=False) == 1
    [batch] = accumulator.due(110, flush=False)
    assert batch.tokens == [1, 2]
    assert [record.offset for record in batch.records] == [0, 1]
    assert accumulator.due(100, flush=True) == [batch]


def test_accumulator_closes_a_full_batch(accumulator: Accumulator[int]) -> None:
    """A record that does not fit closes the batch and opens another, and the caller is told."""
    assert not put(accumulator, 1, size=600)
    assert put(accumulator, 2, size=600)
    assert [batch.tokens for batch in accumulator.due(0, flush=False)] == [[1]]


def test_accumulator_takes_a_record_larger_than_a_batch(accumulator: Accumulator[int]) -> None:
    """It gets a batch of its own; whether it is too large is the broker's to say."""
    assert put(accumulator, 1, size=5000)
    assert [batch.tokens for batch in accumulator.due(0, flush=False)] == [[1]]


def test_accumulator_keeps_one_batch_of_a_partition_in_flight(accumulator: Accumulator[int]) -> None:
    """The next batch of a partition waits for the first; other partitions do not."""
    put(accumulator, 1)
    put(accumulator, 2, at=P1)
    first, second = accumulator.due(0, flush=True)
    accumulator.take(first)
    put(accumulator, 3)
    assert accumulator.due(50, flush=True) == [second]
    accumulator.settle(first)
    assert [batch.tokens for batch in accumulator.due(50, flush=True)] == [[3], [2]]


def test_accumulator_retries_at_the_given_time(accumulator: Accumulator[int]) -> None:
    """A batch that came back keeps its place before the partition's later records."""
    put(accumulator, 1)
    [batch] = accumulator.due(0, flush=True)
    accumulator.take(batch)
    put(accumulator, 2)
    accumulator.retry(batch, ClientError("again"), at_ms=70)
    assert accumulator.due(69, flush=True) == []
    assert accumulator.next_due_ms(60, flush=True) == 10
    assert accumulator.due(70, flush=True) == [batch]
    assert batch.attempts == 1


def test_accumulator_splits_in_order(accumulator: Accumulator[int]) -> None:
    """Both halves come before anything later, and their records count from 0 again."""
    for token in range(5):
        put(accumulator, token)
    [batch] = accumulator.due(0, flush=True)
    accumulator.take(batch)
    put(accumulator, 9)
    before = accumulator.bytes
    accumulator.split(batch)
    assert accumulator.bytes == before
    order = []
    while accumulator:
        [half] = accumulator.due(0, flush=True)
        assert [record.offset for record in half.records] == list(range(len(half.records)))
        order.append(half.tokens)
        accumulator.take(half)
        accumulator.settle(half)
    assert order == [[0, 1], [2, 3, 4], [9]]
    assert accumulator.bytes == 0


def test_accumulator_finds_what_is_overdue(accumulator: Accumulator[int]) -> None:
    """Batches in flight are their request's business; the others are given up in time."""
    put(accumulator, 1, now_ms=0)
    put(accumulator, 2, now_ms=0, at=P1)
    accumulator.take(accumulator.due(0, flush=True)[0])
    assert [batch.partition for batch in accumulator.overdue(100, 100)] == [P1]
    assert accumulator.overdue(99, 100) == []


@given(
    st.lists(
        st.tuples(
            st.none() | st.binary(max_size=40),
            st.none() | st.binary(max_size=200),
            st.lists(st.tuples(st.text(max_size=9), st.none() | st.binary(max_size=9)), max_size=3),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_accumulator_never_underestimates(
    records: list[tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]],
) -> None:
    """The bytes counted are an upper bound of the encoded batch, so that a limit is a limit."""
    accumulator: Accumulator[int] = Accumulator(batch_bytes_max=1 << 30, linger_ms=0)
    for key, value, headers in records:
        accumulator.append(P0, 0, 0, timestamp_ms=1 << 40, key=key, value=value, headers=headers)
    [batch] = accumulator.due(0, flush=True)
    assert len(build_batch(batch.records)) - HEADER_SIZE <= batch.bytes
    assert batch.bytes >= RECORD_OVERHEAD_BYTES * len(records)
    assert [Record(*record[:4], list(record.headers)) for record in batch.records] == [
        Record(i, 1 << 40, key, value, headers) for i, (key, value, headers) in enumerate(records)
    ]


def test_identity_numbers_each_partition_on_its_own() -> None:
    """Sequences begin at 0 in every partition. Reference: KIP-98."""
    identity = Identity(7, 0)
    identity.advance(P0, 3)
    assert (identity.sequence(P0), identity.sequence(P1)) == (3, 0)


def test_identity_sequence_wraps_after_its_last_number() -> None:
    """After 2^31-1 comes 0."""
    identity = Identity(7, 0)
    identity.advance(P0, SEQUENCES - 1)
    assert identity.sequence(P0) == 2**31 - 1
    identity.advance(P0, 1)
    assert identity.sequence(P0) == 0


def test_identity_without_an_id_numbers_nothing() -> None:
    """A producer that is not idempotent sends -1."""
    identity = Identity()
    identity.advance(P0, 3)
    assert identity.sequence(P0) == -1
