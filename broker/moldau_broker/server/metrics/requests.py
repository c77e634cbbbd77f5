"""Requests by API and how long they took; connections, traffic, and what they hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from moldau_broker.base.timings import BUCKETS, Timings
from moldau_broker.server.metrics.quantiles import RecentTimings, quantile_ms
from moldau_broker.wire.apis import API_SCHEMAS, ApiKey

if TYPE_CHECKING:
    from moldau_broker.base.clock import Clock
    from moldau_broker.server.fetch_sessions import FetchSessions
    from moldau_broker.server.listeners import Listeners
    from moldau_broker.server.request_stats import RequestStats
    from moldau_broker.telemetry.exposition import Exposition
    from moldau_broker.telemetry.loop_lag import LoopLag
    from moldau_broker.telemetry.registry import Emitter

_NANOSECOND: Final = 1e-9
_MS_PER_NS: Final = 1e-6
BOUNDS_SECONDS: Final[Sequence[float]] = tuple((1 << i) / 1_000_000 for i in range(BUCKETS - 1))
"""Bucket i of `Timings` counts times below 2**i microseconds that bucket i-1 does not; the last has no bound."""

_QUANTILES: Final = {"0.50": 0.5, "0.75": 0.75, "0.95": 0.95, "0.98": 0.98, "0.99": 0.99, "0.999": 0.999}
"""As Strimzi's rules write them."""


def emit_requests(stats: RequestStats, clock: Clock) -> Emitter:
    """Requests by API; why connections were ended."""
    recent: dict[str, RecentTimings] = {}

    def emit(exposition: Exposition) -> None:
        for key, timings in stats.apis.items():
            if timings.count:
                exposition.add_histogram(
                    "moldau_request_seconds",
                    BOUNDS_SECONDS,
                    timings.buckets,
                    timings.total_ns * _NANOSECOND,
                    API_SCHEMAS[ApiKey(key)].name,
                )
        now_ms = clock.monotonic_ms()
        for name, timings in _by_kafkas_names(stats):
            exposition.add("kafka_network_requestmetrics_requests_total", timings.count, name)
            buckets = recent.setdefault(name, RecentTimings()).buckets(now_ms, timings)
            found = {text: quantile_ms(buckets, share) for text, share in _QUANTILES.items()}
            exposition.add_summary(
                "kafka_network_requestmetrics_totaltimems",
                {text: round(value, 3) for text, value in found.items() if value is not None},
                timings.total_ns * _MS_PER_NS,
                timings.count,
                name,
            )
        for reason, count in sorted(stats.close_reasons.items()):
            exposition.add("moldau_connections_closed_total", count, reason)
        exposition.add("moldau_requests_with_trailing_bytes_total", stats.with_trailing_bytes)

    return emit


def _by_kafkas_names(stats: RequestStats) -> Iterator[tuple[str, Timings]]:
    """APIs that were used; Fetch in three series, as in Kafka: all, consumers' and other nodes'."""
    for key, timings in stats.apis.items():
        if timings.count:
            yield API_SCHEMAS[ApiKey(key)].name, timings
    fetches, followers = stats.apis[ApiKey.FETCH], stats.replica_fetches
    if followers.count:
        yield "FetchFollower", followers
    if fetches.count > followers.count:
        consumers = Timings()
        consumers.count = fetches.count - followers.count
        consumers.total_ns = fetches.total_ns - followers.total_ns
        consumers.buckets = [
            every - other for every, other in zip(fetches.buckets, followers.buckets, strict=True)
        ]
        yield "FetchConsumer", consumers


def emit_connections(
    listeners: Listeners, fetch_sessions: FetchSessions, waiting_fetches: Collection[object] = ()
) -> Emitter:
    """Connections, traffic, and what they hold."""
    seen: set[str] = set()  # a listener that nobody is connected to any more shows 0 instead of vanishing

    def emit(exposition: Exposition) -> None:
        by_listener = Counter(connection.listener for connection in listeners.connections())
        seen.update(by_listener)
        for name in sorted(seen):
            exposition.add("moldau_connections", by_listener[name], name)
            exposition.add("kafka_server_socket_server_metrics_connection_count", by_listener[name], name)
        for name, (received, sent) in listeners.traffic().items():
            exposition.add("moldau_received_bytes_total", received, name)
            exposition.add("moldau_sent_bytes_total", sent, name)
        exposition.add("moldau_connections_accepted_total", listeners.accepted)
        exposition.add("moldau_connections_delayed_total", listeners.delayed)
        exposition.add("moldau_in_flight_request_bytes", listeners.in_flight.held)
        exposition.add("moldau_waiting_fetches", len(waiting_fetches))
        exposition.add("moldau_fetch_sessions", len(fetch_sessions))
        exposition.add("moldau_fetch_session_evictions_total", fetch_sessions.evictions)

    return emit


def emit_idleness(loop_lag: LoopLag) -> Emitter:
    """How idle the one thread is that handles network and requests, under Kafka's two names."""

    def emit(exposition: Exposition) -> None:
        idle = round(loop_lag.idle_ratio, 4)
        exposition.add("kafka_server_kafkarequesthandlerpool_requesthandleravgidle_percent", idle)
        exposition.add("kafka_network_socketserver_networkprocessoravgidle_percent", idle)

    return emit
