"""The event loop's lag is how late its timers are."""

import asyncio
import time

from prometheus_client.parser import text_string_to_metric_families

from moldau_broker.telemetry.exposition import Exposition
from moldau_broker.telemetry.loop_lag import INTERVAL_SECONDS, LoopLag


def _counts(lag):
    exposition = Exposition()
    lag.emit(exposition)
    return {
        (sample.name, sample.labels.get("le")): sample.value
        for family in text_string_to_metric_families(exposition.text().decode())
        for sample in family.samples
    }


async def test_loop_lag_sees_a_blocked_loop():
    """A callback that blocks for a while makes the next timer late by what is left of it."""
    lag = LoopLag(asyncio.get_running_loop())
    lag.start()
    blocked = INTERVAL_SECONDS + 0.1
    time.sleep(blocked)  # noqa: ASYNC251 (blocking the loop is the point)
    deadline = time.monotonic() + 10
    while lag.worst_seconds == 0.0 and time.monotonic() < deadline:  # noqa: ASYNC110 (nothing to wait on)
        await asyncio.sleep(0.01)
    assert lag.worst_seconds >= 0.09
    lag.stop()
    counts = _counts(lag)
    name = "moldau_event_loop_lag_seconds"
    assert counts[f"{name}_count", None] >= 1
    assert counts[f"{name}_bucket", "+Inf"] - counts[f"{name}_bucket", "0.05"] >= 1
    assert lag.worst_seconds == 0.0


async def test_loop_lag_counts_into_the_right_bucket():
    """A delay equal to a bound belongs to it."""
    lag = LoopLag(asyncio.get_running_loop())
    for seconds in (0.0, 0.001, 0.0011, 99.0):
        lag.observe(seconds)
    counts = _counts(lag)
    name = "moldau_event_loop_lag_seconds_bucket"
    assert (counts[name, "0.0005"], counts[name, "0.001"], counts[name, "0.002"], counts[name, "2.5"]) == (
        1,
        2,
        3,
        3,
    )
    assert counts[name, "+Inf"] == 4


async def test_loop_lag_may_stop_before_it_starts():
    """Shutdown does not depend on how far the start came."""
    LoopLag(asyncio.get_running_loop()).stop()
