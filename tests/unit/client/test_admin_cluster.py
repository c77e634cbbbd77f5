"""Admin functions about the cluster itself: moves, elections, the quorum, brokers that go, features."""

from __future__ import annotations

from typing import Any

import pytest

from moldau_broker.base.errors import ErrorCode
from moldau_broker.client.admin import elections, features, nodes, quorum, reassignments
from moldau_broker.client.cluster import Cluster
from moldau_broker.client.errors import RequestFailed
from moldau_broker.client.partitions import TopicPartition
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.add_raft_voter import AddRaftVoterResponse
from moldau_broker.wire.messages.alter_partition_reassignments import (
    AlterPartitionReassignmentsResponse,
    ReassignablePartitionResponse,
    ReassignableTopicResponse,
)
from moldau_broker.wire.messages.api_versions import (
    ApiVersion,
    ApiVersionsResponse,
    FinalizedFeatureKey,
    SupportedFeatureKey,
)
from moldau_broker.wire.messages.describe_cluster import DescribeClusterBroker, DescribeClusterResponse
from moldau_broker.wire.messages.describe_quorum import (
    DescribeQuorumResponse,
    DescribeQuorumResponsePartitionData,
    DescribeQuorumResponseTopicData,
    Listener,
    Node,
    ReplicaState,
)
from moldau_broker.wire.messages.elect_leaders import (
    ElectLeadersResponse,
    PartitionResult,
    ReplicaElectionResult,
)
from moldau_broker.wire.messages.list_partition_reassignments import (
    ListPartitionReassignmentsResponse,
    OngoingPartitionReassignment,
    OngoingTopicReassignment,
)
from moldau_broker.wire.messages.remove_raft_voter import RemoveRaftVoterResponse
from moldau_broker.wire.messages.unregister_broker import UnregisterBrokerResponse
from moldau_broker.wire.messages.update_features import UpdateFeaturesResponse

P0, P1 = TopicPartition("t", 0), TopicPartition("t", 1)


def code(outcome: object) -> ErrorCode:
    assert isinstance(outcome, RequestFailed)
    return outcome.code


class TestReassignments:
    """Moves of replicas."""

    async def test_moves_begin_and_end_by_partition(self, cluster: Cluster, scripted: Any) -> None:
        """A list of brokers begins a move, null on the wire cancels one; each partition has its outcome."""
        answers = [
            ReassignablePartitionResponse(partition_index=0),
            ReassignablePartitionResponse(
                partition_index=1, error_code=ErrorCode.NO_REASSIGNMENT_IN_PROGRESS, error_message="nothing"
            ),
        ]
        scripted.script(
            ApiKey.ALTER_PARTITION_REASSIGNMENTS,
            AlterPartitionReassignmentsResponse(
                responses=[ReassignableTopicResponse(name="t", partitions=answers)]
            ),
        )
        outcomes = await reassignments.alter_reassignments(cluster, {P0: (2, 1), P1: None})
        assert outcomes[P0] is None
        assert code(outcomes[P1]) is ErrorCode.NO_REASSIGNMENT_IN_PROGRESS
        (request,) = scripted.seen(ApiKey.ALTER_PARTITION_REASSIGNMENTS)
        assert [(p.partition_index, p.replicas) for p in request.topics[0].partitions] == [
            (0, [2, 1]),
            (1, None),
        ]

    async def test_a_refusal_of_the_whole_request_is_raised(self, cluster: Cluster, scripted: Any) -> None:
        """There is no outcome to give for each partition then."""
        scripted.script(
            ApiKey.ALTER_PARTITION_REASSIGNMENTS,
            AlterPartitionReassignmentsResponse(
                error_code=ErrorCode.CLUSTER_AUTHORIZATION_FAILED, error_message="no"
            ),
        )
        with pytest.raises(RequestFailed, match="the reassignment: CLUSTER_AUTHORIZATION_FAILED"):
            await reassignments.cancel_reassignments(cluster, [P0])

    async def test_moves_under_way_tell_where_they_lead(self, cluster: Cluster, scripted: Any) -> None:
        """The target is what stays of the brokers that hold it now."""
        ongoing = OngoingPartitionReassignment(
            partition_index=0, replicas=[3, 1, 2], adding_replicas=[3], removing_replicas=[2]
        )
        scripted.script(
            ApiKey.LIST_PARTITION_REASSIGNMENTS,
            ListPartitionReassignmentsResponse(
                topics=[OngoingTopicReassignment(name="t", partitions=[ongoing])]
            ),
        )
        found = await reassignments.list_reassignments(cluster)
        assert found == {P0: reassignments.Reassignment((3, 1, 2), (3,), (2,))}
        assert found[P0].target == (3, 1)
        assert scripted.seen(ApiKey.LIST_PARTITION_REASSIGNMENTS)[0].topics is None
        await reassignments.list_reassignments(cluster, [P1])
        (topic,) = scripted.seen(ApiKey.LIST_PARTITION_REASSIGNMENTS)[1].topics
        assert (topic.name, list(topic.partition_indexes)) == ("t", [1])


async def test_elections_tell_new_leaders_from_old(cluster: Cluster, scripted: Any) -> None:
    """ELECTION_NOT_NEEDED is no failure."""
    results = [
        PartitionResult(partition_id=0),
        PartitionResult(partition_id=1, error_code=ErrorCode.ELECTION_NOT_NEEDED),
        PartitionResult(partition_id=2, error_code=ErrorCode.PREFERRED_LEADER_NOT_AVAILABLE),
    ]
    scripted.script(
        ApiKey.ELECT_LEADERS,
        ElectLeadersResponse(
            replica_election_results=[ReplicaElectionResult(topic="t", partition_result=results)]
        ),
    )
    found = await elections.elect_leaders(cluster, [P0, P1, TopicPartition("t", 2)])
    assert (found[P0], found[P1]) == (True, False)
    assert code(found[TopicPartition("t", 2)]) is ErrorCode.PREFERRED_LEADER_NOT_AVAILABLE
    await elections.elect_leaders(cluster, election=elections.ElectionType.UNCLEAN)
    some, everything = scripted.seen(ApiKey.ELECT_LEADERS)
    assert (some.election_type, list(some.topic_partitions[0].partitions)) == (0, [0, 1, 2])
    assert (everything.election_type, everything.topic_partitions) == (1, None)


class TestQuorum:
    """The metadata quorum."""

    def answer(self, **partition: Any) -> DescribeQuorumResponse:
        described = DescribeQuorumResponsePartitionData(
            leader_id=1,
            leader_epoch=7,
            high_watermark=90,
            current_voters=[
                ReplicaState(replica_id=2, replica_directory_id=b"d" * 16, log_end_offset=80),
                ReplicaState(replica_id=1, log_end_offset=100, last_caught_up_timestamp=5),
            ],
            observers=[ReplicaState(replica_id=3, log_end_offset=110)],
            **partition,
        )
        return DescribeQuorumResponse(
            topics=[
                DescribeQuorumResponseTopicData(topic_name=quorum.METADATA_TOPIC, partitions=[described])
            ],
            nodes=[Node(node_id=2, listeners=[Listener(name="CONTROLLER", host="h", port=9)])],
        )

    async def test_everybody_is_described_with_their_lag(self, cluster: Cluster, scripted: Any) -> None:
        """Lag counts from the leader's own end; nobody is ahead of it."""
        scripted.script(ApiKey.DESCRIBE_QUORUM, self.answer())
        found = await quorum.describe_quorum(cluster)
        assert (found.leader_id, found.leader_epoch, found.high_watermark) == (1, 7, 90)
        assert [(one.id, found.lag(one)) for one in (*found.voters, *found.observers)] == [
            (1, 0),
            (2, 20),
            (3, 0),
        ]
        assert found.endpoints == {2: {"CONTROLLER": ("h", 9)}}
        voter = found.voter(2)
        assert voter is not None
        assert voter.directory_id == b"d" * 16
        assert found.voter(3) is None

    async def test_a_quorum_without_a_leader_is_asked_again(self, cluster: Cluster, scripted: Any) -> None:
        """The error stands at the partition; an election ends soon."""
        electing = self.answer(error_code=ErrorCode.NOT_LEADER_OR_FOLLOWER)
        scripted.script(ApiKey.DESCRIBE_QUORUM, electing, self.answer())
        assert (await quorum.describe_quorum(cluster)).leader_id == 1
        assert len(scripted.seen(ApiKey.DESCRIBE_QUORUM)) == 2

    async def test_voters_come_with_their_addresses(self, cluster: Cluster, scripted: Any) -> None:
        """Directory, listeners and the cluster's id go along."""
        scripted.script(ApiKey.ADD_RAFT_VOTER, AddRaftVoterResponse())
        await quorum.add_voter(cluster, 3, b"d" * 16, {"CONTROLLER": ("h", 9)})
        (request,) = scripted.seen(ApiKey.ADD_RAFT_VOTER)
        assert (request.cluster_id, request.voter_id, request.voter_directory_id) == (
            "scripted",
            3,
            b"d" * 16,
        )
        assert [(one.name, one.host, one.port) for one in request.listeners] == [("CONTROLLER", "h", 9)]

    async def test_a_voter_that_cannot_go_says_why(self, cluster: Cluster, scripted: Any) -> None:
        """The broker's words are kept."""
        refusal = RemoveRaftVoterResponse(error_code=ErrorCode.VOTER_NOT_FOUND, error_message="who?")
        scripted.script(ApiKey.REMOVE_RAFT_VOTER, refusal)
        with pytest.raises(RequestFailed, match=r"voter 3: VOTER_NOT_FOUND \(who\?\)"):
            await quorum.remove_voter(cluster, 3, b"d" * 16)
        assert len(scripted.seen(ApiKey.REMOVE_RAFT_VOTER)) == 1


class TestBrokers:
    """Who is there, and who is to be forgotten."""

    async def test_fenced_brokers_are_told_apart(self, cluster: Cluster, scripted: Any) -> None:
        """They are registered, and nobody should connect to them."""
        brokers = [
            DescribeClusterBroker(broker_id=1, host="h", port=1),
            DescribeClusterBroker(broker_id=2, host="h", port=2, is_fenced=True),
        ]
        answer = DescribeClusterResponse(cluster_id="c", controller_id=1, brokers=brokers)
        scripted.script(ApiKey.DESCRIBE_CLUSTER, answer)
        found = await nodes.describe_cluster(cluster)
        assert ([node.id for node in found.nodes], found.fenced) == ([1], {2})
        assert scripted.seen(ApiKey.DESCRIBE_CLUSTER)[0].include_fenced_brokers

    async def test_controllers_are_asked_for_by_their_kind(self, cluster: Cluster, scripted: Any) -> None:
        """Endpoint type 2 of KIP-919."""
        scripted.script(ApiKey.DESCRIBE_CLUSTER, DescribeClusterResponse(cluster_id="c", controller_id=1))
        assert (await nodes.describe_controllers(cluster)).controller == 1
        assert scripted.seen(ApiKey.DESCRIBE_CLUSTER)[0].endpoint_type == 2

    async def test_a_broker_is_forgotten_or_was_not_known(self, cluster: Cluster, scripted: Any) -> None:
        """Its id is in the request and in the error."""
        unknown = UnregisterBrokerResponse(error_code=ErrorCode.BROKER_ID_NOT_REGISTERED)
        scripted.script(ApiKey.UNREGISTER_BROKER, UnregisterBrokerResponse(), unknown)
        await nodes.unregister_broker(cluster, 7)
        with pytest.raises(RequestFailed, match="broker 7: BROKER_ID_NOT_REGISTERED"):
            await nodes.unregister_broker(cluster, 7)
        assert [request.broker_id for request in scripted.seen(ApiKey.UNREGISTER_BROKER)] == [7, 7]


class TestFeatures:
    """What the brokers can run, and what they run."""

    async def test_features_join_ranges_and_levels(self, cluster: Cluster, scripted: Any) -> None:
        """A feature nobody has switched on runs at 0."""
        answer = ApiVersionsResponse(
            api_keys=[ApiVersion(api_key=ApiKey.API_VERSIONS, min_version=0, max_version=4)],
            supported_features=[
                SupportedFeatureKey(name="kraft.version", min_version=0, max_version=1),
                SupportedFeatureKey(name="group.version", min_version=0, max_version=1),
            ],
            finalized_features_epoch=12,
            finalized_features=[
                FinalizedFeatureKey(name="kraft.version", max_version_level=1, min_version_level=1)
            ],
        )
        scripted.script(ApiKey.API_VERSIONS, answer)
        found = await features.describe_features(cluster)
        assert found.epoch == 12
        assert found.by_name == {
            "group.version": features.Feature(0, 1, 0),
            "kraft.version": features.Feature(0, 1, 1),
        }

    async def test_levels_are_asked_for_with_their_direction(self, cluster: Cluster, scripted: Any) -> None:
        """A refusal is raised with the broker's words."""
        refusal = UpdateFeaturesResponse(error_code=ErrorCode.FEATURE_UPDATE_FAILED, error_message="too new")
        scripted.script(ApiKey.UPDATE_FEATURES, UpdateFeaturesResponse(), refusal)
        await features.update_features(
            cluster, {"group.version": 0}, features.UpgradeType.SAFE_DOWNGRADE, validate_only=True
        )
        with pytest.raises(RequestFailed, match="too new"):
            await features.update_features(cluster, {"group.version": 9})
        down, up = scripted.seen(ApiKey.UPDATE_FEATURES)
        assert [
            (f.feature, f.max_version_level, f.upgrade_type) for r in (down, up) for f in r.feature_updates
        ] == [("group.version", 0, 2), ("group.version", 9, 1)]
        assert (down.validate_only, up.validate_only) == (True, False)
