"""The simulated disk loses what was not synced, and only that."""

from __future__ import annotations

import errno
from random import Random

import pytest

from moldau_broker.storage.errors import DiskFull, StorageError
from moldau_broker.testing.disk import PAGE, SimCrash, SimDisk


def test_synced_data_survives_every_crash_and_unsynced_data_some():
    """Over many seeds, what is behind the sync is always there; each kind of loss occurs."""
    lengths = set()
    for seed in range(60):
        disk = SimDisk()
        file = disk.open("a", create=True)
        disk.sync_folder()
        file.append(b"s" * 100)
        file.datasync()
        file.append(b"u" * (2 * PAGE))
        disk.crash(Random(seed))
        data = disk.read("a")
        assert data[:100] == b"s" * 100
        assert set(data[100:]) <= set(b"u\0")
        lengths.add(len(data))
    assert 100 in lengths
    assert 100 + 2 * PAGE in lengths
    assert len(lengths) > 3


def test_names_are_durable_in_order_and_only_after_a_folder_sync():
    """A prefix of the changes survives; a rename never without the creation before it."""
    outcomes = set()
    for seed in range(60):
        disk = SimDisk()
        disk.write("a", b"1")
        disk.open("a").datasync()
        disk.rename("a", "b")
        disk.crash(Random(seed))
        outcomes.add(tuple(sorted(entry.name for entry in disk.entries())))
    assert outcomes == {(), ("a",), ("b",)}
    disk = SimDisk()
    disk.write("a", b"1")
    disk.sync_folder()
    disk.crash(Random(1))
    assert [entry.name for entry in disk.entries()] == ["a"]


def test_replace_is_atomic_at_every_operation():
    """The old content or the new one, never a mixture, and the new one once it returned."""
    disk = SimDisk()
    disk.replace("a", b"old")
    steps = len(disk.operations)
    disk.replace("a", b"new")
    total = len(disk.operations)
    seen = set()
    for number in range(steps, total):
        for seed in range(10):
            disk = SimDisk()
            disk.replace("a", b"old")
            disk.crash_at = number
            with pytest.raises(SimCrash):
                disk.replace("a", b"new")
            with pytest.raises(SimCrash):
                disk.read("a")
            disk.crash(Random(seed))
            seen.add(disk.read("a"))
    assert seen == {b"old", b"new"}


def test_full_disk_takes_part_of_a_write_and_heals():
    """ENOSPC leaves what fitted."""
    disk = SimDisk(capacity=10)
    file = disk.open("a", create=True)
    with pytest.raises(DiskFull):
        file.append(bytes(12))
    assert file.size() == 10
    disk.capacity = 20
    file.append(bytes(5))
    assert disk.free_bytes() == (5, 20)


def test_operations_fail_on_command():
    """One kind at a time, until told otherwise."""
    disk = SimDisk()
    file = disk.open("a", create=True)
    disk.failing["datasync"] = errno.EIO
    file.append(b"x")
    with pytest.raises(StorageError):
        file.datasync()
    del disk.failing["datasync"]
    file.datasync()
    disk.failing["read"] = errno.EIO
    with pytest.raises(StorageError):
        file.pread(1, 0)
    assert [operation.kind for operation in disk.operations] == ["create", "append", "datasync", "datasync"]


def test_lying_fsync_loses_what_it_promised():
    """A disk that lies is modelled, so that a test can show what it costs."""
    disk = SimDisk()
    disk.fsync_lies = True
    disk.write("a", b"x")
    disk.sync_folder()
    disk.fsync_lies = False
    disk.crash(Random(3))
    assert disk.entries() == []


def test_clone_is_independent():
    """Damage to a copy leaves the original alone."""
    disk = SimDisk()
    disk.write("a", b"abc")
    twin = disk.clone()
    twin.content("a")[0] = 0
    assert disk.read("a") == b"abc"
