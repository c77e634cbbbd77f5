"""The only module that touches data files: everything happens below one directory handle.

Paths are `file` or `folder/file`, each part checked against a small alphabet and opened with O_NOFOLLOW,
so that neither a topic name nor a planted link leads out of the directory. No file handle is kept for a
folder: a thousand partitions cost no descriptors until they are used.

An `OsFile` is closed when its last user lets go of it, so a handle may be evicted from a cache on one
thread while another still reads through it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import resource
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple, Protocol, TypeAlias

from moldau_broker.storage.errors import DirectoryInUse, DiskFull, FileMissing, StorageError
from moldau_broker.storage.names import valid_part

Buffer: TypeAlias = bytes | bytearray | memoryview

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_TEMP: Final = ".tmp"  # Kafka's own suffix for a checkpoint being replaced


class Entry(NamedTuple):
    """One directory entry. `size` is 0 for folders; `modified_ms` is wall time."""

    name: str
    size: int
    is_folder: bool
    modified_ms: int = 0


class DiskFile(Protocol):
    """An open file. Closed when the last reference to it is dropped."""

    def append(self, data: Buffer) -> None:
        """Write all of `data` at the end. On failure part of it may have been written."""

    def append_many(self, chunks: Sequence[Buffer]) -> None:
        """Write all chunks at the end, one after another, in as few calls as possible."""

    def pread(self, size: int, position: int) -> bytes:
        """Up to `size` bytes from `position`; fewer only at the end of the file."""

    def pread_nowait(self, size: int, position: int) -> Buffer | None:
        """As `pread`, but what the page cache holds only; None when the first byte is not in it."""

    def datasync(self) -> None:
        """Make the data durable (fdatasync). After an error the file's state on disk is unknown."""

    def truncate(self, size: int) -> None:
        """Cut the file to `size` bytes (not durable before the next `datasync`)."""

    def size(self) -> int:
        """Length in bytes."""


class Disk(Protocol):
    """All file operations of one data directory. Every method raises `StorageError` and nothing else."""

    name: str

    def open(self, path: str, *, create: bool = False, write: bool = True) -> DiskFile:
        """Open for reading, and for appending with `write`. `create` makes the file if it is missing."""

    def read(self, path: str) -> bytes:
        """The whole file."""

    def write(self, path: str, data: Buffer) -> None:
        """Create or overwrite the file with `data`. Neither atomic nor durable."""

    def replace(self, path: str, data: Buffer) -> None:
        """Atomically and durably set the file's content: temp file, fsync, rename, fsync of the folder."""

    def datasync(self, path: str) -> None:
        """Make one file's data durable; a missing file is no error."""

    def truncate(self, path: str, size: int) -> None:
        """Cut the file to `size` bytes."""

    def rename(self, source: str, target: str) -> None:
        """Rename a file or folder, over an existing file."""

    def unlink(self, path: str) -> None:
        """Remove a file; a missing one is no error."""

    def make_folder(self, name: str) -> None:
        """Make a folder; an existing one is no error."""

    def remove_folder(self, name: str) -> None:
        """Remove a folder and the files in it; a missing one is no error."""

    def entries(self, folder: str = "") -> list[Entry]:
        """Entries of the root or of a folder, in no particular order."""

    def sync_folder(self, folder: str = "") -> None:
        """Make the entries of the root or of a folder durable."""

    def free_bytes(self) -> tuple[int, int]:
        """(free, total) bytes of the file system."""

    def lock(self, path: str) -> DiskFile:
        """Hold the file's lock for as long as the handle lives."""


def open_files_allowed() -> int:
    """How many files this process may have open (its soft limit)."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def translate(error: OSError, path: str) -> StorageError:
    """The typed error for an errno."""
    text = f"{path}: {error.strerror or error}"
    if error.errno in _FULL:
        return DiskFull(text)
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return FileMissing(text)
    return StorageError(text)


def split(path: str) -> tuple[str, str]:
    """(folder or '', file) of a path.

    Raises:
        StorageError: a part is not a legal name.
    """
    folder, _, name = path.rpartition("/")
    if not valid_part(name) or (folder and not valid_part(folder)):
        raise StorageError(f"not a path below the data directory: {path!r}")
    return folder, name


class OsFile:
    """A file descriptor. See `DiskFile`."""

    __slots__ = ("_fd", "_path")

    # Cleared for the whole process when a file system cannot tell cold pages apart.
    nowait_works = hasattr(os, "RWF_NOWAIT")

    def __init__(self, fd: int, path: str) -> None:
        self._fd = fd
        self._path = path

    def __del__(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def append(self, data: Buffer) -> None:
        """Write all of `data` at the end."""
        try:
            written = os.write(self._fd, data)
            if written != len(data):
                rest = memoryview(data)
                while written < len(rest):
                    rest = rest[written:]
                    written = os.write(self._fd, rest)
        except OSError as error:
            raise translate(error, self._path) from error

    def append_many(self, chunks: Sequence[Buffer]) -> None:
        """Write all chunks at the end."""
        try:
            written = os.writev(self._fd, chunks)
        except OSError as error:
            raise translate(error, self._path) from error
        if written != sum(map(len, chunks)):
            self.append(b"".join(chunks)[written:])

    def pread(self, size: int, position: int) -> bytes:
        """Up to `size` bytes from `position`."""
        try:
            data = os.pread(self._fd, size, position)
            if len(data) < size and data:  # a signal, or a limit of 2 GiB: the rest, or nothing at the end
                rest = os.pread(self._fd, size - len(data), position + len(data))
                return data + rest if rest else data
        except OSError as error:
            raise translate(error, self._path) from error
        return data

    def pread_nowait(self, size: int, position: int) -> Buffer | None:
        """Up to `size` bytes that are in the page cache, or None."""
        if not OsFile.nowait_works:
            return self.pread(size, position)
        buffer = bytearray(size)
        try:
            count = os.preadv(self._fd, (buffer,), position, os.RWF_NOWAIT)
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                OsFile.nowait_works = False
                return self.pread(size, position)
            raise translate(error, self._path) from error
        if count < size:
            del buffer[count:]
        return buffer

    def datasync(self) -> None:
        """fdatasync."""
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            raise translate(error, self._path) from error

    def truncate(self, size: int) -> None:
        """ftruncate."""
        try:
            os.ftruncate(self._fd, size)
        except OSError as error:
            raise translate(error, self._path) from error

    def size(self) -> int:
        """Length in bytes."""
        try:
            return os.fstat(self._fd).st_size
        except OSError as error:
            raise translate(error, self._path) from error


class OsDisk:
    """A directory of the machine. See `Disk`."""

    __slots__ = ("_root", "name")

    def __init__(self, path: str | os.PathLike[str], *, create: bool = True) -> None:
        self.name = os.fspath(path)
        try:
            if create:
                Path(self.name).mkdir(mode=0o750, parents=True, exist_ok=True)
            self._root = OsFile(os.open(self.name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), self.name)
        except OSError as error:
            raise translate(error, self.name) from error

    def _folder(self, name: str) -> int:
        """A descriptor of the folder (of the root for ''); the caller closes it unless it is the root's."""
        root = self._root._fd
        if not name:
            return root
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(name, flags, dir_fd=root)

    def _leave(self, fd: int) -> None:
        if fd != self._root._fd:
            os.close(fd)

    def _open(self, path: str, flags: int, mode: int = 0o640) -> int:
        folder, name = split(path)
        try:
            parent = self._folder(folder)
            try:
                return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=parent)
            finally:
                self._leave(parent)
        except OSError as error:
            raise translate(error, path) from error

    def open(self, path: str, *, create: bool = False, write: bool = True) -> OsFile:
        """Open for reading and appending."""
        flags = os.O_RDWR | os.O_APPEND if write else os.O_RDONLY
        return OsFile(self._open(path, flags | (os.O_CREAT if create else 0)), path)

    def read(self, path: str) -> bytes:
        """The whole file."""
        file = self.open(path, write=False)
        return file.pread(file.size(), 0)

    def write(self, path: str, data: Buffer) -> None:
        """Create or overwrite."""
        OsFile(self._open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), path).append(data)

    def replace(self, path: str, data: Buffer) -> None:
        """Atomic and durable."""
        temp = path + _TEMP
        try:
            file = OsFile(self._open(temp, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), temp)
            file.append(data)
            file.datasync()
            self.rename(temp, path)
        except StorageError:
            with contextlib.suppress(StorageError):
                self.unlink(temp)
            raise
        self.sync_folder(split(path)[0])

    def datasync(self, path: str) -> None:
        """fdatasync through a fresh descriptor."""
        with contextlib.suppress(FileMissing):
            self.open(path).datasync()

    def truncate(self, path: str, size: int) -> None:
        """ftruncate through a fresh descriptor."""
        self.open(path).truncate(size)

    def rename(self, source: str, target: str) -> None:
        """renameat below the root."""
        from_folder, from_name = split(source)
        to_folder, to_name = split(target)
        try:
            one = self._folder(from_folder)
            try:
                other = one if to_folder == from_folder else self._folder(to_folder)
                try:
                    os.rename(from_name, to_name, src_dir_fd=one, dst_dir_fd=other)
                finally:
                    if other != one:
                        self._leave(other)
            finally:
                self._leave(one)
        except OSError as error:
            raise translate(error, source) from error

    def unlink(self, path: str) -> None:
        """unlinkat below the root."""
        folder, name = split(path)
        try:
            parent = self._folder(folder)
            try:
                os.unlink(name, dir_fd=parent)
            finally:
                self._leave(parent)
        except FileNotFoundError:
            return
        except OSError as error:
            raise translate(error, path) from error

    def make_folder(self, name: str) -> None:
        """mkdirat below the root."""
        split(name)
        try:
            os.mkdir(name, 0o750, dir_fd=self._root._fd)
        except FileExistsError:
            return
        except OSError as error:
            raise translate(error, name) from error

    def remove_folder(self, name: str) -> None:
        """Remove the folder's files, then the folder."""
        split(name)
        try:
            parent = self._folder(name)
        except FileNotFoundError:
            return
        except OSError as error:
            raise translate(error, name) from error
        try:
            for entry in os.listdir(parent):  # noqa: PTH208 - by descriptor
                os.unlink(entry, dir_fd=parent)
            os.rmdir(name, dir_fd=self._root._fd)
        except OSError as error:
            raise translate(error, name) from error
        finally:
            self._leave(parent)

    def entries(self, folder: str = "") -> list[Entry]:
        """scandir with sizes. Links and other oddities are left out."""
        if folder:
            split(folder)
        found: list[Entry] = []
        try:
            parent = self._folder(folder)
            try:
                with os.scandir(parent) as items:
                    for item in items:
                        status = item.stat(follow_symlinks=False)
                        if stat.S_ISREG(status.st_mode):
                            found.append(
                                Entry(item.name, status.st_size, False, status.st_mtime_ns // 1_000_000)
                            )
                        elif stat.S_ISDIR(status.st_mode):
                            found.append(Entry(item.name, 0, True))
            finally:
                self._leave(parent)
        except OSError as error:
            raise translate(error, folder or self.name) from error
        return found

    def sync_folder(self, folder: str = "") -> None:
        """fsync of the directory."""
        if folder:
            split(folder)
        try:
            parent = self._folder(folder)
            try:
                os.fsync(parent)
            finally:
                self._leave(parent)
        except OSError as error:
            raise translate(error, folder or self.name) from error

    def free_bytes(self) -> tuple[int, int]:
        """statvfs: what an unprivileged user may still write, and the size of the file system."""
        try:
            status = os.fstatvfs(self._root._fd)
        except OSError as error:
            raise translate(error, self.name) from error
        return status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize

    def lock(self, path: str) -> OsFile:
        """Both kinds of lock: POSIX, which Apache Kafka takes, and flock, which also binds this process."""
        file = self.open(path, create=True)
        try:
            fcntl.flock(file._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.lockf(file._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DirectoryInUse(
                f"{self.name} is in use by another process (its {path} is locked)"
            ) from error
        return file
