"""How old the groups' lag is, also where looking at it fails again and again."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

from prometheus_client.parser import text_string_to_metric_families

from moldau_broker.server.metrics.groups import emit_groups
from moldau_broker.server.metrics.lag_watch import INTERVAL_MS, WANTED_MS, LagWatch
from moldau_broker.telemetry.exposition import Exposition
from moldau_broker.telemetry.registry import RENDER_INTERVAL_MS_MIN
from moldau_broker.testing.controller import ManualClock


class Coordinator:
    """Of no group; `defect` is raised by whoever asks for them."""

    loading = 0

    def __init__(self) -> None:
        self.defect: Exception | None = None
        self.looks = 0

    def active(self):
        self.looks += 1
        if self.defect is not None:
            raise self.defect
        return []


def _setting():
    clock, coordinator = ManualClock(), Coordinator()
    watch = LagWatch(coordinator, clock, lambda: None, SimpleNamespace())
    emit = emit_groups(coordinator, watch, SimpleNamespace(), clock, "demo")

    async def age():
        """By a scrape; what it began to look at is looked at meanwhile."""
        exposition = Exposition()
        list(emit(exposition))
        await asyncio.sleep(0)
        families = text_string_to_metric_families(exposition.text().decode())
        (found,) = (
            one.value for family in families for one in family.samples if one.name == "moldau_lag_age_seconds"
        )
        return found

    return clock, coordinator, watch, age


async def test_a_look_that_fails_each_time_is_told_by_its_age():
    """It was absent then, as after a start, and nothing could alert on it."""
    clock, coordinator, watch, age = _setting()
    coordinator.defect = KeyError("a topic that is gone")
    assert await age() == 0
    for seconds in (30, 60, 90):
        clock.advance(30_000)
        assert await age() == seconds
    coordinator.defect = None
    assert await age() == 90  # this scrape has it looked at again
    assert await age() == 0
    await watch.stop()


async def test_groups_are_looked_at_in_every_interval_and_shown_within_five_seconds(monkeypatch):
    """By the loop's own clock, however busy the machine is: no look is left out, and no page is served for longer."""
    assert INTERVAL_MS + RENDER_INTERVAL_MS_MIN <= 5_000
    clock, coordinator, watch, age = _setting()
    loop = asyncio.get_running_loop()
    now = loop.time()
    monkeypatch.setattr(loop, "time", lambda: now)
    await age()
    assert coordinator.looks == 1
    for looks in (2, 3, 4):
        now += INTERVAL_MS / 1000 - 0.1
        await _turns()
        assert coordinator.looks == looks - 1
        now += 0.1 + 0.001
        clock.advance(INTERVAL_MS)
        await _turns()
        assert coordinator.looks == looks
    await watch.stop()


async def _turns():
    for _ in range(10):
        await asyncio.sleep(0)


async def test_what_nobody_scraped_for_is_not_old():
    """A scraper that comes back after an hour begins anew."""
    clock, _, watch, age = _setting()
    assert await age() == 0
    clock.advance(WANTED_MS + 1)
    while watch.known_since_ms is not None:  # noqa: ASYNC110 - its own pause is two seconds
        await asyncio.sleep(0.01)
    assert await age() == 0
    await watch.stop()
