"""Which brokers hold the replicas of new partitions: as told, or as placed; within what a broker may hold. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import NULL_UUID, Uuid
from moldau_broker.metadata.image import MetadataImage, TopicImage
from moldau_broker.metadata.operation import Refusal, View
from moldau_broker.metadata.placement import PlacementBroker, PlacementError, place
from moldau_broker.wire.messages import metadata_records as records
from moldau_broker.wire.messages.create_partitions import CreatePartitionsTopic
from moldau_broker.wire.messages.create_topics import CreatableTopic


def assignment_of_new(view: View, topic: CreatableTopic) -> list[list[int]] | Refusal:
    """The replicas of each partition, as told or as placed."""
    if topic.assignments:
        return _manual_assignment(view.image, topic)
    factor, partitions = topic.replication_factor, topic.num_partitions
    if factor != -1 and factor <= 0:
        return Refusal(
            ErrorCode.INVALID_REPLICATION_FACTOR,
            "Replication factor must be larger than 0, or -1 to use the default value.",
        )
    if partitions != -1 and partitions <= 0:
        return Refusal(
            ErrorCode.INVALID_PARTITIONS, "Number of partitions was set to an invalid non-positive value."
        )
    defaults = view.topic_defaults()
    factor = defaults.replication_factor if factor == -1 else factor
    partitions = defaults.num_partitions if partitions == -1 else partitions
    return _placed(view, partitions, factor)


def assignment_of_more(
    view: View, topic: TopicImage, wanted: CreatePartitionsTopic, more: int
) -> list[list[int]] | Refusal:
    """The replicas of each partition that a topic grows by, as told or as placed."""
    factor = len(topic.partitions[0].replicas)
    if wanted.assignments is None:
        existing = [partition.replicas for partition in topic.partitions]
        return _placed(view, more, factor, existing)
    if len(wanted.assignments) != more:
        return Refusal(
            ErrorCode.INVALID_REPLICA_ASSIGNMENT,
            f"Attempted to add {more} additional partition(s), but only {len(wanted.assignments)} "
            "assignment(s) were specified.",
        )
    assignment = [list(one.broker_ids) for one in wanted.assignments]
    for replicas in assignment:
        refusal = _manual_problem(view.image, replicas, factor)
        if refusal is not None:
            return refusal
    return assignment


def _placed(
    view: View, partitions: int, factor: int, existing: Sequence[Sequence[int]] = ()
) -> list[list[int]] | Refusal:
    brokers = [
        PlacementBroker(broker.id, broker.rack, fenced=not broker.active)
        for broker in view.image.brokers.values()
        if not view.image.is_cordoned(broker.id)
    ]
    try:
        return place(brokers, partitions, factor, view.rng, existing)
    except PlacementError as error:
        return Refusal(
            ErrorCode.INVALID_REPLICATION_FACTOR,
            f"Unable to replicate the partition {factor} time(s): {error}",
        )


def _manual_assignment(image: MetadataImage, topic: CreatableTopic) -> list[list[int]] | Refusal:
    for value, name in (
        (topic.replication_factor, "replication factor"),
        (topic.num_partitions, "numPartitions"),
    ):
        if value != -1:
            return Refusal(
                ErrorCode.INVALID_REQUEST,
                f"A manual partition assignment was specified, but {name} was not set to -1.",
            )
    by_index: dict[int, list[int]] = {}
    for assignment in topic.assignments:
        if assignment.partition_index in by_index:
            return Refusal(
                ErrorCode.INVALID_REPLICA_ASSIGNMENT,
                f"Found multiple manual partition assignments for partition {assignment.partition_index}",
            )
        replicas = list(assignment.broker_ids)
        factor = len(next(iter(by_index.values()), replicas))
        refusal = _manual_problem(image, replicas, factor)
        if refusal is not None:
            return refusal
        by_index[assignment.partition_index] = replicas
    if sorted(by_index) != list(range(len(by_index))):
        return Refusal(
            ErrorCode.INVALID_REPLICA_ASSIGNMENT,
            "partitions should be a consecutive 0-based integer sequence",
        )
    return [by_index[index] for index in range(len(by_index))]


def replica_list_problem(image: MetadataImage, replicas: Sequence[int]) -> Refusal | None:
    """Why these cannot be the replicas of any partition, None if they can."""
    if not replicas:
        text = "The manual partition assignment includes an empty replica list."
    elif twice := sorted(broker for broker, count in Counter(replicas).items() if count > 1):
        text = f"The manual partition assignment includes the broker {twice[0]} more than once."
    elif unknown := sorted(broker for broker in replicas if broker not in image.brokers):
        text = (
            f"The manual partition assignment includes broker {unknown[0]}, but no such broker is registered."
        )
    else:
        return None
    return Refusal(ErrorCode.INVALID_REPLICA_ASSIGNMENT, text)


def _manual_problem(image: MetadataImage, replicas: Sequence[int], factor: int) -> Refusal | None:
    """Why these replicas cannot be a new partition's, None if they can."""
    refusal = replica_list_problem(image, replicas)
    if refusal is not None:
        return refusal
    if len(replicas) != factor:
        text = (
            f"The manual partition assignment includes a partition with {len(replicas)} replica(s), but this is "
            f"not consistent with previous partitions, which have {factor} replica(s)."
        )
    elif not any(image.brokers[broker].active for broker in replicas):
        text = (
            "All brokers specified in the manual partition assignment are fenced or in controlled shutdown."
        )
    else:
        return cordoned_problem(image, replicas)
    return Refusal(ErrorCode.INVALID_REPLICA_ASSIGNMENT, text)


def cordoned_problem(image: MetadataImage, added: Iterable[int]) -> Refusal | None:
    """Why these cannot get a new replica, None if they can."""
    cordoned = sorted(broker for broker in added if image.is_cordoned(broker))
    if not cordoned:
        return None
    return Refusal(
        ErrorCode.INVALID_REPLICA_ASSIGNMENT,
        f"Broker {cordoned[0]} gets no new replicas: it is drained (cordoned.log.dirs).",
    )


def partition_record(
    image: MetadataImage, topic_id: Uuid, index: int, replicas: Sequence[int]
) -> records.PartitionRecord:
    """A new partition: the active replicas are in sync (there is nothing to copy yet), the first of them leads."""
    isr = [broker for broker in replicas if image.brokers[broker].active]
    return records.PartitionRecord(
        partition_id=index,
        topic_id=topic_id,
        replicas=replicas,
        isr=isr,
        leader=isr[0],
        leader_epoch=0,
        partition_epoch=0,
        directories=[directory_of_new(image, broker) for broker in replicas],
    )


def directory_of_new(image: MetadataImage, broker_id: int) -> Uuid:
    """The directory of a new replica: known at once where the broker has only one (KIP-858)."""
    directories = image.brokers[broker_id].directories
    return directories[0] if len(directories) == 1 else NULL_UUID


def replica_counts(image: MetadataImage) -> Counter[int]:
    """How many replicas each broker holds."""
    return Counter(
        broker
        for topic in image.topics.values()
        for partition in topic.partitions
        for broker in partition.replicas
    )


def over_cap(view: View, held: Mapping[int, int], added: Iterable[Sequence[int]]) -> Refusal | None:
    """Whether some broker would hold more replicas than it may."""
    most = view.settings.topics.partitions_per_broker_max
    for broker, count in Counter(broker for replicas in added for broker in replicas).items():
        if held.get(broker, 0) + count > most:
            return Refusal(
                ErrorCode.POLICY_VIOLATION,
                f"Broker {broker} holds {held.get(broker, 0)} replicas and would get {count} more; it may hold "
                f"{most} (max.partitions.per.broker).",
            )
    return None
