"""One child process kept running: the asyncio driver around `lifecycle`, which takes every decision."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from moldau_broker.base.clock import Clock
from moldau_operator.adapters.lifecycle import Command, Lifecycle, Patience, Phase
from moldau_operator.adapters.orphans import ProcessNote, death_wish, write_note
from moldau_operator.adapters.probe import Address, Probe
from moldau_operator.errors import PlatformError
from moldau_operator.seams.platform import NodeState

LOG_BYTES_MAX: Final = 16 * 1024 * 1024
"""A log grows to this and is then kept once as `.1`: 32 MiB per node, weeks of a healthy broker."""

LOG_CHECK_MS: Final = 10_000
_LAST_WORDS_BYTES: Final = 4096
_LAST_WORDS_CHARS: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSpec:
    """How to run the process.

    Attributes:
        command: the program and its arguments.
        folder: where it runs and where its note lies.
        log: where its output goes, appended.
        kafka, http: where it answers clients, and where its `/readyz` is.
        check: called before each start; raises PlatformError when it cannot succeed now.
    """

    command: Sequence[str]
    folder: Path
    log: Path
    kafka: Address
    http: Address
    check: Callable[[], None]


class SupervisedProcess:
    """Runs `spec` until told otherwise."""

    def __init__(
        self,
        spec: ProcessSpec,
        clock: Clock,
        on_change: Callable[[], None],
        patience: Patience | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._spec = spec
        self.lifecycle = Lifecycle(patience)
        self._clock = clock
        self._on_change = on_change
        self._environment = dict(os.environ if environment is None else environment)
        self._probe = Probe(spec.kafka, spec.http)
        self._process: asyncio.subprocess.Process | None = None
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._log_start = 0
        self._next_log_check = 0
        self._spawned_at = 0
        self._told: tuple[NodeState, str, int | None] = (NodeState.DOWN, "", None)

    @property
    def pid(self) -> int | None:
        """The process's id while it runs."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Run it and keep it running."""
        self._carry_out(self.lifecycle.start(self._now()))
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())
        self._wake.set()

    def restart(self) -> None:
        """Stop it in good order and run it again."""
        self._carry_out(self.lifecycle.restart(self._now()))
        self.start()

    async def stop(self) -> None:
        """Stop it in good order; returns when it is gone."""
        self._carry_out(self.lifecycle.stop(self._now()))
        self._wake.set()
        if self._task is not None:
            await self._task

    def kill(self) -> None:
        """Do not wait for good order any longer."""
        self._carry_out(self.lifecycle.kill(self._now()))
        self._wake.set()

    async def _run(self) -> None:
        probe: asyncio.Task[None] | None = None
        gone: asyncio.Task[int] | None = None
        next_probe = 0
        try:
            while self.lifecycle.phase is not Phase.STOPPED:
                commands = self.lifecycle.tick(self._now())
                if Command.SPAWN in commands:
                    await self._spawn()
                    next_probe = self._now() + self.lifecycle.probe_after_ms()
                else:
                    self._carry_out(commands)
                if self._process is not None and gone is None:
                    gone = asyncio.create_task(self._process.wait())
                if gone is not None and probe is None and self._now() >= next_probe:
                    probe = asyncio.create_task(self._ask())
                self._keep_log_small()
                self._tell_change()
                await self._wait(
                    [task for task in (gone, probe) if task is not None], next_probe if probe is None else 0
                )
                if probe is not None and probe.done():
                    await probe
                    probe, next_probe = None, self._now() + self.lifecycle.probe_after_ms()
                if gone is not None and gone.done():
                    self._buried(await gone)
                    gone = None
                self._tell_change()
        finally:
            for task in (probe, gone):
                if task is not None:
                    task.cancel()
                    with suppress(asyncio.CancelledError):
                        await task

    def _tell_change(self) -> None:
        now = (self.lifecycle.state, self.lifecycle.message, self.pid)
        if now != self._told:
            self._told = now
            self._on_change()

    async def _wait(self, tasks: Sequence[asyncio.Task[object]], next_probe: int) -> None:
        """Until a task ends, somebody wakes us, or time alone may change something."""
        delay = self.lifecycle.next_tick_ms(self._now())
        if next_probe and self._process is not None:
            delay = min(delay, max(next_probe - self._now(), 0))
        woken = asyncio.create_task(self._wake.wait())
        try:
            await asyncio.wait([*tasks, woken], timeout=delay / 1000, return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()
            with suppress(asyncio.CancelledError):
                await woken
        self._wake.clear()

    async def _spawn(self) -> None:
        spec = self._spec
        try:
            spec.check()
            with spec.log.open("ab") as log:
                self._log_start = log.tell()
                self._process = await asyncio.create_subprocess_exec(
                    *spec.command,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=spec.folder,
                    env=self._environment,
                    start_new_session=True,
                    preexec_fn=death_wish(),
                )
        except (OSError, PlatformError) as error:
            self.lifecycle.spawn_failed(self._now(), str(error))
            return
        write_note(self._note_path, ProcessNote.of(self._process.pid))
        self._spawned_at = self._now()
        self.lifecycle.spawned(self._spawned_at)

    @property
    def _note_path(self) -> Path:
        return self._spec.folder / "process.json"

    async def _ask(self) -> None:
        patience = self.lifecycle.patience
        pid = self.pid
        over_http = self._now() - self._spawned_at >= patience.young_ms
        answer = await self._probe.ask(patience.probe_timeout_ms / 1000, over_http=over_http)
        if pid != self.pid:
            return  # about a process that is gone
        if answer is None:
            self.lifecycle.missed(self._now())
        else:
            self.lifecycle.answered(self._now(), answer.state, answer.detail)

    def _buried(self, status: int) -> None:
        self._process = None
        self._probe.close()
        write_note(self._note_path, None)
        words = last_words(self._spec.log, self._log_start) if status > 0 else ""
        self.lifecycle.exited(self._now(), status, words)

    def _carry_out(self, commands: Sequence[Command]) -> None:
        if self._process is None:
            return
        for command in commands:
            with suppress(ProcessLookupError):
                if command is Command.TERMINATE:
                    self._process.terminate()
                    self._process.send_signal(signal.SIGCONT)  # under SIGSTOP it would never see the other
                elif command is Command.KILL:
                    os.killpg(self._process.pid, signal.SIGKILL)

    def _keep_log_small(self) -> None:
        """Turn a large log over. The child appends, so after the cut it writes on from the start."""
        now = self._now()
        if now < self._next_log_check:
            return
        self._next_log_check = now + LOG_CHECK_MS
        log = self._spec.log
        with suppress(OSError):
            if log.stat().st_size > LOG_BYTES_MAX:
                shutil.copyfile(log, log.with_name(log.name + ".1"))
                os.truncate(log, 0)
                self._log_start = 0

    def _now(self) -> int:
        return self._clock.monotonic_ms()


def last_words(log: Path, start: int) -> str:
    """The last line a process wrote since byte `start` of its log, shortened; empty if it wrote none."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(start, size - _LAST_WORDS_BYTES))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:_LAST_WORDS_CHARS] if lines else ""
