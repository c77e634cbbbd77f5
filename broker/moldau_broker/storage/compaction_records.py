"""Walks over the records of one batch: what each supersedes, which of them stay. No I/O here.

These loops run once per record of a log, so they parse by hand what they need and no more: varints are
decoded in place and headers are never looked at. A record that is kept is copied as it lies: its deltas
are relative to the batch's base offset and base timestamp, and both stay.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from moldau_broker.storage.batches import Batch
from moldau_broker.storage.compaction_map import SLOT_BYTES, KeyOffsets, OffsetBits
from moldau_broker.storage.errors import CorruptLog
from moldau_broker.wire.errors import WireError
from moldau_broker.wire.primitives import read_varint, read_varlong, varint, varlong

NULL_LENGTH: Final = 1  # the varint of -1: a tombstone's value length
OLDEST_DELTA: Final = -(1 << 63)


class Body(NamedTuple):
    """The uncompressed records of a batch: data[start:end]."""

    data: bytes
    start: int
    end: int


@dataclass(slots=True)
class DirtyIndex:
    """What the first walk, over [first_dirty, end), tells the second.

    `superseded` holds the offsets whose record may go, `tombstones` those of records without a value.
    `end` grows while batches are indexed; nothing at or above it is ever touched. Neither set holds
    offsets at or above `limit`. `records` and `keyless` count what was seen.
    """

    first_dirty: int
    limit: int
    end: int
    keys: KeyOffsets
    superseded: OffsetBits
    tombstones: OffsetBits
    records: int = 0
    keyless: int = 0

    @classmethod
    def sized(
        cls, first_dirty: int, upper_bound: int, *, bytes_max: int, load_factor: float = 0.9
    ) -> DirtyIndex:
        """An index for [first_dirty, upper_bound) that takes no more than `bytes_max` bytes.

        A fifth of them is for the two sets of offsets (so 0.4 offsets per byte of the budget); the map gets
        the rest, or what as many keys as there are offsets would need.
        """
        span = min(upper_bound - first_dirty, max(64, bytes_max // 5 * 4))
        slots = min(int(span / load_factor) + 2, (bytes_max - span // 4) // SLOT_BYTES)
        return cls(
            first_dirty=first_dirty,
            limit=first_dirty + span,
            end=first_dirty,
            keys=KeyOffsets(slots, base_offset=first_dirty, load_factor=load_factor),
            superseded=OffsetBits(first_dirty, span),
            tombstones=OffsetBits(first_dirty, span),
        )


class KeptRecords(NamedTuple):
    """The records of one batch that stay.

    `chunks` are their bytes, `records` their number, `max_timestamp_delta` the newest timestamp among them
    relative to the batch's base timestamp; `tombstones` counts those below the dirty section without value.
    """

    chunks: list[memoryview]
    records: int
    max_timestamp_delta: int
    tombstones: int


def index_records(body: Body, batch: Batch, index: DirtyIndex, *, horizon_passed: bool) -> bool:
    """Put the keys of a batch's records into `index`.

    Offsets below `index.first_dirty` are skipped. Tombstones of a batch whose delete horizon has passed
    supersede older values and go themselves. Records without a key have no place in a compacted log and
    go as well (as in Kafka).

    Returns:
        False if the map was full before the last record; the rest of the batch is not indexed then.

    Raises:
        CorruptLog: the records do not parse.
    """
    data, position, limit = body
    base_offset = batch.base_offset
    last_offset = batch.last_offset
    first_dirty = index.first_dirty
    superseded = index.superseded
    keys = index.keys
    put = keys.put
    room = keys.capacity
    try:
        for _ in range(batch.record_count):
            byte = data[position]
            position += 1
            length = byte & 127
            shift = 7
            while byte > 127:
                byte = data[position]
                position += 1
                length |= (byte & 127) << shift
                shift += 7
            end = position + (length >> 1)
            position += 1  # attributes
            while data[position] > 127:  # timestamp delta
                position += 1
            position += 1
            byte = data[position]
            position += 1
            delta = byte & 127
            shift = 7
            while byte > 127:
                byte = data[position]
                position += 1
                delta |= (byte & 127) << shift
                shift += 7
            offset = base_offset + (delta >> 1)
            byte = data[position]
            position += 1
            length = byte & 127
            shift = 7
            while byte > 127:
                byte = data[position]
                position += 1
                length |= (byte & 127) << shift
                shift += 7
            key_end = position + (length >> 1)
            if key_end >= end or end > limit or offset > last_offset:
                raise CorruptLog(f"a record of the batch at offset {base_offset} overruns its bounds")
            if offset >= first_dirty:
                if length & 1:
                    index.keyless += 1
                    superseded.add(offset)
                elif keys.size >= room:
                    return False
                else:
                    previous = put(data[position:key_end], offset)
                    if previous >= 0:
                        superseded.add(previous)
                    if data[key_end] == NULL_LENGTH:
                        (superseded if horizon_passed else index.tombstones).add(offset)
            position = end
    except IndexError as error:
        raise CorruptLog(f"the batch at offset {base_offset} ends inside a record") from error
    if position != limit:
        raise CorruptLog(f"the batch at offset {base_offset} has bytes after its last record")
    index.records += batch.record_count
    return True


def keep_records(body: Body, batch: Batch, index: DirtyIndex, *, horizon_passed: bool) -> KeptRecords:
    """Those of a batch's records that stay in the log.

    In the dirty section (at or above `index.first_dirty`) the index's bits decide. Below it a record goes
    if its key occurs in the dirty section, or if it is a tombstone whose delete horizon has passed.

    Raises:
        CorruptLog: the records do not parse.
    """
    data, position, limit = body
    view = memoryview(data)
    base_offset = batch.base_offset
    first_dirty = index.first_dirty
    superseded = index.superseded.raw
    get = index.keys.get
    chunks: list[memoryview] = []
    kept = tombstones = 0
    newest = OLDEST_DELTA
    run = position  # start of the kept bytes not yet in `chunks`
    try:
        for _ in range(batch.record_count):
            start = position
            byte = data[position]
            position += 1
            length = byte & 127
            shift = 7
            while byte > 127:
                byte = data[position]
                position += 1
                length |= (byte & 127) << shift
                shift += 7
            end = position + (length >> 1)
            position += 1  # attributes
            byte = data[position]
            position += 1
            timestamp = byte & 127
            shift = 7
            while byte > 127:
                byte = data[position]
                position += 1
                timestamp |= (byte & 127) << shift
                shift += 7
            byte = data[position]
            position += 1
            delta = byte & 127
            shift = 7
            while byte > 127:
                byte = data[position]
                position += 1
                delta |= (byte & 127) << shift
                shift += 7
            dirty = base_offset + (delta >> 1) - first_dirty
            if dirty >= 0:
                keep = not superseded[dirty >> 3] >> (dirty & 7) & 1
            else:
                byte = data[position]
                position += 1
                length = byte & 127
                shift = 7
                while byte > 127:
                    byte = data[position]
                    position += 1
                    length |= (byte & 127) << shift
                    shift += 7
                keep = False
                if not length & 1:
                    key_end = position + (length >> 1)
                    keep = get(data[position:key_end]) < 0
                    if keep and data[key_end] == NULL_LENGTH:
                        keep = not horizon_passed
                        tombstones += keep
            if keep:
                kept += 1
                timestamp = timestamp >> 1 ^ -(timestamp & 1)
                if timestamp > newest:
                    newest = timestamp
            else:
                if run < start:
                    chunks.append(view[run:start])
                run = end
            position = end
    except IndexError as error:
        raise CorruptLog(f"the batch at offset {base_offset} ends inside a record") from error
    if position != limit:
        raise CorruptLog(f"the batch at offset {base_offset} has bytes after its last record")
    if run < position:
        chunks.append(view[run:position])
    return KeptRecords(chunks, kept, newest, tombstones)


def shift_timestamps(chunks: list[memoryview], change_ms: int) -> bytes:
    """The records in `chunks` with `change_ms` added to every timestamp delta.

    Needed once in the life of a batch with tombstones: when its base timestamp becomes its delete horizon.
    """
    out = bytearray()
    for chunk in chunks:
        position = 0
        while position < len(chunk):
            length, start = read_varint(chunk, position)
            end = start + length
            delta, rest = read_varlong(chunk, start + 1)
            moved = varlong(delta + change_ms)
            out += varint(1 + len(moved) + end - rest)
            out.append(chunk[start])
            out += moved
            out += chunk[rest:end]
            position = end
    return bytes(out)


def key_of_first(data: bytes, position: int) -> bytes:
    """Key of the uncompressed record at data[position]; b'' without one. For control batches.

    Raises:
        CorruptLog: the record does not parse.
    """
    try:
        _, position = read_varint(data, position)
        _, position = read_varlong(data, position + 1)
        _, position = read_varint(data, position)
        length, position = read_varint(data, position)
    except (IndexError, WireError) as error:
        raise CorruptLog("a control batch ends inside its record") from error
    return data[position : position + length] if length > 0 else b""
