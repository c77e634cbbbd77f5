"""Idempotent producers: the window of five, sequences, epochs, transactions, snapshots."""

from __future__ import annotations

import pytest

from moldau_broker.base.errors import ErrorCode
from moldau_broker.storage.errors import CorruptLog
from moldau_broker.storage.producers import (
    ACCEPTED,
    ProducerState,
    decrement_sequence,
    increment_sequence,
)
from moldau_broker.testing.logs import make_batch
from moldau_broker.wire.codec import decode, encode
from moldau_broker.wire.messages.producer_snapshot import ProducerSnapshot
from moldau_broker.wire.records import parse_header

TOP = 2**31 - 1


def header(sequence, *, records=2, epoch=0, producer=1, transactional=False):
    batch = make_batch(
        [b"x"] * records,
        producer_id=producer,
        producer_epoch=epoch,
        base_sequence=sequence,
        transactional=transactional,
    )
    return parse_header(batch)


def with_batches(count, *, first=0, records=2):
    state, offset, sequence = ProducerState(), 100, first
    for _ in range(count):
        state.update(header(sequence, records=records), offset)
        offset += records
        sequence = increment_sequence(sequence, records)
    return state


def test_check_accepts_the_next_sequence_and_unknown_producers():
    """An unknown producer may begin anywhere (its state may have expired); a known one goes on."""
    assert ProducerState().check(header(77)) is ACCEPTED
    assert with_batches(3).check(header(6)) is ACCEPTED


def test_check_finds_each_of_the_last_five_batches_again():
    """A retry of one of them gets its old offset; an older one is out of order."""
    state = with_batches(7)
    for number in range(2, 7):
        verdict = state.check(header(number * 2))
        assert verdict.error is ErrorCode.NONE
        assert verdict.duplicate.base_offset == 100 + number * 2
        assert verdict.duplicate.last_offset == 101 + number * 2
    assert state.check(header(2)).error is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER


@pytest.mark.parametrize("sequence", [5, 7, 8, 100])
def test_check_refuses_gaps_and_batches_of_other_bounds(sequence):
    """First and last sequence must both match for a duplicate."""
    assert with_batches(3).check(header(sequence)).error is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert with_batches(3).check(header(4, records=3)).error is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER


def test_sequences_wrap_to_zero_after_the_largest_int32():
    """2^31-1 is followed by 0, inside a batch and between batches."""
    assert increment_sequence(TOP, 1) == 0
    assert decrement_sequence(0, 1) == TOP
    assert decrement_sequence(increment_sequence(TOP - 3, 10), 10) == TOP - 3
    state = with_batches(3, first=TOP - 2)
    assert state.get(1).last_sequence == 2
    assert state.check(header(3)) is ACCEPTED
    assert state.check(header(TOP)).duplicate.base_offset == 102
    ends_at_top = with_batches(1, first=TOP - 1)
    assert ends_at_top.check(header(0)) is ACCEPTED


def test_epochs_fence_and_a_new_one_begins_with_zero():
    """An older epoch is refused, a newer one must begin at sequence 0 and forgets the old window."""
    state = ProducerState()
    state.update(header(0, epoch=3), 100)
    assert state.check(header(2, epoch=2)).error is ErrorCode.INVALID_PRODUCER_EPOCH
    assert state.check(header(2, epoch=4)).error is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert state.check(header(0, epoch=4)) is ACCEPTED
    state.update(header(0, epoch=4), 102)
    assert state.check(header(0, epoch=4)).duplicate.base_offset == 102
    assert len(state.get(1).batches) == 1


def test_expiry_forgets_idle_producers_but_not_open_transactions():
    """producer.id.expiration.ms counts from the newest batch."""
    state = ProducerState()
    state.update(header(0, producer=1), 0)
    state.update(header(0, producer=2, transactional=True), 2)
    last = state.get(1).last_timestamp
    assert state.expire(last + 999, 1_000) == 0
    assert state.expire(last + 1_000, 1_000) == 1
    assert state.get(1) is None
    assert state.get(2) is not None


def test_transactions_bound_the_stable_offset_until_their_marker_is_replicated():
    """Open or not yet replicated: either holds readers of committed data back."""
    state = ProducerState()
    state.update(header(0, producer=1, transactional=True), 10)
    state.update(header(0, producer=2, transactional=True), 12)
    assert state.first_unstable_offset() == 10
    done = state.end_transaction(1, 0, 5, 14, 1_000, aborted=True)
    assert (done.first_offset, done.last_offset, done.aborted) == (10, 14, True)
    assert state.stable_offset_after(done) == 12
    assert state.first_unstable_offset() == 10
    state.replicated(15)
    assert state.first_unstable_offset() == 12
    assert state.end_transaction(2, 0, 5, 15, 1_000, aborted=False) is not None
    assert state.end_transaction(2, 0, 5, 16, 1_000, aborted=False) is None
    state.replicated(17)
    assert not state.has_transactions


def test_marker_of_a_new_epoch_ends_the_old_sequence():
    """After a fencing marker the producer begins with sequence 0 (KIP-890)."""
    state = with_batches(3)
    state.end_transaction(1, 1, 0, 200, 1_000, aborted=True)
    assert state.check(header(6, epoch=0)).error is ErrorCode.INVALID_PRODUCER_EPOCH
    assert state.check(header(6, epoch=1)).error is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert state.check(header(0, epoch=1)) is ACCEPTED


def test_snapshot_round_trip_keeps_the_newest_batch():
    """What is encoded comes back, but for the window."""
    state = with_batches(7)
    state.update(header(0, producer=2, epoch=9, transactional=True), 300)
    state.end_transaction(3, 1, 8, 302, 5_000, aborted=False)
    again = ProducerState.decode(state.encode())
    assert again.encode() == state.encode()
    assert again.get(1).batches == state.get(1).batches[-1:]
    assert again.get(2).txn_first_offset == 300
    assert again.first_unstable_offset() == 300
    assert again.get(3).batches == []
    assert again.get(3).coordinator_epoch == 8


def test_snapshot_is_in_kafkas_schema():
    """The bytes decode with the generated message class, and encode back to themselves."""
    data = with_batches(2).encode()
    message, end = decode(ProducerSnapshot, 1, data[2:])
    assert int.from_bytes(data[:2], "big") == 1
    assert end == len(data) - 2
    assert [(e.producer_id, e.last_sequence, e.last_offset) for e in message.producer_entries] == [
        (1, 3, 103)
    ]
    assert data[2:] == encode(message, 1)


def test_snapshot_of_any_damage_is_refused():
    """Every flipped bit and every cut is noticed."""
    data = with_batches(2).encode()
    for size in range(len(data)):
        with pytest.raises(CorruptLog):
            ProducerState.decode(data[:size])
    for position in range(len(data)):
        broken = bytearray(data)
        broken[position] ^= 4
        with pytest.raises(CorruptLog):
            ProducerState.decode(bytes(broken))


def test_restore_window_takes_only_what_connects():
    """Older batches come back newest first, gapless, of the same epoch, up to five."""
    full = with_batches(7)
    state = ProducerState.decode(full.encode())
    state.restore_window(1, 0, 8, 108, 109, 1_000)  # two before the newest: does not connect
    assert len(state.get(1).batches) == 1
    for number in range(5, -1, -1):
        state.restore_window(1, 0, number * 2, 100 + number * 2, 101 + number * 2, 1_001)
    assert [b.base_offset for b in state.get(1).batches] == [b.base_offset for b in full.get(1).batches]
    state.restore_window(9, 0, 0, 0, 1, 1_000)
    assert state.get(9) is None
