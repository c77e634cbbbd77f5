"""Producer state as a log keeps it: the state itself, its snapshot files, and the transaction index.

Owned by the loop thread. What only opening a log needs (replay, the window of five) is here as well.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from moldau_broker.storage import txn_index
from moldau_broker.storage.batches import CONTROL, Batch, Reader, walk
from moldau_broker.storage.control import Marker, transaction_marker
from moldau_broker.storage.errors import StorageError
from moldau_broker.storage.names import TXN_INDEX
from moldau_broker.storage.producers import ProducerState
from moldau_broker.storage.txn_index import AbortedTxn

if TYPE_CHECKING:
    from moldau_broker.storage.disk import Buffer
    from moldau_broker.storage.place import Place
    from moldau_broker.storage.segment import Segment
    from moldau_broker.storage.snapshots import Snapshots
    from moldau_broker.wire.records import BatchHeader

_WINDOW_BATCHES_MAX: Final = 1000
_WINDOW_STEP_BYTES: Final = 1 << 16
_REPLAY_CHUNK: Final = 1 << 18


class ProducerLog:
    """Producer state of a log and its files.

    Attributes:
        state: as of the log's end.
        as_of: the offset it was last rebuilt for; batches from there on are still to be replayed.
        snapshots: the snapshot files.
        window_is_short: the state came from a snapshot, which holds one batch per producer only.
    """

    __slots__ = ("_place", "as_of", "snapshots", "state", "window_is_short")

    def __init__(self, place: Place, snapshots: Snapshots) -> None:
        self._place = place
        self.snapshots = snapshots
        self.state = ProducerState()
        self.window_is_short = False
        self.as_of = 0

    def note(self, batch: Buffer, header: BatchHeader, base: int, segment: Segment) -> None:
        """A batch with a producer id was appended at `base`."""
        if header.attributes & CONTROL:
            marker = transaction_marker(batch)
            if marker is not None:
                self._end(header.producer_id, header.producer_epoch, marker, base, segment)
        else:
            self.state.update(header, base)

    def replay(self, batch: Batch, read: Reader, segment: Segment | None) -> None:
        """A batch stands in the log.

        Its bytes are read only if it is a marker; with a `segment`, an aborted transaction enters its index.
        """
        if batch.producer_id < 0:
            return
        if batch.attributes & CONTROL:
            marker = transaction_marker(read(batch.size, batch.position))
            if marker is not None:
                self._end(batch.producer_id, batch.producer_epoch, marker, batch.base_offset, segment)
            return
        self.state.apply(
            batch.producer_id,
            batch.producer_epoch,
            batch.base_sequence,
            batch.base_offset,
            batch.last_offset,
            batch.max_timestamp,
            transactional=batch.is_transactional,
        )

    def _end(
        self, producer_id: int, epoch: int, marker: Marker, offset: int, segment: Segment | None
    ) -> None:
        completed = self.state.end_transaction(
            producer_id, epoch, marker.coordinator_epoch, offset, marker.timestamp, aborted=marker.aborted
        )
        if completed is not None and completed.aborted and segment is not None:
            entry = AbortedTxn(
                producer_id, completed.first_offset, offset, self.state.stable_offset_after(completed)
            )
            with contextlib.suppress(StorageError):  # recovery and reopening find the marker in the log
                txn_index.append(self._place, segment.name(TXN_INDEX), entry)

    def rebuild(self, segments: Sequence[Segment], end_offset: int, durable_offset: int = 0) -> int:
        """State as of `end_offset` from the newest snapshot at or below it and the headers that follow.

        A snapshot above it is taken as it is, if not above `durable_offset`; `as_of` tells. Returns the bytes of
        log that were walked.
        """
        loaded = self.snapshots.load(max(end_offset, durable_offset))
        start, self.state = loaded if loaded is not None else (segments[0].base_offset, ProducerState())
        self.as_of = max(start, end_offset)
        self.window_is_short = loaded is not None and len(self.state) > 0
        walked = 0
        for at, segment in enumerate(segments):
            following = segments[at + 1].base_offset if at + 1 < len(segments) else end_offset
            if following <= start or segment.base_offset >= end_offset or segment.size == 0:
                continue
            read = segment.reader()
            first = segment.locate(start)
            for batch in walk(read, first, segment.size, chunk=_REPLAY_CHUNK):
                if batch.last_offset >= end_offset:
                    break
                self.replay(batch, read, None)
                walked += batch.size
        return walked

    def restore_window(self, segments: Sequence[Segment], bytes_max: int) -> None:
        """Fill the window of five from the log's last batches: `bytes_max` or a thousand, newest first."""
        self.window_is_short = False
        batches_left = _WINDOW_BATCHES_MAX
        for segment in reversed(segments):
            end = segment.size
            while end > 0:
                entry = segment.offset_index.floor(1, max(0, end - _WINDOW_STEP_BYTES))
                start = entry[1] if entry else 0
                for batch in reversed(list(walk(segment.reader(), start, end))):
                    if batch.producer_id >= 0 and not batch.attributes & CONTROL:
                        self.state.restore_window(
                            batch.producer_id,
                            batch.producer_epoch,
                            batch.base_sequence,
                            batch.base_offset,
                            batch.last_offset,
                            batch.max_timestamp,
                        )
                    batches_left -= 1
                bytes_max -= end - start
                end = start
                if batches_left <= 0 or bytes_max <= 0:
                    return
