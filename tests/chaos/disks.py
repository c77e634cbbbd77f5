"""Replicas compared by their bytes, as they lie in the brokers' folders."""

from __future__ import annotations

import hashlib
import itertools
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

_HEADER: Final = struct.Struct(">qi")
"""Base offset, and the size of what follows; every batch of Kafka's log begins with them."""
_LAST_OFFSET_DELTA: Final = struct.Struct(">i")
_LAST_OFFSET_DELTA_AT: Final = 23


def batches(folder: Path) -> Iterator[tuple[int, int, bytes]]:
    """(base offset, last offset, bytes) of each whole batch of a partition's folder, segment by segment."""
    for segment in sorted(folder.glob("*.log")):
        data = memoryview(segment.read_bytes())
        at = 0
        while at + _HEADER.size <= len(data):
            base, size = _HEADER.unpack_from(data, at)
            end = at + _HEADER.size + size
            if size <= 0 or end > len(data):
                break
            (delta,) = _LAST_OFFSET_DELTA.unpack_from(data, at + _LAST_OFFSET_DELTA_AT)
            yield base, base + delta, bytes(data[at:end])
            at = end


def differences(replicas: Mapping[int, Path], high_watermark: int) -> list[str]:
    """Where the replicas of a partition differ below the high watermark, by node, in words; none when all is well.

    They may begin at different offsets (retention); they are compared from where all of them have begun.
    """
    held = {node: list(batches(folder)) for node, folder in replicas.items()}
    starts = [found[0][0] for found in held.values() if found]
    start = max(starts, default=0)
    trails = {
        node: [
            (base, last, hashlib.blake2b(data, digest_size=8).digest())
            for base, last, data in found
            if last >= start and base < high_watermark
        ]
        for node, found in held.items()
    }
    said = []
    for node, trail in trails.items():
        reached = trail[-1][1] + 1 if trail else start
        if reached < high_watermark:
            said.append(f"node {node} ends at {reached}, the high watermark is {high_watermark}")
        for one, next_one in itertools.pairwise(trail):
            if next_one[0] != one[1] + 1:
                said.append(f"node {node} has a gap between {one[1]} and {next_one[0]}")
    first, *others = trails
    for node in others:
        for ours, theirs in zip(trails[first], trails[node], strict=False):
            if ours != theirs:
                said.append(
                    f"nodes {first} and {node} differ at {ours[0]}..{ours[1]} / {theirs[0]}..{theirs[1]}"
                )
                break
    return said
