"""GET replicas: what this broker hosts, leaders and followers, how large it is, and what of it is damaged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moldau_broker.server.admin_api.node import AdminNode
    from moldau_broker.server.admin_api.routing import Call


async def respond(node: AdminNode, call: Call) -> Any:
    """Every replica here, and what is damaged in the quorum's own folder, which is no replica of a topic."""
    call.query.done()
    call.no_body()
    damage = [
        {"file": one.file, "reason": one.reason, "advice": one.advice, "foundMs": one.found_ms}
        for _, one in sorted(node.broker.metadata_damage.items())
    ]
    return {"nodeId": node.broker.node_id, "replicas": hosted(node), "metadataDamage": damage}


def hosted(node: AdminNode) -> list[dict[str, Any]]:
    """The replicas as the answer lists them."""
    found = []
    for partition in node.broker.replicas.partitions():
        item: dict[str, Any] = {
            "topic": partition.topic,
            "partition": partition.index,
            "leads": partition.is_leader,
            "sizeBytes": partition.log.size_bytes,
            "logStartOffset": partition.log_start_offset,
            "logEndOffset": partition.log_end_offset,
            "highWatermark": partition.high_watermark,
        }
        if partition.offline_reason is not None:
            item["offlineReason"] = partition.offline_reason
        found.append(item)
    return found
