"""Admin functions: what they ask, and that one bad name spoils nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from moldau_broker.base.errors import ErrorCode
from moldau_broker.client.admin import configs, groups, nodes, offsets, topics
from moldau_broker.client.admin.outcomes import settle
from moldau_broker.client.cluster import Cluster
from moldau_broker.client.consumer_protocol import write_assignment
from moldau_broker.client.errors import BrokerUnreachable, ClientError, RequestFailed
from moldau_broker.client.partitions import TopicPartition
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.create_partitions import (
    CreatePartitionsResponse,
    CreatePartitionsTopicResult,
)
from moldau_broker.wire.messages.create_topics import CreatableTopicResult, CreateTopicsResponse
from moldau_broker.wire.messages.delete_groups import DeletableGroupResult, DeleteGroupsResponse
from moldau_broker.wire.messages.delete_records import (
    DeleteRecordsPartitionResult,
    DeleteRecordsResponse,
    DeleteRecordsTopicResult,
)
from moldau_broker.wire.messages.delete_topics import DeletableTopicResult, DeleteTopicsResponse
from moldau_broker.wire.messages.describe_cluster import DescribeClusterBroker, DescribeClusterResponse
from moldau_broker.wire.messages.describe_configs import (
    DescribeConfigsResourceResult,
    DescribeConfigsResponse,
    DescribeConfigsResult,
)
from moldau_broker.wire.messages.describe_groups import (
    DescribedGroup,
    DescribedGroupMember,
    DescribeGroupsResponse,
)
from moldau_broker.wire.messages.describe_log_dirs import (
    DescribeLogDirsPartition,
    DescribeLogDirsResponse,
    DescribeLogDirsResult,
    DescribeLogDirsTopic,
)
from moldau_broker.wire.messages.incremental_alter_configs import (
    AlterConfigsResourceResponse,
    IncrementalAlterConfigsResponse,
)
from moldau_broker.wire.messages.list_groups import ListedGroup, ListGroupsResponse
from moldau_broker.wire.messages.offset_commit import (
    OffsetCommitResponse,
    OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
)
from moldau_broker.wire.messages.offset_delete import OffsetDeleteResponse
from moldau_broker.wire.messages.offset_fetch import (
    OffsetFetchResponse,
    OffsetFetchResponseGroup,
    OffsetFetchResponsePartitions,
    OffsetFetchResponseTopics,
)

P0 = TopicPartition("t", 0)
EXISTS = ErrorCode.TOPIC_ALREADY_EXISTS


def code(outcome: object) -> ErrorCode:
    assert isinstance(outcome, RequestFailed)
    return outcome.code


async def test_create_topics_gives_an_outcome_for_each(cluster: Cluster, scripted: Any) -> None:
    """Success with what was made, failure with the broker's words."""
    made = CreatableTopicResult(name="a", topic_id=b"i" * 16, num_partitions=3, replication_factor=1)
    refused = CreatableTopicResult(name="b", error_code=EXISTS, error_message="is there")
    scripted.script(ApiKey.CREATE_TOPICS, CreateTopicsResponse(topics=[made, refused]))
    new = [topics.NewTopic(name="a", config={"retention.ms": "1"}), topics.NewTopic(name="b", partitions=2)]
    outcomes = await topics.create_topics(cluster, new, validate_only=True)
    assert outcomes["a"] == topics.CreatedTopic("a", b"i" * 16, 3, 1)
    assert code(outcomes["b"]) is EXISTS
    with pytest.raises(RequestFailed, match=r"topic b: TOPIC_ALREADY_EXISTS \(is there\)"):
        settle(outcomes)
    [request] = scripted.seen(ApiKey.CREATE_TOPICS)
    assert request.validate_only
    assert [(t.num_partitions, t.replication_factor) for t in request.topics] == [(-1, -1), (2, -1)]
    assert request.topics[0].configs[0].name == "retention.ms"


async def test_create_topics_with_an_assignment_leaves_the_counts_out(
    cluster: Cluster, scripted: Any
) -> None:
    """The two ways to say it exclude each other on the wire."""
    scripted.script(ApiKey.CREATE_TOPICS, CreateTopicsResponse())
    new = topics.NewTopic(name="a", partitions=2, replication_factor=2, assignment={0: (1, 2), 1: (2, 1)})
    await topics.create_topics(cluster, [new])
    [topic] = scripted.seen(ApiKey.CREATE_TOPICS)[0].topics
    assert (topic.num_partitions, topic.replication_factor) == (-1, -1)
    assert [list(a.broker_ids) for a in topic.assignments] == [[1, 2], [2, 1]]


async def test_delete_topics_gives_an_outcome_for_each(cluster: Cluster, scripted: Any) -> None:
    """Missing topics are errors of their own."""
    results = [
        DeletableTopicResult(name="a"),
        DeletableTopicResult(name="b", error_code=ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
    ]
    scripted.script(ApiKey.DELETE_TOPICS, DeleteTopicsResponse(responses=results))
    outcomes = await topics.delete_topics(cluster, ["a", "b"])
    assert outcomes["a"] is None
    assert code(outcomes["b"]) is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


async def test_create_partitions_names_totals(cluster: Cluster, scripted: Any) -> None:
    """The count on the wire is the new total; placement is the cluster's."""
    result = CreatePartitionsTopicResult(
        name="t", error_code=ErrorCode.INVALID_PARTITIONS, error_message="no"
    )
    scripted.script(ApiKey.CREATE_PARTITIONS, CreatePartitionsResponse(results=[result]))
    outcomes = await topics.create_partitions(cluster, {"t": 4})
    assert code(outcomes["t"]) is ErrorCode.INVALID_PARTITIONS
    [topic] = scripted.seen(ApiKey.CREATE_PARTITIONS)[0].topics
    assert (topic.count, topic.assignments) == (4, None)


async def test_describe_topics_says_what_is_missing(cluster: Cluster) -> None:
    """Each name has an outcome."""
    outcomes = await topics.describe_topics(cluster, ["t", "gone"])
    assert [p.partition for p in settle({"t": outcomes["t"]})["t"].partitions] == [0, 1]
    assert code(outcomes["gone"]) is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


async def test_list_topics_asks_for_all(cluster: Cluster, scripted: Any) -> None:
    """Null is all topics."""
    scripted.topics["a"] = [1]
    assert [topic.name for topic in await topics.list_topics(cluster)] == ["a", "t"]
    assert scripted.seen(ApiKey.METADATA)[-1].topics is None


async def test_delete_records_asks_the_leader(cluster: Cluster, scripted: Any) -> None:
    """The new log start offsets come back."""
    partition = DeleteRecordsPartitionResult(partition_index=0, low_watermark=5)
    topic = DeleteRecordsTopicResult(name="t", partitions=[partition])
    scripted.script(ApiKey.DELETE_RECORDS, DeleteRecordsResponse(topics=[topic]))
    assert await topics.delete_records(cluster, {P0: -1}) == {P0: 5}


async def test_describe_configs_asks_each_broker_for_its_own(
    cluster: Cluster, scripted: Any, new_broker: Any
) -> None:
    """Topic settings come from any broker, a broker's from itself."""
    other = await new_broker(2)
    scripted.nodes.append(other)

    def answer(request: Any, _version: int) -> DescribeConfigsResponse:
        setting = DescribeConfigsResourceResult(name="x", value="1", config_source=99)
        return DescribeConfigsResponse(
            results=[
                DescribeConfigsResult(
                    resource_type=r.resource_type, resource_name=r.resource_name, configs=[setting]
                )
                for r in request.resources
            ]
        )

    for broker in (scripted, other):
        broker.scripts[ApiKey.DESCRIBE_CONFIGS] = answer
    resources = [configs.topic_resource("t"), configs.Resource(configs.ResourceType.BROKER, "2")]
    found = settle(await configs.describe_configs(cluster, resources))
    assert found[resources[0]]["x"].source is configs.ConfigSource.UNKNOWN
    assert [r.resource_name for r in other.seen(ApiKey.DESCRIBE_CONFIGS)[0].resources] == ["2"]
    assert [r.resource_name for r in scripted.seen(ApiKey.DESCRIBE_CONFIGS)[0].resources] == ["t"]


async def test_alter_configs_sets_and_unsets(cluster: Cluster, scripted: Any) -> None:
    """None returns a setting to its default."""
    answer = AlterConfigsResourceResponse(
        resource_type=2, resource_name="t", error_code=40, error_message="no"
    )
    scripted.script(ApiKey.INCREMENTAL_ALTER_CONFIGS, IncrementalAlterConfigsResponse(responses=[answer]))
    resource = configs.topic_resource("t")
    outcomes = await configs.alter_configs(cluster, {resource: {"a": "1", "b": None}})
    assert code(outcomes[resource]) is ErrorCode.INVALID_CONFIG
    [sent] = scripted.seen(ApiKey.INCREMENTAL_ALTER_CONFIGS)[0].resources
    assert [(c.name, c.config_operation, c.value) for c in sent.configs] == [("a", 0, "1"), ("b", 1, None)]


async def test_list_groups_asks_every_broker(cluster: Cluster, scripted: Any, new_broker: Any) -> None:
    """Each coordinator knows only its own; the list is sorted and says where each group is."""
    other = await new_broker(2)
    scripted.nodes.append(other)
    scripted.script(
        ApiKey.LIST_GROUPS, ListGroupsResponse(groups=[ListedGroup(group_id="b", group_state="Empty")])
    )
    other.script(
        ApiKey.LIST_GROUPS, ListGroupsResponse(groups=[ListedGroup(group_id="a", group_state="Stable")])
    )
    found = await groups.list_groups(cluster, states=["Stable"])
    assert [(group.id, group.coordinator) for group in found] == [("a", 2), ("b", 1)]
    assert other.seen(ApiKey.LIST_GROUPS)[0].states_filter == ["Stable"]


async def test_list_groups_is_whole_or_an_error(cluster: Cluster, scripted: Any, new_broker: Any) -> None:
    """A list that silently lacks a broker's groups would be worse than none."""
    other = await new_broker(2)
    await other.stop()
    scripted.nodes.append(other)
    scripted.script(ApiKey.LIST_GROUPS, ListGroupsResponse())
    cluster.config = replace(cluster.config, deadline_ms=0)
    with pytest.raises(BrokerUnreachable):
        await groups.list_groups(cluster)


async def test_describe_groups_reads_members(cluster: Cluster, scripted: Any) -> None:
    """Members with what they read; a dead group is one that does not exist."""
    member = DescribedGroupMember(
        member_id="m", client_id="c", client_host="/10.0.0.1", member_assignment=write_assignment([P0])
    )
    live = DescribedGroup(
        group_id="g", group_state="Stable", protocol_type="consumer", protocol_data="range", members=[member]
    )
    dead = DescribedGroup(group_id="h", group_state="Dead")
    scripted.script(ApiKey.DESCRIBE_GROUPS, DescribeGroupsResponse(groups=[live, dead]))
    outcomes = await groups.describe_groups(cluster, ["g", "h"])
    about = settle({"g": outcomes["g"]})["g"]
    assert about.members == (groups.GroupMember("m", None, "c", "10.0.0.1", (P0,)),)
    assert code(outcomes["h"]) is ErrorCode.GROUP_ID_NOT_FOUND


async def test_describe_groups_waits_for_a_loading_coordinator(cluster: Cluster, scripted: Any) -> None:
    """Only the group that must be is asked about again."""
    loading = DescribedGroup(group_id="g", error_code=ErrorCode.COORDINATOR_LOAD_IN_PROGRESS)
    fine = [DescribedGroup(group_id=name, group_state="Empty") for name in "gh"]
    scripted.script(
        ApiKey.DESCRIBE_GROUPS,
        DescribeGroupsResponse(groups=[loading, fine[1]]),
        DescribeGroupsResponse(groups=[fine[0]]),
    )
    outcomes = await groups.describe_groups(cluster, ["g", "h"])
    assert sorted(settle(outcomes)) == ["g", "h"]
    assert [list(r.groups) for r in scripted.seen(ApiKey.DESCRIBE_GROUPS)] == [["g", "h"], ["g"]]


async def test_delete_groups_gives_an_outcome_for_each(cluster: Cluster, scripted: Any) -> None:
    """A group with members stays."""
    results = [
        DeletableGroupResult(group_id="a"),
        DeletableGroupResult(group_id="b", error_code=ErrorCode.NON_EMPTY_GROUP),
    ]
    scripted.script(ApiKey.DELETE_GROUPS, DeleteGroupsResponse(results=results))
    outcomes = await groups.delete_groups(cluster, ["a", "b"])
    assert outcomes["a"] is None
    assert code(outcomes["b"]) is ErrorCode.NON_EMPTY_GROUP


async def test_fetch_offsets_leaves_out_what_was_never_committed(cluster: Cluster, scripted: Any) -> None:
    """-1 means no offset; several groups go in one request."""
    partitions = [
        OffsetFetchResponsePartitions(partition_index=0, committed_offset=7, metadata="m"),
        OffsetFetchResponsePartitions(partition_index=1, committed_offset=-1),
    ]
    topic = OffsetFetchResponseTopics(name="t", partitions=partitions)
    answers = [
        OffsetFetchResponseGroup(group_id="g", topics=[topic]),
        OffsetFetchResponseGroup(group_id="h", error_code=ErrorCode.GROUP_AUTHORIZATION_FAILED),
    ]
    scripted.script(ApiKey.OFFSET_FETCH, OffsetFetchResponse(groups=answers))
    outcomes = await offsets.fetch_offsets(cluster, {"g": None, "h": [P0]})
    assert outcomes["g"] == {P0: offsets.CommittedOffset(7, -1, "m")}
    assert code(outcomes["h"]) is ErrorCode.GROUP_AUTHORIZATION_FAILED
    [request] = scripted.seen(ApiKey.OFFSET_FETCH)
    assert request.groups[0].topics is None


async def test_commit_offsets_acts_as_administrator_by_default(cluster: Cluster, scripted: Any) -> None:
    """Without member and generation a broker accepts it only while the group is empty."""

    def refuse(error: ErrorCode) -> OffsetCommitResponse:
        partition = OffsetCommitResponsePartition(partition_index=0, error_code=error)
        return OffsetCommitResponse(topics=[OffsetCommitResponseTopic(name="t", partitions=[partition])])

    scripted.script(
        ApiKey.OFFSET_COMMIT, refuse(ErrorCode.NOT_COORDINATOR), refuse(ErrorCode.UNKNOWN_MEMBER_ID)
    )
    outcomes = await offsets.commit_offsets(cluster, "g", {P0: offsets.CommittedOffset(3, 1, "why")})
    assert code(outcomes[P0]) is ErrorCode.UNKNOWN_MEMBER_ID
    request = scripted.seen(ApiKey.OFFSET_COMMIT)[-1]
    assert (request.member_id, request.generation_id_or_member_epoch) == ("", -1)
    [sent] = request.topics[0].partitions
    assert (sent.committed_offset, sent.committed_leader_epoch, sent.committed_metadata) == (3, 1, "why")


async def test_delete_offsets_raises_for_the_whole_group(cluster: Cluster, scripted: Any) -> None:
    """A group that does not exist is not an outcome of a partition."""
    scripted.script(ApiKey.OFFSET_DELETE, OffsetDeleteResponse(error_code=ErrorCode.GROUP_ID_NOT_FOUND))
    with pytest.raises(RequestFailed, match="group g: GROUP_ID_NOT_FOUND"):
        await offsets.delete_offsets(cluster, "g", [P0])


async def test_describe_cluster_sorts_brokers(cluster: Cluster, scripted: Any) -> None:
    """Id, controller and brokers."""
    brokers = [DescribeClusterBroker(broker_id=i, host="h", port=i) for i in (2, 1)]
    answer = DescribeClusterResponse(cluster_id="c", controller_id=1, brokers=brokers)
    scripted.script(ApiKey.DESCRIBE_CLUSTER, answer)
    found = await nodes.describe_cluster(cluster)
    assert (found.cluster_id, found.controller) == ("c", 1)
    assert [node.address for node in found.nodes] == ["h:1", "h:2"]


async def test_describe_log_dirs_keeps_what_some_brokers_said(
    cluster: Cluster, scripted: Any, new_broker: Any
) -> None:
    """A broker that is down is an error in its place."""
    other = await new_broker(2)
    await other.stop()
    scripted.nodes.append(other)
    await cluster.refresh(())
    replica = DescribeLogDirsPartition(partition_index=0, partition_size=9)
    directory = DescribeLogDirsResult(
        log_dir="/d", topics=[DescribeLogDirsTopic(name="t", partitions=[replica])], total_bytes=5
    )
    scripted.script(ApiKey.DESCRIBE_LOG_DIRS, DescribeLogDirsResponse(results=[directory]))
    found = await nodes.describe_log_dirs(cluster)
    assert isinstance(found[2], ClientError)
    assert not isinstance(found[1], ClientError)
    assert found[1][0].replicas == {P0: nodes.ReplicaOnDisk(9, 0, False)}
