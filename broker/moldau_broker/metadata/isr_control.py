"""AlterPartition: a leader shrinks or expands the ISR of what it leads (KIP-497, KIP-841, KIP-903). Pure.

Both epochs are compare-and-set, and every member of the new ISR is named with its broker epoch, so a replica that
restarted meanwhile cannot slip in.
"""

from __future__ import annotations

from collections.abc import Iterable

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import Uuid
from moldau_broker.metadata.elections import PartitionChange, RulesInForce
from moldau_broker.metadata.fencing import check_broker_epoch
from moldau_broker.metadata.image import RECOVERED, RECOVERING, MetadataImage, PartitionImage, TopicImage
from moldau_broker.metadata.live_brokers import LiveBrokers
from moldau_broker.metadata.operation import Result, View
from moldau_broker.metadata.replay import changed_partition
from moldau_broker.wire.messages.alter_partition import (
    AlterPartitionRequest,
    AlterPartitionRequestPartitionData,
    AlterPartitionResponse,
    AlterPartitionResponsePartitionData,
    AlterPartitionResponseTopicData,
    BrokerState,
)
from moldau_broker.wire.schema import Struct

_ANY_EPOCH = -1


def alter_partition(view: View, request: AlterPartitionRequest) -> Result[AlterPartitionResponse]:
    """AlterPartition: each partition for itself; the answer says how each is now."""
    refusal = check_broker_epoch(view.image, request.broker_id, request.broker_epoch)
    if refusal is not None:
        return Result(AlterPartitionResponse(error_code=ErrorCode.STALE_BROKER_EPOCH))
    rules = RulesInForce(view)
    live = LiveBrokers(view.image)
    written: list[Struct] = []
    topics = []
    for asked in request.topics:
        topic = view.image.topics_by_id.get(Uuid(asked.topic_id))
        answers = []
        seen: set[int] = set()
        for wanted in asked.partitions:
            if topic is None:
                answers.append(_refused(wanted, ErrorCode.UNKNOWN_TOPIC_ID))
            elif wanted.partition_index in seen:
                answers.append(_refused(wanted, ErrorCode.INVALID_REQUEST))
            else:
                seen.add(wanted.partition_index)
                answer, records = _alter(view.image, request.broker_id, topic, wanted, live, rules)
                answers.append(answer)
                written += records
        topics.append(AlterPartitionResponseTopicData(topic_id=asked.topic_id, partitions=answers))
    return Result(AlterPartitionResponse(topics=topics), tuple(written))


def _alter(
    image: MetadataImage,
    broker_id: int,
    topic: TopicImage,
    wanted: AlterPartitionRequestPartitionData,
    live: LiveBrokers,
    rules: RulesInForce,
) -> tuple[AlterPartitionResponsePartitionData, Iterable[Struct]]:
    index = wanted.partition_index
    if not 0 <= index < len(topic.partitions):
        return _refused(wanted, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION), ()
    partition = topic.partitions[index]
    members = _members(wanted)
    error = _problem(image, broker_id, partition, wanted, members)
    if error is not None:
        return _refused(wanted, error), ()
    change = PartitionChange(topic, index, live, rules.of(topic.name))
    change.isr = tuple(member.broker_id for member in members)
    change.recovery = wanted.leader_recovery_state
    record = change.build()
    if record is None:
        return _answer(index, partition), ()
    after = changed_partition(partition, record)
    if after.leader != broker_id:
        # The change completed a reassignment that removes this very leader: it stands, and somebody else leads.
        return _refused(wanted, ErrorCode.NEW_LEADER_ELECTED), (record,)
    return _answer(index, after), (record,)


def _members(wanted: AlterPartitionRequestPartitionData) -> list[BrokerState]:
    """The new ISR; version 2 names no epochs, which then match any."""
    if wanted.new_isr:
        return [BrokerState(broker_id=member, broker_epoch=_ANY_EPOCH) for member in wanted.new_isr]
    return list(wanted.new_isr_with_epochs)


def _problem(
    image: MetadataImage,
    broker_id: int,
    partition: PartitionImage,
    wanted: AlterPartitionRequestPartitionData,
    members: list[BrokerState],
) -> ErrorCode | None:
    ids = [member.broker_id for member in members]
    recovering = wanted.leader_recovery_state == RECOVERING
    if wanted.leader_epoch > partition.leader_epoch or wanted.partition_epoch > partition.partition_epoch:
        # The leader knows more than we do, so we are not the controller any more.
        return ErrorCode.NOT_CONTROLLER
    if wanted.leader_epoch < partition.leader_epoch:
        return ErrorCode.FENCED_LEADER_EPOCH
    if broker_id != partition.leader:
        return ErrorCode.INVALID_REQUEST
    if wanted.partition_epoch < partition.partition_epoch:
        return ErrorCode.INVALID_UPDATE_VERSION
    if len(set(ids)) != len(ids) or not set(ids) <= set(partition.replicas) or broker_id not in ids:
        return ErrorCode.INVALID_REQUEST
    if wanted.leader_recovery_state not in {RECOVERED, RECOVERING} or (recovering and len(ids) > 1):
        return ErrorCode.INVALID_REQUEST
    if recovering and partition.leader_recovery_state == RECOVERED:
        return ErrorCode.INVALID_REQUEST
    if not all(_may_be_in_sync(image, member) for member in members):
        return ErrorCode.INELIGIBLE_REPLICA
    return None


def _may_be_in_sync(image: MetadataImage, member: BrokerState) -> bool:
    broker = image.brokers.get(member.broker_id)
    return broker is not None and broker.active and member.broker_epoch in {_ANY_EPOCH, broker.epoch}


def _answer(index: int, partition: PartitionImage) -> AlterPartitionResponsePartitionData:
    return AlterPartitionResponsePartitionData(
        partition_index=index,
        leader_id=partition.leader,
        leader_epoch=partition.leader_epoch,
        isr=partition.isr,
        leader_recovery_state=partition.leader_recovery_state,
        partition_epoch=partition.partition_epoch,
    )


def _refused(
    wanted: AlterPartitionRequestPartitionData, error: ErrorCode
) -> AlterPartitionResponsePartitionData:
    return AlterPartitionResponsePartitionData(partition_index=wanted.partition_index, error_code=error)
