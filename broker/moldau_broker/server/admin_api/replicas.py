"""GET replicas: what this broker hosts, leaders and followers, and how large it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moldau_broker.server.admin_api.node import AdminNode
    from moldau_broker.server.admin_api.routing import Call


async def respond(node: AdminNode, call: Call) -> Any:
    """Every replica here."""
    call.query.done()
    call.no_body()
    return {"nodeId": node.broker.node_id, "replicas": hosted(node)}


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
