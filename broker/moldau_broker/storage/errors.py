"""What can go wrong with stored data, as a small hierarchy. Pure.

`StorageError` and its children mean the disk or the data failed us (Kafka's KAFKA_STORAGE_ERROR);
`OffsetOutOfRange` is a caller asking for an offset that is not there.
"""

from __future__ import annotations


class StorageError(Exception):
    """A disk operation failed, or data is unusable; the partition (or the whole directory) is affected."""


class DirectoryInUse(StorageError):
    """Another process holds the data directory's lock."""


class DiskFull(StorageError):
    """No space left. Nothing of the attempted write remains; the next attempt may succeed."""


class FileMissing(StorageError):
    """A file or folder that should be there is not."""


class CorruptLog(StorageError):
    """Data that had been made durable is damaged or gone. It is never cut away and never served.

    Attributes:
        file: path of the damaged file below the data directory, '' if unknown.
        position: byte position of the first damaged batch, -1 if unknown.
        offset: first record offset that cannot be read any more, -1 if unknown.
    """

    def __init__(self, reason: str, *, file: str = "", position: int = -1, offset: int = -1) -> None:
        where = f"{file}: " if file else ""
        at = f" at byte {position}, offset {offset}" if position >= 0 else ""
        super().__init__(f"{where}{reason}{at}")
        self.file = file
        self.position = position
        self.offset = offset


class InvalidBatches(StorageError):
    """Batches handed over for a verbatim append do not fit the log: damaged, or the wrong offsets."""


class OffsetOutOfRange(Exception):
    """An offset below the log start or above the log end was asked for."""

    def __init__(self, offset: int, start: int, end: int) -> None:
        super().__init__(f"offset {offset} is outside {start}..{end}")
        self.offset = offset
        self.start = start
        self.end = end
