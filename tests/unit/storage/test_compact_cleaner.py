"""The cleaner as the broker runs it: its choice, its process, its checkpoint, and what ends it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import psutil

from moldau_broker.base.topic_config import TopicConfig
from moldau_broker.storage.checkpoints import decode_offsets, encode_offsets
from moldau_broker.storage.compact_cleaner import Candidate, Cleaner
from moldau_broker.storage.compact_job import CleanerSettings
from moldau_broker.storage.compact_worker import NICENESS
from moldau_broker.storage.disk import OsDisk
from moldau_broker.storage.log import Log
from moldau_broker.storage.names import CLEANED, CLEANER_OFFSETS, SWAP
from moldau_broker.testing.logs import append, open_at, read_all
from moldau_broker.wire.records import Record, build_batch, read_records

PATIENCE_S = 60.0
NOW = 1_700_000_000_000
CONFIG = TopicConfig(cleanup_policy=frozenset({"compact"}), segment_bytes=4_096, file_delete_delay_ms=0)


class Directory:
    """A data directory with a cleaner over its logs."""

    def __init__(self, path: Path, **settings: float) -> None:
        self.disk = OsDisk(path)
        self.others = pids_of_children()
        self.logs: list[Log] = []
        self.problems: list[str] = []
        self.cleaner = Cleaner(
            self.disk,
            lambda: [Candidate(log, log.log_end_offset) for log in self.logs],
            CleanerSettings(backoff_ms=20, **settings),  # type: ignore[arg-type]
            wall_ms=lambda: NOW,
            on_problem=lambda _, text: self.problems.append(text),
        )

    def log(
        self, topic: str = "t", config: TopicConfig = CONFIG, *, records: int = 400, keys: int = 10
    ) -> Log:
        """A log of several segments in which every key occurs many times."""
        log = open_at(self.disk, config, topic=topic)
        self.logs.append(log)
        self.fill(log, records, keys)
        return log

    @staticmethod
    def fill(log: Log, records: int, keys: int) -> None:
        """Append batches of four records, 100 bytes each."""
        for first in range(0, records, 4):
            batch = build_batch(
                Record(n, NOW + first + n, b"k%d" % ((first + n) % keys), bytes(100)) for n in range(4)
            )
            append(log, batch, now_ms=NOW)

    def children(self) -> list[psutil.Process]:
        """The processes the cleaner has started."""
        return [psutil.Process(pid) for pid in pids_of_children() - self.others]

    def leftovers(self, log: Log) -> list[str]:
        """Files of unfinished rounds."""
        names = (entry.name for entry in self.disk.entries(log.place.folder))
        return [name for name in names if name.endswith((CLEANED, SWAP))]


def keys(log: Log) -> list[bytes | None]:
    """The key of every record below the active segment."""
    return [
        record.key
        for _, data in read_all(log)
        for record in read_records(data)
        if record.offset < log.active.base_offset
    ]


def pids_of_children() -> set[int]:
    """The processes this one has started. Unlike psutil's own method it does not look at all others."""
    listed = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    return {int(pid) for pid in listed.split()}


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, at most a minute."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - processes and files have no event
            await asyncio.sleep(0.01)


async def test_cleaner_cleans_in_the_background_and_writes_its_checkpoint(tmp_path: Path):
    """Started, it finds the dirty log by itself; the checkpoint names the end of the clean section."""
    directory = Directory(tmp_path)
    log = directory.log()
    closed = log.active.base_offset
    directory.cleaner.start()
    await until(lambda: directory.cleaner.counters.rounds == 1)
    await directory.cleaner.stop()
    assert sorted(keys(log)) == sorted(b"k%d" % n for n in range(10))
    assert decode_offsets(directory.disk.read(CLEANER_OFFSETS)) == {("t", 0): closed}
    counters = directory.cleaner.counters
    assert (counters.records_read, counters.records_written) == (closed, 10)
    assert 0 < counters.bytes_written < counters.bytes_read
    assert counters.last_memory_kib > 0
    assert directory.leftovers(log) == []
    assert directory.problems == []


async def test_cleaner_takes_the_dirtiest_log_first(tmp_path: Path):
    """The share of bytes not yet cleaned decides; logs that are not compacted do not count."""
    directory = Directory(tmp_path)
    half = directory.log("half")
    assert await directory.cleaner.clean_dirtiest()
    directory.fill(half, 100, 10)
    whole = directory.log("whole")
    directory.log("deleted", TopicConfig(segment_bytes=4_096))
    size = half.size_bytes
    assert await directory.cleaner.clean_dirtiest()
    assert len(keys(whole)) == 10
    assert half.size_bytes == size
    assert await directory.cleaner.clean_dirtiest()
    assert len(keys(half)) == 10
    assert not await directory.cleaner.clean_dirtiest()


async def test_cleaner_goes_on_from_the_checkpoint_after_a_restart(tmp_path: Path):
    """A new cleaner takes what an old one has cleaned for clean."""
    directory = Directory(tmp_path)
    log = directory.log()
    assert await directory.cleaner.clean_dirtiest()
    again = Directory(tmp_path)
    again.logs = [log]
    assert not await again.cleaner.clean_dirtiest()
    assert again.cleaner.counters.max_dirty_ratio == 0.0
    again.disk.replace(CLEANER_OFFSETS, b"rubbish")
    lost = Directory(tmp_path)
    lost.logs = [log]
    assert await lost.cleaner.clean_dirtiest()


async def test_cleaner_does_not_believe_its_checkpoint_after_a_truncation(tmp_path: Path):
    """What was written again below it has not been cleaned."""
    directory = Directory(tmp_path)
    log = directory.log()
    assert await directory.cleaner.clean_dirtiest()
    log.truncate_to(0)
    directory.fill(log, 400, 10)
    assert await directory.cleaner.clean_dirtiest()
    assert len(keys(log)) == 10


async def test_cleaner_does_not_believe_the_checkpoint_of_a_deleted_namesake(tmp_path: Path):
    """`forget` drops the line of a partition that is deleted."""
    (tmp_path / CLEANER_OFFSETS).write_bytes(encode_offsets({("t", 0): 200}))
    directory = Directory(tmp_path)
    assert not await directory.cleaner.clean_dirtiest()
    directory.cleaner.forget("t", 0)
    log = directory.log()
    assert await directory.cleaner.clean_dirtiest()
    assert len(keys(log)) == 10


async def test_cleaner_reports_damage_and_leaves_the_log_alone(tmp_path: Path):
    """One bad bit: nothing is swapped, the problem names the file, and it is not tried again."""
    directory = Directory(tmp_path)
    log = directory.log()
    path = tmp_path / "t-0" / "00000000000000000000.log"
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(data)
    assert not await directory.cleaner.clean_dirtiest()
    assert "00000000000000000000.log" in directory.problems[0]
    assert "CRC" in directory.problems[0]
    assert directory.cleaner.counters.uncleanable == 1
    assert not await directory.cleaner.clean_dirtiest()
    assert len(directory.problems) == 1
    assert directory.leftovers(log) == []
    assert len(list(read_all(log))) == 100


async def test_cleaner_gives_up_when_the_log_is_truncated_meanwhile(tmp_path: Path):
    """Offsets taken back while the process works: its result is thrown away."""
    directory = Directory(tmp_path, io_bytes_per_second=100_000.0)
    log = directory.log()
    cleaning = asyncio.create_task(directory.cleaner.clean_dirtiest())
    await until(lambda: len(directory.children()) == 1)
    log.truncate_to(8)
    assert not await cleaning
    assert directory.cleaner.counters.aborted + directory.cleaner.counters.failed == 1
    assert directory.leftovers(log) == []
    assert sum(len(read_records(data)) for _, data in read_all(log)) == 8


async def test_cleaner_gives_up_when_the_partition_is_deleted_meanwhile(tmp_path: Path):
    """The folder is gone before the round ends: no problem to report."""
    directory = Directory(tmp_path, io_bytes_per_second=100_000.0)
    log = directory.log()
    cleaning = asyncio.create_task(directory.cleaner.clean_dirtiest())
    await until(lambda: len(directory.children()) == 1)
    directory.logs.remove(log)
    directory.disk.remove_folder("t-0")
    assert not await cleaning
    assert directory.problems == []


async def test_cleaner_tries_again_after_its_process_died(tmp_path: Path):
    """Killed from outside (out of memory, say), the next round does the work."""
    directory = Directory(tmp_path, io_bytes_per_second=100_000.0)
    log = directory.log()
    cleaning = asyncio.create_task(directory.cleaner.clean_dirtiest())
    await until(lambda: len(directory.children()) == 1)
    directory.children()[0].kill()
    assert not await cleaning
    assert "status -9" in directory.problems[0]
    assert "tried again" in directory.problems[0]
    assert await directory.cleaner.clean_dirtiest()
    assert len(keys(log)) == 10


async def test_cleaner_keeps_to_its_rate(tmp_path: Path):
    """Reading twice and writing a little at 200 kB/s takes the half second that it must."""
    directory = Directory(tmp_path, io_bytes_per_second=200_000.0)
    log = directory.log()
    size = sum(segment.size for segment in log.segments[:-1])
    assert await directory.cleaner.clean_dirtiest()
    assert directory.cleaner.counters.last_seconds >= 0.9 * (2 * size / 200_000.0)


async def test_cleaner_stopped_in_a_round_leaves_no_process_and_a_whole_log(tmp_path: Path):
    """Stop waits for its process to end; what is there opens and has everything."""
    directory = Directory(tmp_path, io_bytes_per_second=2_000.0)
    log = directory.log()
    before = [data for _, data in read_all(log)]
    directory.cleaner.start()
    await until(lambda: len(directory.children()) == 1)
    await directory.cleaner.stop()
    assert directory.children() == []
    assert [data for _, data in read_all(log)] == before
    assert directory.leftovers(log) == []
    assert directory.problems == []


async def test_cleaner_stopped_while_its_process_starts_does_not_wait_for_the_round(tmp_path: Path):
    """The process is there and not known yet: it is ended as soon as it is."""
    directory = Directory(tmp_path, io_bytes_per_second=200.0)
    log = directory.log()
    before = [data for _, data in read_all(log)]
    directory.cleaner.start()
    async with asyncio.timeout(PATIENCE_S):
        while not directory.children():  # noqa: ASYNC110 - the very first moment is meant
            await asyncio.sleep(0)
    assert directory.cleaner._process is None
    async with asyncio.timeout(PATIENCE_S):  # its throttle would have it go on for minutes
        await directory.cleaner.stop()
    assert directory.children() == []
    assert [data for _, data in read_all(log)] == before
    assert directory.leftovers(log) == []


async def test_cleaner_process_ends_with_its_owner(tmp_path: Path):
    """Nobody writes beside a new broker: the process ends at once when its standard input closes."""
    directory = Directory(tmp_path, io_bytes_per_second=200.0)
    directory.log()
    cleaning = asyncio.create_task(directory.cleaner.clean_dirtiest())
    await until(lambda: directory.cleaner._process is not None)
    (child,) = directory.children()
    process = directory.cleaner._process
    assert process is not None
    assert process.stdin is not None
    process.stdin.close()
    async with asyncio.timeout(PATIENCE_S):  # its throttle would have it go on for minutes
        assert not await cleaning
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


async def test_cleaner_process_is_of_low_priority(tmp_path: Path):
    """Clients come first."""
    directory = Directory(tmp_path, io_bytes_per_second=2_000.0)
    directory.log()
    directory.cleaner.start()
    await until(lambda: [child.nice() for child in directory.children()] == [NICENESS])
    await directory.cleaner.stop()


async def test_cleaner_cleans_a_log_that_is_appended_to(tmp_path: Path):
    """Appends and reads go on between all steps; the round cleans what was closed when it began."""
    directory = Directory(tmp_path)
    log = directory.log(records=1_200)
    cleaning = asyncio.create_task(directory.cleaner.clean_dirtiest())
    written = 1_200
    while not cleaning.done():
        directory.fill(log, 4, 10)
        written += 4
        offset = log.log_end_offset - 4
        assert read_records(bytes(log.read(offset, 1 << 20)))[0].offset == offset
        assert log.read(log.log_start_offset, 1 << 20)
        await asyncio.sleep(0)
    assert cleaning.result()
    assert log.log_end_offset == written
    assert {record.key for _, data in read_all(log) for record in read_records(data)} == {
        b"k%d" % n for n in range(10)
    }
