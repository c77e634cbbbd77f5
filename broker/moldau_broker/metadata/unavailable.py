"""What each controller API answers when no controller takes the request: every item fails with that error. Pure.

The shapes are Kafka's: an API with an error per item has it there, and above them where there is a place for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from moldau_broker.base.errors import ErrorCode
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages import alter_configs as replacing
from moldau_broker.wire.messages import incremental_alter_configs as incremental
from moldau_broker.wire.messages.allocate_producer_ids import AllocateProducerIdsResponse
from moldau_broker.wire.messages.alter_partition import AlterPartitionResponse
from moldau_broker.wire.messages.alter_partition_reassignments import (
    AlterPartitionReassignmentsRequest,
    AlterPartitionReassignmentsResponse,
    ReassignablePartitionResponse,
    ReassignableTopicResponse,
)
from moldau_broker.wire.messages.assign_replicas_to_dirs import AssignReplicasToDirsResponse
from moldau_broker.wire.messages.broker_heartbeat import BrokerHeartbeatResponse
from moldau_broker.wire.messages.broker_registration import BrokerRegistrationResponse
from moldau_broker.wire.messages.create_partitions import (
    CreatePartitionsRequest,
    CreatePartitionsResponse,
    CreatePartitionsTopicResult,
)
from moldau_broker.wire.messages.create_topics import (
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
from moldau_broker.wire.messages.elect_leaders import (
    ElectLeadersRequest,
    ElectLeadersResponse,
    PartitionResult,
    ReplicaElectionResult,
)
from moldau_broker.wire.messages.list_partition_reassignments import ListPartitionReassignmentsResponse
from moldau_broker.wire.messages.unregister_broker import UnregisterBrokerResponse
from moldau_broker.wire.messages.update_features import (
    UpdatableFeatureResult,
    UpdateFeaturesRequest,
    UpdateFeaturesResponse,
)
from moldau_broker.wire.schema import Struct


def unavailable_response(key: ApiKey, request: Struct, error: ErrorCode, message: str | None) -> Struct:
    """The answer in which everything `request` asks for has failed with `error`.

    Raises:
        KeyError: not an API of the controller.
    """
    return _ANSWERS[key](request, error, message)


def _create_topics(request: CreateTopicsRequest, error: ErrorCode, message: str | None) -> Struct:
    return CreateTopicsResponse(
        topics=[
            CreatableTopicResult(name=topic.name, error_code=error, error_message=message)
            for topic in request.topics
        ]
    )


def _delete_topics(request: DeleteTopicsRequest, error: ErrorCode, message: str | None) -> Struct:
    states = [*request.topics, *(DeleteTopicState(name=name) for name in request.topic_names)]
    return DeleteTopicsResponse(
        responses=[
            DeletableTopicResult(
                name=state.name, topic_id=state.topic_id, error_code=error, error_message=message
            )
            for state in states
        ]
    )


def _create_partitions(request: CreatePartitionsRequest, error: ErrorCode, message: str | None) -> Struct:
    return CreatePartitionsResponse(
        results=[
            CreatePartitionsTopicResult(name=topic.name, error_code=error, error_message=message)
            for topic in request.topics
        ]
    )


def _alter_configs(request: replacing.AlterConfigsRequest, error: ErrorCode, message: str | None) -> Struct:
    return replacing.AlterConfigsResponse(
        responses=[
            replacing.AlterConfigsResourceResponse(
                error_code=error,
                error_message=message,
                resource_type=resource.resource_type,
                resource_name=resource.resource_name,
            )
            for resource in request.resources
        ]
    )


def _incremental(
    request: incremental.IncrementalAlterConfigsRequest, error: ErrorCode, message: str | None
) -> Struct:
    return incremental.IncrementalAlterConfigsResponse(
        responses=[
            incremental.AlterConfigsResourceResponse(
                error_code=error,
                error_message=message,
                resource_type=resource.resource_type,
                resource_name=resource.resource_name,
            )
            for resource in request.resources
        ]
    )


def _elect_leaders(request: ElectLeadersRequest, error: ErrorCode, message: str | None) -> Struct:
    return ElectLeadersResponse(
        error_code=error,
        replica_election_results=[
            ReplicaElectionResult(
                topic=topic.topic,
                partition_result=[
                    PartitionResult(partition_id=index, error_code=error, error_message=message)
                    for index in topic.partitions
                ],
            )
            for topic in request.topic_partitions or ()
        ],
    )


def _reassign(request: AlterPartitionReassignmentsRequest, error: ErrorCode, message: str | None) -> Struct:
    return AlterPartitionReassignmentsResponse(
        allow_replication_factor_change=request.allow_replication_factor_change,
        error_code=error,
        error_message=message,
        responses=[
            ReassignableTopicResponse(
                name=topic.name,
                partitions=[
                    ReassignablePartitionResponse(
                        partition_index=partition.partition_index, error_code=error, error_message=message
                    )
                    for partition in topic.partitions
                ],
            )
            for topic in request.topics
        ],
    )


def _update_features(request: UpdateFeaturesRequest, error: ErrorCode, message: str | None) -> Struct:
    return UpdateFeaturesResponse(
        error_code=error,
        error_message=message,
        results=[
            UpdatableFeatureResult(feature=update.feature, error_code=error, error_message=message)
            for update in request.feature_updates
        ],
    )


_ANSWERS: Final[Mapping[ApiKey, Callable[[Any, ErrorCode, str | None], Struct]]] = {
    ApiKey.CREATE_TOPICS: _create_topics,
    ApiKey.DELETE_TOPICS: _delete_topics,
    ApiKey.CREATE_PARTITIONS: _create_partitions,
    ApiKey.ALTER_CONFIGS: _alter_configs,
    ApiKey.INCREMENTAL_ALTER_CONFIGS: _incremental,
    ApiKey.ELECT_LEADERS: _elect_leaders,
    ApiKey.ALTER_PARTITION_REASSIGNMENTS: _reassign,
    ApiKey.UPDATE_FEATURES: _update_features,
    ApiKey.LIST_PARTITION_REASSIGNMENTS: lambda _, error, message: ListPartitionReassignmentsResponse(
        error_code=error, error_message=message
    ),
    ApiKey.BROKER_REGISTRATION: lambda _, error, __: BrokerRegistrationResponse(error_code=error),
    ApiKey.BROKER_HEARTBEAT: lambda _, error, __: BrokerHeartbeatResponse(error_code=error),
    ApiKey.UNREGISTER_BROKER: lambda _, error, message: UnregisterBrokerResponse(
        error_code=error, error_message=message
    ),
    ApiKey.ALTER_PARTITION: lambda _, error, __: AlterPartitionResponse(error_code=error),
    ApiKey.ASSIGN_REPLICAS_TO_DIRS: lambda _, error, __: AssignReplicasToDirsResponse(error_code=error),
    ApiKey.ALLOCATE_PRODUCER_IDS: lambda _, error, __: AllocateProducerIdsResponse(error_code=error),
}
