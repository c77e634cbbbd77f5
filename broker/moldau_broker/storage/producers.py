"""What a partition remembers of its idempotent and transactional producers. Pure.

Source: KIP-98, KIP-890; `ProducerStateManager`, `ProducerAppendInfo` and the snapshot format (version 1) of
Kafka 4.3. The last five batches of each producer are kept: a retry of any of them gets its old offset again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from struct import Struct
from typing import Final, NamedTuple, Protocol

from moldau_broker.base.errors import ErrorCode
from moldau_broker.storage.batches import TRANSACTIONAL
from moldau_broker.storage.errors import CorruptLog
from moldau_broker.wire.checksums import crc32c

BATCHES_KEPT: Final = 5  # the most a Java producer has in flight
SNAPSHOT_VERSION: Final = 1
NO_SEQUENCE: Final = -1
NO_EPOCH: Final = -1
_SEQUENCE_MAX: Final = 2**31 - 1

_HEAD: Final = Struct(">hIi")
_ENTRY: Final = Struct(">qhiqiqiq")
_CRC_FROM: Final = 6


class _Header(Protocol):
    """The fields of `wire.records.BatchHeader` used here."""

    @property
    def last_offset_delta(self) -> int: ...
    @property
    def max_timestamp(self) -> int: ...
    @property
    def producer_id(self) -> int: ...
    @property
    def producer_epoch(self) -> int: ...
    @property
    def base_sequence(self) -> int: ...
    @property
    def attributes(self) -> int: ...


class WrittenBatch(NamedTuple):
    """One remembered batch."""

    last_sequence: int
    last_offset: int
    offset_delta: int
    timestamp: int

    @property
    def first_sequence(self) -> int:
        """Sequence of its first record."""
        return decrement_sequence(self.last_sequence, self.offset_delta)

    @property
    def base_offset(self) -> int:
        """Offset of its first record."""
        return self.last_offset - self.offset_delta


@dataclass(slots=True)
class ProducerEntry:
    """State of one producer id.

    Attributes:
        batches: the last batches of the current epoch, newest last, at most five; empty after a marker
            that began an epoch.
        last_timestamp: of the newest batch or marker, in ms; drives expiry.
        txn_first_offset: where its open transaction began; -1 without one.
    """

    producer_id: int
    epoch: int
    batches: list[WrittenBatch]
    last_timestamp: int = -1
    coordinator_epoch: int = -1
    txn_first_offset: int = -1

    @property
    def last_sequence(self) -> int:
        """Sequence of the last record; -1 without batches."""
        return self.batches[-1].last_sequence if self.batches else NO_SEQUENCE


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do with a producer's batch.

    Attributes:
        error: NONE, or the answer that refuses the batch.
        duplicate: the batch is already in the log as this one; answer with its base offset, do not append.
        reason: for the log line of a refusal.
    """

    error: ErrorCode
    duplicate: WrittenBatch | None = None
    reason: str = ""


_written: Final[Callable[[tuple[int, ...]], WrittenBatch]] = partial(tuple.__new__, WrittenBatch)
"""A third of the cost of a call with four arguments."""


class CompletedTxn(NamedTuple):
    """A transaction that a marker ended."""

    producer_id: int
    first_offset: int
    last_offset: int
    aborted: bool


ACCEPTED: Final = Verdict(ErrorCode.NONE)


def increment_sequence(sequence: int, by: int) -> int:
    """`sequence + by`, wrapping from 2^31-1 to 0."""
    total = sequence + by
    return total if total <= _SEQUENCE_MAX else total - _SEQUENCE_MAX - 1


def is_ahead(sequence: int, of: int) -> bool:
    """Whether it comes after that one, with no more than half of all sequences between them."""
    return 0 < (sequence - of) % (_SEQUENCE_MAX + 1) <= _SEQUENCE_MAX // 2


def decrement_sequence(sequence: int, by: int) -> int:
    """`sequence - by`, wrapping from 0 to 2^31-1."""
    return sequence - by if sequence >= by else sequence - by + _SEQUENCE_MAX + 1


class ProducerState:
    """All producers of a partition, as of `end_offset`."""

    __slots__ = ("_entries", "_ongoing", "_unreplicated")

    def __init__(self) -> None:
        self._entries: dict[int, ProducerEntry] = {}
        self._ongoing: dict[int, int] = {}  # producer id -> first offset of its open transaction
        self._unreplicated: list[CompletedTxn] = []

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[ProducerEntry]:
        return iter(self._entries.values())

    def get(self, producer_id: int) -> ProducerEntry | None:
        """The entry of a producer id."""
        return self._entries.get(producer_id)

    def check(self, header: _Header) -> Verdict:
        """Judge a client's data batch before it is appended. Batches without a producer id are accepted.

        An unknown producer may begin with any sequence: its state may have expired or been deleted (KIP-360).
        """
        entry = self._entries.get(header.producer_id)
        if entry is None:
            return ACCEPTED
        epoch, first = header.producer_epoch, header.base_sequence
        if epoch == entry.epoch:
            expected = increment_sequence(entry.last_sequence, 1) if entry.batches else 0
            if first == expected:
                return ACCEPTED
            last = increment_sequence(first, header.last_offset_delta)
            for batch in entry.batches:
                if batch.last_sequence == last and batch.first_sequence == first:
                    return Verdict(ErrorCode.NONE, duplicate=batch)
            return Verdict(
                ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
                reason=f"producer {entry.producer_id}: sequence {first} where {expected} was expected",
            )
        if epoch < entry.epoch:
            return Verdict(
                ErrorCode.INVALID_PRODUCER_EPOCH,
                reason=f"producer {entry.producer_id}: epoch {epoch} after {entry.epoch}",
            )
        if first != 0 and entry.epoch != NO_EPOCH:
            return Verdict(
                ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
                reason=f"producer {entry.producer_id}: epoch {epoch} begins with sequence {first}, not 0",
            )
        return ACCEPTED

    def update(self, header: _Header, base_offset: int) -> None:
        """A data batch was appended at `base_offset`."""
        delta = header.last_offset_delta
        entry = self._entries.get(header.producer_id)
        if entry is None or entry.epoch != header.producer_epoch or header.attributes & TRANSACTIONAL:
            self.apply(
                header.producer_id,
                header.producer_epoch,
                header.base_sequence,
                base_offset,
                base_offset + delta,
                header.max_timestamp,
                transactional=bool(header.attributes & TRANSACTIONAL),
            )
            return
        batches = entry.batches
        if len(batches) == BATCHES_KEPT:
            del batches[0]
        last = header.base_sequence + delta
        if last > _SEQUENCE_MAX:
            last -= _SEQUENCE_MAX + 1
        timestamp = header.max_timestamp
        batches.append(_written((last, base_offset + delta, delta, timestamp)))
        entry.last_timestamp = timestamp

    def apply(
        self,
        producer_id: int,
        epoch: int,
        base_sequence: int,
        base_offset: int,
        last_offset: int,
        timestamp: int,
        *,
        transactional: bool = False,
    ) -> None:
        """A data batch stands in the log (appended, replicated or replayed): no judgement."""
        entry = self._entries.get(producer_id)
        if entry is None:
            entry = self._entries[producer_id] = ProducerEntry(producer_id, epoch, [])
        elif entry.epoch != epoch:
            entry.epoch = epoch
            entry.batches = []
        batches = entry.batches
        if len(batches) == BATCHES_KEPT:
            del batches[0]
        delta = last_offset - base_offset
        batches.append(WrittenBatch(increment_sequence(base_sequence, delta), last_offset, delta, timestamp))
        entry.last_timestamp = timestamp
        if transactional and entry.txn_first_offset < 0:
            entry.txn_first_offset = base_offset
            self._ongoing[producer_id] = base_offset

    def end_transaction(
        self,
        producer_id: int,
        epoch: int,
        coordinator_epoch: int,
        offset: int,
        timestamp: int,
        *,
        aborted: bool,
    ) -> CompletedTxn | None:
        """A commit or abort marker stands in the log at `offset`; the transaction it ended, if one was open."""
        entry = self._entries.get(producer_id)
        if entry is None:
            entry = self._entries[producer_id] = ProducerEntry(producer_id, epoch, [])
        elif entry.epoch != epoch:
            entry.epoch = epoch
            entry.batches = []
        entry.coordinator_epoch = coordinator_epoch
        entry.last_timestamp = timestamp
        first = entry.txn_first_offset
        if first < 0:
            return None
        entry.txn_first_offset = -1
        self._ongoing.pop(producer_id, None)
        completed = CompletedTxn(producer_id, first, offset, aborted)
        self._unreplicated.append(completed)
        return completed

    def restore_window(
        self,
        producer_id: int,
        epoch: int,
        base_sequence: int,
        base_offset: int,
        last_offset: int,
        timestamp: int,
    ) -> None:
        """Put an older batch back in front of the window, newest first: a snapshot holds one batch only."""
        entry = self._entries.get(producer_id)
        if entry is None or entry.epoch != epoch or not entry.batches or len(entry.batches) == BATCHES_KEPT:
            return
        oldest = entry.batches[0]
        delta = last_offset - base_offset
        last = increment_sequence(base_sequence, delta)
        if last_offset < oldest.base_offset and increment_sequence(last, 1) == oldest.first_sequence:
            entry.batches.insert(0, WrittenBatch(last, last_offset, delta, timestamp))

    @property
    def has_transactions(self) -> bool:
        """Whether any transaction is open, or ended but not yet known to be replicated."""
        return bool(self._ongoing or self._unreplicated)

    def first_unstable_offset(self) -> int | None:
        """Where the oldest open transaction, or ended one whose marker is not replicated yet, begins."""
        starts = [*self._ongoing.values(), *(txn.first_offset for txn in self._unreplicated)]
        return min(starts) if starts else None

    def stable_offset_after(self, completed: CompletedTxn) -> int:
        """The last stable offset once `completed` is: where the next open transaction begins, or after it."""
        starts = [first for pid, first in self._ongoing.items() if pid != completed.producer_id]
        return min(starts) if starts else completed.last_offset + 1

    def replicated(self, high_watermark: int) -> None:
        """Markers below the high watermark are settled: the last stable offset may pass them."""
        if self._unreplicated:
            self._unreplicated = [txn for txn in self._unreplicated if txn.last_offset >= high_watermark]

    def expire(self, now_ms: int, expiration_ms: int) -> int:
        """Forget producers idle for `expiration_ms`, unless a transaction is open. Returns how many."""
        stale = [
            entry.producer_id
            for entry in self._entries.values()
            if entry.txn_first_offset < 0 and now_ms - entry.last_timestamp >= expiration_ms
        ]
        for producer_id in stale:
            del self._entries[producer_id]
        return len(stale)

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._ongoing.clear()
        self._unreplicated.clear()

    def encode(self) -> bytes:
        """The snapshot file: the newest batch of each producer."""
        body = bytearray(_HEAD.size)
        for entry in self._entries.values():
            newest = entry.batches[-1] if entry.batches else WrittenBatch(NO_SEQUENCE, -1, 0, -1)
            body += _ENTRY.pack(
                entry.producer_id,
                entry.epoch,
                newest.last_sequence,
                newest.last_offset,
                newest.offset_delta,
                entry.last_timestamp,
                entry.coordinator_epoch,
                entry.txn_first_offset,
            )
        _HEAD.pack_into(body, 0, SNAPSHOT_VERSION, 0, len(self._entries))
        _HEAD.pack_into(body, 0, SNAPSHOT_VERSION, crc32c(memoryview(body)[_CRC_FROM:]), len(self._entries))
        return bytes(body)

    @classmethod
    def decode(cls, data: bytes) -> ProducerState:
        """The state a snapshot file holds.

        Raises:
            CorruptLog: wrong version, length or CRC.
        """
        if len(data) < _HEAD.size:
            raise CorruptLog("a producer snapshot is cut short")
        version, crc, count = _HEAD.unpack_from(data, 0)
        if version != SNAPSHOT_VERSION:
            raise CorruptLog(f"a producer snapshot of version {version}")
        if count < 0 or len(data) != _HEAD.size + count * _ENTRY.size:
            raise CorruptLog("a producer snapshot of the wrong length")
        if crc32c(memoryview(data)[_CRC_FROM:]) != crc:
            raise CorruptLog("the CRC of a producer snapshot does not match")
        state = cls()
        for pid, epoch, sequence, offset, delta, timestamp, coordinator, txn in _ENTRY.iter_unpack(
            memoryview(data)[_HEAD.size :]
        ):
            batches = [] if offset < 0 else [WrittenBatch(sequence, offset, delta, timestamp)]
            state._entries[pid] = ProducerEntry(pid, epoch, batches, timestamp, coordinator, txn)
            if txn >= 0:
                state._ongoing[pid] = txn
        return state
