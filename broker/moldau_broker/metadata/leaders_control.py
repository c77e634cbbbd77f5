"""ElectLeaders, and leaderships going back to the preferred replicas by themselves. Pure."""

from __future__ import annotations

from collections import Counter
from enum import IntEnum
from typing import Final

from moldau_broker.base.errors import ErrorCode
from moldau_broker.metadata.elections import Election, PartitionChange, RulesInForce
from moldau_broker.metadata.image import NO_LEADER, PartitionImage, TopicImage
from moldau_broker.metadata.live_brokers import LiveBrokers
from moldau_broker.metadata.operation import RECORDS_MAX, Refusal, Result, View
from moldau_broker.wire.messages.elect_leaders import (
    ElectLeadersRequest,
    ElectLeadersResponse,
    PartitionResult,
    ReplicaElectionResult,
)
from moldau_broker.wire.schema import Struct

BALANCE_ELECTIONS_MAX: Final = 1_000
"""Leaderships moved in one go by themselves, as in Kafka: each costs its clients a refresh."""

_NOT_NEEDED: Final = Refusal(ErrorCode.ELECTION_NOT_NEEDED, "Leader election not needed for topic partition.")


class _Kind(IntEnum):
    """`ElectionType` of the protocol (KIP-460)."""

    PREFERRED = 0
    UNCLEAN = 1


class _Elector:
    """The elections of one request."""

    __slots__ = ("_kind", "_live", "_rules", "_seen", "_view", "records")

    def __init__(self, view: View, kind: _Kind) -> None:
        self.records: list[Struct] = []
        self._view = view
        self._kind = kind
        self._rules = RulesInForce(view)
        self._live = LiveBrokers(view.image)
        self._seen: set[tuple[str, int]] = set()

    def elect(self, name: str, index: int) -> Refusal | None:
        """Hold an election; why not, or None."""
        topic = self._view.image.topics.get(name)
        if topic is None:
            return Refusal(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"No such topic as {name}")
        if not 0 <= index < len(topic.partitions):
            return Refusal(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"No such partition as {name}-{index}")
        partition = topic.partitions[index]
        if self._is_fine(partition) or (name, index) in self._seen:
            return _NOT_NEEDED
        if len(self.records) >= RECORDS_MAX:
            return Refusal(ErrorCode.POLICY_VIOLATION, "Excessively large number of elections per request.")
        self._seen.add((name, index))
        change = PartitionChange(topic, index, self._live, self._rules.of(name))
        preferred = self._kind is _Kind.PREFERRED
        change.election = Election.PREFERRED if preferred else Election.UNCLEAN
        record = change.build()
        if record is not None:
            self.records.append(record)
            return None
        if preferred:
            return Refusal(
                ErrorCode.PREFERRED_LEADER_NOT_AVAILABLE, "The preferred leader was not available."
            )
        return Refusal(
            ErrorCode.ELIGIBLE_LEADERS_NOT_AVAILABLE,
            "Eligible topic partition leaders are not available.",
        )

    def _is_fine(self, partition: PartitionImage) -> bool:
        if self._kind is _Kind.PREFERRED:
            return partition.leader == partition.replicas[0]
        return partition.leader != NO_LEADER


def elect_leaders(view: View, request: ElectLeadersRequest) -> Result[ElectLeadersResponse]:
    """ElectLeaders; without a list of partitions, those that need no election are left out of the answer."""
    if request.election_type not in {kind.value for kind in _Kind}:
        return Result(ElectLeadersResponse(error_code=ErrorCode.INVALID_REQUEST))
    elector = _Elector(view, _Kind(request.election_type))
    everything = request.topic_partitions is None
    asked = (
        [(topic.name, range(len(topic.partitions))) for _, topic in sorted(view.image.topics.items())]
        if request.topic_partitions is None
        else [(topic.topic, topic.partitions) for topic in request.topic_partitions]
    )
    results = []
    for name, indexes in asked:
        answers = []
        for index in indexes:
            refusal = elector.elect(name, index)
            if refusal is None:
                answers.append(PartitionResult(partition_id=index, error_message=None))
            elif not everything or refusal is not _NOT_NEEDED:
                answers.append(
                    PartitionResult(
                        partition_id=index, error_code=refusal.error, error_message=refusal.message
                    )
                )
        results.append(ReplicaElectionResult(topic=name, partition_result=answers))
    return Result(ElectLeadersResponse(replica_election_results=results), tuple(elector.records))


def balance_leaders(view: View) -> Result[None]:
    """Give leaderships back to brokers that lead too few of the partitions that name them first.

    A broker is seen to when more than `imbalance_percent` of those partitions are led by somebody else.
    """
    image = view.image
    preferred: Counter[int] = Counter()
    elsewhere: dict[int, list[tuple[TopicImage, int]]] = {}
    for topic in image.topics.values():
        for index, partition in enumerate(topic.partitions):
            first = partition.replicas[0]
            preferred[first] += 1
            if partition.leader != first and first in partition.isr:
                elsewhere.setdefault(first, []).append((topic, index))
    elector = _Elector(view, _Kind.PREFERRED)
    for broker_id, partitions in sorted(elsewhere.items()):
        broker = image.brokers.get(broker_id)
        if broker is None or not broker.active or image.is_cordoned(broker_id):
            continue
        if len(partitions) * 100 <= view.settings.cluster.imbalance_percent * preferred[broker_id]:
            continue
        for topic, index in partitions[: BALANCE_ELECTIONS_MAX - len(elector.records)]:
            elector.elect(topic.name, index)
    return Result(None, tuple(elector.records))
