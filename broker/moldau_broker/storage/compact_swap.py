"""Putting a compacted segment in the place of its sources, so that no crash loses or doubles a record.

Files of the new segment X pass through three names; every step is one that a restart can tell from the names:

    X.*.cleaned   written and durable          a restart deletes them: nothing happened
    X.*.swap      all renamed, folder synced   the swap is decided; a restart completes it
    old -> .deleted, folder synced             only the new data is left
    X.*           log first, then its indexes  done

While any `.cleaned` file is there, `.swap` files of the same or a higher base are undone, as in Kafka: either
broker completes or undoes what the other left. The steps on the log's own thread are renames only; whatever
waits for the disk happens between them, on another thread.

Source: Kafka 4.3 `LocalLog.replaceSegments`, `LogLoader.removeTempFilesAndCollectSwapFiles`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moldau_broker.storage import txn_index
from moldau_broker.storage.batches import walk
from moldau_broker.storage.control import transaction_marker
from moldau_broker.storage.errors import FileMissing
from moldau_broker.storage.names import (
    CLEANED,
    LOG,
    SEGMENT_SUFFIXES,
    SWAP,
    TXN_INDEX,
    parse_segment_file,
    segment_file,
)

if TYPE_CHECKING:
    from moldau_broker.storage.compact_job import Ready
    from moldau_broker.storage.log import Log
    from moldau_broker.storage.place import Place


class Swap:
    """The steps for one rewritten group: `begin`, sync, `install`, sync, `finish`, sync.

    The steps themselves belong to the log's thread and do not wait for the disk; `sync` waits and may run
    anywhere. `begin` and `install` return False if the log has changed under the cleaner (truncated, deleted,
    its oldest segments gone); the swap is then over, and `remove_leftovers` removes its files.
    """

    def __init__(self, log: Log, ready: Ready) -> None:
        self._log = log
        self._generation = log.generation
        by_base = {segment.base_offset: segment for segment in log.segments[:-1]}
        self._old = [by_base[base] for base in ready.sources if base in by_base]
        self._complete = len(self._old) == len(ready.sources)
        self._new = log.cleaned_segment(
            ready.sources[0], ready.size, max((segment.created_ms for segment in self._old), default=0)
        )

    def _still_fits(self) -> bool:
        log = self._log
        return (
            self._complete
            and log.failure is None
            and log.generation == self._generation
            and all(segment in log.segments for segment in self._old)
        )

    def begin(self) -> bool:
        """Rename the new files to `.swap`.

        Raises:
            StorageError: a rename failed; nothing has changed but the names of the new files.
        """
        if not self._still_fits():
            return False
        self._new.rename(SWAP)
        return True

    def install(self, now_ms: int) -> bool:
        """Take the new segment into the log and the old ones out of it.

        Raises:
            StorageError: a rename failed; the log must not be used any more, a restart settles it.
        """
        if not self._still_fits():
            return False
        self._new.handle()  # reads go on through it, whatever its name
        self._log.replace_segments(self._old, self._new, now_ms)
        return True

    def finish(self) -> None:
        """Give the new files their live names.

        Raises:
            StorageError: a rename failed; a restart settles it.
        """
        self._new.handle()
        self._new.rename("")

    def sync(self) -> None:
        """Make the names durable. Blocks; any thread.

        Raises:
            StorageError: the names on disk are unknown from now on.
        """
        self._log.place.disk.sync_folder(self._log.place.folder)


def remove_leftovers(place: Place) -> None:
    """Delete the `.cleaned` and `.swap` files of a round given up while the log stays open. Blocks.

    Raises:
        StorageError: the disk refuses; the next opening does it.
    """
    try:
        names = _names(place)
    except FileMissing:
        return  # the partition was deleted meanwhile
    for name in names:
        if name.endswith(LOG + SWAP):  # undecide it: beside a .cleaned file no swap counts
            undecided = name.removesuffix(SWAP) + CLEANED
            place.disk.rename(place.path(name), place.path(undecided))
            place.disk.sync_folder(place.folder)
    _undo(place, 0)


def settle_swaps(place: Place) -> None:
    """Before a log is opened: complete the swaps that were decided, undo the others.

    Afterwards no `.cleaned` or `.swap` file is left. Can itself be interrupted anywhere and called again.

    Raises:
        StorageError: the disk refuses, or a decided swap's log does not parse.
    """
    cleaned = [base for base, suffix in map(_parsed, _names(place)) if suffix.endswith(CLEANED)]
    if cleaned:
        _undo(place, min(cleaned))
    names = set(_names(place))
    for base in sorted({base for base, suffix in map(_parsed, names) if suffix.endswith(SWAP)}):
        if segment_file(base, LOG) + SWAP in names:
            _remove_sources(place, base, names)
        _rename_swapped(place, base, names)


def _undo(place: Place, from_base: int) -> None:
    """Delete `.swap` files first, `.cleaned` ones last: while one of these is there, it is an undoing."""
    for suffix in (SWAP, CLEANED):
        for name in _names(place):
            if name.endswith(suffix) and _parsed(name)[0] >= from_base:
                place.disk.unlink(place.path(name))
        place.disk.sync_folder(place.folder)


def _remove_sources(place: Place, base: int, names: set[str]) -> None:
    """Delete the segments that the decided one at `base` replaces; those at `base` itself are renamed over.

    A source above its last offset may stay: everything in it is superseded, and will be cleaned again.
    """
    disk = place.disk
    log = disk.open(place.path(segment_file(base, LOG) + SWAP), write=False)
    end = base
    aborts: set[int] = set()
    for batch in walk(log.pread, 0, log.size()):
        end = batch.last_offset + 1
        if batch.is_control:
            marker = transaction_marker(log.pread(batch.size, batch.position))
            if marker is not None and marker.aborted:
                aborts.add(batch.last_offset)
    transactions = segment_file(base, TXN_INDEX)
    if transactions in names and transactions + SWAP not in names:
        # Renamed already, or the source's (Kafka makes no new one without entries): right for both after this.
        entries = [entry for entry in txn_index.read(place, transactions) if entry.last_offset in aborts]
        txn_index.rewrite(place, transactions, entries)
        disk.datasync(place.path(transactions))
    for name in sorted(names, reverse=True):
        found, suffix = _parsed(name)
        if suffix in SEGMENT_SUFFIXES and base < found < end:
            disk.unlink(place.path(name))
    disk.sync_folder(place.folder)


def _rename_swapped(place: Place, base: int, names: set[str]) -> None:
    """The last step: `.swap` files get their live names, the log first, so that what is left names the step."""
    for kind in SEGMENT_SUFFIXES:
        live = segment_file(base, kind)
        if live + SWAP in names:
            place.disk.rename(place.path(live + SWAP), place.path(live))
    place.disk.sync_folder(place.folder)


def _names(place: Place) -> list[str]:
    """The names of a segment's files, of whatever suffix, in the folder."""
    return [
        entry.name
        for entry in place.disk.entries(place.folder)
        if not entry.is_folder and parse_segment_file(entry.name) is not None
    ]


def _parsed(name: str) -> tuple[int, str]:
    return parse_segment_file(name) or (-1, "")
