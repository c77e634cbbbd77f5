"""What a stop of any kind leaves in a partition's folder, put in order before its log is opened.

Source: `LogLoader` of Kafka 4.3: its order of suffixes `.cleaned` -> `.swap` -> live, and `.deleted`.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

from moldau_broker.storage.batches import walk
from moldau_broker.storage.errors import CorruptLog, FileMissing, StorageError
from moldau_broker.storage.names import (
    CLEANED,
    DELETED,
    LOG,
    QUARANTINE,
    SEGMENT_SUFFIXES,
    SWAP,
    parse_segment_file,
    segment_file,
)

if TYPE_CHECKING:
    from moldau_broker.storage.disk import Entry
    from moldau_broker.storage.place import Place

_TEMP = ".tmp"


def quarantine(place: Place, error: CorruptLog) -> None:
    """Leave a note in the folder that keeps the log out of service until somebody removes it."""
    note = {"reason": str(error), "file": error.file, "position": error.position, "offset": error.offset}
    with contextlib.suppress(StorageError):  # not being able to write it down changes nothing now
        place.disk.replace(place.path(QUARANTINE), json.dumps(note).encode())


def check_quarantine(place: Place) -> None:
    """Refuse a folder that was put aside.

    Raises:
        CorruptLog: it was, and why.
    """
    try:
        note = place.disk.read(place.path(QUARANTINE))
    except FileMissing:
        return
    try:
        reason = str(json.loads(note)["reason"])
    except (ValueError, KeyError, TypeError):
        reason = "its data is damaged"
    raise CorruptLog(f"{place.folder} was put aside: {reason}")


def tidy(place: Place) -> dict[str, Entry]:
    """Finish or undo interrupted deletions and compactions; the files that remain, by name."""
    found = {entry.name: entry for entry in place.disk.entries(place.folder) if not entry.is_folder}
    cleaned = [base for base, suffix in map(parse, found) if suffix.endswith(CLEANED)]
    for name in list(found):
        base, suffix = parse(name)
        unfinished = suffix.endswith(SWAP) and cleaned and base >= min(cleaned)
        if unfinished or name.endswith((DELETED, CLEANED, _TEMP)):
            place.disk.unlink(place.path(name))
            del found[name]
    swaps = [name for name in found if name.endswith(SWAP)]
    if swaps:
        _finish_swap(place, swaps, found)
    for name in list(found):
        base, suffix = parse(name)
        if suffix in SEGMENT_SUFFIXES and segment_file(base, LOG) not in found:
            place.disk.unlink(place.path(name))
            del found[name]
    return found


def _finish_swap(place: Place, swaps: list[str], found: dict[str, Entry]) -> None:
    """Compacted files had replaced their originals all but in name: remove those, then rename."""
    low, high = 2**63, -1
    for name in swaps:
        base, suffix = parse(name)
        if suffix == LOG + SWAP:
            read = place.disk.open(place.path(name), write=False).pread
            last = base
            for batch in walk(read, 0, found[name].size, chunk=1 << 18):
                last = batch.last_offset
            low, high = min(low, base), max(high, last)
    for name in list(found):
        base, suffix = parse(name)
        if low <= base <= high and suffix in SEGMENT_SUFFIXES:
            place.disk.unlink(place.path(name))
            del found[name]
    for name in swaps:
        live = name.removesuffix(SWAP)
        place.disk.rename(place.path(name), place.path(live))
        found[live] = found.pop(name)._replace(name=live)
    place.disk.sync_folder(place.folder)


def parse(name: str) -> tuple[int, str]:
    """(base offset, suffix) of a file; (-1, '') if it does not belong to a segment."""
    return parse_segment_file(name) or (-1, "")
