"""Reads a shard back from its log, in steps small enough to take turns with the event loop.

The log's bytes are checked here once more: a shard that cannot be read is not served at all, rather than with
offsets missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, Protocol

from moldau_broker.base.limits import GROUP_LOAD_READ_BYTES_MAX
from moldau_broker.coordinator.digest import LogDigest
from moldau_broker.coordinator.records import decode_record
from moldau_broker.coordinator.shard import GroupShard
from moldau_broker.coordinator.shard_state import Now
from moldau_broker.wire.messages.group_records import OffsetCommitKey
from moldau_broker.wire.records import BatchHeader, crc_ok, iter_batches, read_records

_ABORT: Final = 0
_COMMIT: Final = 1


class LoadFailed(Exception):
    """The log does not hold what it should."""


class ReadableLog(Protocol):
    """The part of `storage.log.Log` that loading needs."""

    @property
    def log_start_offset(self) -> int:
        """First offset that may be read."""
        ...

    @property
    def log_end_offset(self) -> int:
        """Offset of the next record."""
        ...

    def read(
        self, offset: int, max_bytes: int, *, up_to: int | None = None, min_one: bool = True
    ) -> bytes | bytearray | memoryview:
        """Whole batches from the one that contains `offset`."""
        ...


def load_steps(log: ReadableLog, shard: GroupShard, now: Callable[[], Now]) -> Iterator[None]:
    """Replay `log` into `shard`, yielding after each step; the shard is `loaded` when this ends.

    Raises:
        LoadFailed, StorageError, WireError: the log cannot be read; the shard must not be served.
    """
    digest = LogDigest()
    start = offset = log.log_start_offset
    while offset < log.log_end_offset:
        data = log.read(offset, GROUP_LOAD_READ_BYTES_MAX, up_to=log.log_end_offset)
        before = offset
        for at, header in iter_batches(data):
            if not crc_ok(data, at, header.size):
                raise LoadFailed(f"the batch at offset {header.base_offset} is damaged")
            _digest_batch(digest, data, at, header, start)
            offset = header.next_offset
            yield
        if offset == before:
            raise LoadFailed(f"nothing can be read at offset {offset}, the log ends at {log.log_end_offset}")
    for key, value in digest.drain():
        record = decode_record(key, value)
        if record is not None:
            shard.load(record, now())
        yield
    for producer_id, key in digest.held():
        record = decode_record(key, None)
        if record is not None and isinstance(record.key, OffsetCommitKey):
            shard.load_open_transaction(producer_id, record.key.group, record.key.topic, record.key.partition)
    shard.loaded(now())


def _digest_batch(
    digest: LogDigest, data: bytes | bytearray | memoryview, at: int, header: BatchHeader, start_offset: int
) -> None:
    for record in read_records(data, at):
        if record.offset < start_offset or record.key is None:
            continue
        if header.is_control:
            kind = int.from_bytes(record.key[2:4], "big")
            if kind in (_ABORT, _COMMIT):
                digest.end_transaction(header.producer_id, committed=kind == _COMMIT)
        elif header.is_transactional:
            digest.add_transactional(header.producer_id, record.offset, record.key, record.value)
        else:
            digest.add(record.offset, record.key, record.value)
