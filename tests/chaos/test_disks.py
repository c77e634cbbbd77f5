"""Replicas on disk are told apart by their bytes, up to the high watermark and from where all have begun."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.chaos.disks import differences

from moldau_broker.wire.records import Record, build_batch

SEGMENT = "00000000000000000000.log"


def batch(base: int, text: bytes = b"x") -> bytes:
    return bytes(build_batch([Record(base + at, 1_000 + at, None, text) for at in (0, 1)], base_offset=base))


@pytest.fixture
def replicas(tmp_path: Path) -> dict[int, Path]:
    """Three equal replicas of ten batches, of two records each; one has rolled its segment elsewhere."""
    folders = {node: tmp_path / str(node) for node in (1, 2, 3)}
    for node, folder in folders.items():
        folder.mkdir()
        cut = 6 if node == 3 else 10
        (folder / SEGMENT).write_bytes(b"".join(batch(2 * at) for at in range(cut)))
        if cut < 10:
            name = f"{2 * cut:020}.log"
            (folder / name).write_bytes(b"".join(batch(2 * at) for at in range(cut, 10)))
    return folders


def test_equal_replicas_do_not_differ(replicas: dict[int, Path]) -> None:
    """Segments may end elsewhere; what is above the high watermark does not count."""
    with (replicas[2] / SEGMENT).open("ab") as file:
        file.write(batch(20, text=b"only here"))
    assert differences(replicas, 20) == []
    assert differences(replicas, 22)


def test_another_byte_is_found(replicas: dict[int, Path]) -> None:
    """One bit in one replica, below the high watermark."""
    path = replicas[2] / SEGMENT
    data = bytearray(path.read_bytes())
    data[3 * len(batch(0)) - 3] ^= 4
    path.write_bytes(data)
    assert differences(replicas, 20) == ["nodes 1 and 2 differ at 4..5 / 4..5"]


def test_a_short_replica_is_found(replicas: dict[int, Path]) -> None:
    """One that misses the last batch, torn or gone."""
    path = replicas[1] / SEGMENT
    path.write_bytes(path.read_bytes()[:-3])
    assert differences(replicas, 20) == ["node 1 ends at 18, the high watermark is 20"]
    assert differences(replicas, 18) == []


def test_a_hole_is_found(replicas: dict[int, Path]) -> None:
    """One that misses a batch in the middle."""
    (replicas[3] / SEGMENT).write_bytes(b"".join(batch(2 * at) for at in range(5)))
    assert "node 3 has a gap between 9 and 12" in differences(replicas, 20)


def test_replicas_may_begin_elsewhere(replicas: dict[int, Path]) -> None:
    """A replica that holds only the end, after retention or a fresh copy, is compared from its start."""
    (replicas[3] / SEGMENT).unlink()
    assert differences(replicas, 20) == []
