"""The checksums of batches on their way out: what a replica has lost to its disk, it must not pass on. Pure."""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple

from moldau_broker.storage.batches import HEADER_SIZE, LENGTH_MIN, LENGTH_OVERHEAD, MAGIC
from moldau_broker.storage.disk import Buffer
from moldau_broker.wire.checksums import crc32c

_PREFIX: Final = Struct(">qi4xbI2xi")
_CRC_FROM: Final = 21
OFFSET_MAX: Final = 2**63 - 1


class Fault(NamedTuple):
    """The first damaged batch: its byte position in the data, the offset to read it at, what is wrong."""

    position: int
    offset: int
    reason: str


def find_fault(data: Buffer, offset: int, limit: int, *, first_only: bool) -> Fault | None:
    """The first damaged batch in what a read from `offset` gave; None if all are sound.

    Args:
        data: whole batches, of which the first contains or follows `offset`.
        offset: what was asked for.
        limit: offset that no batch reaches. No checksum covers base offsets; in a damaged one most bits lead far away.
        first_only: look at the first batch only. A reader that notices damage further on asks for that batch next.
    """
    view = memoryview(data)
    position, following, end = 0, offset, len(view)
    while position < end:
        if end - position < HEADER_SIZE:
            return Fault(position, following, "a batch header is cut short")
        base, length, magic, crc, delta = _PREFIX.unpack_from(view, position)
        after = position + length + LENGTH_OVERHEAD
        if magic != MAGIC or length < LENGTH_MIN or delta < 0 or after > end:
            return Fault(position, following, "not a batch header")
        if base + delta < following or (position and base < following) or base + delta >= limit:
            found = f"a batch of offsets {base} to {base + delta} where {following} was the next"
            return Fault(position, following, found)
        if crc32c(view[position + _CRC_FROM : after]) != crc:
            return Fault(position, max(base, offset), "the CRC does not match")
        if first_only:
            return None
        position, following = after, base + delta + 1
    return None
