"""The metadata quorum as the admin API shows it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

from moldau_broker.base.topics import CLUSTER_METADATA
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.describe_quorum import (
    DescribeQuorumRequest,
    DescribeQuorumRequestPartitionData,
    DescribeQuorumRequestTopicData,
    DescribeQuorumResponse,
    ReplicaState,
)

if TYPE_CHECKING:
    from moldau_broker.server.admin_api.node import AdminNode

QUORUM_TIMEOUT_MS: Final = 2_000
"""How long the quorum is asked before it counts as leaderless: an election takes a second or so, and whoever asks
waits five for the whole answer."""


class QuorumReplica(NamedTuple):
    """A voter or an observer; `last_caught_up_ms` is wall-clock time, None where the leader does not know."""

    node_id: int
    log_end_offset: int | None
    last_caught_up_ms: int | None


class Quorum(NamedTuple):
    """The quorum as its leader sees it."""

    leader_id: int
    leader_epoch: int
    high_watermark: int
    voters: tuple[QuorumReplica, ...]
    observers: tuple[QuorumReplica, ...] = ()

    @property
    def leader_end(self) -> int | None:
        """Where the leader's log ends."""
        return next((one.log_end_offset for one in self.voters if one.node_id == self.leader_id), None)

    def live_voters(self, now_ms: int, silence_ms_max: int) -> frozenset[int]:
        """The leader, and who has caught up with it not longer than `silence_ms_max` ago."""
        return frozenset(
            one.node_id
            for one in self.voters
            if one.node_id == self.leader_id
            or (one.last_caught_up_ms is not None and now_ms - one.last_caught_up_ms <= silence_ms_max)
        )


async def describe_quorum(node: AdminNode) -> Quorum | None:
    """The quorum as its leader describes it, None while it has no leader that answers."""
    topic = DescribeQuorumRequestTopicData(
        topic_name=CLUSTER_METADATA, partitions=[DescribeQuorumRequestPartitionData()]
    )
    request = DescribeQuorumRequest(topics=[topic])
    try:
        async with asyncio.timeout(QUORUM_TIMEOUT_MS / 1000):
            answer = await node.ask_controller(ApiKey.DESCRIBE_QUORUM, request)
    except TimeoutError:
        return None
    assert isinstance(answer, DescribeQuorumResponse)
    found = [partition for one in answer.topics for partition in one.partitions]
    if answer.error_code or not found or found[0].error_code or found[0].leader_id < 0:
        return None
    (partition,) = found
    return Quorum(
        partition.leader_id,
        partition.leader_epoch,
        partition.high_watermark,
        tuple(map(_replica, partition.current_voters)),
        tuple(map(_replica, partition.observers)),
    )


def _replica(state: ReplicaState) -> QuorumReplica:
    return QuorumReplica(
        state.replica_id,
        state.log_end_offset if state.log_end_offset >= 0 else None,
        state.last_caught_up_timestamp if state.last_caught_up_timestamp >= 0 else None,
    )
