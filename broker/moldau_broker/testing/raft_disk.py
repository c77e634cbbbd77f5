"""A disk in memory for one raft node of `testing.raft`: what was not flushed is gone with a crash."""

from __future__ import annotations

from typing import NamedTuple

from moldau_broker.raft.batches import ReadBatch, decode_batches
from moldau_broker.raft.control import decode_control
from moldau_broker.raft.history import VotersAt
from moldau_broker.raft.messages import LogRange
from moldau_broker.raft.node import Initial
from moldau_broker.raft.quorum import VoterSet
from moldau_broker.raft.snapshot import SnapshotId, read_snapshot
from moldau_broker.raft.state import ElectionState
from moldau_broker.wire.messages.raft_records import VotersRecord


class Stored(NamedTuple):
    """A batch on a disk in memory."""

    base_offset: int
    next_offset: int
    epoch: int
    data: bytes


class MemoryDisk:
    """What survives a crash of a node, and what does not yet."""

    def __init__(self) -> None:
        self.election: ElectionState | None = None
        self.batches: list[Stored] = []
        self.start = 0
        self.durable = 0
        self.snapshots: dict[SnapshotId, bytes] = {}
        self.download = bytearray()
        self.recovering = False

    @property
    def end(self) -> int:
        """Offset after the last record."""
        return self.batches[-1].next_offset if self.batches else self.start

    def append(self, data: bytes) -> None:
        """Add batches at the end; they must fit."""
        position = 0
        for batch in decode_batches(data, "test"):
            assert batch.base_offset == self.end, f"{batch.base_offset} does not follow {self.end}"
            size = 12 + int.from_bytes(data[position + 8 : position + 12], "big")
            piece = data[position : position + size]
            self.batches.append(Stored(batch.base_offset, batch.next_offset, batch.epoch, piece))
            position += size

    def truncate(self, offset: int) -> None:
        """Cut."""
        while self.batches and self.batches[-1].next_offset > offset:
            self.batches.pop()
        self.durable = min(self.durable, self.end)

    def read(self, asked: LogRange) -> bytes:
        """Whole batches, at least one if there is any."""
        data = b""
        for batch in self.batches:
            if batch.next_offset <= asked.from_offset:
                continue
            if batch.next_offset > asked.up_to or (data and len(data) + len(batch.data) > asked.max_bytes):
                break
            data += batch.data
        return data

    def records(self) -> list[ReadBatch]:
        """Everything in the log."""
        return [one for batch in self.batches for one in decode_batches(batch.data, "test")]

    def initial(self) -> Initial:
        """What a store would find."""
        sets: list[VotersAt] = []
        newest = max(self.snapshots, default=None)
        if newest is not None:
            voters = read_snapshot(self.snapshots[newest], "test").voters
            assert voters is not None
            sets.append(VotersAt(newest.end_offset - 1, voters))
        epochs: list[tuple[int, int]] = []
        for batch in self.records():
            if not epochs or epochs[-1][0] != batch.epoch:
                epochs.append((batch.epoch, batch.base_offset))
            for key, value in batch.records if batch.control else ():
                record = decode_control(key, value)
                if isinstance(record, VotersRecord) and batch.base_offset >= (sets[-1].offset if sets else 0):
                    sets.append(VotersAt(batch.base_offset, VoterSet.from_record(record)))
        snapshots = tuple(sorted(self.snapshots))
        return Initial(
            self.election, tuple(sets), self.start, self.end, tuple(epochs), snapshots, self.recovering
        )
