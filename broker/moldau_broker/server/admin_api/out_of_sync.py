"""GET replicas/out-of-sync: which replicas of the partitions led here are out of sync, since when, and how far behind.

Only the leader knows since when, and only of its own term (`replication.absences`); so nobody else is asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from moldau_broker.base.limits import TOPICS_PER_REQUEST_MAX

if TYPE_CHECKING:
    from moldau_broker.replication.partition import Partition
    from moldau_broker.server.admin_api.node import AdminNode
    from moldau_broker.server.admin_api.routing import Call


async def respond(node: AdminNode, call: Call) -> Any:
    """Those of all topics, or of the topics named."""
    topics = call.query.texts("topic", TOPICS_PER_REQUEST_MAX)
    call.query.done()
    call.no_body()
    clock = node.broker.clock
    now_ms = clock.wall_ms()
    wall_at_zero_ms = now_ms - clock.monotonic_ms()
    replicas = [
        item
        for partition in node.broker.replicas.partitions()
        if partition.is_leader and (topics is None or partition.topic in topics)
        for item in describe(partition, wall_at_zero_ms)
    ]
    return {"nodeId": node.broker.node_id, "nowMs": now_ms, "replicas": replicas}


def describe(partition: Partition, wall_at_zero_ms: int) -> list[dict[str, Any]]:
    """The entries of one partition; `wall_at_zero_ms` is the wall clock's time when the monotonic one was 0."""
    found = partition.out_of_sync()
    if found is None:
        return []
    items = []
    for broker_id, absence in sorted(found.replicas.items()):
        item: dict[str, Any] = {
            "topic": partition.topic,
            "partition": partition.index,
            "brokerId": broker_id,
            "leaderEpoch": partition.leader_epoch,
            "leaderSinceMs": wall_at_zero_ms + found.term_began_ms,
        }
        if absence.since_ms is not None:
            item["sinceMs"] = wall_at_zero_ms + absence.since_ms
        if absence.end >= 0:
            item["lagRecords"] = max(partition.log_end_offset - absence.end, 0)
        items.append(item)
    return items
