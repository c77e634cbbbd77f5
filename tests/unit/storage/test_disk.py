"""The disk below one directory handle: nothing leaves it, errors are typed, handles outlive their names."""

from __future__ import annotations

import contextlib
import errno
import resource
import signal
from pathlib import Path

import pytest

from moldau_broker.storage.disk import OsDisk, OsFile, translate
from moldau_broker.storage.errors import DirectoryInUse, DiskFull, FileMissing, StorageError
from moldau_broker.testing.disk import SimDisk


def open_descriptors(folder):
    """Those of files and folders in there: what else this process opens and closes meanwhile is not counted."""
    found = 0
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed since it was listed
            found += link.readlink().is_relative_to(folder)
    return found


@pytest.fixture(params=["os", "sim"])
def disk(request, tmp_path):
    """The real disk and the simulated one keep the same contract."""
    return OsDisk(tmp_path / "data") if request.param == "os" else SimDisk()


@pytest.mark.parametrize(
    "path", ["../x", "a/../x", "/etc/passwd", "a/b/c", "..", ".", "", "a/", "a\0b", "a/."]
)
def test_paths_that_are_not_below_the_directory_are_refused(disk, path):
    """Neither opened, nor written, nor unlinked."""
    for action in (
        disk.open,
        disk.read,
        disk.unlink,
        lambda p: disk.write(p, b"x"),
        lambda p: disk.rename(p, "y"),
    ):
        with pytest.raises(StorageError):
            action(path)


def test_files_and_folders(disk):
    """Every operation once, and what it leaves."""
    disk.make_folder("t-0")
    disk.make_folder("t-0")
    disk.write("t-0/a", b"hello")
    file = disk.open("t-0/a")
    file.append(b" ")
    file.append_many([b"wor", b"ld"])
    assert file.pread(100, 6) == b"world"
    assert file.pread(3, 100) == b""
    assert bytes(file.pread_nowait(5, 0)) == b"hello"
    file.truncate(5)
    file.append(b"!")
    file.datasync()
    assert disk.read("t-0/a") == b"hello!"
    assert file.size() == 6
    disk.rename("t-0/a", "t-0/b")
    disk.datasync("t-0/b")
    disk.datasync("t-0/missing")
    disk.truncate("t-0/b", 2)
    disk.replace("c", b"1")
    disk.replace("c", b"22")
    disk.sync_folder()
    disk.sync_folder("t-0")
    assert sorted((e.name, e.size, e.is_folder) for e in disk.entries()) == [
        ("c", 2, False),
        ("t-0", 0, True),
    ]
    assert [(e.name, e.size) for e in disk.entries("t-0")] == [("b", 2)]
    disk.rename("t-0", "u-0")
    assert disk.read("u-0/b") == b"he"
    disk.unlink("c")
    disk.unlink("c")
    disk.remove_folder("u-0")
    disk.remove_folder("u-0")
    assert disk.entries() == []
    free, total = disk.free_bytes()
    assert 0 < free <= total


def test_what_is_missing_says_so(disk):
    """A typed error for files and folders alike."""
    for action in (
        lambda: disk.open("x"),
        lambda: disk.read("f/x"),
        lambda: disk.entries("f"),
        lambda: disk.rename("x", "y"),
        lambda: disk.sync_folder("f"),
    ):
        with pytest.raises(FileMissing):
            action()


def test_handle_outlives_rename_and_unlink(disk):
    """A reader finishes with what it holds."""
    disk.write("a", b"data")
    file = disk.open("a")
    disk.rename("a", "b")
    assert file.pread(4, 0) == b"data"
    disk.unlink("b")
    assert file.pread(4, 0) == b"data"


def test_lock_is_exclusive_until_its_handle_is_dropped(disk):
    """Two brokers never share a directory."""
    held = disk.lock(".lock")
    with pytest.raises(DirectoryInUse):
        disk.lock(".lock")
    del held
    disk.lock(".lock")


def test_links_are_not_followed(tmp_path):
    """A planted link, as a file or as a folder, leads nowhere."""
    (tmp_path / "secret").write_bytes(b"secret")
    data = tmp_path / "data"
    disk = OsDisk(data)
    (data / "file").symlink_to(tmp_path / "secret")
    (data / "t-0").symlink_to(tmp_path)
    for path in ("file", "t-0/secret"):
        with pytest.raises(StorageError):
            disk.read(path)
        with pytest.raises(StorageError):
            disk.write(path, b"gone")
    assert (tmp_path / "secret").read_bytes() == b"secret"
    assert disk.entries() == []


def test_descriptors_are_closed_with_their_handles(tmp_path):
    """Dropping the last reference closes the file; failed opens leak nothing."""
    disk = OsDisk(tmp_path)
    disk.make_folder("t-0")
    disk.write("t-0/a", b"x")
    before = open_descriptors(tmp_path)
    for _ in range(50):
        disk.open("t-0/a").pread(1, 0)
        disk.entries("t-0")
        with pytest.raises(FileMissing):
            disk.open("t-0/missing")
    assert before >= 1
    assert open_descriptors(tmp_path) == before
    held = disk.open("t-0/a")
    assert open_descriptors(tmp_path) == before + 1
    del held


def test_errno_becomes_a_typed_error():
    """Full disks and missing files are told apart from the rest."""
    for code, kind in ((errno.ENOSPC, DiskFull), (errno.EDQUOT, DiskFull), (errno.ENOENT, FileMissing)):
        assert type(translate(OSError(code, "x"), "p")) is kind
    assert type(translate(OSError(errno.EIO, "x"), "p")) is StorageError


def test_write_that_the_kernel_cuts_short_is_continued_or_reported(tmp_path):
    """A file size limit stands in for a disk that takes half a write and refuses the rest."""
    disk = OsDisk(tmp_path)
    file = disk.open("a", create=True)
    old_limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    old_handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, old_limit[1]))
    try:
        with pytest.raises(StorageError):
            file.append(bytes(1_500))
        assert file.size() == 1_000
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old_limit)
        signal.signal(signal.SIGXFSZ, old_handler)


def test_nowait_falls_back_where_the_file_system_cannot_tell(tmp_path, monkeypatch):
    """Without RWF_NOWAIT a read is simply a read."""
    disk = OsDisk(tmp_path)
    disk.write("a", b"data")
    monkeypatch.setattr(OsFile, "nowait_works", False)
    assert disk.open("a").pread_nowait(4, 0) == b"data"
