"""The metadata quorum: who leads and votes, how far everybody is, and voters that come and go (KIP-595, KIP-853)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from moldau_broker.base.ids import NULL_UUID
from moldau_broker.client.cluster import Cluster
from moldau_broker.client.errors import raise_for
from moldau_broker.wire.messages.add_raft_voter import AddRaftVoterRequest, AddRaftVoterResponse, Listener
from moldau_broker.wire.messages.describe_quorum import (
    DescribeQuorumRequest,
    DescribeQuorumRequestPartitionData,
    DescribeQuorumRequestTopicData,
    DescribeQuorumResponse,
    ReplicaState,
)
from moldau_broker.wire.messages.remove_raft_voter import RemoveRaftVoterRequest, RemoveRaftVoterResponse

METADATA_TOPIC: Final = "__cluster_metadata"

Endpoint = tuple[str, int]
"""Host and port."""


@dataclass(frozen=True, slots=True)
class QuorumReplica:
    """A replica of the metadata log.

    Attributes:
        directory_id: 16 bytes; zeros where the broker does not say (before version 2).
        last_fetch_ms, last_caught_up_ms: wall time; -1 where the broker does not say. The leader's own are now.
    """

    id: int
    directory_id: bytes
    log_end_offset: int
    last_fetch_ms: int
    last_caught_up_ms: int


@dataclass(frozen=True, slots=True)
class QuorumDescription:
    """The quorum as its leader sees it; `endpoints` are the voters' by id and listener name."""

    leader_id: int
    leader_epoch: int
    high_watermark: int
    voters: tuple[QuorumReplica, ...]
    observers: tuple[QuorumReplica, ...]
    endpoints: Mapping[int, Mapping[str, Endpoint]] = field(default_factory=dict)

    def voter(self, node_id: int) -> QuorumReplica | None:
        """The voter with this id, if there is one."""
        return next((voter for voter in self.voters if voter.id == node_id), None)

    def lag(self, replica: QuorumReplica) -> int:
        """Records of the metadata log that a replica lacks, by the leader's own end."""
        leader = self.voter(self.leader_id)
        end = leader.log_end_offset if leader is not None else self.high_watermark
        return max(end - replica.log_end_offset, 0)


async def describe_quorum(cluster: Cluster) -> QuorumDescription:
    """The quorum now; waits for a leader while there is none and the deadline allows."""
    request = DescribeQuorumRequest(
        topics=[
            DescribeQuorumRequestTopicData(
                topic_name=METADATA_TOPIC, partitions=[DescribeQuorumRequestPartitionData(partition_index=0)]
            )
        ]
    )

    async def ask() -> QuorumDescription:
        answer = await cluster.ask(request, DescribeQuorumResponse)
        raise_for(answer.error_code, "the quorum", answer.error_message)
        (topic,) = answer.topics
        (partition,) = topic.partitions
        raise_for(partition.error_code, "the quorum", partition.error_message)
        return QuorumDescription(
            leader_id=partition.leader_id,
            leader_epoch=partition.leader_epoch,
            high_watermark=partition.high_watermark,
            voters=tuple(sorted(map(_replica, partition.current_voters), key=lambda one: one.id)),
            observers=tuple(sorted(map(_replica, partition.observers), key=lambda one: one.id)),
            endpoints={
                node.node_id: {one.name: (one.host, one.port) for one in node.listeners}
                for node in answer.nodes
            },
        )

    return await cluster.retry(ask)


def _replica(state: ReplicaState) -> QuorumReplica:
    return QuorumReplica(
        state.replica_id,
        state.replica_directory_id,
        state.log_end_offset,
        state.last_fetch_timestamp,
        state.last_caught_up_timestamp,
    )


async def add_voter(
    cluster: Cluster, node_id: int, directory_id: bytes, endpoints: Mapping[str, Endpoint]
) -> None:
    """Make an observer that has caught up a voter. One change at a time; not repeated by itself.

    Raises:
        RequestFailed: it is one already (DUPLICATE_VOTER), or has not caught up (REQUEST_TIMED_OUT).
    """
    request = AddRaftVoterRequest(
        cluster_id=cluster.metadata.cluster_id,
        timeout_ms=cluster.config.request_timeout_ms,
        voter_id=node_id,
        voter_directory_id=directory_id,
        listeners=[Listener(name=name, host=host, port=port) for name, (host, port) in endpoints.items()],
    )
    answer = await cluster.ask(request, AddRaftVoterResponse)
    raise_for(answer.error_code, f"voter {node_id}", answer.error_message)


async def remove_voter(cluster: Cluster, node_id: int, directory_id: bytes = NULL_UUID) -> None:
    """Take a voter out of the quorum. One change at a time; not repeated by itself.

    Args:
        directory_id: which of its disks; the one `describe_quorum` shows.

    Raises:
        RequestFailed: it is none (VOTER_NOT_FOUND), or another change is under way.
    """
    request = RemoveRaftVoterRequest(
        cluster_id=cluster.metadata.cluster_id, voter_id=node_id, voter_directory_id=directory_id
    )
    answer = await cluster.ask(request, RemoveRaftVoterResponse)
    raise_for(answer.error_code, f"voter {node_id}", answer.error_message)
