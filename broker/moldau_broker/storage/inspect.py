"""A data file as text, line by line, as Kafka's `kafka-dump-log` prints it. Reads through a Disk only.

Source: `DumpLogSegments` of Apache Kafka 4.3. What the tool prints on standard error (mismatches, gaps) is
collected in a `Findings`, to be printed after the last file as the tool does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from struct import Struct
from typing import Final

from moldau_broker.storage import txn_index
from moldau_broker.storage.disk import Disk, DiskFile
from moldau_broker.storage.errors import CorruptLog, FileMissing
from moldau_broker.storage.index import OFFSET_ENTRY, TIME_ENTRY
from moldau_broker.storage.inspect_batches import RecordPrinter, batch_line, read_batches, record_lines
from moldau_broker.storage.producers import ProducerState

BOOTSTRAP_SNAPSHOT: Final = "bootstrap.checkpoint"
MESSAGE_BYTES_MAX: Final = 5 * 1024 * 1024  # the tool's own default for how much it reads at an index entry


@dataclass(frozen=True, slots=True)
class DumpOptions:
    """What to print.

    `printer` is None when record contents are not wanted; `deep` prints one line per record (implied by a
    printer); `metadata` is false under --skip-record-metadata; `bytes_max` bounds how much of a log is read.
    """

    printer: RecordPrinter | None = None
    deep: bool = False
    metadata: bool = True
    bytes_max: int | None = None
    sanity_only: bool = False
    verify_only: bool = False
    message_bytes_max: int = MESSAGE_BYTES_MAX


@dataclass(slots=True)
class Findings:
    """What was wrong with the files seen so far, by absolute path, in the order it was found."""

    index_mismatches: dict[str, dict[int, int]] = field(default_factory=dict)
    gaps: dict[str, dict[int, int]] = field(default_factory=dict)
    timestamp_mismatches: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    timestamp_order: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    missing_offsets: dict[str, list[tuple[int, int]]] = field(default_factory=dict)

    def lines(self) -> Iterator[str]:
        """The tool's text for them."""
        for path, mismatches in self.index_mismatches.items():
            yield f"Mismatches in :{path}"
            for entry, found in sorted(mismatches.items(), reverse=True):
                yield f"  Index offset: {entry}, log offset: {found}"
        for path, pairs in self.timestamp_mismatches.items():
            yield f"Found timestamp mismatch in :{path}"
            for entry, found in pairs:
                yield f"  Index timestamp: {entry}, log timestamp: {found}"
        for path, pairs in self.timestamp_order.items():
            yield f"Found out of order timestamp in :{path}"
            for entry, previous in pairs:
                yield f"  Index timestamp: {entry}, Previously indexed timestamp: {previous}"
        for pairs in self.missing_offsets.values():
            yield "The following indexed offsets are not found in the log."
            for entry, found in pairs:
                yield f"Indexed offset: {entry}, found log offset: {found}"
        for path, gaps in self.gaps.items():
            yield f"Non-consecutive offsets in {path}"
            for before, after in sorted(gaps.items()):
                yield f"  {before} is followed by {after}"


class FileDump:
    """One data file's text. Iterate over `lines()` once.

    Attributes:
        note: a line for standard error instead of a dump, if the file is of no known kind.
    """

    def __init__(self, disk: Disk, name: str, shown: str, options: DumpOptions, findings: Findings) -> None:
        """Prepare the dump of `name` on `disk`, shown to the reader as `shown`."""
        self._disk = disk
        self._name = name
        self._shown = shown
        self._path = f"{disk.name}/{name}"
        self._options = options
        self._findings = findings
        self.note: str | None = None

    def lines(self) -> Iterator[str]:
        """Everything the tool prints for the file, "Dumping ..." included.

        Raises:
            StorageError: the file cannot be read, or is damaged in a way the tool gives up on.
        """
        yield f"Dumping {self._shown}"
        suffix = self._name[self._name.rfind(".") :]
        if suffix in (".log", ".checkpoint"):
            yield from self._log(suffix)
        elif suffix == ".index":
            yield from self._index()
        elif suffix == ".timeindex":
            yield from self._time_index()
        elif suffix == ".snapshot":
            yield from self._producers()
        elif suffix == ".txnindex":
            yield from self._transactions()
        else:
            self.note = f"Ignoring unknown file {self._shown}"

    def _log(self, suffix: str) -> Iterator[str]:
        if suffix == ".log":
            yield f"Log starting offset: {self._base_offset()}"
        elif self._name == BOOTSTRAP_SNAPSHOT:
            yield "KRaft bootstrap snapshot"
        else:
            offset, _, epoch = self._name.removesuffix(suffix).partition("-")
            if not (offset.isdecimal() and epoch.isdecimal()):
                raise CorruptLog("not the name of a snapshot", file=self._shown)
            yield f"Snapshot end offset: {int(offset)}, epoch: {int(epoch)}"
        options = self._options
        file = self._open(self._name)
        size = file.size() if options.bytes_max is None else min(file.size(), options.bytes_max)
        deep = options.deep or options.printer is not None
        previous = -1
        read = 0
        for position, header, data in read_batches(file, size, whole=True):
            yield batch_line(header, data, position)
            read = position + header.size
            if not deep:
                continue
            for record, line in record_lines(header, data, options.printer, metadata=options.metadata):
                if record.offset != previous + 1:
                    self._findings.gaps.setdefault(self._path, {})[previous] = record.offset
                previous = record.offset
                yield line
        if read < size and options.bytes_max is None:
            yield f"Found {size - read} invalid bytes at the end of {self._name}"

    def _index(self) -> Iterator[str]:
        base = self._base_offset()
        data = self._disk.read(self._name)
        log = self._open(f"{self._stem()}.log")
        entries = _entries(OFFSET_ENTRY, data)
        if not entries:
            yield f"{self._shown} is empty."
            return
        if self._options.sanity_only:
            self._check_multiple(data, OFFSET_ENTRY.size, "Index")
            yield f"{self._shown} passed sanity check."
            return
        for number, (relative, position) in enumerate(entries):
            if not relative and number:
                return  # the rest was only preallocated
            offset = base + relative
            found = self._last_offset_at(log, position)
            if found != offset:
                self._findings.index_mismatches.setdefault(self._path, {})[offset] = found
            if not self._options.verify_only:
                yield f"offset: {offset} position: {position}"

    def _time_index(self) -> Iterator[str]:
        base = self._base_offset()
        data = self._disk.read(self._name)
        log = self._open(f"{self._stem()}.log")
        index = self._disk.read(f"{self._stem()}.index")
        entries = _entries(TIME_ENTRY, data)
        if self._options.sanity_only:
            self._check_time_index(data, entries)
            yield f"{self._shown} passed sanity check."
            return
        previous = -1
        for number, (timestamp, relative) in enumerate(entries):
            if not relative and number:
                return
            self._check_time_entry(log, index, base, timestamp, base + relative, previous)
            if not self._options.verify_only:
                yield f"timestamp: {timestamp} offset: {base + relative}"
            previous = timestamp

    def _check_time_entry(
        self, log: DiskFile, index: bytes, base: int, timestamp: int, offset: int, previous: int
    ) -> None:
        start = 0
        for relative, position in _entries(OFFSET_ENTRY, index):
            if (not relative and start) or base + relative > offset:
                break
            start = position
        findings = self._findings
        for _, header, batch in read_batches(log, log.size(), start=start, whole=True):
            if header.last_offset < offset:
                continue
            if header.last_offset != offset:
                findings.missing_offsets.setdefault(self._path, []).append((offset, header.last_offset))
                return
            found = max((record.timestamp for record, _ in record_lines(header, batch, None)), default=-1)
            if found != timestamp:
                findings.timestamp_mismatches.setdefault(self._path, []).append((timestamp, found))
            if previous >= timestamp:
                findings.timestamp_order.setdefault(self._path, []).append((timestamp, previous))
            return
        findings.missing_offsets.setdefault(self._path, []).append((offset, -1))

    def _check_time_index(self, data: bytes, entries: list[tuple[int, int]]) -> None:
        if entries and entries[-1][0] < entries[0][0]:
            raise CorruptLog(
                f"Corrupt time index found, time index file ({self._path}) has non-zero size but the last "
                f"timestamp is {entries[-1][0]} which is less than the first timestamp {entries[0][0]}"
            )
        self._check_multiple(data, TIME_ENTRY.size, "Time index")

    def _check_multiple(self, data: bytes, size: int, kind: str) -> None:
        if len(data) % size:
            raise CorruptLog(
                f"{kind} file {self._path} is corrupt, found {len(data)} bytes which is neither positive nor "
                f"a multiple of {size}."
            )

    def _producers(self) -> Iterator[str]:
        try:
            state = ProducerState.decode(self._disk.read(self._name))
        except CorruptLog as error:
            raise CorruptLog(str(error), file=self._shown) from error
        for entry in state:
            txn = entry.txn_first_offset
            line = (
                f"producerId: {entry.producer_id} producerEpoch: {entry.epoch} "
                f"coordinatorEpoch: {entry.coordinator_epoch} "
                f"currentTxnFirstOffset: OptionalLong{f'[{txn}]' if txn >= 0 else '.empty'} "
                f"lastTimestamp: {entry.last_timestamp}"
            )
            for batch in entry.batches[-1:]:
                line += (
                    f" firstSequence: {batch.first_sequence} lastSequence: {batch.last_sequence} "
                    f"lastOffset: {batch.last_offset} offsetDelta: {batch.offset_delta} "
                    f"timestamp: {batch.timestamp}"
                )
            yield line

    def _transactions(self) -> Iterator[str]:
        self._base_offset()
        for entry in txn_index.decode(self._disk.read(self._name)):
            yield (
                f"version: {txn_index.VERSION} producerId: {entry.producer_id} "
                f"firstOffset: {entry.first_offset} lastOffset: {entry.last_offset} "
                f"lastStableOffset: {entry.last_stable_offset}"
            )

    def _last_offset_at(self, log: DiskFile, position: int) -> int:
        size = min(log.size(), position + self._options.message_bytes_max)
        header = next((found for _, found, _ in read_batches(log, size, start=position)), None)
        if header is None:
            raise CorruptLog(f"the index points to byte {position}, where no batch begins", file=self._shown)
        return header.last_offset

    def _open(self, name: str) -> DiskFile:
        try:
            return self._disk.open(name, write=False)
        except FileMissing as error:
            raise FileMissing(f"{self._disk.name}/{error}") from error

    def _stem(self) -> str:
        return self._name.split(".", 1)[0]

    def _base_offset(self) -> int:
        stem = self._stem()
        if not stem.isdecimal():
            raise CorruptLog(f"its name does not begin with an offset but with {stem!r}", file=self._shown)
        return int(stem)


def _entries(struct: Struct, data: bytes) -> list[tuple[int, int]]:
    """The whole entries of an index file, those preallocated for later included."""
    whole = len(data) // struct.size * struct.size
    return [(first, second) for first, second in struct.iter_unpack(data[:whole])]
