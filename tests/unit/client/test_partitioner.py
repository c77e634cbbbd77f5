"""Keys go where the Java client sends them; records without keys spread."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from moldau_broker.client.partitioner import (
    RoundRobinPartitioner,
    StickyPartitioner,
    murmur2,
    partition_for_key,
)

ALL = [0, 1, 2]


@pytest.mark.parametrize(
    ("key", "signed"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_murmur2_is_that_of_the_java_client(key: bytes, signed: int) -> None:
    """Reference: the cases of Apache Kafka's UtilsTest.testMurmur2."""
    assert murmur2(key) == signed & 0xFFFFFFFF


def test_partition_for_key_ignores_the_sign() -> None:
    """The hash is made positive by dropping its sign bit, not by its absolute value."""
    assert partition_for_key(b"21", 7) == (-973932308 & 0x7FFFFFFF) % 7


@pytest.mark.parametrize("partitioner", [StickyPartitioner(Random(1)), RoundRobinPartitioner()])
def test_partitioner_sends_keys_by_hash_even_without_leader(partitioner: StickyPartitioner) -> None:
    """A key's partition never depends on what is available now."""
    assert partitioner.partition(b"21", [1], 7) == partition_for_key(b"21", 7)


def test_sticky_partitioner_stays_until_the_batch_is_full() -> None:
    """Records without keys fill one batch, then go elsewhere. Reference: KIP-480."""
    partitioner = StickyPartitioner(Random(7))
    first = partitioner.partition(None, ALL, 3)
    assert {partitioner.partition(None, ALL, 3) for _ in range(20)} == {first}
    partitioner.batch_full(first, ALL)
    assert partitioner.partition(None, ALL, 3) != first


def test_sticky_partitioner_uses_every_partition_in_the_end() -> None:
    """Over many batches each partition has its turn."""
    partitioner = StickyPartitioner(Random(7))
    used: Counter[int] = Counter()
    for _ in range(60):
        chosen = partitioner.partition(None, ALL, 3)
        used[chosen] += 1
        partitioner.batch_full(chosen, ALL)
    assert set(used) == {0, 1, 2}


def test_sticky_partitioner_leaves_a_partition_that_lost_its_leader() -> None:
    """Records without keys go where they can be written."""
    partitioner = StickyPartitioner(Random(7))
    first = partitioner.partition(None, ALL, 3)
    others = [p for p in ALL if p != first]
    assert partitioner.partition(None, others, 3) in others


def test_sticky_partitioner_ignores_batches_of_other_partitions() -> None:
    """A keyed batch that fills up elsewhere moves nothing."""
    partitioner = StickyPartitioner(Random(7))
    first = partitioner.partition(None, ALL, 3)
    partitioner.batch_full((first + 1) % 3, ALL)
    assert partitioner.partition(None, ALL, 3) == first


def test_round_robin_partitioner_takes_turns_over_what_is_available() -> None:
    """Even few records spread evenly, and only over partitions with a leader."""
    partitioner = RoundRobinPartitioner()
    assert [partitioner.partition(None, ALL, 3) for _ in range(6)] == [0, 1, 2, 0, 1, 2]
    assert {partitioner.partition(None, [0, 2], 3) for _ in range(4)} == {0, 2}


@pytest.mark.parametrize("partitioner", [StickyPartitioner(Random(1)), RoundRobinPartitioner()])
def test_partitioner_chooses_something_when_nothing_is_available(partitioner: StickyPartitioner) -> None:
    """Without any leader the record waits in some partition of the topic."""
    assert partitioner.partition(None, [], 3) in ALL
