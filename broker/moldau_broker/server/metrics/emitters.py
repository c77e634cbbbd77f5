"""Every emitter of a broker, made of its parts when somebody scrapes for the first time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from moldau_broker.server.handlers.spec import ListenerKind
from moldau_broker.server.metrics.controller import emit_cluster
from moldau_broker.server.metrics.groups import emit_groups
from moldau_broker.server.metrics.node import emit_membership, emit_node
from moldau_broker.server.metrics.partitions import emit_disk, emit_partitions, emit_traffic
from moldau_broker.server.metrics.quorum import emit_quorum
from moldau_broker.server.metrics.requests import emit_connections, emit_idleness, emit_requests
from moldau_broker.telemetry.logs import emit_lines
from moldau_broker.telemetry.process import emit_process

if TYPE_CHECKING:
    from moldau_broker.server.broker import Broker
    from moldau_broker.server.lifecycle import Lifecycle
    from moldau_broker.server.listeners import Listeners
    from moldau_broker.server.membership import Membership
    from moldau_broker.server.metrics.filters import Filters
    from moldau_broker.server.metrics.lag_watch import LagWatch
    from moldau_broker.server.metrics.watching import Watching
    from moldau_broker.server.request_stats import RequestStats
    from moldau_broker.storage.group_commit import GroupCommit
    from moldau_broker.telemetry.loop_lag import LoopLag
    from moldau_broker.telemetry.registry import Emitter


@dataclass(frozen=True, slots=True)
class Parts:
    """What emitters look at."""

    broker: Broker
    member: Membership
    lifecycle: Lifecycle
    listeners: Listeners
    stats: RequestStats
    loop_lag: LoopLag
    commit: GroupCommit
    watching: Watching
    filters: Filters
    lag: LagWatch


def emitters(parts: Parts) -> Iterable[Emitter]:
    """All of them."""
    broker, watching, filters = parts.broker, parts.watching, parts.filters
    ownership = watching.ownership
    client = next((one.name for one in broker.settings.listeners if one.kind is ListenerKind.CLIENT), None)
    return (
        emit_process,
        emit_lines,
        parts.loop_lag.emit,
        emit_idleness(parts.loop_lag),
        emit_node(parts.lifecycle),
        emit_membership(parts.member, broker.clock),
        emit_requests(parts.stats, broker.clock),
        emit_connections(parts.listeners, broker.fetch_sessions, broker.waiting_fetches),
        emit_disk(broker.log_dir, parts.commit, broker.replicas),
        emit_partitions(
            broker.replicas, broker.metadata, ownership, filters, broker.node_id, broker.cluster_id
        ),
        emit_traffic(broker.replicas, filters),
        emit_cluster(broker.metadata, ownership.controls, watching.elections, filters, client),
        emit_quorum(parts.member, watching.rates, broker.clock),
        emit_groups(broker.groups, parts.lag, ownership, broker.clock, broker.cluster_id),
    )
