"""Which partition of the offsets topic a group belongs to. Pure."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

_INT32_MIN: Final = -(2**31)


def java_string_hash(text: str) -> int:
    """`String.hashCode()`: over UTF-16 units, in signed 32 bits."""
    value = 0
    units = text.encode("utf-16-be", "surrogatepass")
    for at in range(0, len(units), 2):
        value = (31 * value + (units[at] << 8) + units[at + 1]) & 0xFFFFFFFF
    return value - (1 << 32) if value & 0x80000000 else value


@lru_cache(maxsize=4096)
def partition_for(group_id: str, partitions: int) -> int:
    """The partition whose leader coordinates the group, as every Kafka broker and some clients compute it.

    `partitions` is how many the offsets topic has. Remembered, as every heartbeat asks.
    """
    value = java_string_hash(group_id)
    return (0 if value == _INT32_MIN else abs(value)) % partitions
