"""What one cleaning round remembers of a log's dirty section, in bounded memory. No I/O here.

Two structures, sized once and never grown:

- `KeyOffsets`: key -> last offset, 16 bytes a slot (Kafka's own map takes 24). A key is represented by 88
  bits of two keyed SipHash values, those of Python's `hash()` for bytes: with a million keys two of them
  are taken for one with a probability of 2e-15 per round, and no client can search for such a pair.
- `OffsetBits`: one bit per offset. Superseded offsets are known when the map replaces them, so the
  rewrite of the dirty section needs no second look at its keys, and batches that lost nothing are copied
  without being opened.
"""

from __future__ import annotations

from array import array
from typing import Final

SLOT_BYTES: Final = 16
OFFSET_BITS: Final = 40  # offsets are kept relative to the round's first; a round is far shorter than 2**40

_OFFSET_MASK: Final = (1 << OFFSET_BITS) - 1
_HASH_MASK: Final = (1 << 64) - 1
_SALT: Final = b"\x9e"


class KeyOffsets:
    """A hash table of fixed size from record keys to their last offset in the dirty section.

    Open addressing with double hashing over a prime number of slots. Word 2i holds 64 bits of the key's
    hash (0 = free), word 2i+1 another 24 bits and the offset relative to `base_offset`.
    """

    __slots__ = ("_base_offset", "_slots", "_words", "capacity", "size")

    def __init__(self, slots: int, *, base_offset: int = 0, load_factor: float = 0.9) -> None:
        """Allocate at least 3 and at most `slots` slots of which `load_factor` may be filled."""
        self._slots = _prime_at_most(slots)
        self._words = array("Q", bytes(SLOT_BYTES)) * self._slots
        self._base_offset = base_offset
        self.capacity = max(1, min(self._slots - 1, int(self._slots * load_factor)))
        self.size = 0

    def put(self, key: bytes, offset: int) -> int:
        """Remember `offset` as the last one of `key`; return the offset it replaces, or -1.

        The caller keeps `size` below `capacity`, and feeds offsets in ascending order.
        """
        words = self._words
        slots = self._slots
        first = hash(key) & _HASH_MASK or 1
        second = hash(key + _SALT) & _HASH_MASK
        tag = second >> OFFSET_BITS << OFFSET_BITS
        slot = first % slots
        step = 0
        while True:
            index = slot + slot
            found = words[index]
            if not found:
                words[index] = first
                words[index + 1] = tag | (offset - self._base_offset)
                self.size += 1
                return -1
            if found == first:
                low = words[index + 1]
                if low ^ tag <= _OFFSET_MASK:
                    words[index + 1] = tag | (offset - self._base_offset)
                    return (low & _OFFSET_MASK) + self._base_offset
            if not step:
                step = 1 + second % (slots - 1)
            slot += step
            if slot >= slots:
                slot -= slots

    def get(self, key: bytes) -> int:
        """The last offset of `key` in the dirty section, -1 if it does not occur there."""
        words = self._words
        slots = self._slots
        first = hash(key) & _HASH_MASK or 1
        slot = first % slots
        found = words[slot + slot]
        if not found:
            return -1
        second = hash(key + _SALT) & _HASH_MASK
        tag = second >> OFFSET_BITS << OFFSET_BITS
        step = 1 + second % (slots - 1)
        while found:
            if found == first:
                low = words[slot + slot + 1]
                if low ^ tag <= _OFFSET_MASK:
                    return (low & _OFFSET_MASK) + self._base_offset
            slot += step
            if slot >= slots:
                slot -= slots
            found = words[slot + slot]
        return -1

    @property
    def nbytes(self) -> int:
        """Bytes the table occupies."""
        return self._slots * SLOT_BYTES

    @property
    def utilisation(self) -> float:
        """Filled share of the slots, 0 to 1."""
        return self.size / self._slots


class OffsetBits:
    """A set of offsets in [base_offset, base_offset + span), one bit each."""

    __slots__ = ("_base_offset", "raw")

    def __init__(self, base_offset: int, span: int) -> None:
        self._base_offset = base_offset
        self.raw = bytearray((span + 7) >> 3)

    def add(self, offset: int) -> None:
        """Put `offset` into the set."""
        index = offset - self._base_offset
        self.raw[index >> 3] |= 1 << (index & 7)

    def slice(self, first: int, last: int) -> int:
        """The members from `first` to `last` inclusive, as an integer whose bit 0 stands for `first`."""
        low = first - self._base_offset
        high = last - self._base_offset
        word = int.from_bytes(self.raw[low >> 3 : (high >> 3) + 1], "little") >> (low & 7)
        return word & ((1 << (high - low + 1)) - 1)


def _prime_at_most(limit: int) -> int:
    """The largest prime not above `limit`; 3 for anything smaller."""
    candidate = max(3, limit)
    if candidate % 2 == 0:
        candidate -= 1
    while any(candidate % divisor == 0 for divisor in range(3, int(candidate**0.5) + 1, 2)):
        candidate -= 2
    return candidate
