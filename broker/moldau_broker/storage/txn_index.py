"""The aborted transactions of a segment, in Kafka's `.txnindex` file.

Written when an abort marker is appended, read when a read_committed fetch passes by.
Source: protocol guide of Kafka 4.3; `TransactionIndex`, `AbortedTxn`.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple

from moldau_broker.storage.errors import CorruptLog, FileMissing
from moldau_broker.storage.place import Place

VERSION: Final = 0
ENTRY: Final = Struct(">hqqqq")


class AbortedTxn(NamedTuple):
    """One aborted transaction; offsets are absolute."""

    producer_id: int
    first_offset: int
    last_offset: int
    last_stable_offset: int


def append(place: Place, name: str, aborted: AbortedTxn) -> None:
    """Add an entry to the file, which need not exist."""
    place.disk.open(place.path(name), create=True).append(ENTRY.pack(VERSION, *aborted))


def decode(data: bytes) -> list[AbortedTxn]:
    """The entries of a file.

    Raises:
        CorruptLog: not a whole number of entries, or of another version.
    """
    if len(data) % ENTRY.size:
        raise CorruptLog("a transaction index is cut short")
    found = []
    for version, *fields in ENTRY.iter_unpack(data):
        if version != VERSION:
            raise CorruptLog(f"a transaction index entry of version {version}")
        found.append(AbortedTxn(*fields))
    return found


def read(place: Place, name: str) -> list[AbortedTxn]:
    """The entries of a segment's file; none if there is no file."""
    try:
        return decode(place.disk.read(place.path(name)))
    except FileMissing:
        return []


def rewrite(place: Place, name: str, entries: list[AbortedTxn]) -> None:
    """Set the file's content; without entries there is no file."""
    if entries:
        place.disk.write(place.path(name), b"".join(ENTRY.pack(VERSION, *entry) for entry in entries))
    else:
        place.disk.unlink(place.path(name))
