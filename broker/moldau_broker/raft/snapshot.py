"""Snapshots of the metadata log: names, writing, reading. Pure; KIP-630.

A snapshot stands for all records below its end offset. It is a run of batches with offsets of their own
from 0 on: a control batch with header (and, from kraft.version 1 on, the level and the voters), the data, a
control batch with the footer. A file without its footer is not a snapshot.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from moldau_broker.raft.batches import KeyValue, ReadBatch, decode_batches, encode_batch
from moldau_broker.raft.control import decode_control, encode_control
from moldau_broker.raft.errors import RaftError
from moldau_broker.raft.quorum import KRAFT_VERSION, VoterSet
from moldau_broker.wire.messages.raft_records import (
    KRaftVersionRecord,
    SnapshotFooterRecord,
    SnapshotHeaderRecord,
    VotersRecord,
)

SUFFIX: Final = ".checkpoint"
_NAME: Final = re.compile(r"(\d{20})-(\d{10})\.checkpoint")

BATCH_VALUE_BYTES_MAX: Final = 4 * 1024 * 1024
"""Values of one data batch; half of what a batch of this log may have. Most snapshots are one batch, as Kafka's are:
`kafka-metadata-shell` with a command on its line looks at the first data batch only."""


class SnapshotId(NamedTuple):
    """What a snapshot stands for: the log below `end_offset`, whose last record is of `epoch`."""

    end_offset: int
    epoch: int

    @property
    def file_name(self) -> str:
        """`<end offset, 20 digits>-<epoch, 10 digits>.checkpoint`."""
        return f"{self.end_offset:020d}-{self.epoch:010d}{SUFFIX}"

    @classmethod
    def from_file_name(cls, name: str) -> SnapshotId | None:
        """The id a file name carries, None if it is not a snapshot's."""
        match = _NAME.fullmatch(name)
        return cls(int(match[1]), int(match[2])) if match else None


BOOTSTRAP: Final = SnapshotId(0, 0)
"""The snapshot a new quorum starts from: no data, only the voters."""


def write_snapshot(
    snapshot_id: SnapshotId,
    values: Iterable[bytes],
    *,
    voters: VoterSet | None,
    last_timestamp_ms: int,
    now_ms: int,
) -> Iterator[bytearray]:
    """The snapshot's batches, piece by piece.

    Args:
        snapshot_id: what it stands for. values: encoded metadata records that recreate the state. voters:
        the voter set as of the end offset; None leaves the quorum's records out (bootstrap.checkpoint).
        last_timestamp_ms: timestamp of the last record it stands for. now_ms: wall time, the timestamp of
        the written records.
    """
    offset = 0

    def batch(records: list[KeyValue], *, control: bool) -> bytearray:
        nonlocal offset
        encoded = encode_batch(
            records, base_offset=offset, epoch=snapshot_id.epoch, timestamp_ms=now_ms, control=control
        )
        offset += len(records)
        return encoded

    head = [encode_control(SnapshotHeaderRecord(version=0, last_contained_log_timestamp=last_timestamp_ms))]
    if voters is not None:
        head.append(encode_control(KRaftVersionRecord(version=0, kraft_version=KRAFT_VERSION)))
        head.append(encode_control(voters.to_record()))
    yield batch([*head], control=True)
    pending: list[KeyValue] = []
    size = 0
    for value in values:
        pending.append((None, value))
        size += len(value)
        if size >= BATCH_VALUE_BYTES_MAX:
            yield batch(pending, control=False)
            pending, size = [], 0
    if pending:
        yield batch(pending, control=False)
    yield batch([encode_control(SnapshotFooterRecord(version=0))], control=True)


class Snapshot(NamedTuple):
    """A snapshot read back and checked whole."""

    last_timestamp_ms: int
    kraft_version: int
    voters: VoterSet | None
    batches: list[ReadBatch]
    """The data batches."""


def read_snapshot(data: bytes, name: str) -> Snapshot:
    """Read a snapshot file.

    Raises:
        RaftError: damaged, cut short, or without header or footer.
    """
    header: SnapshotHeaderRecord | None = None
    footer = False
    kraft_version = 0
    voters: VoterSet | None = None
    batches: list[ReadBatch] = []
    for batch in decode_batches(data, name):
        if footer:
            raise RaftError(f"{name} goes on after its footer")
        if not batch.control:
            batches.append(batch)
            continue
        for key, value in batch.records:
            match decode_control(key, value):
                case SnapshotHeaderRecord() as first:
                    header = first
                case KRaftVersionRecord(kraft_version=level):
                    kraft_version = level
                case VotersRecord() as record:
                    voters = VoterSet.from_record(record)
                case SnapshotFooterRecord():
                    footer = True
                case other:
                    raise RaftError(f"{name} holds a {type(other).__name__}")
    if header is None or not footer:
        raise RaftError(f"{name} has no {'footer' if header else 'header'}: it was not written to its end")
    return Snapshot(header.last_contained_log_timestamp, kraft_version, voters, batches)
