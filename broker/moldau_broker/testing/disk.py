"""A disk in memory that loses what was not synced, tears writes, fills up and fails on command.

It implements `moldau_broker.storage.disk.Disk`. Every operation that changes something is numbered and logged,
so that a test can stop the world at each of them in turn:

    disk = SimDisk()
    disk.crash_at = 17          # operation 17 is done in part, then SimCrash is raised, again and again
    ...                         # run the program until SimCrash
    disk.crash(Random(seed))    # power is back: only what was synced is sure to be there

What a crash keeps of unsynced data is chosen page by page (4 KiB); of a folder's changes since its last sync a
prefix is kept, as a journal would. `lose_nothing` makes a crash a mere kill -9.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final, NamedTuple

from moldau_broker.storage.disk import Buffer, Entry, split, translate
from moldau_broker.storage.errors import DirectoryInUse, FileMissing, StorageError

PAGE: Final = 4096


class SimCrash(BaseException):
    """The machine stopped. Not an Exception: no handler of the program under test may swallow it."""


class Operation(NamedTuple):
    """One change: what, on which path, how many bytes (or the size cut to)."""

    kind: str
    path: str
    amount: int = 0


@dataclass(slots=True, eq=False)
class Inode:
    """A file's content now, and what of it is durable.

    Attributes:
        data: what a reader sees.
        durable: what the platter holds for sure.
        pages: pages written since the last sync.
        modified: number of the last operation on it.
    """

    data: bytearray = field(default_factory=bytearray)
    durable: bytes = b""
    pages: set[int] = field(default_factory=set)
    modified: int = 0

    def touched(self, start: int, end: int) -> None:
        """Note the pages of a changed range."""
        if end > start:
            self.pages.update(range(start // PAGE, (end - 1) // PAGE + 1))

    def settle(self) -> None:
        """All is durable."""
        self.durable = bytes(self.data)
        self.pages.clear()

    def lose(self, rng: Random) -> None:
        """Power failed: each unsynced page is there or not, and so is the new length."""
        low, high = sorted((len(self.durable), len(self.data)))
        size = rng.choice((len(self.durable), len(self.data), rng.randint(low, high)))
        content = bytearray(max(size, len(self.durable)))
        content[: len(self.durable)] = self.durable
        for page in sorted(self.pages):
            start = page * PAGE
            if rng.random() < 0.5:
                piece = self.data[start : start + PAGE]
                content[start : start + len(piece)] = piece
        del content[size:]
        self.data = bytearray(content).ljust(size, b"\0")
        self.settle()


class SimFile:
    """An open file. See `storage.disk.DiskFile`."""

    def __init__(self, disk: SimDisk, path: str, inode: Inode) -> None:
        self._disk = disk
        self._path = path
        self._inode = inode

    def append(self, data: Buffer) -> None:
        """Write at the end; a crash or a full disk leaves part of it."""
        self._disk.write_to(self._inode, self._path, bytes(data))

    def append_many(self, chunks: Sequence[Buffer]) -> None:
        """As one write."""
        self.append(b"".join(chunks))

    def pread(self, size: int, position: int) -> bytes:
        """Read; flipped bits are served as they are."""
        self._disk.reading(self._path)
        return bytes(self._inode.data[position : position + size])

    def pread_nowait(self, size: int, position: int) -> bytes | None:
        """Read unless the disk pretends to be cold."""
        return None if self._disk.cold else self.pread(size, position)

    def datasync(self) -> None:
        """Make the content durable, unless told to lie or fail."""
        disk = self._disk
        disk.step("datasync", self._path)
        if not disk.fsync_lies:
            self._inode.settle()

    def truncate(self, size: int) -> None:
        """Cut or extend."""
        self._disk.step("truncate", self._path, size)
        self._disk.resize(self._inode, size)

    def size(self) -> int:
        """Length in bytes."""
        return len(self._inode.data)


class SimLock(SimFile):
    """A held lock."""

    def __del__(self) -> None:
        self._disk.release(self._path)


class SimDisk:
    """A data directory in memory. See `storage.disk.Disk` and this module's docstring.

    Attributes:
        crash_at: number of the operation that crashes; None never.
        capacity: bytes that fit, None for no bound.
        failing: kind of operation -> errno it fails with, until removed ("read" included).
        fsync_lies: syncs succeed and do nothing.
        cold: `pread_nowait` finds nothing.
        operations: what was done so far.
    """

    def __init__(self, name: str = "sim", *, capacity: int | None = None) -> None:
        self.name = name
        self.capacity = capacity
        self.crash_at: int | None = None
        self.failing: dict[str, int] = {}
        self.fsync_lies = False
        self.cold = False
        self.operations: list[Operation] = []
        self._crashed = False
        # The tree as seen, and per folder the changes since its last sync as (name, inode or folder or None).
        self._folders: dict[str, dict[str, Inode]] = {"": {}}
        self._durable: dict[str, dict[str, Inode]] = {"": {}}
        self._journal: list[tuple[str, str, str, str, Inode | None]] = []
        self._locked: set[str] = set()

    # --- the machine ---------------------------------------------------------------------------------

    def step(self, kind: str, path: str, amount: int = 0) -> None:
        """Count an operation; crash or fail if it is its turn.

        Raises:
            SimCrash: at `crash_at`, and for everything after it.
            StorageError: the kind is failing.
        """
        if self._crashed:
            raise SimCrash
        number = len(self.operations)
        self.operations.append(Operation(kind, path, amount))
        if number == self.crash_at:
            self._crashed = True
            raise SimCrash
        code = self.failing.get(kind)
        if code is not None:
            raise translate(OSError(code, errno.errorcode[code]), path)

    def reading(self, path: str) -> None:
        """Fail a read if reads are failing."""
        if self._crashed:
            raise SimCrash
        code = self.failing.get("read")
        if code is not None:
            raise translate(OSError(code, errno.errorcode[code]), path)

    def crash(self, rng: Random, *, lose_nothing: bool = False) -> None:
        """Stop and start again: locks are free, and of what was not synced a random part is gone."""
        self._crashed = False
        self.crash_at = None
        self._locked.clear()
        self.operations.clear()
        if lose_nothing:
            return
        kept = rng.randint(0, len(self._journal))
        for change in self._journal[:kept]:
            _apply(self._durable, *change)
        self._journal.clear()
        self._folders = {name: dict(files) for name, files in self._durable.items()}
        inodes = {id(inode): inode for files in self._folders.values() for inode in files.values()}
        for inode in inodes.values():
            inode.lose(rng)

    def release(self, path: str) -> None:
        """A lock's holder is gone."""
        self._locked.discard(path)

    def content(self, path: str) -> bytearray:
        """A file's live content, for a test to damage.

        Raises:
            FileMissing: there is no such file.
        """
        return self._inode(path).data

    def clone(self) -> SimDisk:
        """An independent copy, as if the platters were duplicated while the machine runs."""
        twin = SimDisk(self.name, capacity=self.capacity)
        copies: dict[int, Inode] = {}

        def copy(inode: Inode) -> Inode:
            if id(inode) not in copies:
                copies[id(inode)] = Inode(
                    bytearray(inode.data), inode.durable, set(inode.pages), inode.modified
                )
            return copies[id(inode)]

        twin._folders = {f: {n: copy(i) for n, i in files.items()} for f, files in self._folders.items()}
        twin._durable = {f: {n: copy(i) for n, i in files.items()} for f, files in self._durable.items()}
        twin._journal = [
            (kind, folder, name, extra, None if inode is None else copy(inode))
            for kind, folder, name, extra, inode in self._journal
        ]
        return twin

    def used(self) -> int:
        """Bytes in all files."""
        return sum(len(inode.data) for files in self._folders.values() for inode in files.values())

    def write_to(self, inode: Inode, path: str, data: bytes) -> None:
        """Append to a file, wholly, or in part when the crash or the end of the disk comes first."""
        start = len(inode.data)
        if self._crashed:
            raise SimCrash
        try:
            self.step("append", path, len(data))
        except (SimCrash, StorageError):
            inode.data += data[: len(data) // 2]
            inode.touched(start, len(inode.data))
            raise
        room = len(data) if self.capacity is None else max(0, self.capacity - self.used())
        inode.data += data[:room]
        inode.touched(start, len(inode.data))
        inode.modified = len(self.operations)
        if room < len(data):
            raise translate(OSError(errno.ENOSPC, "no space left"), path)

    def resize(self, inode: Inode, size: int) -> None:
        """Cut a file, or extend it with zeros."""
        old = len(inode.data)
        if size < old:
            del inode.data[size:]
            inode.touched(size, old)
        else:
            inode.data.extend(bytes(size - old))
            inode.touched(old, size)

    def _inode(self, path: str) -> Inode:
        folder, name = split(path)
        inode = self._folders.get(folder, {}).get(name)
        if inode is None:
            raise FileMissing(f"{path}: no such file")
        return inode

    def _files(self, folder: str) -> dict[str, Inode]:
        files = self._folders.get(folder)
        if files is None:
            raise FileMissing(f"{folder}: no such folder")
        return files

    def _change(self, kind: str, folder: str, name: str, extra: str = "", inode: Inode | None = None) -> None:
        change = (kind, folder, name, extra, inode)
        _apply(self._folders, *change)
        self._journal.append(change)

    # --- Disk ----------------------------------------------------------------------------------------

    def open(self, path: str, *, create: bool = False, write: bool = True) -> SimFile:
        """Open, and make the file if told so."""
        if self._crashed:
            raise SimCrash
        folder, name = split(path)
        files = self._files(folder)
        inode = files.get(name)
        if inode is None:
            if not create:
                raise FileMissing(f"{path}: no such file")
            self.step("create", path)
            inode = Inode()
            self._change("link", folder, name, inode=inode)
        return SimFile(self, path, inode)

    def read(self, path: str) -> bytes:
        """The whole file."""
        self.reading(path)
        return bytes(self._inode(path).data)

    def write(self, path: str, data: Buffer) -> None:
        """Overwrite; not atomic."""
        file = self.open(path, create=True)
        file.truncate(0)
        file.append(data)

    def replace(self, path: str, data: Buffer) -> None:
        """Temp file, sync, rename, sync of the folder: each an operation of its own."""
        temp = path + ".tmp"
        try:
            self.write(temp, data)
            self.open(temp).datasync()
            self.rename(temp, path)
        except StorageError:
            self._folders[split(temp)[0]].pop(split(temp)[1], None)
            raise
        self.sync_folder(split(path)[0])

    def datasync(self, path: str) -> None:
        """Make a file's content durable."""
        folder, name = split(path)
        if name in self._folders.get(folder, {}):
            self.open(path).datasync()

    def truncate(self, path: str, size: int) -> None:
        """Cut a file."""
        self.open(path).truncate(size)

    def rename(self, source: str, target: str) -> None:
        """Rename a file, or a folder of the root."""
        folder, name = split(source)
        to_folder, to_name = split(target)
        self.step("rename", source)
        if not folder and name in self._folders and name not in self._folders[""]:
            self._change("rename-folder", name, target)
            return
        inode = self._inode(source)
        self._files(to_folder)
        self._change("rename", folder, name, f"{to_folder}/{to_name}", inode)

    def unlink(self, path: str) -> None:
        """Remove a file if it is there."""
        folder, name = split(path)
        if name in self._folders.get(folder, {}):
            self.step("unlink", path)
            self._change("unlink", folder, name)

    def make_folder(self, name: str) -> None:
        """Make a folder of the root if it is missing."""
        split(name)
        if name not in self._folders:
            self.step("mkdir", name)
            self._change("mkdir", name, "")

    def remove_folder(self, name: str) -> None:
        """Remove a folder's files one by one, then the folder."""
        for file in list(self._folders.get(name, {})):
            self.unlink(f"{name}/{file}")
        if name in self._folders:
            self.step("rmdir", name)
            self._change("rmdir", name, "")

    def entries(self, folder: str = "") -> list[Entry]:
        """What is in the root or a folder."""
        if self._crashed:
            raise SimCrash
        found = [
            Entry(name, len(inode.data), False, inode.modified) for name, inode in self._files(folder).items()
        ]
        if not folder:
            found += [Entry(name, 0, True) for name in self._folders if name]
        return found

    def sync_folder(self, folder: str = "") -> None:
        """Make the changes of names durable; a journal commits those of all folders up to here."""
        self._files(folder)
        self.step("sync-folder", folder)
        if not self.fsync_lies:
            for change in self._journal:
                _apply(self._durable, *change)
            self._journal.clear()

    def free_bytes(self) -> tuple[int, int]:
        """Free and total bytes; without a bound there is a terabyte."""
        total = self.capacity if self.capacity is not None else 1 << 40
        return max(0, total - self.used()), total

    def lock(self, path: str) -> SimFile:
        """Hold the lock for as long as the handle lives, or until the next crash.

        Raises:
            DirectoryInUse: it is held.
        """
        if path in self._locked:
            raise DirectoryInUse(f"{self.name} is in use by another process (its {path} is locked)")
        self.open(path, create=True)
        self._locked.add(path)
        return SimLock(self, path, self._inode(path))


def _apply(
    tree: dict[str, dict[str, Inode]], kind: str, folder: str, name: str, extra: str, inode: Inode | None
) -> None:
    """Make one change of names in a tree; what a lost earlier change makes impossible is skipped."""
    if kind == "mkdir":
        tree.setdefault(folder, {})
    elif kind == "rmdir":
        tree.pop(folder, None)
    elif kind == "rename-folder":
        if folder in tree:
            tree[name] = tree.pop(folder)
    elif folder in tree:
        if kind == "link":
            assert inode is not None, "a new file has an inode"
            tree[folder][name] = inode
        elif kind == "unlink":
            tree[folder].pop(name, None)
        elif kind == "rename":
            assert inode is not None, "a renamed file has an inode"
            tree[folder].pop(name, None)
            to_folder, _, to_name = extra.partition("/")
            tree[to_folder][to_name] = inode
