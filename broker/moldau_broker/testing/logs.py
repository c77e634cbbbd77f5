"""Batches and logs for tests of whatever stands on a log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from moldau_broker.base.topic_config import TopicConfig
from moldau_broker.storage.disk import Buffer, Disk
from moldau_broker.storage.loading import Opening, open_log
from moldau_broker.storage.log import Log
from moldau_broker.storage.place import OpenFiles, Place
from moldau_broker.wire.records import BatchHeader, Record, build_batch, iter_batches, parse_header


def make_batch(
    values: Sequence[bytes] = (b"value",),
    *,
    timestamp: int = 1_000,
    producer_id: int = -1,
    producer_epoch: int = -1,
    base_sequence: int = -1,
    transactional: bool = False,
    codec: int = 0,
    base_offset: int = 0,
    leader_epoch: int = -1,
) -> bytearray:
    """A batch of keyless records, `timestamp` ms and one more for each further record."""
    records = [Record(base_offset + at, timestamp + at, None, value, []) for at, value in enumerate(values)]
    return build_batch(
        records,
        base_offset=base_offset,
        codec=codec,
        producer_id=producer_id,
        producer_epoch=producer_epoch,
        base_sequence=base_sequence,
        leader_epoch=leader_epoch,
        transactional=transactional,
    )


def make_marker(
    producer_id: int, producer_epoch: int, *, commit: bool, coordinator_epoch: int = 0, timestamp: int = 1_000
) -> bytearray:
    """A commit or abort marker."""
    key = b"\0\0\0\1" if commit else b"\0\0\0\0"
    value = b"\0\0" + coordinator_epoch.to_bytes(4, "big")
    return build_batch(
        [Record(0, timestamp, key, value, [])],
        producer_id=producer_id,
        producer_epoch=producer_epoch,
        base_sequence=-1,
        control=True,
        transactional=True,
    )


def open_at(
    disk: Disk,
    config: TopicConfig | None = None,
    *,
    topic: str = "t",
    partition: int = 0,
    clean: bool = True,
    recovery_point: int | None = 0,
    log_start_offset: int = 0,
    open_files: int = 16,
) -> Log:
    """The log of a partition's folder on `disk`, made if it is not there."""
    folder = f"{topic}-{partition}"
    disk.make_folder(folder)
    how = Opening(clean=clean, recovery_point=recovery_point, log_start_offset=log_start_offset)
    return open_log(
        topic, partition, config or TopicConfig(), Place(disk, folder), OpenFiles(open_files), how
    )


def append(log: Log, batch: bytearray, *, epoch: int = 0, now_ms: int = 1_000) -> int:
    """Append as the leader; the base offset."""
    return log.append(batch, parse_header(batch), epoch, now_ms)


def read_all(log: Log, *, max_bytes: int = 1 << 20) -> Iterator[tuple[BatchHeader, bytes]]:
    """Every batch of the log by fetching from its start to its end."""
    offset = log.log_start_offset
    while offset < log.log_end_offset:
        data: Buffer = log.read(offset, max_bytes)
        assert data, f"nothing at {offset} of {log}"
        whole = bytes(data)
        for position, header in iter_batches(whole, 0, len(whole)):
            yield header, whole[position : position + header.size]
            offset = header.next_offset
