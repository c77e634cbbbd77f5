"""AlterPartitionReassignments and ListPartitionReassignments: replicas move while clients work (KIP-455). Pure.

A reassignment adds the new replicas to the list first and takes the old ones away once the new ones are in sync
(`elections.completed`). Until then it can be replaced by another one, or cancelled.

Where a reassignment replaces one under way, what that one was still adding is not taken for granted, as it is in
Kafka: asking for the same replicas twice still waits for all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import Uuid
from moldau_broker.metadata.assignment import (
    cordoned_problem,
    directory_of_new,
    over_cap,
    replica_counts,
    replica_list_problem,
)
from moldau_broker.metadata.elections import Election, PartitionChange, RulesInForce
from moldau_broker.metadata.image import MetadataImage, PartitionImage, TopicImage
from moldau_broker.metadata.live_brokers import LiveBrokers
from moldau_broker.metadata.operation import RECORDS_MAX, Refusal, Result, View
from moldau_broker.wire.messages.alter_partition_reassignments import (
    AlterPartitionReassignmentsRequest,
    AlterPartitionReassignmentsResponse,
    ReassignablePartition,
    ReassignablePartitionResponse,
    ReassignableTopicResponse,
)
from moldau_broker.wire.messages.list_partition_reassignments import (
    ListPartitionReassignmentsRequest,
    ListPartitionReassignmentsResponse,
    OngoingPartitionReassignment,
    OngoingTopicReassignment,
)
from moldau_broker.wire.messages.metadata_records import PartitionChangeRecord
from moldau_broker.wire.schema import Struct

_NOT_MOVING: Final = Refusal(
    ErrorCode.NO_REASSIGNMENT_IN_PROGRESS, "No partition reassignment is in progress."
)


class Reassigner:
    """Makes the changes of one request; later ones see what earlier ones put where.

    Attributes:
        records: of the changes made so far.
    """

    __slots__ = ("_held", "_live", "_rules", "_seen", "_view", "records")

    def __init__(self, view: View) -> None:
        self.records: list[Struct] = []
        self._view = view
        self._rules = RulesInForce(view)
        self._live = LiveBrokers(view.image)
        self._held = replica_counts(view.image)
        self._seen: set[tuple[Uuid, int]] = set()

    def move(
        self, topic: TopicImage, index: int, target: Sequence[int], *, same_factor: bool = False
    ) -> Refusal | None:
        """Begin to move a partition to `target`; why not, or None."""
        partition = topic.partitions[index]
        refusal = self._repeated(topic, index) or self._problem(partition, target, same_factor=same_factor)
        if refusal is not None:
            return refusal
        added = [broker for broker in target if broker not in partition.replicas]
        full = cordoned_problem(self._view.image, added) or over_cap(self._view, self._held, [added])
        if full is not None:
            return full
        self._held.update(added)
        change = self._change(topic, index)
        plan_move(change, target, self._rules.of(topic.name).min_insync)
        for broker in added:
            change.directories[broker] = directory_of_new(self._view.image, broker)
        self._write(change.build())
        return None

    def cancel(self, topic: TopicImage, index: int) -> Refusal | None:
        """Go back to the replicas from before the move; why not, or None."""
        partition = topic.partitions[index]
        if not is_moving(partition):
            return _NOT_MOVING
        refusal = self._repeated(topic, index)
        if refusal is not None:
            return refusal
        change = self._change(topic, index)
        change.replicas = settled_replicas(partition)
        change.isr = tuple(replica for replica in partition.isr if replica in change.replicas)
        change.adding = change.removing = ()
        if not change.isr and partition.isr and change.election is not Election.UNCLEAN:
            return Refusal(
                ErrorCode.INVALID_REPLICA_ASSIGNMENT,
                f"Unable to revert partition assignment for {topic.name}:{index} because it would require an "
                "unclean leader election.",
            )
        self._write(change.build())
        return None

    def _change(self, topic: TopicImage, index: int) -> PartitionChange:
        return PartitionChange(topic, index, self._live, self._rules.of(topic.name))

    def _write(self, record: PartitionChangeRecord | None) -> None:
        if record is not None:
            self.records.append(record)

    def _repeated(self, topic: TopicImage, index: int) -> Refusal | None:
        if (topic.topic_id, index) in self._seen:
            return Refusal(ErrorCode.INVALID_REQUEST, "Each partition must appear at most once.")
        if len(self._seen) >= RECORDS_MAX:
            return Refusal(ErrorCode.POLICY_VIOLATION, "Excessively large number of partitions per request.")
        self._seen.add((topic.topic_id, index))
        return None

    def _problem(
        self, partition: PartitionImage, target: Sequence[int], *, same_factor: bool
    ) -> Refusal | None:
        refusal = replica_list_problem(self._view.image, target)
        factor = len(target_replicas(partition))
        if refusal is None and same_factor and len(target) != factor:
            return Refusal(
                ErrorCode.INVALID_REPLICATION_FACTOR,
                f"The replication factor is changed from {factor} to {len(target)}",
            )
        return refusal


def plan_move(change: PartitionChange, target: Sequence[int], min_insync: int) -> None:
    """Make `change` the first step from where the partition is to `target`."""
    before = change.before
    settled = settled_replicas(before)
    change.adding = tuple(broker for broker in target if broker not in settled)
    removing = [broker for broker in settled if broker not in target]
    dropped = [broker for broker in before.adding if broker not in target]
    remaining = tuple(broker for broker in before.isr if broker not in dropped)
    if len(remaining) < min(len(before.isr), max(min_insync, 1)):
        # What was being added is needed for now; it goes with the others once the target is in sync.
        removing += dropped
    else:
        change.isr = remaining
    change.removing = tuple(removing)
    change.replicas = (*target, *removing)


def is_moving(partition: PartitionImage) -> bool:
    """Whether a reassignment is under way."""
    return bool(partition.adding or partition.removing)


def settled_replicas(partition: PartitionImage) -> tuple[int, ...]:
    """The replicas from before the reassignment under way, or all."""
    return tuple(replica for replica in partition.replicas if replica not in partition.adding)


def target_replicas(partition: PartitionImage) -> tuple[int, ...]:
    """The replicas after the reassignment under way, or all."""
    return tuple(replica for replica in partition.replicas if replica not in partition.removing)


# -- the APIs ---------------------------------------------------------------------------------------------


def alter_partition_reassignments(
    view: View, request: AlterPartitionReassignmentsRequest
) -> Result[AlterPartitionReassignmentsResponse]:
    """AlterPartitionReassignments: each partition begins to move, or stops, or is refused, for itself."""
    reassigner = Reassigner(view)
    responses = []
    for asked in request.topics:
        answers = []
        for wanted in asked.partitions:
            refusal = _alter(
                view.image,
                reassigner,
                asked.name,
                wanted,
                same_factor=not request.allow_replication_factor_change,
            )
            answers.append(
                ReassignablePartitionResponse(
                    partition_index=wanted.partition_index,
                    error_code=ErrorCode.NONE if refusal is None else refusal.error,
                    error_message=None if refusal is None else refusal.message,
                )
            )
        responses.append(ReassignableTopicResponse(name=asked.name, partitions=answers))
    response = AlterPartitionReassignmentsResponse(
        allow_replication_factor_change=request.allow_replication_factor_change,
        error_message=None,
        responses=responses,
    )
    return Result(response, tuple(reassigner.records))


def _alter(
    image: MetadataImage,
    reassigner: Reassigner,
    name: str,
    wanted: ReassignablePartition,
    *,
    same_factor: bool,
) -> Refusal | None:
    topic, index = image.topics.get(name), wanted.partition_index
    if topic is None:
        return Refusal(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"Unable to find a topic named {name}.")
    if not 0 <= index < len(topic.partitions):
        return Refusal(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"Unable to find partition {name}:{index}.")
    if wanted.replicas is None:
        return reassigner.cancel(topic, index)
    return reassigner.move(topic, index, wanted.replicas, same_factor=same_factor)


def list_partition_reassignments(
    view: View, request: ListPartitionReassignmentsRequest
) -> Result[ListPartitionReassignmentsResponse]:
    """ListPartitionReassignments: the moves under way, of all topics or of those asked for."""
    topics = view.image.topics
    asked: list[tuple[TopicImage, Sequence[int]]]
    if request.topics is None:
        asked = [(topic, range(len(topic.partitions))) for _, topic in sorted(topics.items())]
    else:
        asked = [(topics[one.name], one.partition_indexes) for one in request.topics if one.name in topics]
    found = []
    for topic, indexes in asked:
        moving = [
            OngoingPartitionReassignment(
                partition_index=index,
                replicas=partition.replicas,
                adding_replicas=partition.adding,
                removing_replicas=partition.removing,
            )
            for index in indexes
            if 0 <= index < len(topic.partitions) and is_moving(partition := topic.partitions[index])
        ]
        if moving:
            found.append(OngoingTopicReassignment(name=topic.name, partitions=moving))
    return Result(ListPartitionReassignmentsResponse(error_message=None, topics=found))
