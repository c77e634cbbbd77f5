"""A stuck event loop is seen from outside: where it hangs, once, and for how long."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import textwrap
import time
from itertools import pairwise

import pytest

from moldau_broker.telemetry.watchdog import INTERVAL_SECONDS, Watchdog

BOUND = 0.5
PATIENCE = 60
"""For what a busy machine may keep from running for seconds."""


def hold_the_loop(until):
    """A handler that blocks, as one that forgot a thread would."""
    deadline = time.monotonic() + PATIENCE
    while not until() and time.monotonic() < deadline:
        time.sleep(0.01)


@pytest.fixture
async def watchdog():
    dog = Watchdog(asyncio.get_running_loop(), stall_seconds=BOUND)
    dog.start()
    yield dog
    dog.stop()


async def _resumed(caplog, count):
    deadline = time.monotonic() + PATIENCE
    while len(_lines(caplog, "event_loop.resumed")) < count:
        assert time.monotonic() < deadline, "the end of a stall was never told"
        await asyncio.sleep(0.02)


def _lines(caplog, event):
    return [record for record in caplog.records if record.getMessage() == event]


async def test_watchdog_logs_the_stack_of_a_stuck_loop_once(watchdog, caplog):
    """A block that ends when it was told: one line with the culprit's frame, one with the duration."""
    caplog.set_level(logging.INFO)
    begun = time.monotonic()
    asyncio.get_running_loop().call_soon(hold_the_loop, lambda: _lines(caplog, "event_loop.stalled"))
    await asyncio.sleep(0)
    (stalled,) = _lines(caplog, "event_loop.stalled")
    assert any(line.endswith("hold_the_loop") and "test_watchdog.py" in line for line in stalled.stack)
    assert stalled.stalled_seconds >= BOUND
    assert _lines(caplog, "event_loop.resumed") == []
    await _resumed(caplog, 1)
    (resumed,) = _lines(caplog, "event_loop.resumed")
    longest = time.monotonic() - begun + INTERVAL_SECONDS  # the loop's last note before the block is that old
    assert stalled.stalled_seconds <= resumed.stalled_seconds <= longest + 0.001  # rounded to that
    assert watchdog.stalls == 1


async def test_watchdog_tells_each_stall(watchdog, caplog):
    """Two stalls with a living loop between them are two."""
    caplog.set_level(logging.INFO)
    for count in (1, 2):
        hold_the_loop(lambda count=count: len(_lines(caplog, "event_loop.stalled")) == count)
        await _resumed(caplog, count)
    assert watchdog.stalls == 2
    assert len(_lines(caplog, "event_loop.stalled")) == 2


async def test_watchdog_is_silent_about_a_loop_that_turns(watchdog, caplog):
    """Busy in small pieces is no stall."""
    turns = [time.monotonic()]
    while turns[-1] < turns[0] + 3 * BOUND:
        time.sleep(0.01)  # noqa: ASYNC251 (blocking the loop is the point)
        await asyncio.sleep(0)
        turns.append(time.monotonic())
    starved = sum(after - before >= BOUND - INTERVAL_SECONDS for before, after in pairwise(turns))
    assert watchdog.stalls <= starved, "a busy machine may really hold it up"
    assert len(_lines(caplog, "event_loop.stalled")) == watchdog.stalls


async def test_watchdog_may_stop_before_it_starts():
    """Shutdown does not depend on how far the start came."""
    Watchdog(asyncio.get_running_loop()).stop()


def test_watchdog_does_not_blame_the_loop_for_a_paused_process():
    """SIGSTOP holds the watchdog as well: it says that the process was paused, and names no stack."""
    script = """
        import asyncio, json, logging, sys, threading
        from moldau_broker.telemetry.watchdog import Watchdog
        class Show(logging.Handler):
            def emit(self, record): print(record.getMessage(), flush=True)
        logging.getLogger().addHandler(Show())
        async def main():
            dog = Watchdog(asyncio.get_running_loop(), 0.5)
            dog.start()
            print("ready", flush=True)
            await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
            dog.stop()
        asyncio.run(main())
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(1.5)
        os.kill(process.pid, signal.SIGCONT)
        assert process.stdout.readline() == "process.paused\n"
        out, _ = process.communicate("\n", timeout=PATIENCE)
        assert "stalled" not in out
    finally:
        process.kill()
        process.wait()
