"""From the components' plain counters to the metrics table, when somebody scrapes. Changes nothing.

Each function makes an emitter for `Telemetry.add` of the components it is given.
"""

from __future__ import annotations

import sys
from collections import Counter
from functools import cache
from typing import TYPE_CHECKING, Final

from moldau_broker.server.lifecycle import NodeState
from moldau_broker.wire.apis import API_SCHEMAS, ApiKey

if TYPE_CHECKING:
    from moldau_broker.metadata.publisher import MetadataPublisher
    from moldau_broker.replication.manager import ReplicaManager
    from moldau_broker.server.fetch_sessions import FetchSessions
    from moldau_broker.server.lifecycle import Lifecycle
    from moldau_broker.server.listeners import Listeners
    from moldau_broker.server.request_stats import RequestStats
    from moldau_broker.telemetry.exposition import Exposition
    from moldau_broker.telemetry.registry import Emitter

_MICROSECOND: Final = 1e-6
_NANOSECOND: Final = 1e-9


def emit_node(lifecycle: Lifecycle) -> Emitter:
    """What is running, and its state."""
    python = ".".join(map(str, sys.version_info[:3]))

    def emit(exposition: Exposition) -> None:
        exposition.add("moldau_build_info", 1, _release(), python)
        for state in NodeState:
            exposition.add("moldau_state", int(state is lifecycle.state), state.value)

    return emit


@cache
def _release() -> str:
    """The installed version. Looked up when first asked for: the import costs more than the rest of this module."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("moldau")
    except PackageNotFoundError:
        return "unknown"


def emit_requests(stats: RequestStats) -> Emitter:
    """Requests by API and how long they took; why connections were ended."""

    def emit(exposition: Exposition) -> None:
        for key, api in stats.apis.items():
            if api.count:
                # Bucket i counts times below 2**i microseconds that bucket i-1 does not; the last has no bound.
                bounds = [(1 << i) * _MICROSECOND for i in range(len(api.buckets) - 1)]
                name = API_SCHEMAS[ApiKey(key)].name
                exposition.add_histogram(
                    "moldau_request_seconds", bounds, api.buckets, api.total_ns * _NANOSECOND, name
                )
        for reason, count in sorted(stats.close_reasons.items()):
            exposition.add("moldau_connections_closed_total", count, reason)
        exposition.add("moldau_requests_with_trailing_bytes_total", stats.with_trailing_bytes)

    return emit


def emit_connections(listeners: Listeners, fetch_sessions: FetchSessions) -> Emitter:
    """Connections, traffic, and what they hold."""

    seen: set[str] = set()  # a listener that nobody is connected to any more shows 0 instead of vanishing

    def emit(exposition: Exposition) -> None:
        by_listener = Counter(connection.listener for connection in listeners.connections())
        seen.update(by_listener)
        for name in sorted(seen):
            exposition.add("moldau_connections", by_listener[name], name)
        received, sent = listeners.traffic()
        exposition.add("moldau_connections_accepted_total", listeners.accepted)
        exposition.add("moldau_received_bytes_total", received)
        exposition.add("moldau_sent_bytes_total", sent)
        exposition.add("moldau_in_flight_request_bytes", listeners.in_flight.held)
        exposition.add("moldau_fetch_sessions", len(fetch_sessions))
        exposition.add("moldau_fetch_session_evictions_total", fetch_sessions.evictions)

    return emit


def emit_logs(replicas: ReplicaManager, metadata: MetadataPublisher) -> Emitter:
    """Topics, partitions, and each log's offsets and size."""

    def emit(exposition: Exposition) -> None:
        exposition.add("moldau_topics", len(metadata.image.topics))
        exposition.add("moldau_partitions", len(replicas))
        exposition.add("moldau_partition_failures", len(replicas.failures))
        for partition in replicas.partitions():
            log = partition.log
            exposition.add_all(
                {
                    "moldau_log_start_offset": log.log_start_offset,
                    "moldau_log_end_offset": log.log_end_offset,
                    "moldau_log_durable_offset": log.durable_offset,
                    "moldau_partition_high_watermark": partition.high_watermark,
                    "moldau_log_size_bytes": log.size_bytes,
                    "moldau_log_segments": len(log.segments),
                },
                partition.topic,
                str(partition.index),
            )

    return emit
