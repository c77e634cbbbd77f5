"""Brokers come, get fit to lead, and go: registration, fencing and what it means for partitions. Pure.

A broker registers with a new incarnation at each start and is fenced until it is unfenced. Who is fenced, or leaves
in order, leaves every ISR and leads nothing.

A broker that did not stop cleanly may have lost what its page cache held; it leaves the ELRs too and must catch up
before it can lead (unclean exclusion, KIP-966). One case is different: where it is the only replica that may lead at
all it stays eligible, if it came back with the same directory. An acks=all record is acknowledged when it is fsynced
on every in-sync replica, so the only one left has all of them, and a new leader epoch tells its records from those it
lost (KIP-320). A broker with another directory has nothing, and never leads for that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import NULL_UUID, Uuid
from moldau_broker.metadata.elections import PartitionChange, partition_changes
from moldau_broker.metadata.image import (
    CORDONED,
    NO_LEADER,
    Endpoint,
    MetadataImage,
    PartitionImage,
    ResourceType,
    VersionRange,
)
from moldau_broker.metadata.live_brokers import LiveBrokers
from moldau_broker.metadata.operation import Refusal, Result, View
from moldau_broker.metadata.replay import image_after
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


# -- coming -----------------------------------------------------------------------------------------------


def register_broker(view: View, registration: Registration) -> Result[Registered]:
    """Register a new incarnation, fenced. Its broker epoch is the offset of its record (KIP-631).

    The incarnation before it, if any, is gone: what it led and was in sync with changes in the same write.
    """
    answer, record = _register(view, registration)
    broker_id = registration.broker_id

    def changed(change: PartitionChange) -> None:
        if _is_lost(change.before, registration):
            change.lose(broker_id)
        else:
            unclean = not answer.clean and not _is_only_choice(change.before, broker_id)
            change.leave(broker_id, unclean=unclean)

    elections = partition_changes(
        view,
        lambda partition: broker_id in partition.replicas,
        changed,
        LiveBrokers(view.image, leaving=broker_id),
    )
    return Result(answer, (record, *elections))


def start_broker(view: View, registration: Registration) -> Result[Registered]:
    """Register and unfence in one step: a quorum of one is caught up with itself as soon as it is elected."""
    answer, record = _register(view, registration)
    broker_id = registration.broker_id
    begin = (record, _broker_change(broker_id, answer.epoch, fenced=-1))
    started = view._replace(image=image_after(view.image, begin))

    def changed(change: PartitionChange) -> None:
        before = change.before
        if _is_lost(before, registration):
            change.lose(broker_id)
        elif not answer.clean and not _is_only_choice(before, broker_id):
            change.leave(broker_id, unclean=True)
        elif not answer.clean and before.leader == broker_id:
            change.new_epoch = True

    elections = partition_changes(
        started,
        lambda partition: (
            broker_id in partition.replicas
            and (partition.leader == NO_LEADER or not answer.clean or _is_lost(partition, registration))
        ),
        changed,
        LiveBrokers(started.image),
    )
    return Result(answer, (*begin, *elections))


def _register(view: View, registration: Registration) -> tuple[Registered, Struct]:
    known = view.image.brokers.get(registration.broker_id)
    epoch = view.next_offset
    clean = known is not None and known.epoch == registration.previous_epoch
    return Registered(epoch, clean), _registration_record(registration, epoch)


def _is_only_choice(partition: PartitionImage, broker_id: int) -> bool:
    """Whether no other replica may lead."""
    return {*partition.isr, *partition.elr} == {broker_id}


def _is_lost(partition: PartitionImage, registration: Registration) -> bool:
    """Whether the directory that holds the broker's replica is gone."""
    was = partition.directory_of(registration.broker_id)
    return bool(
        was is not None
        and was != NULL_UUID
        and registration.directories
        and was not in registration.directories
    )


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


def unfence_broker(view: View, broker_id: int) -> tuple[Struct, ...]:
    """It is fit to lead: it takes over where nobody leads and it may."""
    broker = view.image.brokers[broker_id]
    return (
        _broker_change(broker_id, broker.epoch, fenced=-1),
        *partition_changes(
            view,
            lambda partition: partition.leader == NO_LEADER and broker_id in partition.replicas,
            lambda _: None,
            LiveBrokers(view.image, coming=broker_id),
        ),
    )


# -- going ------------------------------------------------------------------------------------------------


def fence_broker(view: View, broker_id: int) -> tuple[Struct, ...]:
    """It was not heard of, is known to be dead, or may go: it is in no ISR and leads nothing."""
    epoch = view.image.brokers[broker_id].epoch
    return (_broker_change(broker_id, epoch, fenced=1), *_leaving(view, broker_id))


def begin_controlled_shutdown(view: View, broker_id: int) -> tuple[Struct, ...]:
    """It wants to go: others lead, and it gets nothing new; it still serves until everybody knows."""
    broker = view.image.brokers[broker_id]
    begin = (
        ()
        if broker.in_controlled_shutdown
        else (_broker_change(broker_id, broker.epoch, in_controlled_shutdown=1),)
    )
    return (*begin, *_leaving(view, broker_id))


def unregister_broker(view: View, broker_id: int) -> tuple[Struct, ...]:
    """It is gone for good; the replica lists that name it stay as they are."""
    epoch = view.image.brokers[broker_id].epoch

    def changed(change: PartitionChange) -> None:
        change.leave(broker_id, unclean=not _is_only_choice(change.before, broker_id))

    return (
        *partition_changes(
            view,
            lambda partition: broker_id in partition.isr or broker_id in partition.elr,
            changed,
            LiveBrokers(view.image, leaving=broker_id),
        ),
        records.UnregisterBrokerRecord(broker_id=broker_id, broker_epoch=epoch),
        *_uncordon(view.image, broker_id),
    )


def _uncordon(image: MetadataImage, broker_id: int) -> tuple[Struct, ...]:
    """A broker of that id that comes later is another one, and not to be emptied."""
    if not image.is_cordoned(broker_id):
        return ()
    return (
        records.ConfigRecord(
            resource_type=ResourceType.BROKER, resource_name=str(broker_id), name=CORDONED, value=None
        ),
    )


def leads_anything(image: MetadataImage, broker_id: int) -> bool:
    """Whether that broker is the leader of some partition."""
    return any(
        partition.leader == broker_id for topic in image.topics.values() for partition in topic.partitions
    )


def _leaving(view: View, broker_id: int) -> list[Struct]:
    return partition_changes(
        view,
        lambda partition: broker_id in partition.isr,
        lambda change: change.leave(broker_id),
        LiveBrokers(view.image, leaving=broker_id),
    )


# -- helpers ----------------------------------------------------------------------------------------------


def _broker_change(broker_id: int, epoch: int, *, fenced: int = 0, in_controlled_shutdown: int = 0) -> Struct:
    return records.BrokerRegistrationChangeRecord(
        broker_id=broker_id,
        broker_epoch=epoch,
        fenced=fenced,
        in_controlled_shutdown=in_controlled_shutdown,
    )


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
