"""Creating, growing and deleting topics. Pure: each operation gives records and a response."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import NULL_UUID, Uuid, random_uuid
from moldau_broker.base.topics import CLUSTER_METADATA
from moldau_broker.metadata.assignment import (
    assignment_of_more,
    assignment_of_new,
    over_cap,
    partition_record,
    replica_counts,
)
from moldau_broker.metadata.configs_control import VALUE_CHARS_TOTAL_MAX, new_topic_problem, topic_entries
from moldau_broker.metadata.image import MetadataImage, ResourceType, TopicImage
from moldau_broker.metadata.operation import RECORDS_MAX, Refusal, Result, View
from moldau_broker.metadata.topic_names import TakenNames, name_problem
from moldau_broker.wire.messages import metadata_records as records
from moldau_broker.wire.messages.create_partitions import (
    CreatePartitionsRequest,
    CreatePartitionsResponse,
    CreatePartitionsTopic,
    CreatePartitionsTopicResult,
)
from moldau_broker.wire.messages.create_topics import (
    CreatableTopic,
    CreatableTopicConfigs,
    CreatableTopicResult,
    CreateTopicsRequest,
    CreateTopicsResponse,
)
from moldau_broker.wire.messages.delete_topics import (
    DeletableTopicResult,
    DeleteTopicsRequest,
    DeleteTopicsResponse,
    DeleteTopicState,
)
from moldau_broker.wire.schema import Struct

_NAMED_TWICE: Final = Refusal(ErrorCode.INVALID_REQUEST, "Duplicate topic name.")
_NO_TOPIC: Final = "This server does not host this topic-partition."
_NO_TOPIC_ID: Final = "This server does not host this topic ID."


# -- create -----------------------------------------------------------------------------------------------


def create_topics(view: View, request: CreateTopicsRequest) -> Result[CreateTopicsResponse]:
    """CreateTopics: each topic is created whole or refused for itself; all that are created are one write."""
    counts = Counter(topic.name for topic in request.topics)
    asked = sum(len(topic.assignments) or max(topic.num_partitions, 1) for topic in request.topics)
    text = sum(len(config.value or "") for topic in request.topics for config in topic.configs)
    replicas = replica_counts(view.image)
    names = TakenNames(view.image.topics)
    written: list[Struct] = []
    results = []
    for name, topic in {topic.name: topic for topic in request.topics}.items():  # one answer per name
        outcome: _NewTopic | Refusal
        if counts[name] > 1:
            outcome = _NAMED_TWICE
        elif asked > RECORDS_MAX or text > VALUE_CHARS_TOTAL_MAX:
            outcome = Refusal(
                ErrorCode.POLICY_VIOLATION, "Excessively large number of partitions per request."
            )
        else:
            outcome = _new_topic(view, topic, names, replicas)
        if isinstance(outcome, _NewTopic):
            names.add(name)
            replicas.update(broker for partition in outcome.assignment for broker in partition)
            written += outcome.records
            results.append(outcome.result)
        else:
            results.append(
                CreatableTopicResult(name=name, error_code=outcome.error, error_message=outcome.message)
            )
    response = CreateTopicsResponse(topics=results)
    return Result(response, () if request.validate_only else tuple(written))


class _NewTopic:
    """A topic that passed every check."""

    __slots__ = ("assignment", "records", "result")

    def __init__(self, view: View, name: str, assignment: list[list[int]], configs: dict[str, str]) -> None:
        topic_id = random_uuid(view.rng)
        self.assignment = assignment
        self.records: list[Struct] = [
            records.TopicRecord(name=name, topic_id=topic_id),
            *(
                records.ConfigRecord(
                    resource_type=ResourceType.TOPIC, resource_name=name, name=key, value=value
                )
                for key, value in configs.items()
            ),
            *(
                partition_record(view.image, topic_id, index, replicas)
                for index, replicas in enumerate(assignment)
            ),
        ]
        self.result = CreatableTopicResult(
            name=name,
            topic_id=topic_id,
            error_message=None,
            num_partitions=len(assignment),
            replication_factor=len(assignment[0]),
            configs=[
                CreatableTopicConfigs(name=entry.name, value=entry.value, config_source=entry.source)
                for entry in topic_entries(view, configs)
            ],
        )


def _new_topic(
    view: View, topic: CreatableTopic, names: TakenNames, replicas: Mapping[int, int]
) -> _NewTopic | Refusal:
    if topic.name == CLUSTER_METADATA:
        return Refusal(
            ErrorCode.INVALID_REQUEST, f"Creation of internal topic {CLUSTER_METADATA} is prohibited."
        )
    problem = name_problem(topic.name)
    if problem:
        return Refusal(ErrorCode.INVALID_TOPIC_EXCEPTION, problem)
    if topic.name in names:
        return Refusal(ErrorCode.TOPIC_ALREADY_EXISTS, f"Topic '{topic.name}' already exists.")
    other = names.collision(topic.name)
    if other is not None:
        return Refusal(
            ErrorCode.INVALID_TOPIC_EXCEPTION, f"Topic '{topic.name}' collides with existing topic: {other}"
        )
    configs = {config.name: config.value for config in topic.configs}
    refusal = new_topic_problem(view, configs)
    if refusal is not None:
        return refusal
    assignment = assignment_of_new(view, topic)
    if isinstance(assignment, Refusal):
        return assignment
    full = over_cap(view, replicas, assignment)
    if full is not None:
        return full
    return _NewTopic(view, topic.name, assignment, {key: value or "" for key, value in configs.items()})


# -- grow -------------------------------------------------------------------------------------------------


def create_partitions(view: View, request: CreatePartitionsRequest) -> Result[CreatePartitionsResponse]:
    """CreatePartitions: topics grow, they never shrink."""
    counts = Counter(topic.name for topic in request.topics)
    replicas = replica_counts(view.image)
    written: list[Struct] = []
    results = []
    for name, wanted in {topic.name: topic for topic in request.topics}.items():
        outcome = _NAMED_TWICE if counts[name] > 1 else _more_partitions(view, wanted, replicas, len(written))
        if isinstance(outcome, Refusal):
            results.append(
                CreatePartitionsTopicResult(
                    name=name, error_code=outcome.error, error_message=outcome.message
                )
            )
            continue
        replicas.update(broker for record in outcome for broker in record.replicas)
        written += outcome
        results.append(CreatePartitionsTopicResult(name=name))
    return Result(CreatePartitionsResponse(results=results), () if request.validate_only else tuple(written))


def _more_partitions(
    view: View, wanted: CreatePartitionsTopic, held: Mapping[int, int], written: int
) -> list[records.PartitionRecord] | Refusal:
    topic = view.image.topics.get(wanted.name)
    if topic is None:
        return Refusal(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
    have = len(topic.partitions)
    if wanted.count == have:
        return Refusal(ErrorCode.INVALID_PARTITIONS, f"Topic already has {have} partition(s).")
    if wanted.count < have:
        return Refusal(
            ErrorCode.INVALID_PARTITIONS,
            f"The topic {wanted.name} currently has {have} partition(s); {wanted.count} would not be an increase.",
        )
    more = wanted.count - have
    if written + more > RECORDS_MAX:
        return Refusal(ErrorCode.POLICY_VIOLATION, "Excessively large number of partitions per request.")
    assignment = assignment_of_more(view, topic, wanted, more)
    if isinstance(assignment, Refusal):
        return assignment
    full = over_cap(view, held, assignment)
    if full is not None:
        return full
    return [
        partition_record(view.image, topic.topic_id, have + index, replicas)
        for index, replicas in enumerate(assignment)
    ]


# -- delete -----------------------------------------------------------------------------------------------


def delete_topics(view: View, request: DeleteTopicsRequest) -> Result[DeleteTopicsResponse]:
    """DeleteTopics, by name or by id; the older versions' list of names is read too."""
    states = [*request.topics, *(DeleteTopicState(name=name) for name in request.topic_names)]
    names = Counter(state.name for state in states if state.name is not None and state.topic_id == NULL_UUID)
    ids = Counter(state.topic_id for state in states if state.name is None and state.topic_id != NULL_UUID)
    written: list[Struct] = []
    results: dict[tuple[str | None, bytes], DeletableTopicResult] = {}
    for state in states:
        found: TopicImage | Refusal
        if len(states) > RECORDS_MAX:
            found = Refusal(ErrorCode.POLICY_VIOLATION, "Excessively large number of topics per request.")
        elif not view.settings.topics.delete_enable:
            found = Refusal(ErrorCode.TOPIC_DELETION_DISABLED, "delete.topic.enable is false on this broker")
        else:
            found = _topic_to_delete(view.image, state, names, ids)
        if isinstance(found, Refusal):
            result = DeletableTopicResult(
                name=state.name,
                topic_id=state.topic_id,
                error_code=found.error,
                error_message=found.message,
            )
        else:
            result = DeletableTopicResult(name=found.name, topic_id=found.topic_id)
            written.append(records.RemoveTopicRecord(topic_id=found.topic_id))
        results[(state.name, state.topic_id)] = result
    return Result(DeleteTopicsResponse(responses=list(results.values())), tuple(written))


def _topic_to_delete(
    image: MetadataImage, state: DeleteTopicState, names: Counter[str], ids: Counter[bytes]
) -> TopicImage | Refusal:
    if state.name is None:
        if state.topic_id == NULL_UUID:
            return Refusal(ErrorCode.INVALID_REQUEST, "Neither topic name nor id were specified.")
        if ids[state.topic_id] > 1:
            return Refusal(ErrorCode.INVALID_REQUEST, "Duplicate topic id.")
        topic = image.topics_by_id.get(Uuid(state.topic_id))
        if topic is None:
            return Refusal(ErrorCode.UNKNOWN_TOPIC_ID, _NO_TOPIC_ID)
        if names[topic.name]:
            return Refusal(
                ErrorCode.INVALID_REQUEST, "The provided topic name maps to an ID that was already supplied."
            )
        return topic
    if state.topic_id != NULL_UUID:
        return Refusal(ErrorCode.INVALID_REQUEST, "You may not specify both topic name and topic id.")
    if names[state.name] > 1:
        return _NAMED_TWICE
    topic = image.topics.get(state.name)
    if topic is None:
        return Refusal(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, _NO_TOPIC)
    if ids[topic.topic_id]:
        return Refusal(
            ErrorCode.INVALID_REQUEST, "The provided topic name maps to an ID that was already supplied."
        )
    return topic
