"""What a stop of any kind leaves in a partition's folder, put in order before its log is opened.

Source: `LogLoader` of Kafka 4.3: its order of suffixes `.cleaned` -> `.swap` -> live, and `.deleted`.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

from moldau_broker.storage.compact_swap import settle_swaps
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
    valid_part,
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
    found = _files(place)
    if any(name.endswith((CLEANED, SWAP)) for name in found):
        settle_swaps(place)
        found = _files(place)
    for name in list(found):
        base, suffix = parse(name)
        orphaned = suffix in SEGMENT_SUFFIXES and segment_file(base, LOG) not in found
        if orphaned or (name.endswith((DELETED, _TEMP)) and valid_part(name)):
            place.disk.unlink(place.path(name))
            del found[name]
    return found


def _files(place: Place) -> dict[str, Entry]:
    return {entry.name: entry for entry in place.disk.entries(place.folder) if not entry.is_folder}


def parse(name: str) -> tuple[int, str]:
    """(base offset, suffix) of a file; (-1, '') if it does not belong to a segment."""
    return parse_segment_file(name) or (-1, "")
