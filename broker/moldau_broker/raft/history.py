"""Which voter set stood at which offset of the log. Pure; KIP-853.

A set is in force as soon as it is appended, and no longer once it is truncated away.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from moldau_broker.raft.batches import ReadBatch
from moldau_broker.raft.control import decode_control
from moldau_broker.raft.quorum import VoterSet
from moldau_broker.wire.messages.raft_records import VotersRecord

NOBODY = VoterSet(())


class VotersAt(NamedTuple):
    """A set and the offset of the batch that holds it; of a snapshot, the offset before its end."""

    offset: int
    voters: VoterSet


def voter_sets(batches: Iterable[ReadBatch]) -> Iterator[VotersAt]:
    """The sets that these batches hold.

    Raises:
        RaftError: a control record cannot be read.
    """
    for batch in batches:
        for key, value in batch.records if batch.control else ():
            record = decode_control(key, value)
            if isinstance(record, VotersRecord):
                yield VotersAt(batch.base_offset, VoterSet.from_record(record))


class VoterHistory:
    """The sets of the log from the oldest snapshot on, by ascending offset."""

    __slots__ = ("_entries",)

    def __init__(self, entries: Iterable[VotersAt] = ()) -> None:
        self._entries = list(entries)

    @property
    def newest(self) -> VoterSet:
        """The set in force; empty if the log names none."""
        return self._entries[-1].voters if self._entries else NOBODY

    @property
    def newest_offset(self) -> int:
        """Where it stands; -1 if in the bootstrap snapshot only, or nowhere."""
        return self._entries[-1].offset if self._entries else -1

    def at(self, end_offset: int) -> VoterSet:
        """The set that the log below `end_offset` ends with: what a snapshot of it states."""
        for entry in reversed(self._entries):
            if entry.offset < end_offset:
                return entry.voters
        return NOBODY

    def append(self, offset: int, voters: VoterSet) -> None:
        """A set was appended in the batch at `offset`."""
        assert offset > self.newest_offset, "the log grows at its end"
        self._entries.append(VotersAt(offset, voters))

    def truncate(self, end_offset: int) -> None:
        """The log was cut at `end_offset`; an earlier set is in force again."""
        while self._entries and self._entries[-1].offset >= end_offset:
            self._entries.pop()

    def forget_below(self, log_start: int) -> None:
        """No snapshot will be asked for that ends below `log_start`."""
        while len(self._entries) > 1 and self._entries[1].offset < log_start:
            del self._entries[0]
