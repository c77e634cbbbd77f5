"""This node's part in the metadata quorum, under Kafka's names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from moldau_broker.raft.state import Role

if TYPE_CHECKING:
    from moldau_broker.base.clock import Clock
    from moldau_broker.raft.driver import RaftDriver
    from moldau_broker.server.membership import Membership
    from moldau_broker.server.metrics.rates import LogRates
    from moldau_broker.telemetry.exposition import Exposition
    from moldau_broker.telemetry.registry import Emitter

_RAFT: Final = "kafka_server_raftmetrics_"
_CHANNEL: Final = "kafka_server_raftchannelmetrics_"


def emit_quorum(member: Membership, rates: LogRates, clock: Clock) -> Emitter:
    """Who leads as far as this node knows, where its log ends, and what it says to the others."""

    def emit(exposition: Exposition) -> None:
        driver = member.runtime.driver
        if driver is None:
            return
        node = driver.node
        exposition.add(f"{_RAFT}current_leader", node.leader_id)
        exposition.add(f"{_RAFT}current_epoch", node.epoch)
        exposition.add(f"{_RAFT}current_vote", node.vote)
        exposition.add(f"{_RAFT}current_state", 1, _state(driver))
        exposition.add(f"{_RAFT}high_watermark", node.high_watermark)
        exposition.add(f"{_RAFT}log_end_offset", node.log_end)
        latency = driver.commit_times.average_ms(clock.monotonic_ms())
        if latency is not None:
            exposition.add(f"{_RAFT}commit_latency_avg", round(latency, 3))
        appended, fetched = rates.per_second()
        exposition.add(f"{_RAFT}append_records_rate", round(appended, 3))
        exposition.add(f"{_RAFT}fetch_records_rate", round(fetched, 3))
        exposition.add("moldau_quorum_voters", len(node.voters.voters))
        received, sent = member.transport.traffic()
        exposition.add(f"{_CHANNEL}request_total", member.transport.requests)
        exposition.add(f"{_CHANNEL}response_total", member.transport.responses)
        exposition.add(f"{_CHANNEL}incoming_byte_total", received)
        exposition.add(f"{_CHANNEL}outgoing_byte_total", sent)

    return emit


def _state(driver: RaftDriver) -> str:
    """Kafka's word: who has no vote is an observer, who voted and knows no leader yet has "voted"."""
    node = driver.node
    if not node.is_voter and node.role is not Role.LEADER:
        return "observer"
    if node.role is Role.UNATTACHED and node.vote >= 0:
        return "voted"
    return node.role.value
