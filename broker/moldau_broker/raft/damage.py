"""What lies in the metadata log's files, read whole without opening it: the first damage, what follows it, the voters.

A crash tears the end of a log. Damage with a whole batch behind it is none of that: it may have been acknowledged,
whatever the recovery point says, which is written now and then only. Reads, and changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from moldau_broker.raft.batches import decode_batches
from moldau_broker.raft.errors import RaftError
from moldau_broker.raft.history import VotersAt, voter_sets
from moldau_broker.storage.batches import CONTROL, HEADER_SIZE, LENGTH_MIN, LENGTH_OVERHEAD, MAGIC, Scan
from moldau_broker.storage.errors import CorruptLog
from moldau_broker.storage.names import LOG, parse_segment_file

if TYPE_CHECKING:
    from moldau_broker.storage.batches import Batch
    from moldau_broker.storage.disk import Disk

_MAGIC_AT = 16
_LENGTH_AT = 8
_SECTOR = 512
_ZEROS_MIN = 64
"""Fewer may be what was written."""
_ATTRIBUTES_AT = 21


class Examined(NamedTuple):
    """What was found.

    Attributes:
        damage: the first; None if all that is there is whole.
        followed: a whole batch stands somewhere behind it, and it is none that power has taken (see `_was_lost`).
        voters: the newest set that can be read, on either side of the damage.
        hidden: how many of the damaged batches may have named a newer one: they look like control batches.
    """

    damage: CorruptLog | None
    followed: bool
    voters: VotersAt | None
    hidden: int


def examine(disk: Disk, folder: str) -> Examined:
    """Look at every batch of the segments in `folder`.

    Raises:
        StorageError: the disk failed.
    """
    examination = _Examination()
    names = [(parse_segment_file(entry.name), entry.name) for entry in disk.entries(folder)]
    for parsed, name in sorted((parsed, name) for parsed, name in names if parsed and parsed[1] == LOG):
        path = f"{folder}/{name}"
        examination.look_at(path, parsed[0], disk.read(path))
    return Examined(examination.damage, examination.followed, examination.voters, examination.hidden)


class _Examination:
    def __init__(self) -> None:
        self.damage: CorruptLog | None = None
        self.followed = False
        self.voters: VotersAt | None = None
        self.hidden = 0
        self._torn = False
        self._next: int | None = None

    def look_at(self, path: str, base_offset: int, data: bytes) -> None:
        """One segment: the batches up to a damage, and those behind it."""
        position, following = 0, base_offset
        if self._next is not None and base_offset != self._next and data:
            self._damaged(CorruptLog(f"offsets {self._next} to {base_offset} are missing", file=path))
        while position < len(data):
            scan = Scan(
                lambda size, at: data[at : at + size],
                position,
                len(data),
                base_offset=base_offset,
                next_offset=following,
            )
            scan.gapless = True
            for batch in scan:
                self._whole(path, batch, data)
            following = scan.next_offset
            if scan.fault is None:
                break
            self._damaged(CorruptLog(scan.fault, file=path, position=scan.position, offset=following))
            attributes = data[scan.position + _ATTRIBUTES_AT : scan.position + _ATTRIBUTES_AT + 2]
            self.hidden += bool(int.from_bytes(attributes, "big") & CONTROL)
            position, following = _next_whole(data, scan.position + 1, following)
            self._torn = self._torn or _was_lost(data, scan.position, position)
        self._next = following

    def _damaged(self, damage: CorruptLog) -> None:
        self.damage = self.damage or damage

    def _whole(self, path: str, batch: Batch, data: bytes) -> None:
        self.followed = self.followed or (self.damage is not None and not self._torn)
        if not batch.is_control:
            return
        try:
            read = decode_batches(data[batch.position : batch.position + batch.size], path)
            for made in voter_sets(read):
                self.voters = made
        except RaftError as error:
            self._damaged(
                CorruptLog(str(error), file=path, position=batch.position, offset=batch.base_offset)
            )


def _was_lost(data: bytes, begin: int, end: int) -> bool:
    """Whether a sector of this stretch was never written, as when power goes and later ones were faster.

    It then reads as zeros, to which no flipped bit turns it. What was not written had not been flushed either.
    """
    for at in range(begin - begin % _SECTOR, end, _SECTOR):
        part = data[max(at, begin) : min(at + _SECTOR, end)]
        if len(part) >= _ZEROS_MIN and not part.strip(b"\0"):
            return True
    return False


def _next_whole(data: bytes, position: int, above: int) -> tuple[int, int]:
    """(position, base offset) of the next batch that is whole and of offsets above `above`; the end without one."""
    at = data.find(MAGIC, position + _MAGIC_AT)
    while at >= 0:
        start = at - _MAGIC_AT
        base = int.from_bytes(data[start : start + _LENGTH_AT], "big")
        length = int.from_bytes(data[start + _LENGTH_AT : start + LENGTH_OVERHEAD], "big")
        if above < base and LENGTH_MIN <= length <= len(data) - start - LENGTH_OVERHEAD:
            end = start + length + LENGTH_OVERHEAD
            scan = Scan(
                lambda size, where: data[where : where + size], start, end, base_offset=base, next_offset=base
            )
            if end - start >= HEADER_SIZE and next(iter(scan), None) is not None:
                return start, base
        at = data.find(MAGIC, at + 1)
    return len(data), above
