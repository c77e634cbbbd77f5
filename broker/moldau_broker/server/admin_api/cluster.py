"""GET cluster: the quorum, the brokers, and the partitions in trouble."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from moldau_broker.base.limits import ADMIN_PARTITIONS_MAX
from moldau_broker.metadata.image import RECOVERED
from moldau_broker.server.admin_api.quorum import Quorum, QuorumReplica, describe_quorum

if TYPE_CHECKING:
    from moldau_broker.metadata.image import MetadataImage
    from moldau_broker.server.admin_api.node import AdminNode
    from moldau_broker.server.admin_api.routing import Call


async def respond(node: AdminNode, call: Call) -> Any:
    """The newest image this broker has, and the quorum's leader's view of the quorum."""
    call.query.done()
    call.no_body()
    quorum = await describe_quorum(node)
    image = node.broker.metadata.image
    document: dict[str, Any] = {
        "clusterId": image.cluster_id,
        "answeredBy": node.broker.node_id,
        "metadataOffset": image.offset,
        "brokers": _brokers(image),
        **_problems(node, image),
    }
    if quorum is not None:
        document["quorum"] = _quorum(quorum)
    return document


def _quorum(quorum: Quorum) -> dict[str, Any]:
    end = quorum.leader_end
    return {
        "leaderId": quorum.leader_id,
        "leaderEpoch": quorum.leader_epoch,
        "highWatermark": quorum.high_watermark,
        "voters": [_replica(one, end) for one in quorum.voters],
        "observers": [_replica(one, end) for one in quorum.observers],
    }


def _replica(one: QuorumReplica, leader_end: int | None) -> dict[str, Any]:
    item: dict[str, Any] = {"nodeId": one.node_id}
    if one.log_end_offset is not None and leader_end is not None:
        item["lagRecords"] = max(leader_end - one.log_end_offset, 0)
    if one.last_caught_up_ms is not None:
        item["lastCaughtUpMs"] = one.last_caught_up_ms
    return item


def _brokers(image: MetadataImage) -> list[dict[str, Any]]:
    replicas: Counter[int] = Counter()
    leaders: Counter[int] = Counter()
    for topic in image.topics.values():
        for partition in topic.partitions:
            replicas.update(partition.replicas)
            leaders[partition.leader] += 1
    found = []
    for broker in sorted(image.brokers.values(), key=lambda one: one.id):
        item: dict[str, Any] = {
            "id": broker.id,
            "epoch": broker.epoch,
            "fenced": broker.fenced,
            "stopping": broker.in_controlled_shutdown,
            "replicas": replicas[broker.id],
            "leaders": leaders[broker.id],
            "listeners": {name: f"{at.host}:{at.port}" for name, at in broker.endpoints.items()},
        }
        if broker.rack is not None:
            item["rack"] = broker.rack
        found.append(item)
    return found


def _problems(node: AdminNode, image: MetadataImage) -> dict[str, Any]:
    """Partitions with replicas out of sync, without a leader, short for acks=all, elected out of sync."""
    found: dict[str, list[dict[str, Any]]] = {
        "underReplicated": [],
        "offline": [],
        "underMinIsr": [],
        "recovering": [],
    }
    for topic in image.topics.values():
        min_in_sync = node.broker.replicas.topic_config(image, topic.name).min_insync_replicas
        for index, partition in enumerate(topic.partitions):
            item = {"topic": topic.name, "partition": index}
            settled = set(partition.replicas).difference(partition.adding)
            if not settled.issubset(partition.isr):
                found["underReplicated"].append(item)
            if partition.leader < 0:
                found["offline"].append(item)
            if len(partition.isr) < min(min_in_sync, len(partition.replicas)):
                found["underMinIsr"].append(item)
            if partition.leader_recovery_state != RECOVERED:
                found["recovering"].append(item)
    return {
        name: {"count": len(items), "partitions": items[:ADMIN_PARTITIONS_MAX]}
        for name, items in found.items()
    }
