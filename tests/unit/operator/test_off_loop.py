"""Plans of large clusters are made elsewhere, and the event loop hardly feels it."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

from moldau_operator.adapters.off_loop import HERE_MAX, THREAD_MAX, WorkFailed, in_thread, off_loop
from moldau_operator.plan.balance import BalanceAsk, plan_balance
from moldau_operator.plan.packing import PackBroker
from moldau_operator.plan.partitions import SeenPartition


def where(items: Sequence[int], ask: str) -> tuple[int, int, int, str]:
    """(process, thread, sum, ask): who did it, and that everything has arrived."""
    return os.getpid(), threading.get_ident(), sum(items), ask


@pytest.mark.parametrize(
    ("size", "same_process", "same_thread"), [(HERE_MAX, True, True), (THREAD_MAX, True, False)]
)
async def test_small_work_is_done_at_hand(size: int, *, same_process: bool, same_thread: bool) -> None:
    """Here, or in a thread."""
    process, thread, total, ask = await off_loop(where, range(size), "x")
    assert (process == os.getpid(), thread == threading.get_ident()) == (same_process, same_thread)
    assert (total, ask) == (sum(range(size)), "x")
    assert (await in_thread(size, threading.get_ident) == threading.get_ident()) is same_thread


def drawn(partitions: int, brokers: int) -> list[SeenPartition]:
    rng = Random(1)
    found = []
    for index in range(partitions):
        replicas = tuple(rng.sample(range(brokers), 3))
        leader = max(replicas, key=lambda broker: (broker % 3 == 0, rng.random()))
        size = int(rng.lognormvariate(0, 1) * 5 * (1 << 30))
        found.append(SeenPartition(("t", index), leader, replicas, replicas, size, rng.paretovariate(1.2)))
    return found


async def test_a_large_plan_is_the_same_from_another_process_and_holds_nobody_up() -> None:
    """Twenty thousand partitions: what is planned there is what would be planned here, while the loop goes on."""
    partitions = drawn(20_000, 24)
    ask = BalanceAsk(brokers=tuple(PackBroker(broker) for broker in range(30)))
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            begun = time.thread_time()
            await asyncio.sleep(0.002)
            longest = max(longest, time.thread_time() - begun)

    watching = asyncio.create_task(watch())
    plan = await off_loop(plan_balance, partitions, ask)
    watching.cancel()
    begun = time.thread_time()
    here = plan_balance(partitions, ask)
    took = time.thread_time() - begun
    assert plan == here
    assert longest < max(took / 2, 0.05), "CPU time of our own thread between two turns of the loop"


async def test_a_process_that_fails_says_why() -> None:
    """One line, and no process is left."""
    ask: Any = None
    with pytest.raises(WorkFailed, match=r"^planning failed: AttributeError: 'NoneType'"):
        await off_loop(plan_balance, drawn(THREAD_MAX + 1, 9), ask)


async def test_a_plan_nobody_waits_for_leaves_no_process() -> None:
    """Whoever stops meanwhile ends it."""
    ask = BalanceAsk(brokers=tuple(PackBroker(broker) for broker in range(30)), replicas=True)
    before = set(_children())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await off_loop(plan_balance, drawn(20_000, 24), ask)
    assert set(_children()) <= before


def _children() -> list[str]:
    return Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
