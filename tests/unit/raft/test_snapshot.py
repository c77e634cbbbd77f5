"""Snapshots: names, Kafka's own bytes, and what is not a snapshot."""

from __future__ import annotations

import pytest

from moldau_broker.base.ids import Uuid
from moldau_broker.raft.batches import encode_batch
from moldau_broker.raft.control import decode_control, encode_control, leader_change
from moldau_broker.raft.errors import RaftError
from moldau_broker.raft.quorum import Voter, VoterEndpoint, VoterKey, VoterSet
from moldau_broker.raft.snapshot import (
    BATCH_VALUE_BYTES_MAX,
    BOOTSTRAP,
    SnapshotId,
    read_snapshot,
    write_snapshot,
)

# What `kafka-storage format --standalone` of Apache Kafka 4.3.1 wrote for a new node: the whole 0-0 checkpoint.
KAFKA_BOOTSTRAP = bytes.fromhex(
    "00000000000000000000009a000000000275 0b960b0020000000020000 01a1fdca91350000 01a1fdca9135"
    "ffffffffffffffffffffffffffff000000032a000000080000000316000000000 1a1fdca9110"
    "00001e0000020800000005 0a000000010000820100000408000000066e00000200000001"
    "58dfdd3295a4474d82062b6f55a84d5c020b434f4e54524f4c4c45520a3132372e302e302e319a4c00000000010000"
    "00000000000000000003 0000003f0000000002e754c3c500200000000000000 1a1fdca913b0000 01a1fdca913b"
    "ffffffffffffffffffffffffffff000000011a0000000800000004060000 0000".replace(" ", "")
)


def voters() -> VoterSet:
    key = VoterKey(1, Uuid(b"d" * 16))
    return VoterSet([Voter(key, (VoterEndpoint("CONTROLLER", "127.0.0.1", 9093),))])


def whole(values: list[bytes], snapshot_id: SnapshotId = SnapshotId(17, 3)) -> bytes:  # noqa: B008 - a constant
    return b"".join(
        write_snapshot(snapshot_id, values, voters=voters(), last_timestamp_ms=5, now_ms=1_700_000_000_000)
    )


@pytest.mark.parametrize(
    ("snapshot_id", "name"),
    [
        (BOOTSTRAP, "00000000000000000000-0000000000.checkpoint"),
        (SnapshotId(43, 1), "00000000000000000043-0000000001.checkpoint"),
    ],
)
def test_snapshot_names_are_kafkas(snapshot_id: SnapshotId, name: str) -> None:
    """Twenty digits of end offset, ten of epoch."""
    assert snapshot_id.file_name == name
    assert SnapshotId.from_file_name(name) == snapshot_id


@pytest.mark.parametrize(
    "name", ["bootstrap.checkpoint", "1-1.checkpoint", "00000000000000000043-0000000001.checkpoint.tmp"]
)
def test_snapshot_other_files_are_not_snapshots(name: str) -> None:
    """Temp files and the bootstrap file have no id."""
    assert SnapshotId.from_file_name(name) is None


def test_snapshot_of_a_new_quorum_is_byte_for_byte_apache_kafkas() -> None:
    """The same voter, directory, endpoint and times give the file Apache Kafka 4.3.1 formats."""
    theirs = read_snapshot(KAFKA_BOOTSTRAP, "kafka")
    assert theirs.kraft_version == 1
    assert theirs.batches == []
    assert theirs.voters is not None
    (voter,) = theirs.voters.voters
    assert voter.endpoints == (VoterEndpoint("CONTROLLER", "127.0.0.1", 39500),)
    ours = list(
        write_snapshot(
            BOOTSTRAP,
            (),
            voters=theirs.voters,
            last_timestamp_ms=theirs.last_timestamp_ms,
            now_ms=int.from_bytes(KAFKA_BOOTSTRAP[27:35], "big"),
        )
    )
    assert bytes(ours[0]) == KAFKA_BOOTSTRAP[: len(ours[0])]
    footer = KAFKA_BOOTSTRAP[len(ours[0]) :]
    assert len(ours[1]) == len(footer)
    assert ours[1][61:] == footer[61:]  # the header differs in its timestamps and therefore its CRC


def test_snapshot_reads_back_what_was_written() -> None:
    """Voters, level, time and every value in order."""
    snapshot = read_snapshot(whole([b"a", b"bb", b"ccc"]), "x")
    assert snapshot.voters == voters()
    assert snapshot.last_timestamp_ms == 5
    assert [bytes(value or b"") for batch in snapshot.batches for _, value in batch.records] == [
        b"a",
        b"bb",
        b"ccc",
    ]


def test_snapshot_data_is_split_into_batches_by_bytes() -> None:
    """No batch outgrows what readers of the log accept; offsets run on across them."""
    half = bytes(BATCH_VALUE_BYTES_MAX // 2)
    snapshot = read_snapshot(whole([half, half, b"rest"]), "x")
    assert [len(batch.records) for batch in snapshot.batches] == [2, 1]
    assert snapshot.batches[1].base_offset == snapshot.batches[0].next_offset


def test_snapshot_cut_anywhere_is_refused() -> None:
    """Power may fail at every byte of the writing: only the whole file is a snapshot."""
    data = whole([b"value"])
    for end in range(len(data)):
        with pytest.raises(RaftError):
            read_snapshot(data[:end], "x")


def test_snapshot_flipped_bit_in_any_checked_byte_is_refused() -> None:
    """Bit rot under the CRC is found; base offset and leader epoch lie outside of it."""
    data = whole([b"value"])
    unchecked = set()
    start = 0
    while start < len(data):
        unchecked |= {*range(start, start + 8), *range(start + 12, start + 16)}
        start += 12 + int.from_bytes(data[start + 8 : start + 12], "big")
    for at in set(range(len(data))) - unchecked:
        damaged = bytearray(data)
        damaged[at] ^= 0x10
        with pytest.raises(RaftError):
            read_snapshot(bytes(damaged), "x")


def test_snapshot_with_more_after_its_footer_is_refused() -> None:
    """Two snapshots in one file are none."""
    with pytest.raises(RaftError, match="after its footer"):
        read_snapshot(whole([]) + whole([]), "x")


def test_snapshot_without_header_is_refused() -> None:
    """The data alone is not enough."""
    header = next(write_snapshot(BOOTSTRAP, (), voters=None, last_timestamp_ms=0, now_ms=0))
    data = b"".join(write_snapshot(BOOTSTRAP, (), voters=None, last_timestamp_ms=0, now_ms=0))
    with pytest.raises(RaftError, match="no header"):
        read_snapshot(data[len(header) :], "x")


def test_snapshot_with_a_foreign_control_record_is_refused() -> None:
    """A leader change has no business in a snapshot."""
    head, *rest = write_snapshot(BOOTSTRAP, (), voters=None, last_timestamp_ms=0, now_ms=0)
    change = encode_control(leader_change(1, voters(), []))
    foreign = encode_batch([change], base_offset=1, epoch=0, timestamp_ms=0, control=True)
    with pytest.raises(RaftError, match="holds a LeaderChangeMessage"):
        read_snapshot(b"".join((head, foreign, *rest)), "x")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (None, b"\0\0"),
        (b"\0\0\0\2", None),
        (b"\0\0", b"\0\0"),
        (b"\0\0\0\x63", b"\0\0"),
        (b"\0\0\0\2", b"\0\x09"),
        (b"\0\0\0\2", b"\0\0\0"),
    ],
)
def test_control_records_that_cannot_be_read_are_an_error_in_words(
    key: bytes | None, value: bytes | None
) -> None:
    """No key, no value, cut short, an unknown type or version."""
    with pytest.raises(RaftError, match="control record"):
        decode_control(key, value)
