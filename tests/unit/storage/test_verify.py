"""Damage in what is about to be answered is found, whatever bit it is in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from moldau_broker.storage.verify import find_fault
from moldau_broker.testing.logs import make_batch
from moldau_broker.wire.records import Record, build_batch

_EPOCH = range(12, 16)
"""The leader epoch lies outside the checksum, and a leader may change it: nobody could tell."""


def batches(*counts: int, base: int = 0) -> bytes:
    data = b""
    for count in counts:
        records = [Record(base + n, 1_000, None, b"value") for n in range(count)]
        data += bytes(build_batch(records, base_offset=base))
        base += count
    return data


def test_sound_batches_have_no_fault() -> None:
    """From their first offset or from one inside, and where compaction has left gaps."""
    data = batches(3, 1, 2)
    assert find_fault(data, 0, 100, first_only=False) is None
    assert find_fault(data, 2, 100, first_only=False) is None
    assert find_fault(batches(1) + batches(2, base=7), 0, 100, first_only=False) is None
    assert find_fault(b"", 5, 100, first_only=False) is None


@given(bit=st.integers(0, len(batches(3, 1, 2)) * 8 - 1))
def test_any_flipped_bit_is_found_at_the_batch_it_is_in(bit: int) -> None:
    """But for the leader epoch, and a base offset that moves forward a little: compaction leaves such gaps."""
    data = bytearray(batches(3, 1, 2))
    starts = [0, len(batches(3)), len(batches(3, 1))]
    data[bit // 8] ^= 1 << bit % 8
    at = max(start for start in starts if start <= bit // 8)
    fault = find_fault(data, 0, 100, first_only=False)
    if bit // 8 - at in _EPOCH:
        assert fault is None
    elif bit // 8 - at != 7:
        assert fault is not None
        assert fault[:2] == (at, {0: 0, starts[1]: 3, starts[2]: 4}[at])


def test_the_first_batch_alone_is_looked_at_where_asked_for() -> None:
    """Damage further on is met when its batch comes first."""
    data = bytearray(batches(1, 1))
    data[-1] ^= 1
    assert find_fault(data, 0, 100, first_only=True) is None
    assert find_fault(data, 0, 100, first_only=False) == (len(data) // 2, 1, "the CRC does not match")
    assert find_fault(data[len(data) // 2 :], 1, 100, first_only=True) == (0, 1, "the CRC does not match")


def test_a_batch_that_does_not_hold_what_was_asked_for_is_a_fault() -> None:
    """Its base offset is damaged, which no checksum covers."""
    fault = find_fault(make_batch((b"v",)), 5, 100, first_only=True)
    assert fault is not None
    assert fault[:2] == (0, 5)
