"""GET load: what the partitions led here carry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moldau_broker.server.admin_api.node import AdminNode
    from moldau_broker.server.admin_api.routing import Call


async def respond(node: AdminNode, call: Call) -> Any:
    """Moving averages of every partition led here, as soon as it was looked at twice."""
    call.query.done()
    call.no_body()
    partitions = [
        {
            "topic": partition.topic,
            "partition": partition.index,
            "bytesInPerSecond1m": round(load.one_minute.bytes_in, 3),
            "bytesInPerSecond5m": round(load.five_minutes.bytes_in, 3),
            "bytesOutPerSecond1m": round(load.one_minute.bytes_out, 3),
            "bytesOutPerSecond5m": round(load.five_minutes.bytes_out, 3),
            "requestsPerSecond1m": round(load.one_minute.requests, 3),
            "requestsPerSecond5m": round(load.five_minutes.requests, 3),
            "sizeBytes": partition.log.size_bytes,
        }
        for partition, load in node.loads.loads()
    ]
    return {"nodeId": node.broker.node_id, "partitions": partitions}
