"""Folders of partitions that were set aside: whose they were, and which of them may go. Blocks for small reads."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from moldau_broker.storage.checkpoints import decode_partition_metadata
from moldau_broker.storage.errors import FileMissing, StorageError
from moldau_broker.storage.folder import check_quarantine
from moldau_broker.storage.names import NEWEST_EPOCH, PARTITION_METADATA, parse_stray_folder
from moldau_broker.storage.place import Place

if TYPE_CHECKING:
    from moldau_broker.base.ids import Uuid
    from moldau_broker.storage.disk import Disk


class _Stray(NamedTuple):
    topic_id: Uuid
    partition: int
    delay_ms: int


def note_epoch(disk: Disk, broker_epoch: int) -> bool:
    """Write down that the directory was registered with this epoch; whether it is newer than any before.

    A broker epoch is an offset of the metadata log. One that is not newer means that this is not the log that went on:
    it was restored from a backup, or begun anew.
    """
    newest = -1
    with contextlib.suppress(FileMissing, ValueError):
        newest = int(disk.read(NEWEST_EPOCH))
    if broker_epoch <= newest:
        return False
    try:
        disk.replace(NEWEST_EPOCH, b"%d" % broker_epoch)
    except StorageError:
        return False
    return True


class Strays:
    """The folders that may be deleted once it is certain that their partitions are gone."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._folders: dict[str, _Stray] = {}

    def note(self, folder: str, delay_ms: int) -> None:
        """Remember whose it is. What is damaged, or does not say, is for people to look at."""
        place = Place(self._disk, folder)
        index = parse_stray_folder(folder)
        with contextlib.suppress(StorageError):
            check_quarantine(place)
            topic_id = decode_partition_metadata(self._disk.read(place.path(PARTITION_METADATA)))
            if index is not None:
                self._folders[folder] = _Stray(topic_id, index, delay_ms)

    def take(self, is_gone: Callable[[Uuid, int], bool]) -> list[tuple[str, int]]:
        """Those of partitions that are gone, and for how long (ms) each is to be kept all the same."""
        gone = [
            (folder, stray.delay_ms)
            for folder, stray in self._folders.items()
            if is_gone(stray.topic_id, stray.partition)
        ]
        for folder, _ in gone:
            del self._folders[folder]
        return gone
