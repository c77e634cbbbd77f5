"""AssignReplicasToDirs: in which directory a broker's replicas lie, and which of them are lost (KIP-858). Pure.

A broker whose disk or data has failed it for one partition assigns that replica to the reserved LOST directory. The
replica then is in no ISR and no ELR, leads nothing, and has to begin anew, as one whose directory was wiped. Whatever
it acknowledged others have, or it stays: the last replica that may lead is never given up for nobody.

It begins anew in a new leader epoch. Its old directory and its broker epoch are those of its new log as well, so a late
Fetch from before the damage would else say of the empty log that it is in sync.
"""

from __future__ import annotations

from collections.abc import Iterable

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import LOST_DIRECTORY, Uuid
from moldau_broker.metadata.elections import PartitionChange, RulesInForce
from moldau_broker.metadata.fencing import check_broker_epoch
from moldau_broker.metadata.image import NO_LEADER, BrokerImage, TopicImage
from moldau_broker.metadata.live_brokers import LiveBrokers
from moldau_broker.metadata.operation import Result, View
from moldau_broker.metadata.replay import changed_partition
from moldau_broker.wire.messages.assign_replicas_to_dirs import (
    AssignReplicasToDirsRequest,
    AssignReplicasToDirsResponse,
    AssignReplicasToDirsResponseDirectory,
    AssignReplicasToDirsResponsePartition,
    AssignReplicasToDirsResponseTopic,
)
from moldau_broker.wire.schema import Struct


def assign_replicas_to_dirs(
    view: View, request: AssignReplicasToDirsRequest
) -> Result[AssignReplicasToDirsResponse]:
    """AssignReplicasToDirs: each replica for itself; one named twice is answered twice and written once."""
    refusal = check_broker_epoch(view.image, request.broker_id, request.broker_epoch)
    if refusal is not None:
        return Result(AssignReplicasToDirsResponse(error_code=ErrorCode.STALE_BROKER_EPOCH))
    assignments = _Assignments(view, view.image.brokers[request.broker_id])
    directories = []
    for directory in request.directories:
        topics = []
        for asked in directory.topics:
            topic = view.image.topics_by_id.get(Uuid(asked.topic_id))
            partitions = [
                AssignReplicasToDirsResponsePartition(
                    partition_index=one.partition_index,
                    error_code=ErrorCode.UNKNOWN_TOPIC_ID
                    if topic is None
                    else assignments.assign(topic, one.partition_index, Uuid(directory.id)),
                )
                for one in asked.partitions
            ]
            topics.append(AssignReplicasToDirsResponseTopic(topic_id=asked.topic_id, partitions=partitions))
        directories.append(AssignReplicasToDirsResponseDirectory(id=directory.id, topics=topics))
    return Result(AssignReplicasToDirsResponse(directories=directories), tuple(assignments.records))


class _Assignments:
    """The assignments of one request."""

    def __init__(self, view: View, broker: BrokerImage) -> None:
        self._broker = broker
        self._live = LiveBrokers(view.image)
        self._without = LiveBrokers(view.image, leaving=broker.id)
        self._rules = RulesInForce(view)
        self._written: dict[tuple[Uuid, int], Struct] = {}

    @property
    def records(self) -> Iterable[Struct]:
        """What changes."""
        return self._written.values()

    def assign(self, topic: TopicImage, index: int, directory: Uuid) -> ErrorCode:
        """Note one; the error it is answered."""
        if not 0 <= index < len(topic.partitions):
            return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        partition, broker = topic.partitions[index], self._broker
        if broker.id not in partition.replicas:
            return ErrorCode.NOT_LEADER_OR_FOLLOWER
        rules = self._rules.of(topic.name)
        if directory == LOST_DIRECTORY:
            change = PartitionChange(topic, index, self._without, rules)
            change.lose(broker.id)
            # It says so in a Fetch of this epoch that may still be under way; its next log asks in a new one.
            change.new_epoch = partition.leader not in {NO_LEADER, broker.id}
            needed = broker.id in {partition.leader, *partition.isr, *partition.elr}
        elif directory in broker.directories:
            change = PartitionChange(topic, index, self._live, rules)
            change.directories[broker.id] = directory
            needed = False
        else:
            return ErrorCode.LOG_DIR_NOT_FOUND
        record = change.build()
        if record is None:
            return ErrorCode.NONE
        if needed and changed_partition(partition, record).leader == NO_LEADER:
            return ErrorCode.ELIGIBLE_LEADERS_NOT_AVAILABLE
        self._written[topic.topic_id, index] = record
        return ErrorCode.NONE
