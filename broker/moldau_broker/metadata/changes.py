"""What happened to partitions and brokers between two images, for the log: elections, ISR changes, who came. Pure.

Only what a person on call asks for; topics made and deleted show in the requests that did it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from moldau_broker.metadata.delta import MetadataDelta
from moldau_broker.metadata.image import NO_LEADER, RECOVERING, BrokerImage, MetadataImage, PartitionImage


@dataclass(frozen=True, slots=True)
class Change:
    """One event: a stable name, whether it is bad news, and its fields."""

    event: str
    bad: bool
    fields: Mapping[str, Any]


def changes(delta: MetadataDelta) -> Iterator[Change]:
    """Every change of a broker's standing, then of each partition's leader and ISR."""
    for broker_id in sorted(delta.changed_brokers()):
        yield from _of_broker(
            broker_id, delta.before.brokers.get(broker_id), delta.after.brokers.get(broker_id)
        )
    for before, after in delta.changed_topics():
        for index, (was, now) in enumerate(zip(before.partitions, after.partitions, strict=False)):
            if was is not now:
                yield from _of_partition(after.name, index, was, now, delta.after)


def _of_broker(broker_id: int, was: BrokerImage | None, now: BrokerImage | None) -> Iterator[Change]:
    if now is None:
        yield Change("broker.unregistered", True, {"broker": broker_id})
        return
    about = {"broker": broker_id, "broker_epoch": now.epoch}
    if was is None or was.epoch != now.epoch:
        yield Change("broker.registered", False, about)
    fenced_before = was is None or was.epoch != now.epoch or was.fenced
    if now.fenced and not fenced_before:
        yield Change("broker.fenced", True, about)
    if fenced_before and not now.fenced:
        yield Change("broker.unfenced", False, about)
    if now.in_controlled_shutdown and not (was is not None and was.in_controlled_shutdown):
        yield Change("broker.stopping", False, about)


def _of_partition(
    topic: str, index: int, was: PartitionImage, now: PartitionImage, image: MetadataImage
) -> Iterator[Change]:
    place = {
        "topic": topic,
        "partition": index,
        "leader_epoch": now.leader_epoch,
        "partition_epoch": now.partition_epoch,
    }
    if was.leader != now.leader:
        unclean = now.leader_recovery_state == RECOVERING and was.leader_recovery_state != RECOVERING
        leaders = {"leader": now.leader, "leader_before": was.leader}
        if now.leader == NO_LEADER:
            yield Change(
                "partition.offline", True, {**place, **leaders, "reason": _why_left(was.leader, image)}
            )
        else:
            about = {**place, **leaders, "unclean": unclean, "reason": _why_elected(was, now, image)}
            yield Change("partition.elected", unclean, about)
    if set(was.isr) != set(now.isr):
        about = {
            **place,
            "isr": list(now.isr),
            "joined": [broker for broker in now.isr if broker not in was.isr],
            "left": [broker for broker in was.isr if broker not in now.isr],
            "replicas": list(now.replicas),
        }
        yield Change("isr.changed", len(now.isr) < len(was.isr), about)


def _why_elected(was: PartitionImage, now: PartitionImage, image: MetadataImage) -> str:
    if was.leader == NO_LEADER:
        return "a replica that may lead is back"
    if was.leader not in now.replicas:
        return "the leader was moved away"
    gone = _why_left(was.leader, image)
    if gone or not now.replicas:
        return gone
    return "the preferred leader is back" if now.leader == now.replicas[0] else "the leader was changed"


def _why_left(broker_id: int, image: MetadataImage) -> str:
    """What is the matter with a broker that led; empty when nothing is."""
    broker = image.brokers.get(broker_id)
    if broker is None:
        return "the leader is not registered any more"
    if broker.fenced:
        return "the leader is fenced"
    return "the leader is stopping" if broker.in_controlled_shutdown else ""
