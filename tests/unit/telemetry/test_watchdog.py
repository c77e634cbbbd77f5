"""A stuck event loop is seen from outside: where it hangs, once, and for how long."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from moldau_broker.telemetry.watchdog import INTERVAL_SECONDS, Watchdog

BOUND = 0.5


def hold_the_loop(seconds):
    """A handler that blocks, as one that forgot a thread would."""
    time.sleep(seconds)


@pytest.fixture
async def watchdog():
    dog = Watchdog(asyncio.get_running_loop(), stall_seconds=BOUND)
    dog.start()
    yield dog
    dog.stop()


async def _resumed(caplog, count):
    deadline = time.monotonic() + 10
    while len(_lines(caplog, "event_loop.resumed")) < count:
        assert time.monotonic() < deadline, "the end of a stall was never told"
        await asyncio.sleep(0.02)


def _lines(caplog, event):
    return [record for record in caplog.records if record.getMessage() == event]


async def test_watchdog_logs_the_stack_of_a_stuck_loop_once(watchdog, caplog):
    """A real block of two seconds: one line with the culprit's frame, one with the duration."""
    caplog.set_level(logging.INFO)
    asyncio.get_running_loop().call_soon(hold_the_loop, 2.0)
    await asyncio.sleep(0)
    await _resumed(caplog, 1)
    (stalled,) = _lines(caplog, "event_loop.stalled")
    assert any(line.endswith("hold_the_loop") and "test_watchdog.py" in line for line in stalled.stack)
    assert BOUND <= stalled.stalled_seconds < 2.0, "told while it lasts, not afterwards"  # to the millisecond
    (resumed,) = _lines(caplog, "event_loop.resumed")
    assert 2.0 <= resumed.stalled_seconds < 2.0 + 4 * INTERVAL_SECONDS + 1.0
    assert watchdog.stalls == 1


async def test_watchdog_tells_each_stall(watchdog, caplog):
    """Two stalls with a living loop between them are two."""
    caplog.set_level(logging.INFO)
    for count in (1, 2):
        hold_the_loop(BOUND * 2.5)
        await _resumed(caplog, count)
    assert watchdog.stalls == 2
    assert len(_lines(caplog, "event_loop.stalled")) == 2


async def test_watchdog_is_silent_about_a_loop_that_turns(watchdog, caplog):
    """Busy in small pieces is no stall."""
    until = time.monotonic() + 3 * BOUND
    while time.monotonic() < until:
        hold_the_loop(0.01)
        await asyncio.sleep(0)
    assert watchdog.stalls == 0
    assert _lines(caplog, "event_loop.stalled") == []


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
        out, _ = process.communicate("\n", timeout=10)
        assert "stalled" not in out
    finally:
        process.kill()
        process.wait()
