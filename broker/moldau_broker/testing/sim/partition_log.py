"""A partition's log in memory: the surface of `storage.log.Log` that replication uses, on a list of batches.

Batches are real bytes with real headers and checksums; segments, indexes and files are left out. What a power
cut takes, and what recovery then cuts, is decided batch by batch.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from random import Random
from struct import Struct
from typing import Any, Final

from moldau_broker.base.ids import Uuid
from moldau_broker.base.topic_config import TopicConfig
from moldau_broker.storage.epochs import LeaderEpochs
from moldau_broker.storage.errors import CorruptLog, InvalidBatches, OffsetOutOfRange, StorageError
from moldau_broker.storage.producers import ProducerState
from moldau_broker.wire.batches import BatchHeader, crc_ok, parse_header
from moldau_broker.wire.errors import WireError

_PATCH_OFFSET: Final = Struct(">q").pack_into
_PATCH_EPOCH: Final = Struct(">i").pack_into
_EPOCH_AT: Final = 12


class Stored:
    """One batch in a log; `damaged` is what its checksum will say."""

    __slots__ = ("base", "damaged", "data", "epoch", "header", "next")

    def __init__(self, base: int, header: BatchHeader, epoch: int, data: bytes) -> None:
        self.base = base
        self.next = base + header.last_offset_delta + 1
        self.epoch = epoch
        self.header = header
        self.data = data
        self.damaged = False


class SimLog:
    """A log. Attributes as at `storage.log_base.LogBase`.

    Attributes:
        on_append: told every batch that enters, by whichever way, with the log.
        on_truncate: told the offset from which on batches go.
        on_moved: told when the high watermark or the durable end has moved.
        on_failed: told when it goes out of service.
        take_room: asked before anything is written that takes space.
    """

    def __init__(
        self,
        topic: str,
        partition: int,
        topic_id: Uuid,
        config: TopicConfig,
        before_write: Callable[[], None],
    ) -> None:
        self.topic = topic
        self.partition = partition
        self.topic_id: Uuid | None = topic_id
        self.config = config
        self.log_start_offset = 0
        self.log_end_offset = 0
        self.durable_offset = 0
        self._high_watermark = 0
        self.epochs = LeaderEpochs()
        self.producers = ProducerState()
        self.generation = 0
        self.failure: StorageError | None = None
        self.observer: Any = None
        self.recovery = None
        self.unsynced_since_ms = -1
        self.on_append: Callable[[SimLog, Stored], None] | None = None
        self.on_truncate: Callable[[SimLog, int], None] | None = None
        self.on_moved: Callable[[SimLog], None] | None = None
        self._before_write = before_write
        self.take_room: Callable[[], None] = _endless
        self.on_failed: Callable[[SimLog, StorageError], None] | None = None
        self.batches: list[Stored] = []
        self._bases: list[int] = []

    def __repr__(self) -> str:
        return f"SimLog({self.topic}-{self.partition} {self.log_start_offset}..{self.log_end_offset})"

    @property
    def high_watermark(self) -> int:
        """As `Log.high_watermark`; setting it is watched."""
        return self._high_watermark

    @high_watermark.setter
    def high_watermark(self, offset: int) -> None:
        if offset != self._high_watermark:
            self._high_watermark = offset
            if self.on_moved is not None:
                self.on_moved(self)

    # -- writing ------------------------------------------------------------------------------------------

    def append(
        self, batch: bytearray | memoryview, header: BatchHeader, leader_epoch: int, now_ms: int
    ) -> int:
        """As `Log.append`."""
        if self.failure is not None:
            raise self.failure
        self._before_write()
        self.take_room()
        base = self.log_end_offset
        own = bytearray(batch)
        _PATCH_OFFSET(own, 0, base)
        _PATCH_EPOCH(own, _EPOCH_AT, leader_epoch)
        if leader_epoch != self.epochs.latest:
            self.epochs.assign(leader_epoch, base)
        self._store(Stored(base, header, leader_epoch, bytes(own)))
        return base

    def append_replica(self, data: Any, now_ms: int) -> None:
        """As `Log.append_replica`."""
        if self.failure is not None:
            raise self.failure
        found = []
        end = self.log_end_offset
        position = 0
        while position < len(data):
            try:
                header = parse_header(data, position)
            except WireError as error:
                raise InvalidBatches(str(error)) from error
            if position + header.size > len(data) or not crc_ok(data, position, header.size):
                raise InvalidBatches(f"a damaged batch at byte {position} of the fetched data")
            if header.base_offset < end:
                raise InvalidBatches(f"base offset {header.base_offset} where {end} was the next")
            piece = bytes(data[position : position + header.size])
            found.append(Stored(header.base_offset, header, header.partition_leader_epoch, piece))
            end = header.next_offset
            position += header.size
        for stored in found:
            self._before_write()
            self.take_room()
            if stored.epoch != self.epochs.latest:
                self.epochs.assign(stored.epoch, stored.base)
            self._store(stored)

    def _store(self, stored: Stored) -> None:
        self.batches.append(stored)
        self._bases.append(stored.base)
        self.log_end_offset = stored.next
        header = stored.header
        if header.producer_id >= 0:
            self.producers.update(header, stored.base)
        if self.on_append is not None:
            self.on_append(self, stored)

    def truncate_to(self, offset: int) -> None:
        """As `Log.truncate_to`: whole batches that reach past `offset` go."""
        if offset >= self.log_end_offset:
            return
        self._before_write()
        if offset < self.durable_offset:
            self.take_room()  # for the checkpoints, which take back first what they promise
        keep = len(self.batches)
        while keep and self.batches[keep - 1].next > offset:
            keep -= 1
        end = (
            self.batches[keep - 1].next
            if keep
            else max(self.log_start_offset, min(offset, self.log_end_offset))
        )
        if self.on_truncate is not None:
            self.on_truncate(self, end)
        del self.batches[keep:], self._bases[keep:]
        self._cut_to(end)

    def truncate_fully(self, offset: int) -> None:
        """As `Log.truncate_fully`: empty, and begin again at `offset`."""
        self._before_write()
        self.take_room()
        if self.on_truncate is not None:
            self.on_truncate(self, self.log_start_offset)
        self.batches.clear()
        self._bases.clear()
        self.log_start_offset = offset
        self._cut_to(offset)
        self.epochs.clear()

    def _cut_to(self, end: int) -> None:
        self.generation += 2
        self.log_end_offset = end
        self.durable_offset = min(self.durable_offset, end)
        self._high_watermark = min(self._high_watermark, end)
        self.epochs.truncate_from_end(end)
        self._replay_producers()

    def _replay_producers(self) -> None:
        self.producers.clear()
        for stored in self.batches:
            if stored.header.producer_id >= 0:
                self.producers.update(stored.header, stored.base)

    def assign_epoch(self, epoch: int, start_offset: int) -> None:
        """As `Log.assign_epoch`."""
        self.epochs.assign(epoch, start_offset)

    def advance_log_start(self, offset: int) -> None:
        """As `Log.advance_log_start`: whole batches below `offset` are deleted."""
        if offset <= self.log_start_offset:
            return
        self._before_write()
        self.log_start_offset = offset
        drop = 0
        while drop < len(self.batches) and self.batches[drop].next <= offset:
            drop += 1
        del self.batches[:drop], self._bases[:drop]
        self.epochs.truncate_from_start(offset)

    def update_config(self, config: TopicConfig) -> None:
        """As `Log.update_config`."""
        self.config = config

    def fail(self, error: StorageError) -> None:
        """As `Log.fail`."""
        if self.failure is None:
            self.failure = error
            if self.on_failed is not None:
                self.on_failed(self, error)

    # -- durability ---------------------------------------------------------------------------------------

    def mark_durable(self, offset: int, generation: int | None = None) -> None:
        """As `Log.mark_durable`."""
        if generation is not None and generation != self.generation:
            return
        if offset > self.durable_offset:
            self.durable_offset = offset
            if self.on_moved is not None:
                self.on_moved(self)

    def close(self, *, clean: bool = True) -> None:
        """As `Log.close`."""
        if clean:
            self.durable_offset = self.log_end_offset

    # -- reading ------------------------------------------------------------------------------------------

    def is_recent(self, offset: int) -> bool:
        """No read is: every checksum is looked at."""
        del offset
        return False

    def read(self, offset: int, max_bytes: int, *, up_to: int | None = None, min_one: bool = True) -> bytes:
        """As `Log.read`; damaged batches are served damaged, as from a disk."""
        if self.failure is not None:
            raise self.failure
        if not self.log_start_offset <= offset <= self.log_end_offset:
            raise OffsetOutOfRange(offset, self.log_start_offset, self.log_end_offset)
        limit = self.log_end_offset if up_to is None else min(up_to, self.log_end_offset)
        at = max(0, bisect_right(self._bases, offset) - 1)
        pieces: list[bytes] = []
        size = 0
        while at < len(self.batches):
            stored = self.batches[at]
            at += 1
            if stored.next <= offset:
                continue
            if stored.next > limit or (size + len(stored.data) > max_bytes and (pieces or not min_one)):
                break
            pieces.append(stored.data)
            size += len(stored.data)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def read_nowait(
        self, offset: int, max_bytes: int, *, up_to: int | None = None, min_one: bool = True
    ) -> bytes:
        """As `Log.read_nowait`, always warm."""
        return self.read(offset, max_bytes, up_to=up_to, min_one=min_one)

    def end_offset_for(self, epoch: int) -> tuple[int, int]:
        """As `Log.end_offset_for`."""
        return self.epochs.end_offset_for(epoch, self.log_end_offset)

    def last_stable_offset(self, high_watermark: int) -> int:
        """No transactions here."""
        return high_watermark

    def aborted_transactions(self, start: int, end: int) -> list[Any]:
        """None ever."""
        return []

    # -- crashes and damage -------------------------------------------------------------------------------

    def reopened(self, rng: Random, *, power_cut: bool, checkpoint: int) -> tuple[SimLog, int]:
        """What the next process finds, and how many batches recovery cut.

        Unsynced batches survive a power cut one by one; the first that did not, or is torn, ends the log.
        `checkpoint` is the high watermark that was checkpointed.
        """
        log = SimLog(self.topic, self.partition, self.topic_id or Uuid(b""), self.config, self._before_write)
        log.on_append, log.on_truncate = self.on_append, self.on_truncate
        log.log_start_offset = self.log_start_offset
        kept = [stored for stored in self.batches if stored.next <= self.durable_offset]
        if power_cut:
            for stored in self.batches[len(kept) :]:
                if rng.random() < 0.4:
                    break
                kept.append(stored)
        else:
            kept = list(self.batches)
        damaged = next((stored for stored in kept if stored.damaged), None)
        log.batches = kept
        log._bases = [stored.base for stored in kept]
        log.log_end_offset = log.durable_offset = kept[-1].next if kept else log.log_start_offset
        for stored in kept:
            if stored.epoch != log.epochs.latest:
                log.epochs.assign(stored.epoch, stored.base)
        log._replay_producers()
        log._high_watermark = min(max(checkpoint, log.log_start_offset), log.log_end_offset)
        if damaged is not None:
            log.fail(CorruptLog("a batch below the recovery point is damaged", offset=damaged.base))
        return log, len(self.batches) - len(kept)

    def flip_bit(self, index: int) -> None:
        """Damage a stored batch silently."""
        stored = self.batches[index]
        data = bytearray(stored.data)
        data[-1] ^= 1
        stored.data = bytes(data)
        stored.damaged = True

    @property
    def is_damaged(self) -> bool:
        """Whether any of its batches is, found or not."""
        return any(stored.damaged for stored in self.batches)


def _endless() -> None:
    """There is always room."""
