"""What one cleaning round keeps of a log, batch by batch.

Reference: Kafka's log cleaner; KIP-98 (producers, markers), KIP-354 (lags), KIP-534 (delete horizons).
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import pack
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moldau_broker.storage.batches import walk
from moldau_broker.storage.compaction_filter import BatchFilter, DirtyIndexer, LastRecord
from moldau_broker.storage.compaction_records import DirtyIndex
from moldau_broker.storage.compaction_txn import TransactionTracker
from moldau_broker.storage.errors import CorruptLog
from moldau_broker.storage.txn_index import AbortedTxn
from moldau_broker.wire.records import BatchHeader, Record, build_batch, crc_ok, parse_header, read_records

NOW = 1_700_000_000_000
RETENTION = 86_400_000
HORIZON = NOW + RETENTION


class Cleaned(NamedTuple):
    """One batch of a cleaned log."""

    header: BatchHeader
    records: list[Record]
    data: bytes


class Result(NamedTuple):
    """A cleaned log, where the round ended, and the transactions whose index entries were kept."""

    batches: list[Cleaned]
    end: int
    aborted: list[AbortedTxn]
    index: DirtyIndex

    def survivors(self) -> list[int]:
        """Offsets of all records that are left."""
        return [record.offset for batch in self.batches for record in batch.records]


def record(offset: int, key: str | None, value: str | None = "v", timestamp: int = NOW - 1_000) -> Record:
    """A record; equal keys compete."""
    return Record(
        offset, timestamp, None if key is None else key.encode(), None if value is None else value.encode()
    )


def batch(*records: Record, **options: int | bool | None) -> bytes:
    """A batch that begins with its first record's offset."""
    options.setdefault("base_offset", records[0].offset)
    return bytes(build_batch(records, **options))  # type: ignore[arg-type]


def marker(offset: int, producer_id: int, *, commit: bool, horizon_ms: int | None = None) -> bytes:
    """A transaction marker."""
    records = [Record(offset, NOW - 500, pack(">hh", 0, int(commit)), pack(">hi", 0, 3))]
    return bytes(
        build_batch(
            records,
            base_offset=offset,
            producer_id=producer_id,
            producer_epoch=0,
            control=True,
            transactional=True,
            delete_horizon_ms=horizon_ms,
        )
    )


def clean(
    log: Sequence[bytes],
    *,
    first_dirty: int = 0,
    upper_bound: int | None = None,
    map_bytes: int = 1 << 20,
    producers: dict[int, LastRecord] | None = None,
    aborted: Sequence[AbortedTxn] = (),
    now_ms: int = NOW,
) -> Result:
    """One round over a log that is dirty from `first_dirty` on."""
    data = b"".join(log)
    batches = list(walk(lambda size, at: data[at : at + size], 0, len(data)))
    bound = batches[-1].last_offset + 1 if upper_bound is None else upper_bound
    index = DirtyIndex.sized(first_dirty, bound, bytes_max=map_bytes)
    indexer = DirtyIndexer(index, TransactionTracker(aborted), now_ms)
    for stored in batches:
        if not indexer.add(stored, data, stored.position):
            break
    batch_filter = BatchFilter(
        index,
        TransactionTracker(aborted),
        producers or {},
        now_ms=now_ms,
        delete_retention_ms=RETENTION,
        upper_bound=bound if upper_bound is not None else bound + 1,
    )
    kept: list[Cleaned] = []
    entries: list[AbortedTxn] = []
    for stored in batches:
        found = batch_filter.filter(stored, data, stored.position)
        if found is None:
            continue
        content = bytes(found.content)
        header = parse_header(content)
        records = read_records(content)
        assert header.size == len(content)
        assert crc_ok(content, 0, len(content))
        assert (header.base_offset, header.last_offset) == (stored.base_offset, stored.last_offset)
        assert found.records == len(records) == header.record_count
        assert found.last_offset == stored.last_offset
        assert found.max_timestamp == max((item.timestamp for item in records), default=-1)
        assert found.changed == (content != data[stored.position : stored.position + stored.size])
        kept.append(Cleaned(header, records, content))
        if found.aborted is not None:
            entries.append(found.aborted)
    return Result(kept, index.end, entries, index)


def test_clean_keeps_the_last_record_of_every_key():
    """Earlier records of a key go, in the same batch and in earlier ones."""
    log = [
        batch(record(0, "a"), record(1, "b"), record(2, "a")),
        batch(record(3, "c"), record(4, "b")),
    ]
    assert clean(log).survivors() == [2, 3, 4]


@pytest.mark.parametrize("codec", range(5))
def test_clean_keeps_bytes_and_codec_of_untouched_batches(codec: int):
    """A batch that loses nothing is the batch it was; one that loses something keeps its codec."""
    log = [
        batch(record(0, "a"), record(1, "b"), codec=codec),
        batch(record(2, "b"), record(3, "c"), codec=codec),
    ]
    result = clean(log)
    assert result.survivors() == [0, 2, 3]
    assert result.batches[1].data == log[1]
    assert result.batches[0].header.codec == codec
    assert result.batches[0].records == [record(0, "a")]


def test_clean_keeps_place_producer_and_epoch_of_a_thinned_batch():
    """Offsets stay taken and sequences stay what they were (protocol guide: last offset delta)."""
    log = [
        batch(
            record(10, "a"),
            record(11, "b"),
            record(12, "a"),
            producer_id=7,
            producer_epoch=2,
            base_sequence=40,
            leader_epoch=5,
        )
    ]
    thinned = clean(log, first_dirty=10).batches[0]
    assert [item.offset for item in thinned.records] == [11, 12]
    header = thinned.header
    assert (header.base_offset, header.last_offset_delta, header.record_count) == (10, 2, 2)
    assert (header.producer_id, header.producer_epoch, header.base_sequence) == (7, 2, 40)
    assert header.partition_leader_epoch == 5


def test_clean_recomputes_the_newest_timestamp_of_a_thinned_batch():
    """CreateTime batches say the newest of what they hold; LogAppendTime ones keep theirs."""
    by_creation = batch(
        record(0, "a", timestamp=NOW), record(1, "b", timestamp=NOW - 50), record(2, "a", timestamp=NOW - 70)
    )
    assert clean([by_creation]).batches[0].header.max_timestamp == NOW - 50
    by_arrival = batch(
        record(0, "a"), record(1, "b"), record(2, "a"), timestamp_type=1, max_timestamp=NOW + 9
    )
    thinned = clean([by_arrival]).batches[0]
    assert thinned.header.is_log_append_time
    assert [item.timestamp for item in thinned.records] == [NOW + 9, NOW + 9]


def test_clean_drops_records_without_a_key():
    """They have no place in a compacted log (left from before it was one)."""
    result = clean([batch(record(0, None), record(1, "a"))])
    assert result.survivors() == [1]
    assert result.index.keyless == 1


def test_clean_of_the_clean_section_drops_what_the_dirty_one_has_again():
    """Keys below the first dirty offset are looked up; those that do not come again stay."""
    log = [
        batch(record(0, "a"), record(1, "b")),
        batch(record(2, "b"), record(3, "c")),
    ]
    assert clean(log, first_dirty=2).survivors() == [0, 2, 3]


def test_clean_of_a_batch_across_the_first_dirty_offset_judges_each_record():
    """The log start may have moved into a batch that had been cleaned."""
    log = [batch(record(0, "a"), record(1, "b"), record(2, "b"), record(3, "a"))]
    assert clean(log, first_dirty=2).survivors() == [2, 3]


def test_clean_never_touches_what_lies_above_its_end():
    """A round whose memory is full leaves the rest byte for byte, even what it knows to be superseded."""
    log = [batch(record(n, f"k{n % 60}")) for n in range(120)]
    result = clean(log, map_bytes=64)
    assert 0 < result.end < 60
    assert [item.data for item in result.batches if item.header.base_offset >= result.end] == log[
        result.end :
    ]


def test_clean_with_little_memory_gets_there_in_rounds():
    """Each round goes on where the last one ended, until nothing is left to do."""
    log: list[bytes] = [
        batch(*(record(n + i, f"k{(n + i) % 40}") for i in range(4))) for n in range(0, 400, 4)
    ]
    first_dirty = rounds = 0
    while first_dirty < 400:
        result = clean(log, first_dirty=first_dirty, map_bytes=400, upper_bound=400)
        assert result.end > first_dirty
        first_dirty = result.end
        log = [item.data for item in result.batches]
        rounds += 1
    assert rounds > 2
    assert sorted(item.key for one in log for item in read_records(one)) == sorted(
        f"k{n}".encode() for n in range(40)
    )


def test_clean_gets_past_a_batch_that_does_not_fit_into_memory():
    """What cannot be indexed of a round's first batch stays; nothing is lost and the round ends after it."""
    log = [batch(*(record(n, f"k{n % 50}") for n in range(100))), batch(record(100, "k1"))]
    result = clean(log, map_bytes=64)
    assert result.end == 100
    assert set(result.survivors()) >= set(range(50, 101))


# --- tombstones -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", [0, 3])
def test_tombstone_gets_a_horizon_from_the_first_round_that_sees_it(codec: int):
    """Attribute bit 6 is set, the base timestamp becomes now + delete.retention.ms, timestamps stay (KIP-534)."""
    log = [batch(record(0, "a"), record(1, "a", None, NOW - 77), record(2, "b", "w", NOW - 66), codec=codec)]
    stamped = clean(log).batches[0]
    assert stamped.header.has_delete_horizon
    assert stamped.header.base_timestamp == HORIZON
    assert stamped.records == [record(1, "a", None, NOW - 77), record(2, "b", "w", NOW - 66)]


def test_tombstone_stays_until_its_horizon_and_goes_after():
    """The horizon binds in later rounds, in the clean section and, if the checkpoint was lost, in the dirty one."""
    stamped = clean([batch(record(0, "a", None), record(1, "b"))]).batches[0].data
    log = [stamped, batch(record(2, "c"))]
    for first_dirty in (0, 2):
        assert clean(log, first_dirty=first_dirty, now_ms=HORIZON - 1).survivors() == [0, 1, 2]
        assert clean(log, first_dirty=first_dirty, now_ms=HORIZON).survivors() == [1, 2]


def test_tombstone_keeps_its_first_horizon():
    """A later round does not push it back."""
    stamped = clean([batch(record(0, "a", None), record(1, "b"), record(2, "b"))]).batches[0].data
    again = clean([stamped, batch(record(3, "x"))], now_ms=NOW + 5_000).batches[0]
    assert again.data == stamped


def test_tombstone_deletes_older_values_even_when_it_goes_itself():
    """A tombstone past its horizon still supersedes what a lost checkpoint made dirty again."""
    stamped = clean([batch(record(5, "a", None), record(6, "b"))], first_dirty=5).batches[0].data
    log = [batch(record(0, "a"), record(1, "c")), stamped]
    assert clean(log, now_ms=HORIZON).survivors() == [1, 6]


def test_tombstone_superseded_by_a_value_needs_no_horizon():
    """Only tombstones that stay stamp their batch."""
    result = clean([batch(record(0, "a", None), record(1, "b")), batch(record(2, "a"))])
    assert result.survivors() == [1, 2]
    assert not result.batches[0].header.has_delete_horizon


def test_tombstone_in_a_log_append_time_batch_keeps_the_batch_timestamp():
    """Readers take the batch's newest timestamp, so deltas may say anything; the horizon is still found."""
    log = [batch(record(0, "a", None), timestamp_type=1, max_timestamp=NOW - 5)]
    stamped = clean(log).batches[0]
    assert (stamped.header.base_timestamp, stamped.header.max_timestamp) == (HORIZON, NOW - 5)
    assert stamped.records[0].timestamp == NOW - 5


# --- producers --------------------------------------------------------------------------------------------


def test_last_batch_of_a_live_producer_stays_as_a_bare_header():
    """It carries the last sequence number; without it the producer would be refused (KIP-98)."""
    log = [
        batch(record(0, "a"), record(1, "b"), producer_id=7, producer_epoch=1, base_sequence=3, codec=3),
        batch(record(2, "a"), record(3, "b")),
    ]
    result = clean(log, producers={7: LastRecord(1, 1)})
    empty = result.batches[0].header
    assert (empty.record_count, empty.size, empty.codec) == (0, 61, 0)
    assert (empty.base_offset, empty.last_offset, empty.base_sequence, empty.producer_epoch) == (0, 1, 3, 1)
    assert empty.base_timestamp == -1
    assert empty.max_timestamp == NOW - 1_000
    assert result.survivors() == [2, 3]


def test_empty_batch_goes_when_its_producer_has_moved_on():
    """Once the producer's last batch is another, or its state has expired, the header is of no use."""
    log = [
        batch(record(0, "a"), producer_id=7, producer_epoch=1, base_sequence=3),
        batch(record(1, "a")),
    ]
    kept = clean(log, producers={7: LastRecord(0, 1)}).batches[0].data
    later = [kept, batch(record(1, "a")), batch(record(2, "b"))]
    assert clean(later, first_dirty=2, producers={7: LastRecord(0, 1)}).batches[0].data == kept
    assert clean(later, first_dirty=2, producers={7: LastRecord(55, 1)}).survivors() == [1, 2]
    assert len(clean(later, first_dirty=2).batches) == 2


def test_last_batch_of_the_cleanable_range_stays_as_a_bare_header():
    """The end of what was cleaned can be read from the log."""
    log = [batch(record(0, "a"), record(1, "b")), batch(record(2, None))]
    result = clean(log, upper_bound=3)
    assert result.survivors() == [0, 1]
    assert (result.batches[-1].header.last_offset, result.batches[-1].header.record_count) == (2, 0)


# --- transactions -----------------------------------------------------------------------------------------


def in_txn(*records: Record, producer_id: int = 9) -> bytes:
    """A batch of a transaction."""
    return batch(*records, producer_id=producer_id, producer_epoch=0, base_sequence=0, transactional=True)


ABORTED = AbortedTxn(producer_id=9, first_offset=2, last_offset=4, last_stable_offset=5)


def aborted_log() -> list[bytes]:
    """A committed value, then the same key in a transaction that is aborted at offset 4."""
    return [
        batch(record(0, "a"), record(1, "b")),
        in_txn(record(2, "a"), record(3, "c")),
        marker(4, 9, commit=False),
        batch(record(5, "d")),
    ]


def test_aborted_records_go_at_once_and_supersede_nothing():
    """A value that was never visible must not take the place of one that was."""
    result = clean(aborted_log(), aborted=[ABORTED])
    assert result.survivors() == [0, 1, 4, 5]
    assert result.aborted == [ABORTED]


def test_abort_marker_stays_for_a_retention_after_its_last_data():
    """The round that finds none of its data stamps it; the index entry is not needed any more."""
    log = [item.data for item in clean(aborted_log(), aborted=[ABORTED]).batches]
    second = clean([*log, batch(record(6, "e"))], first_dirty=6, aborted=[ABORTED])
    assert second.aborted == []
    stamped = second.batches[1]
    assert stamped.header.is_control
    assert stamped.header.base_timestamp == HORIZON
    log = [item.data for item in second.batches]
    assert clean([*log, batch(record(7, "f"))], first_dirty=7, now_ms=HORIZON - 1).survivors() == [
        0,
        1,
        4,
        5,
        6,
        7,
    ]
    assert clean([*log, batch(record(7, "f"))], first_dirty=7, now_ms=HORIZON).survivors() == [0, 1, 5, 6, 7]


def test_commit_marker_stays_while_data_of_its_transaction_is_left():
    """It goes, like a tombstone, once the last of its batches has gone."""
    log = [in_txn(record(0, "a"), record(1, "b")), marker(2, 9, commit=True), batch(record(3, "b"))]
    first = clean(log)
    assert first.survivors() == [0, 2, 3]
    assert first.batches[1].data == log[1]
    log = [*(item.data for item in first.batches), batch(record(4, "a"))]
    gone = clean(log, first_dirty=4)
    assert gone.survivors() == [2, 3, 4]
    log = [*(item.data for item in gone.batches), batch(record(5, "x"))]
    assert clean(log, first_dirty=5).batches[0].header.base_timestamp == HORIZON


def test_last_marker_of_a_live_producer_stays_as_a_bare_header():
    """It holds the producer's newest epoch, by which older ones are fenced."""
    log = [marker(0, 9, commit=True, horizon_ms=NOW - 1), batch(record(1, "a"))]
    result = clean(log, producers={9: LastRecord(None, 0)})
    assert (result.batches[0].header.record_count, result.batches[0].header.is_control) == (0, True)
    assert clean(log, producers={9: LastRecord(None, 1)}).survivors() == [1]


def test_clean_refuses_a_log_whose_transaction_index_misses_an_abort():
    """Without the entry, aborted data would pass for committed and supersede what readers see."""
    with pytest.raises(CorruptLog, match="transaction index"):
        clean(aborted_log())


def test_aborted_data_above_the_end_stays_and_keeps_its_marker_and_entry():
    """A round that ends early has decided nothing about what follows."""
    log = [batch(record(n, f"k{n}")) for n in range(60)]
    log += [in_txn(record(60, "a")), marker(61, 9, commit=False)]
    entry = AbortedTxn(9, 60, 61, 62)
    result = clean(log, map_bytes=64, aborted=[entry])
    assert result.end < 60
    assert result.survivors() == list(range(62))
    assert result.aborted == [entry]


# --- damage -----------------------------------------------------------------------------------------------


def test_clean_keeps_a_batch_it_cannot_decompress():
    """Its records supersede nothing and stay, so nothing is lost by not reading them."""
    whole = bytearray(batch(record(0, "a"), record(1, "b"), codec=1))
    whole[61:] = b"\0" * (len(whole) - 61)
    result = clean_without_reading([bytes(whole), batch(record(2, "a"))])
    assert result == [bytes(whole), batch(record(2, "a"))]


def clean_without_reading(log: Sequence[bytes]) -> list[bytes]:
    """The bytes of a cleaned log whose records cannot all be read."""
    data = b"".join(log)
    batches = list(walk(lambda size, at: data[at : at + size], 0, len(data)))
    index = DirtyIndex.sized(0, batches[-1].last_offset + 1, bytes_max=1 << 16)
    indexer = DirtyIndexer(index, TransactionTracker([]), NOW)
    assert all(indexer.add(stored, data, stored.position) for stored in batches)
    batch_filter = BatchFilter(
        index, TransactionTracker([]), {}, now_ms=NOW, delete_retention_ms=0, upper_bound=99
    )
    found = [batch_filter.filter(stored, data, stored.position) for stored in batches]
    return [bytes(kept.content) for kept in found if kept is not None]


def test_removable_marker_above_the_end_stays_as_it_is():
    """A round that ends early does not stamp what follows either."""
    log = [*(batch(record(n, f"k{n}")) for n in range(60)), marker(60, 9, commit=True)]
    result = clean(log, map_bytes=64)
    assert result.end < 60
    assert result.batches[-1].data == log[-1]


def test_marker_of_an_empty_transaction_does_not_depend_on_an_earlier_one():
    """Data that an earlier marker of the same producer has settled does not keep a later marker alive."""
    log = [
        in_txn(record(0, "a")),
        marker(1, 9, commit=True),
        marker(2, 9, commit=True),
        batch(record(3, "b")),
    ]
    result = clean(log)
    assert [one.header.has_delete_horizon for one in result.batches] == [False, False, True, False]


def test_clean_refuses_a_batch_with_more_records_than_it_counts():
    """The header's count and the body must agree."""
    short = bytearray(batch(record(0, "a"), record(1, "b")))
    short[57:61] = (1).to_bytes(4, "big")
    with pytest.raises(CorruptLog):
        clean_without_reading([bytes(short)])


@pytest.mark.parametrize("cut", range(1, 12))
def test_clean_refuses_records_that_do_not_parse(cut: int):
    """Garbage that passes the CRC must not be taken for keys: the round ends with an error."""
    whole = batch(record(0, "a"), record(1, "b", "x" * 8))
    damaged = whole[:-cut]
    damaged = damaged[:8] + (len(damaged) - 12).to_bytes(4, "big") + damaged[12:]
    with pytest.raises(CorruptLog):
        clean_without_reading([damaged])


# --- all together -----------------------------------------------------------------------------------------

KEYS = st.sampled_from([None, "a", "b", "c", "d", "e"])
RECORDS = st.lists(st.tuples(KEYS, st.booleans(), st.integers(0, 2)), min_size=1, max_size=6)
BATCHES = st.lists(
    st.tuples(RECORDS, st.sampled_from([0, 0, 1, 3, 4]), st.sampled_from([-1, 1, 2])), min_size=1, max_size=8
)


@given(BATCHES, st.integers(0, 30), st.integers(0, 3))
def test_clean_keeps_exactly_what_the_rules_keep(drawn: list, dirty_from: int, rounds: int):
    """Against the rules written down record by record, for any batches, codecs, gaps and first dirty offset."""
    log: list[bytes] = []
    everything: list[Record] = []
    offset = 0
    last: dict[int, LastRecord] = {}
    for contents, codec, producer in drawn:
        records = []
        base = offset
        for key, has_value, gap in contents:
            offset += gap
            records.append(record(offset, key, f"v{offset}" if has_value else None, NOW - offset))
            offset += 1
        log.append(
            batch(
                *records,
                base_offset=base,
                codec=codec,
                producer_id=producer,
                last_offset_delta=offset - 1 - base,
            )
        )
        if producer >= 0:
            last[producer] = LastRecord(offset - 1, -1)
        everything += records
    first_dirty = min(dirty_from, offset - 1)
    newest = {item.key: item.offset for item in everything if item.offset >= first_dirty}
    expected = [
        item for item in everything if item.key is not None and newest.get(item.key, -1) <= item.offset
    ]
    result = clean(log, first_dirty=first_dirty, producers=last)
    assert [item for one in result.batches for item in one.records] == expected
    kept_ends = {one.header.last_offset for one in result.batches}
    assert {one.last_data_offset for one in last.values()} <= kept_ends
    for _ in range(rounds):  # cleaning again changes nothing
        again = clean([one.data for one in result.batches], first_dirty=offset - 1, producers=last)
        assert [one.data for one in again.batches] == [one.data for one in result.batches]
