"""The state machine above the metadata log: what is committed, and what is written but not yet. Pure.

A leader replays its records when it writes them, so that the next operation sees them; the image becomes
the committed one when the log's high watermark passes it. Batches that came another way (from disk at the
start, or the quorum's own control batches) are replayed when they commit. Both ways use `ImageReplay`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

from moldau_broker.metadata.image import MetadataImage
from moldau_broker.metadata.records import decode
from moldau_broker.metadata.replay import ImageReplay
from moldau_broker.raft.batches import ReadBatch
from moldau_broker.raft.control import decode_control
from moldau_broker.raft.snapshot import Snapshot, SnapshotId
from moldau_broker.wire.messages.raft_records import KRaftVersionRecord
from moldau_broker.wire.schema import Struct

ReadLog: TypeAlias = Callable[[int, int], Iterator[ReadBatch]]


class _Written(NamedTuple):
    """A batch that waits for its commit."""

    base_offset: int
    next_offset: int
    image: MetadataImage
    timestamp_ms: int
    size: int


class MetadataMachine:
    """Images along the log.

    Attributes:
        committed: everything below the high watermark, as far as `commit` was told of it.
        latest: `committed` plus what is written and waits.
        applied: first offset that `committed` does not contain.
        timestamp_ms: of the last record in `committed`; what a snapshot of it states.
        bytes_since_snapshot, records_since_snapshot: what replaying from the newest snapshot costs.
    """

    __slots__ = (
        "_read",
        "_waiting",
        "applied",
        "bytes_since_snapshot",
        "committed",
        "latest",
        "records_since_snapshot",
        "timestamp_ms",
    )

    def __init__(self, cluster_id: str, read: ReadLog) -> None:
        self.committed = self.latest = MetadataImage(cluster_id)
        self.applied = 0
        self.timestamp_ms = 0
        self.bytes_since_snapshot = 0
        self.records_since_snapshot = 0
        self._read = read
        self._waiting: deque[_Written] = deque()

    def load(self, snapshot_id: SnapshotId, snapshot: Snapshot) -> None:
        """Begin with a snapshot, whatever was there before.

        Raises:
            InvalidMetadataRecord: it holds what this version cannot read.
        """
        self._waiting.clear()
        replay = ImageReplay(MetadataImage(self.committed.cluster_id))
        if snapshot.kraft_version:
            replay.set_kraft_version(snapshot.kraft_version)
        for batch in snapshot.batches:
            _replay_batch(replay, batch)
        self.committed = self.latest = replay.image(snapshot_id.end_offset - 1, snapshot_id.epoch)
        self.applied = snapshot_id.end_offset
        self.timestamp_ms = snapshot.last_timestamp_ms

    def prepare(self, records: Iterable[Struct], next_offset: int, epoch: int) -> MetadataImage:
        """What `latest` becomes with these records, the last of which gets the offset before `next_offset`.

        Raises:
            InvalidMetadataRecord: they contradict the state; they must not be written.
        """
        replay = ImageReplay(self.latest)
        for record in records:
            replay.replay(record)
        return replay.image(next_offset - 1, epoch)

    def written(
        self, base_offset: int, image: MetadataImage, timestamp_ms: int, values: Sequence[bytes]
    ) -> None:
        """The records that lead to `image` are in the log from `base_offset` on."""
        size = sum(map(len, values))
        self._waiting.append(_Written(base_offset, image.offset + 1, image, timestamp_ms, size))
        self.latest = image

    def commit(self, high_watermark: int) -> bool:
        """Take over everything below `high_watermark`; whether `committed` changed.

        Raises:
            InvalidMetadataRecord, RaftError, StorageError: the log cannot be read or replayed.
        """
        before = self.committed
        while self.applied < high_watermark:
            written = self._waiting[0] if self._waiting else None
            if written is not None and written.base_offset == self.applied:
                if written.next_offset > high_watermark:
                    break
                self._waiting.popleft()
                self._advance(written.image, written.timestamp_ms, written.size)
            else:
                gap_end = high_watermark if written is None else min(high_watermark, written.base_offset)
                self._replay_log(gap_end)
        if not self._waiting:
            self.latest = self.committed
        return self.committed is not before

    def discard_written(self) -> None:
        """Forget what waits: this node leads no more, and the log will say what became of it."""
        self._waiting.clear()
        self.latest = self.committed

    @property
    def snapshot_id(self) -> SnapshotId:
        """What a snapshot of `committed` stands for."""
        return SnapshotId(self.committed.offset + 1, self.committed.epoch)

    def snapshot_taken(self) -> None:
        """A snapshot of an image begins here: count again."""
        self.bytes_since_snapshot = self.records_since_snapshot = 0

    def _replay_log(self, up_to: int) -> None:
        replay = ImageReplay(self.committed)
        epoch, timestamp_ms, size = self.committed.epoch, self.timestamp_ms, 0
        offset = self.applied
        for batch in self._read(offset, up_to):
            size += _replay_batch(replay, batch)
            offset, epoch, timestamp_ms = batch.next_offset, batch.epoch, batch.timestamp_ms
        self._advance(replay.image(offset - 1, epoch), timestamp_ms, size)

    def _advance(self, image: MetadataImage, timestamp_ms: int, size: int) -> None:
        self.records_since_snapshot += image.offset + 1 - self.applied
        self.bytes_since_snapshot += size
        self.committed = image
        self.applied = image.offset + 1
        self.timestamp_ms = timestamp_ms


def _replay_batch(replay: ImageReplay, batch: ReadBatch) -> int:
    """Replay a batch; the bytes of its values."""
    size = 0
    for key, value in batch.records:
        size += len(value or b"")
        if not batch.control:
            replay.replay(decode(value))
            continue
        control = decode_control(key, value)
        if isinstance(control, KRaftVersionRecord):
            replay.set_kraft_version(control.kraft_version)
    return size
