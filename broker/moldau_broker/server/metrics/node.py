"""The node itself: what runs, its state, its session with the controller."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from moldau_broker.server.lifecycle import NodeState
from moldau_broker.server.metrics.release import release

if TYPE_CHECKING:
    from moldau_broker.base.clock import Clock
    from moldau_broker.server.lifecycle import Lifecycle
    from moldau_broker.server.membership import Membership
    from moldau_broker.telemetry.exposition import Exposition
    from moldau_broker.telemetry.registry import Emitter

_KAFKA_STATES: Final = {
    NodeState.STARTING: 1,
    NodeState.RECOVERING: 2,
    NodeState.SERVING: 3,
    NodeState.DRAINING: 6,
}
"""Kafka's BrokerState."""


def emit_node(lifecycle: Lifecycle) -> Emitter:
    """What is running, and its state."""
    python = ".".join(map(str, sys.version_info[:3]))

    def emit(exposition: Exposition) -> None:
        exposition.add("moldau_build_info", 1, release(), python)
        for state in NodeState:
            exposition.add("moldau_state", int(state is lifecycle.state), state.value)
        exposition.add("kafka_server_kafkaserver_brokerstate", _KAFKA_STATES.get(lifecycle.state, 0))

    return emit


def emit_membership(member: Membership, clock: Clock) -> Emitter:
    """What it knows of the cluster, and when it was last heard there."""

    def emit(exposition: Exposition) -> None:
        exposition.add("moldau_metadata_offset", member.publisher.image.offset)
        if member.life is not None:
            silence_ms = clock.monotonic_ms() - member.life.session.heard_ms
            exposition.add("moldau_broker_session_age_seconds", silence_ms / 1000)

    return emit
