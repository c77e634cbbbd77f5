"""What an application sees of a fetch answer."""

from __future__ import annotations

import pytest

from moldau_broker.client.fetched import read_fetched
from moldau_broker.wire.errors import WireError
from moldau_broker.wire.messages.fetch import AbortedTransaction, PartitionData
from moldau_broker.wire.records import ReadLimits, Record, build_batch

LIMITS = ReadLimits()
ABORT, COMMIT = b"\0\0\0\0", b"\0\0\0\1"


def batch(base: int, *values: bytes, producer: int = -1, transactional: bool = False) -> bytes:
    records = [Record(base + i, 1, None, value) for i, value in enumerate(values)]
    return bytes(build_batch(records, base_offset=base, producer_id=producer, transactional=transactional))


def marker(offset: int, producer: int, key: bytes) -> bytes:
    record = Record(offset, 1, key, b"\0" * 6)
    return bytes(
        build_batch([record], base_offset=offset, producer_id=producer, control=True, transactional=True)
    )


def read(
    data: bytes, offset: int = 0, *, committed: bool = False, aborted: list[AbortedTransaction] | None = None
) -> tuple[list[bytes | None], int]:
    partition = PartitionData(records=memoryview(data), aborted_transactions=aborted)
    records, following = read_fetched(partition, offset, committed=committed, check_crcs=True, limits=LIMITS)
    return [record.value for record in records], following


def test_fetched_leaves_out_what_is_before_the_offset() -> None:
    """An answer begins with the whole batch that holds the offset."""
    assert read(batch(0, b"a", b"b", b"c") + batch(3, b"d"), 2) == ([b"c", b"d"], 4)


def test_fetched_ignores_a_batch_cut_short() -> None:
    """The last batch of an answer may end early; it comes whole next time."""
    assert read(batch(0, b"a") + batch(1, b"b")[:-1]) == ([b"a"], 1)


def test_fetched_goes_on_after_batches_without_visible_records() -> None:
    """Compaction may leave an empty batch; the offset moves past it all the same."""
    empty = bytes(build_batch([], base_offset=5, last_offset_delta=4))
    assert read(empty, 5) == ([], 10)
    assert read(b"", 5) == ([], 5)


def test_fetched_leaves_out_control_records() -> None:
    """Markers are for brokers."""
    data = batch(0, b"a", producer=7, transactional=True) + marker(1, 7, COMMIT)
    assert read(data) == ([b"a"], 2)


def test_fetched_leaves_out_aborted_transactions() -> None:
    """Only from the transaction's first offset to its marker, and only for its producer. Reference: KIP-98."""
    data = (
        batch(0, b"kept", producer=7, transactional=True)
        + marker(1, 7, COMMIT)
        + batch(2, b"gone", producer=7, transactional=True)
        + batch(3, b"other", producer=8, transactional=True)
        + batch(4, b"plain")
        + marker(5, 7, ABORT)
        + batch(6, b"later", producer=7, transactional=True)
    )
    aborted = [AbortedTransaction(producer_id=7, first_offset=2)]
    assert read(data, committed=True, aborted=aborted) == ([b"kept", b"other", b"plain", b"later"], 7)
    assert read(data, aborted=aborted)[0] == [b"kept", b"gone", b"other", b"plain", b"later"]


def test_fetched_refuses_a_batch_with_a_wrong_checksum() -> None:
    """Damage is an error, not a record."""
    data = bytearray(batch(0, b"a"))
    data[-2] ^= 1
    with pytest.raises(WireError, match="offset 0 fails its checksum"):
        read(bytes(data))


def test_fetched_gives_what_comes_before_a_damaged_batch() -> None:
    """The next fetch begins at the damage, and may be answered by a broker whose copy is sound."""
    data = bytearray(batch(0, b"a", b"b") + batch(2, b"c"))
    data[-2] ^= 1
    assert read(bytes(data)) == ([b"a", b"b"], 2)
