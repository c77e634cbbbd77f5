"""Sparse indexes: look-ups over file and memory alike, cuts, preallocated zeros, full disks."""

from __future__ import annotations

from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moldau_broker.storage.errors import DiskFull
from moldau_broker.storage.index import OFFSET_ENTRY, TIME_ENTRY, Cold, SparseIndex
from moldau_broker.storage.place import Place
from moldau_broker.testing.disk import SimDisk


def make(disk=None, struct=OFFSET_ENTRY):
    disk = disk or SimDisk()
    disk.make_folder("t-0")
    return SparseIndex(Place(disk, "t-0"), "x.index", struct)


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), max_size=200),
    st.integers(0, 200),
    st.integers(0, 1_000),
    st.sampled_from([0, 1]),
)
def test_floor_agrees_with_a_linear_search(steps, written, key, column):
    """However the entries are spread over file and memory."""
    index, entries, offset, position = make(), [], 0, 0
    for number, (forward, size) in enumerate(steps):
        offset, position = offset + forward, position + size
        index.append(offset, position)
        entries.append((offset, position))
        if number == written:
            index.write_pending()
    expected = [entry for entry in entries if entry[column] <= key]
    assert index.floor(column, key) == (expected[-1] if expected else None)
    assert index.entries() == entries
    assert len(index) == len(entries)
    assert index.last() == (entries[-1] if entries else None)
    index.cut(column, key)
    assert index.entries() == expected
    assert index.last() == (expected[-1] if expected else None)


def test_preallocated_zeros_are_not_entries():
    """Kafka preallocates; what follows the last entry is empty."""
    for count in range(6):
        disk = SimDisk()
        index = make(disk)
        disk.write("t-0/x.index", b"".join(pack(">II", n + 1, n * 10 + 7) for n in range(count)) + bytes(800))
        assert len(index) == count
        index.append(900, 9_000)
        index.write_pending()
        assert len(disk.read("t-0/x.index")) == (count + 1) * 8


def test_failed_write_is_made_good_later():
    """A full disk leaves half an entry in the file and the whole of it in memory."""
    disk = SimDisk()
    index = make(disk)
    for number in range(10):
        index.append(number + 1, number * 10 + 5)
    disk.capacity = disk.used() + 20
    with pytest.raises(DiskFull):
        index.write_pending()
    expected = [(number + 1, number * 10 + 5) for number in range(10)]
    assert index.entries() == expected
    disk.capacity = None
    index.write_pending()
    assert make(disk).entries() == expected


def test_cold_pages_are_told_apart():
    """A look-up that must not wait says so instead."""
    disk = SimDisk()
    index = make(disk, TIME_ENTRY)
    for number in range(200):
        index.append(number * 10, number)
    index.write_pending()
    disk.cold = True
    with pytest.raises(Cold):
        index.floor(0, 500, nowait=True)
    assert index.floor(0, 505) == (500, 50)
