"""What DescribeQuorum tells of the voters and observers. Pure.

Versions 0-2 of the answer differ only in which fields reach the wire. Times are wall time.
"""

from __future__ import annotations

from typing import Any

from moldau_broker.base.errors import ErrorCode
from moldau_broker.raft.membership import Membership
from moldau_broker.raft.messages import Request
from moldau_broker.raft.progress import Replica
from moldau_broker.raft.protocol import asked_partition, describe_answer
from moldau_broker.raft.quorum import VoterKey
from moldau_broker.wire.messages.describe_quorum import Listener, Node, ReplicaState


class Description(Membership):
    """The part of the core that describes itself. Use `RaftNode`."""

    def _on_describe(self, event: Request) -> None:
        """Only the leader knows; others name it, which also tells whether there is any."""
        leader = self.leader
        if asked_partition(event.key, event.request) is None:
            answer = describe_answer(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, leader)
        elif self._leading is None:
            answer = describe_answer(ErrorCode.NOT_LEADER_OR_FOLLOWER, leader, nodes=self._nodes())
        else:
            own = Replica()
            own.end, own.fetched_ms, own.caught_up_ms = self.log_end, self._now, self._now
            replicas = {**self._leading.replicas, self.me.key: own}
            voters = self.voters.keys
            observers = sorted(key for key in replicas if key not in self.voters)
            answer = describe_answer(
                ErrorCode.NONE,
                leader,
                high_watermark=self.high_watermark,
                current_voters=tuple(self._state(key, replicas.get(key)) for key in voters),
                observers=tuple(self._state(key, replicas[key]) for key in observers),
                nodes=self._nodes(),
            )
        self._answer(event.token, answer)

    def _state(self, key: VoterKey, replica: Replica | None) -> ReplicaState:
        known = replica or Replica()
        return ReplicaState(
            replica_id=key.node_id,
            replica_directory_id=key.directory_id,
            log_end_offset=known.end,
            last_fetch_timestamp=self._wall_of(known.fetched_ms),
            last_caught_up_timestamp=self._wall_of(known.caught_up_ms),
        )

    def _wall_of(self, at_ms: int) -> int:
        return -1 if at_ms < 0 else self._wall - (self._now - at_ms)

    def _nodes(self) -> tuple[Any, ...]:
        return tuple(
            Node(
                node_id=voter.key.node_id,
                listeners=tuple(Listener(name=at.name, host=at.host, port=at.port) for at in voter.endpoints),
            )
            for voter in self.voters.voters
        )
