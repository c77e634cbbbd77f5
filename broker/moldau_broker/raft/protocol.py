"""The quorum's requests and answers: what is common to all of them, and how they are put together. Pure.

Every one of them is about the one partition `__cluster_metadata-0`; a request about anything else is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import METADATA_TOPIC_ID
from moldau_broker.raft.messages import Leader, Peer
from moldau_broker.raft.quorum import VoterEndpoint
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages import (
    add_raft_voter,
    api_versions,
    begin_quorum_epoch,
    describe_quorum,
    end_quorum_epoch,
    fetch,
    fetch_snapshot,
    remove_raft_voter,
    update_raft_voter,
    vote,
)
from moldau_broker.wire.schema import Struct, replace

TOPIC: Final = "__cluster_metadata"
PARTITION: Final = 0


class Told(NamedTuple):
    """What every answer about the partition says first.

    Attributes:
        error: of the whole request or of the partition.
        leader: whom the answerer takes for the leader.
        partition: the partition's part; None if only the whole request has an error.
    """

    error: ErrorCode
    leader: Leader
    partition: Any


# -- requests -------------------------------------------------------------------------------------------------


def asked_partition(key: ApiKey, request: Any) -> Any:
    """The partition's part of a request; None if it is not about `__cluster_metadata-0` and nothing else."""
    topics = request.topics
    if len(topics) != 1 or len(topics[0].partitions) != 1:
        return None
    topic, partition = topics[0], topics[0].partitions[0]
    match key:
        case ApiKey.FETCH:
            known = topic.topic_id == METADATA_TOPIC_ID or topic.topic == TOPIC
            index = partition.partition
        case ApiKey.FETCH_SNAPSHOT:
            known, index = topic.name == TOPIC, partition.partition
        case _:
            known, index = topic.topic_name == TOPIC, partition.partition_index
    return partition if known and index == PARTITION else None


def vote_request(
    cluster_id: str | None, voter_id: int, partition: vote.VoteRequestPartitionData
) -> vote.VoteRequest:
    """A Vote request to voter `voter_id`."""
    topic = vote.VoteRequestTopicData(topic_name=TOPIC, partitions=(partition,))
    return vote.VoteRequest(cluster_id=cluster_id, voter_id=voter_id, topics=(topic,))


def begin_request(
    cluster_id: str | None, voter_id: int, directory_id: bytes, leader: Leader
) -> begin_quorum_epoch.BeginQuorumEpochRequest:
    """A BeginQuorumEpoch request to a voter."""
    partition = begin_quorum_epoch.BeginQuorumEpochRequestPartitionData(
        voter_directory_id=directory_id, leader_id=leader.node_id, leader_epoch=leader.epoch
    )
    topic = begin_quorum_epoch.BeginQuorumEpochRequestTopicData(topic_name=TOPIC, partitions=(partition,))
    return begin_quorum_epoch.BeginQuorumEpochRequest(
        cluster_id=cluster_id,
        voter_id=voter_id,
        topics=(topic,),
        leader_endpoints=tuple(
            begin_quorum_epoch.LeaderEndpoint(name=at.name, host=at.host, port=at.port)
            for at in leader.endpoints
        ),
    )


def end_request(
    cluster_id: str | None, leader: Leader, preferred: tuple[tuple[int, bytes], ...]
) -> end_quorum_epoch.EndQuorumEpochRequest:
    """An EndQuorumEpoch request; `preferred`: (id, directory id) of successors, best first."""
    partition = end_quorum_epoch.EndQuorumEpochRequestPartitionData(
        leader_id=leader.node_id,
        leader_epoch=leader.epoch,
        preferred_candidates=tuple(
            end_quorum_epoch.ReplicaInfo(candidate_id=node_id, candidate_directory_id=directory_id)
            for node_id, directory_id in preferred
        ),
    )
    topic = end_quorum_epoch.EndQuorumEpochRequestTopicData(topic_name=TOPIC, partitions=(partition,))
    return end_quorum_epoch.EndQuorumEpochRequest(
        cluster_id=cluster_id,
        topics=(topic,),
        leader_endpoints=tuple(
            end_quorum_epoch.LeaderEndpoint(name=at.name, host=at.host, port=at.port)
            for at in leader.endpoints
        ),
    )


def fetch_request(
    cluster_id: str | None, replica_id: int, wait_ms: int, max_bytes: int, partition: fetch.FetchPartition
) -> fetch.FetchRequest:
    """A follower's Fetch, outside of any session."""
    topic = fetch.FetchTopic(topic_id=METADATA_TOPIC_ID, partitions=(partition,))
    return fetch.FetchRequest(
        cluster_id=cluster_id,
        replica_state=fetch.ReplicaState(replica_id=replica_id),
        max_wait_ms=wait_ms,
        max_bytes=max_bytes,
        session_epoch=-1,
        topics=(topic,),
    )


def fetch_snapshot_request(
    cluster_id: str | None,
    replica_id: int,
    max_bytes: int,
    partition: fetch_snapshot.FetchSnapshotRequestPartitionSnapshot,
) -> fetch_snapshot.FetchSnapshotRequest:
    """A FetchSnapshot request for the next piece."""
    topic = fetch_snapshot.FetchSnapshotRequestTopicSnapshot(name=TOPIC, partitions=(partition,))
    return fetch_snapshot.FetchSnapshotRequest(
        cluster_id=cluster_id, replica_id=replica_id, max_bytes=max_bytes, topics=(topic,)
    )


def versions_request() -> Struct:
    """An ApiVersions request, which asks a node for the features it can run."""
    return api_versions.ApiVersionsRequest(client_software_name="moldau", client_software_version="1")


# -- answers --------------------------------------------------------------------------------------------------


def vote_answer(error: ErrorCode, leader: Leader, *, granted: bool = False) -> Struct:
    """Whether the vote is given."""
    partition = vote.VoteResponsePartitionData(
        error_code=error, leader_id=leader.node_id, leader_epoch=leader.epoch, vote_granted=granted
    )
    topic = vote.VoteResponseTopicData(topic_name=TOPIC, partitions=(partition,))
    return vote.VoteResponse(topics=(topic,), node_endpoints=_endpoints(vote.NodeEndpoint, leader))


def begin_answer(error: ErrorCode, leader: Leader) -> Struct:
    """Whether the new leader is taken for that."""
    partition = begin_quorum_epoch.BeginQuorumEpochResponsePartitionData(
        error_code=error, leader_id=leader.node_id, leader_epoch=leader.epoch
    )
    topic = begin_quorum_epoch.BeginQuorumEpochResponseTopicData(topic_name=TOPIC, partitions=(partition,))
    return begin_quorum_epoch.BeginQuorumEpochResponse(
        topics=(topic,), node_endpoints=_endpoints(begin_quorum_epoch.NodeEndpoint, leader)
    )


def end_answer(error: ErrorCode, leader: Leader) -> Struct:
    """Whether the resignation is understood."""
    partition = end_quorum_epoch.EndQuorumEpochResponsePartitionData(
        error_code=error, leader_id=leader.node_id, leader_epoch=leader.epoch
    )
    topic = end_quorum_epoch.EndQuorumEpochResponseTopicData(topic_name=TOPIC, partitions=(partition,))
    return end_quorum_epoch.EndQuorumEpochResponse(
        topics=(topic,), node_endpoints=_endpoints(end_quorum_epoch.NodeEndpoint, leader)
    )


def fetch_answer(leader: Leader, partition: fetch.PartitionData) -> Struct:
    """A Fetch answer; the leader is named in it, also when all is well."""
    named = fetch.LeaderIdAndEpoch(leader_id=leader.node_id, leader_epoch=leader.epoch)
    data = replace(partition, current_leader=named, partition_index=PARTITION)
    topic = fetch.FetchableTopicResponse(topic_id=METADATA_TOPIC_ID, topic=TOPIC, partitions=(data,))
    return fetch.FetchResponse(responses=(topic,), node_endpoints=_endpoints(fetch.NodeEndpoint, leader))


def fetch_snapshot_answer(
    leader: Leader, partition: fetch_snapshot.FetchSnapshotResponsePartitionSnapshot
) -> Struct:
    """A FetchSnapshot answer."""
    named = fetch_snapshot.LeaderIdAndEpoch(leader_id=leader.node_id, leader_epoch=leader.epoch)
    data = replace(partition, current_leader=named)
    topic = fetch_snapshot.FetchSnapshotResponseTopicSnapshot(name=TOPIC, partitions=(data,))
    return fetch_snapshot.FetchSnapshotResponse(
        topics=(topic,), node_endpoints=_endpoints(fetch_snapshot.NodeEndpoint, leader)
    )


def describe_answer(
    error: ErrorCode, leader: Leader, message: str | None = None, **described: Any
) -> describe_quorum.DescribeQuorumResponse:
    """A DescribeQuorum answer; `described`: high_watermark, current_voters, observers, nodes."""
    nodes = described.pop("nodes", ())
    partition = describe_quorum.DescribeQuorumResponsePartitionData(
        error_code=error,
        error_message=message,
        leader_id=leader.node_id,
        leader_epoch=leader.epoch,
        **described,
    )
    topic = describe_quorum.DescribeQuorumResponseTopicData(topic_name=TOPIC, partitions=(partition,))
    return describe_quorum.DescribeQuorumResponse(error_message=None, topics=(topic,), nodes=nodes)


def add_answer(error: ErrorCode, message: str | None = None) -> Struct:
    """An AddRaftVoter answer."""
    return add_raft_voter.AddRaftVoterResponse(error_code=error, error_message=message)


def remove_answer(error: ErrorCode, message: str | None = None) -> Struct:
    """A RemoveRaftVoter answer."""
    return remove_raft_voter.RemoveRaftVoterResponse(error_code=error, error_message=message)


def update_answer(error: ErrorCode, leader: Leader) -> Struct:
    """An UpdateRaftVoter answer."""
    at = leader.endpoints[0] if leader.endpoints else None
    return update_raft_voter.UpdateRaftVoterResponse(
        error_code=error,
        current_leader=update_raft_voter.CurrentLeader(
            leader_id=leader.node_id,
            leader_epoch=leader.epoch,
            host=at.host if at else "",
            port=at.port if at else 0,
        ),
    )


_WHOLE: Final[Mapping[ApiKey, Callable[[ErrorCode], Struct]]] = {
    ApiKey.VOTE: lambda error: vote.VoteResponse(error_code=error),
    ApiKey.BEGIN_QUORUM_EPOCH: lambda error: begin_quorum_epoch.BeginQuorumEpochResponse(error_code=error),
    ApiKey.END_QUORUM_EPOCH: lambda error: end_quorum_epoch.EndQuorumEpochResponse(error_code=error),
    ApiKey.FETCH: lambda error: fetch.FetchResponse(error_code=error),
    ApiKey.FETCH_SNAPSHOT: lambda error: fetch_snapshot.FetchSnapshotResponse(error_code=error),
    ApiKey.DESCRIBE_QUORUM: lambda error: describe_quorum.DescribeQuorumResponse(
        error_code=error, error_message=None
    ),
    ApiKey.ADD_RAFT_VOTER: add_answer,
    ApiKey.REMOVE_RAFT_VOTER: remove_answer,
    ApiKey.UPDATE_RAFT_VOTER: lambda error: update_raft_voter.UpdateRaftVoterResponse(error_code=error),
}
APIS: Final = frozenset(_WHOLE)
"""What `RaftDriver.handle` answers."""


def whole_error(key: ApiKey, error: ErrorCode) -> Struct:
    """The answer that refuses the whole request."""
    return _WHOLE[key](error)


def read_answer(key: ApiKey, response: Any) -> Told:
    """What an answer says of error and leader, whichever API it is of; `key` is not a membership API."""
    topics = response.responses if key is ApiKey.FETCH else response.topics
    if response.error_code or not topics or not topics[0].partitions:
        return Told(_code(response.error_code or ErrorCode.UNKNOWN_SERVER_ERROR), Leader(-1, -1), None)
    partition = topics[0].partitions[0]
    named = partition.current_leader if key in (ApiKey.FETCH, ApiKey.FETCH_SNAPSHOT) else partition
    endpoints = tuple(
        VoterEndpoint("", at.host, at.port)
        for at in response.node_endpoints
        if at.node_id == named.leader_id and at.host
    )
    return Told(
        _code(partition.error_code), Leader(named.leader_id, named.leader_epoch, endpoints), partition
    )


def supported_range(response: api_versions.ApiVersionsResponse, feature: str) -> tuple[int, int] | None:
    """The lowest and highest level of a feature that an ApiVersions answer names; None where it names none."""
    for one in response.supported_features:
        if one.name == feature:
            return one.min_version, one.max_version
    return None


def peer_at(node_id: int, endpoints: tuple[VoterEndpoint, ...]) -> Peer | None:
    """Where a node is asked: its first endpoint, which is the default controller listener's."""
    return Peer(node_id, endpoints[0].host, endpoints[0].port) if endpoints else None


def _code(raw: int) -> ErrorCode:
    try:
        return ErrorCode(raw)
    except ValueError:
        return ErrorCode.UNKNOWN_SERVER_ERROR


def _endpoints(cls: type[Any], leader: Leader) -> tuple[Any, ...]:
    return tuple(cls(node_id=leader.node_id, host=at.host, port=at.port) for at in leader.endpoints[:1])
