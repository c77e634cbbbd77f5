"""Keeps compacted logs clean: picks the dirtiest, has it rewritten by a process of its own, swaps the result in.

Everything here runs on the event loop and never waits for the disk; one round runs at a time, and its process
ends with it. Decisions are `compaction`'s, the rewrite is `compact_worker`'s, the swap is `compact_swap`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from moldau_broker.storage.batches import HEADER_SIZE
from moldau_broker.storage.checkpoints import decode_offsets, encode_offsets
from moldau_broker.storage.compact_job import (
    GO_ON,
    CleanerSettings,
    CleanJob,
    Done,
    Failed,
    Ready,
    decode,
    encode,
    job_for,
)
from moldau_broker.storage.compact_swap import Swap, remove_leftovers
from moldau_broker.storage.compaction import CleanPlan, SegmentFacts, plan_clean
from moldau_broker.storage.errors import CorruptLog, DiskFull, FileMissing, StorageError
from moldau_broker.storage.names import CLEANER_OFFSETS

if TYPE_CHECKING:
    from asyncio.subprocess import Process

    from moldau_broker.storage.disk import Disk
    from moldau_broker.storage.log import Log

FAILURES_MAX: Final = 3
"""Rounds a log may fail in a row (a full disk aside) before it is left alone until the next start."""

_BOOT: Final = (
    "import sys;sys.path[:]={path!r};from moldau_broker.storage.compact_worker import main;sys.exit(main())"
)
"""The process gets our module path, but neither `site` nor the environment: it starts faster and smaller."""

Key: TypeAlias = tuple[str, int]


class Candidate(NamedTuple):
    """A log that may be cleaned, and the offset below which everything is decided and replicated.

    `stable_offset` is the lesser of last stable offset and high watermark.
    """

    log: Log
    stable_offset: int


@dataclass(slots=True)
class CleanerCounters:
    """What the cleaner has done since it was made, and what its last round was like.

    Bytes and records count the rewrite; `failed` the rounds given up for a fault, `aborted` those given up
    because the log changed; `uncleanable` the logs left alone until the next start.
    """

    rounds: int = 0
    swaps: int = 0
    failed: int = 0
    aborted: int = 0
    uncleanable: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    records_read: int = 0
    records_written: int = 0
    seconds: float = 0.0
    max_dirty_ratio: float = 0.0
    last_map_used: float = 0.0
    last_seconds: float = 0.0
    last_memory_kib: int = 0
    last_run_ms: int = 0


class Cleaner:
    """The cleaner of one data directory. `start` it on a running loop, `await stop()` it before the logs close.

    Attributes:
        counters: see `CleanerCounters`.
    """

    def __init__(
        self,
        disk: Disk,
        candidates: Callable[[], Iterable[Candidate]],
        settings: CleanerSettings,
        *,
        wall_ms: Callable[[], int],
        on_problem: Callable[[Log, str], None],
    ) -> None:
        """Prepare it.

        Args:
            disk: the data directory; its name is the path the cleaning process opens.
            candidates: the logs that live now. Asked before every round and after each rewrite.
            settings: sizes and rates.
            wall_ms: the clock that stamps delete horizons.
            on_problem: told in words when a log cannot be cleaned.
        """
        self.counters = CleanerCounters()
        self._disk = disk
        self._candidates = candidates
        self._settings = settings
        self._wall_ms = wall_ms
        self._on_problem = on_problem
        self._offsets: dict[Key, int] = {}
        self._offsets_loaded = False
        self._generations: dict[Key, tuple[object, int]] = {}
        self._failures: dict[Key, int] = {}
        self._uncleanable: set[Key] = set()
        self._task: asyncio.Task[None] | None = None
        self._process: Process | None = None
        self._stopping = False
        self._wake = asyncio.Event()

    def start(self) -> None:
        """Begin to clean in the background."""
        assert self._task is None, "the cleaner runs already"
        self._task = asyncio.get_running_loop().create_task(self._run(), name="cleaner")

    async def stop(self) -> None:
        """End the round under way, if any; a swap that was begun is finished, which takes some fsyncs."""
        task, self._task = self._task, None
        if task is not None:
            self._stopping = True
            self._wake.set()
            if self._process is not None and self._process.returncode is None:
                self._process.kill()
            await task
            self._stopping = False

    def wake(self) -> None:
        """Look for a dirty log now instead of after the pause."""
        self._wake.set()

    def forget(self, topic: str, partition: int) -> None:
        """A partition was deleted: where its clean section ended must not be believed of a namesake."""
        self._offsets.pop((topic, partition), None)

    async def _run(self) -> None:
        while not self._stopping:
            if not await self.clean_dirtiest() and not self._stopping:
                self._wake.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), self._settings.backoff_ms / 1000)

    async def clean_dirtiest(self) -> bool:
        """One round over the log that needs it most; False if none does, or its round failed."""
        await self._load_offsets()
        self.counters.last_run_ms = now_ms = self._wall_ms()
        choice = self._choose(now_ms)
        if choice is None:
            return False
        log, plan = choice
        key = (log.topic, log.partition)
        job = job_for(log, plan, self._settings, now_ms)
        try:
            outcome = await self._round(log, job)
        except StorageError as error:
            outcome = Failed(type(error).__name__, str(error))
        if isinstance(outcome, Done):
            self._failures.pop(key, None)
            self._account(outcome)
            self._offsets[key] = outcome.end
            self._generations[key] = (log, log.generation)
            await self._save_offsets()
            return True
        if isinstance(outcome, Failed):
            self._fail(log, key, outcome)
        else:
            self.counters.aborted += 1
        if log.failure is None:  # a failed log may live in its .swap files now: a restart settles it
            with contextlib.suppress(StorageError):  # the next round or the next start removes them
                await asyncio.to_thread(remove_leftovers, log.place)
        return False

    # --- choosing ------------------------------------------------------------------------------------

    def _choose(self, now_ms: int) -> tuple[Log, CleanPlan] | None:
        best: tuple[Log, CleanPlan] | None = None
        dirtiest = 0.0
        for log, stable_offset in self._candidates():
            key = (log.topic, log.partition)
            if not log.config.is_compacted or log.failure is not None or key in self._uncleanable:
                continue
            plan = self._plan(log, stable_offset, now_ms) if len(log.segments) > 1 else None
            if plan is None:
                continue
            dirtiest = max(dirtiest, plan.ratio)
            if plan.due(log.config) and (best is None or plan.ratio > best[1].ratio):
                best = log, plan
        self.counters.max_dirty_ratio = dirtiest
        return best

    def _plan(self, log: Log, stable_offset: int, now_ms: int) -> CleanPlan | None:
        config = log.config
        by_age = config.max_compaction_lag_ms < now_ms
        by_youth = config.min_compaction_lag_ms > 0
        facts = []
        for segment in log.segments:
            first = None
            if by_age and segment.size:
                first = segment.first_timestamp
                if first is None:
                    first = next(iter(segment.batches(0, chunk=HEADER_SIZE))).max_timestamp
                    segment.first_timestamp = first
            newest = segment.max_timestamp if by_youth else 0
            facts.append(SegmentFacts(segment.base_offset, segment.size, newest, first_timestamp=first))
        return plan_clean(
            facts,
            config,
            checkpoint=self._checkpoint(log),
            log_start_offset=log.log_start_offset,
            log_end_offset=log.log_end_offset,
            stable_offset=stable_offset,
            now_ms=now_ms,
        )

    def _checkpoint(self, log: Log) -> int | None:
        """Where the log's dirty section begins, unless offsets were taken back since that was learned."""
        key = (log.topic, log.partition)
        known = self._generations.setdefault(key, (log, log.generation))
        if known != (log, log.generation):
            self._offsets.pop(key, None)
            self._generations[key] = (log, log.generation)
        return self._offsets.get(key)

    # --- a round -------------------------------------------------------------------------------------

    async def _round(self, log: Log, job: CleanJob) -> Done | Failed | None:
        """Run a job to its end; None if it was given up because the log changed."""
        generation = log.generation
        process = self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            "-S",
            "-c",
            _BOOT.format(path=sys.path),
            self._disk.name,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            if self._stopping:
                return None  # asked to while the process was being started, when there was nothing to kill
            process.stdin.write(encode(job))
            with contextlib.suppress(ConnectionError):  # then its exit status says why
                await process.stdin.drain()
            while line := await process.stdout.readline():
                message = decode(line)
                if isinstance(message, (Done, Failed)):
                    return message
                assert isinstance(message, Ready)
                if log.generation != generation or not await self._swap(log, message):
                    return None
                process.stdin.write(GO_ON)
            status = await process.wait()
            return (
                None if self._stopping else Failed("died", f"the cleaning process ended with status {status}")
            )
        finally:
            self._process = None
            await _end(process)

    async def _swap(self, log: Log, ready: Ready) -> bool:
        """Swap a rewritten group in; False if the log has changed."""
        if not self._lives(log):
            return False
        swap = Swap(log, ready)
        if not swap.begin():
            return False
        await asyncio.to_thread(swap.sync)
        if not self._lives(log) or not swap.install(self._wall_ms()):
            return False
        try:
            await asyncio.to_thread(swap.sync)
            swap.finish()
            await asyncio.to_thread(swap.sync)
        except StorageError as error:
            log.fail(error)
            raise
        self.counters.swaps += 1
        return True

    def _lives(self, log: Log) -> bool:
        return any(candidate.log is log for candidate in self._candidates())

    def _account(self, done: Done) -> None:
        counters = self.counters
        counters.rounds += 1
        counters.bytes_read += done.bytes_read
        counters.bytes_written += done.bytes_written
        counters.records_read += done.records_read
        counters.records_written += done.records_written
        counters.seconds += done.seconds
        counters.last_seconds = done.seconds
        counters.last_map_used = done.map_used
        counters.last_memory_kib = done.memory_kib

    def _fail(self, log: Log, key: Key, failed: Failed) -> None:
        self.counters.failed += 1
        if failed.kind == FileMissing.__name__ and not self._lives(log):
            return  # deleted while it was read
        failures = self._failures[key] = self._failures.get(key, 0) + (failed.kind != DiskFull.__name__)
        given_up = failed.kind == CorruptLog.__name__ or failures >= FAILURES_MAX
        if given_up:
            self._uncleanable.add(key)
            self.counters.uncleanable = len(self._uncleanable)
        self._on_problem(
            log, f"{failed.text}; " + ("not cleaned any more" if given_up else "will be tried again")
        )

    # --- cleaner-offset-checkpoint -------------------------------------------------------------------

    async def _load_offsets(self) -> None:
        if not self._offsets_loaded:
            with contextlib.suppress(FileMissing, CorruptLog):  # without it every log is dirty from its start
                self._offsets = decode_offsets(await asyncio.to_thread(self._disk.read, CLEANER_OFFSETS))
            self._offsets_loaded = True

    async def _save_offsets(self) -> None:
        live = {(candidate.log.topic, candidate.log.partition) for candidate in self._candidates()}
        self._offsets = {key: offset for key, offset in self._offsets.items() if key in live}
        self._generations = {key: seen for key, seen in self._generations.items() if key in live}
        with contextlib.suppress(StorageError):  # a lost line costs a repeated round, nothing else
            await asyncio.to_thread(self._disk.replace, CLEANER_OFFSETS, encode_offsets(self._offsets))


async def _end(process: Process) -> None:
    """Make sure the process is gone."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
