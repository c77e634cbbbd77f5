"""Brokers come, get fit to lead, and go: registration, fencing and what it means for partitions. Pure.

A broker registers with a new incarnation at each start and is fenced until it is unfenced. A start after an
unclean stop begins a new leader epoch on every partition the broker led: records it lost with its page
cache may be followed by other records at the same offsets, and the epoch is what tells them apart (KIP-320,
KIP-966).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import Uuid
from moldau_broker.metadata.image import NO_LEADER, Endpoint, MetadataImage, VersionRange
from moldau_broker.metadata.operation import Refusal, Result, View
from moldau_broker.wire.messages import metadata_records as records
from moldau_broker.wire.schema import Struct


class Registration(NamedTuple):
    """What a broker says of itself when it starts.

    Attributes:
        incarnation_id: drawn at each start.
        endpoints: advertised addresses by listener name.
        directories: ids of its log directories.
        features: supported levels by feature name.
        previous_epoch: broker epoch in the clean-shutdown marker, -1 without one.
    """

    broker_id: int
    incarnation_id: Uuid
    endpoints: Mapping[str, Endpoint]
    directories: tuple[Uuid, ...]
    features: Mapping[str, VersionRange]
    rack: str | None = None
    previous_epoch: int = -1


class Registered(NamedTuple):
    """The answer to a registration: the broker's epoch, and whether its last stop was clean."""

    epoch: int
    clean: bool


def register_broker(view: View, registration: Registration) -> Result[Registered]:
    """Register a new incarnation, fenced. Its broker epoch is the offset of its record (KIP-631)."""
    known = view.image.brokers.get(registration.broker_id)
    epoch = view.next_offset
    clean = known is not None and known.epoch == registration.previous_epoch
    return Result(Registered(epoch, clean), (_registration_record(registration, epoch),))


def _registration_record(registration: Registration, epoch: int) -> Struct:
    return records.RegisterBrokerRecord(
        broker_id=registration.broker_id,
        incarnation_id=registration.incarnation_id,
        broker_epoch=epoch,
        end_points=[
            records.BrokerEndpoint(
                name=name, host=at.host, port=at.port, security_protocol=at.security_protocol
            )
            for name, at in registration.endpoints.items()
        ],
        features=[
            records.BrokerFeature(
                name=name, min_supported_version=levels.lowest, max_supported_version=levels.highest
            )
            for name, levels in registration.features.items()
        ],
        rack=registration.rack,
        fenced=True,
        log_dirs=registration.directories,
    )


def start_broker(view: View, registration: Registration) -> Result[Registered]:
    """Register and unfence in one step: a quorum of one is caught up with itself as soon as it is elected."""
    registered = register_broker(view, registration)
    epoch, clean = registered.response.epoch, registered.response.clean
    unfence = records.BrokerRegistrationChangeRecord(
        broker_id=registration.broker_id, broker_epoch=epoch, fenced=-1
    )
    elections = _elections(view.image, registration.broker_id, clean=clean)
    return Result(registered.response, (*registered.records, unfence, *elections))


def _elections(image: MetadataImage, broker_id: int, *, clean: bool) -> list[Struct]:
    """New leaderships of a broker that just came (back): where nobody leads, and where its old term is over."""
    changes: list[Struct] = []
    for topic in image.topics.values():
        for index, partition in enumerate(topic.partitions):
            if broker_id in partition.isr and (
                partition.leader == NO_LEADER or (partition.leader == broker_id and not clean)
            ):
                changes.append(
                    records.PartitionChangeRecord(
                        partition_id=index, topic_id=topic.topic_id, leader=broker_id
                    )
                )
    return changes


def check_broker_epoch(image: MetadataImage, broker_id: int, epoch: int) -> Refusal | None:
    """Why a request of this incarnation is not listened to, None if it is."""
    broker = image.brokers.get(broker_id)
    if broker is None:
        return Refusal(ErrorCode.BROKER_ID_NOT_REGISTERED, f"Broker {broker_id} is not registered.")
    if broker.epoch != epoch:
        return Refusal(
            ErrorCode.STALE_BROKER_EPOCH,
            f"Broker {broker_id} is registered with epoch {broker.epoch}, not {epoch}.",
        )
    return None
