"""Where a partition's files lie: one folder of a disk, and the few file handles that stay open below it."""

from __future__ import annotations

import threading
from itertools import islice
from typing import Protocol

from moldau_broker.storage.disk import Disk, DiskFile


class Place:
    """A partition's folder. Renaming the folder is one assignment for every file in it.

    Attributes:
        disk: the data directory.
        folder: the folder's present name.
    """

    __slots__ = ("disk", "folder")

    def __init__(self, disk: Disk, folder: str) -> None:
        self.disk = disk
        self.folder = folder

    def path(self, name: str) -> str:
        """Path of a file below the data directory."""
        return f"{self.folder}/{name}"


class FileOwner(Protocol):
    """Something that keeps a file open between uses."""

    file: DiskFile | None
    used: bool

    @property
    def is_dirty(self) -> bool:
        """Whether the file holds data that is not durable yet."""


class OpenFiles:
    """Keeps the number of open log files near a bound: the least used are let go, second chance first.

    Letting go drops a reference; a reader or a flush that still holds the handle finishes with it. Files with
    data that is not durable are kept, so that a write-back error cannot be lost with the handle: the bound is
    soft until the next flush.
    """

    __slots__ = ("_lock", "_owners", "capacity")

    _STEPS_MAX = 16  # owners looked at per opening: the bound is approached, never searched for

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._owners: dict[int, FileOwner] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._owners)

    def opened(self, owner: FileOwner) -> None:
        """`owner` has just opened its file; others may lose theirs."""
        with self._lock:
            self._owners[id(owner)] = owner
        self.trim(owner)

    def trim(self, latest: FileOwner | None = None) -> None:
        """Let files go if there are more than the bound allows. Cheap if there are not; any thread."""
        owners = self._owners
        if len(owners) <= self.capacity:
            return
        with self._lock:
            for key in list(islice(owners, self._STEPS_MAX)):
                if len(owners) <= self.capacity:
                    break
                candidate = owners.pop(key)
                if candidate.used or candidate.is_dirty or candidate is latest:
                    candidate.used = False
                    owners[key] = candidate
                else:
                    candidate.file = None

    def forget(self, owner: FileOwner) -> None:
        """`owner` is gone, or let its file go by itself."""
        with self._lock:
            self._owners.pop(id(owner), None)
            owner.file = None
