"""What the active controller does by itself, and when."""

from __future__ import annotations

import asyncio

import pytest

from moldau_broker.base.errors import ErrorCode
from moldau_broker.metadata.controller_work import ControllerWork
from moldau_broker.metadata.errors import ControllerUnavailable
from moldau_broker.metadata.operation import Operation, View
from moldau_broker.metadata.sessions import FIRST_SESSION_DIVISOR
from moldau_broker.testing.control import ControlBench
from moldau_broker.testing.controller import ManualClock


class Bench:
    """Three brokers, and a controller whose time is moved by hand."""

    def __init__(self) -> None:
        self.cluster = ControlBench()
        self.cluster.add_brokers(1, 2, 3)
        self.clock = ManualClock(self.cluster.now_ms)
        self.submitted = 0
        self.refusal: Exception | None = None
        self.work = ControllerWork(self.clock, self._view, self._submit)

    def _view(self) -> View:
        return self.cluster.view

    def _submit(self, operation: Operation[None]) -> None:
        self.submitted += 1
        if self.refusal is not None:
            raise self.refusal
        self.cluster.run(operation)

    async def after(self, ms: int) -> None:
        """Let that much time pass, and the controller look."""
        self.clock.advance(ms)
        self.work.poke()
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    @property
    def fenced(self) -> set[int]:
        return {broker.id for broker in self.cluster.image.brokers.values() if broker.fenced}


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_work_does_nothing_while_this_node_is_not_the_controller(bench: Bench) -> None:
    """Neither poked nor told of a death."""
    bench.work.report_dead(1, bench.cluster.image.brokers[1].epoch)
    await bench.after(60_000)
    assert (bench.submitted, bench.fenced) == (0, set())


async def test_work_fences_brokers_that_stay_silent(bench: Bench) -> None:
    """A new controller gives everybody a part of a session before it decides: most of it may be over already."""
    bench.work.activate()
    first_ms = bench.cluster.settings.cluster.session_timeout_ms // FIRST_SESSION_DIVISOR
    await bench.after(first_ms - 1)
    assert bench.fenced == set()
    await bench.after(2)
    assert bench.fenced == {1, 2, 3}
    bench.work.deactivate()


async def test_work_fences_a_dead_broker_at_once(bench: Bench) -> None:
    """That incarnation and no other; one that was replaced meanwhile is left alone."""
    bench.work.activate()
    epochs = {broker.id: broker.epoch for broker in bench.cluster.image.brokers.values()}
    bench.work.report_dead(1, epochs[1])
    bench.work.report_dead(2, epochs[2] - 1)
    await bench.after(0)
    assert bench.fenced == {1}
    bench.work.deactivate()


async def test_work_comes_by_itself_when_something_is_due(bench: Bench) -> None:
    """The timer is set for the next deadline; nobody has to poke."""
    bench.work.activate()
    await asyncio.sleep(0)
    first_ms = bench.cluster.settings.cluster.session_timeout_ms // FIRST_SESSION_DIVISOR
    bench.clock.advance(first_ms - 5)
    bench.work.poke()
    await asyncio.sleep(0)
    bench.clock.advance(10)
    async with asyncio.timeout(30):
        while bench.fenced != {1, 2, 3}:  # noqa: ASYNC110 - a timer of the work's own
            await asyncio.sleep(0.001)
    bench.work.deactivate()


async def test_work_ends_with_the_lead(bench: Bench) -> None:
    """What was due when the lead was lost is the next controller's business."""
    bench.work.activate()
    bench.work.report_dead(1, bench.cluster.image.brokers[1].epoch)
    bench.work.deactivate()
    await bench.after(60_000)
    assert (bench.submitted, bench.fenced) == (0, set())


async def test_work_that_is_refused_is_tried_again(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """A disk that is full for a while: who stayed silent has one more session, and is fenced after that."""
    bench.work.activate()
    bench.refusal = ControllerUnavailable(ErrorCode.KAFKA_STORAGE_ERROR, "no space")
    timeout_ms = bench.cluster.settings.cluster.session_timeout_ms
    await bench.after(timeout_ms + 1)
    assert bench.fenced == set()
    assert "controller.work_refused" in caplog.text
    bench.refusal = None
    await bench.after(0)
    assert bench.fenced == set()
    await bench.after(timeout_ms + 1)
    assert bench.fenced == {1, 2, 3}
    bench.work.deactivate()


async def test_work_tells_of_every_activation(bench: Bench) -> None:
    """So that brokers whose sessions nobody knows are looked into; pokes of one turn are one look."""
    heard: list[int] = []
    bench.work.on_active = lambda: heard.append(1)
    bench.work.activate()
    bench.work.deactivate()
    bench.work.activate()
    assert heard == [1, 1]
    bench.work.deactivate()
