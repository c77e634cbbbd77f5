"""Clients of the group coordinator: each stores ever new offsets for its group, and now and then reads what is stored.

They have no members: a consumer that looks after its partitions itself ("simple consumer") commits without generation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from moldau_broker.base.errors import ErrorCode
from moldau_broker.testing.sim.client import Client, Key
from moldau_broker.testing.sim.group_answers import ELSEWHERE, told, told_of_read
from moldau_broker.testing.sim.kernel import InvariantViolated
from moldau_broker.wire.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)
from moldau_broker.wire.messages.offset_fetch import OffsetFetchRequestGroup, OffsetFetchRequestTopics

if TYPE_CHECKING:
    from moldau_broker.testing.sim.broker_cluster import BrokerCluster
    from moldau_broker.testing.sim.offsets_ghost import OffsetsGhost

_READS: Final = 0.25
_RESTARTS: Final = 0.4


class Committer(Client):
    """One group.

    Attributes:
        finishing: after a last read nothing new is begun.
        finished: that read has told what it should.
    """

    cluster: BrokerCluster

    def __init__(self, cluster: BrokerCluster, host_id: int, key: Key, ghost: OffsetsGhost) -> None:
        super().__init__(cluster, host_id)
        self._key = key
        self._ghost = ghost
        self._group = f"group {host_id}"
        self._topic = cluster.swarm.topics[0].name
        self._offset = 0
        self._coordinator = -1
        self.finishing = self.finished = False
        self._later()

    def _later(self) -> None:
        self.kernel.after(self.rng.randrange(600), self._next)

    def _next(self) -> None:
        if self.finishing or self.rng.random() < _READS:
            self._read()
        else:
            self._offset += 1
            self._commit()

    def _ask(self, message: tuple[Any, ...], on_answer: Any) -> None:
        node_id = self.leader(self._key)
        self.cluster.network.call(self.host, node_id, message, lambda answer: on_answer(node_id, answer))

    def _failed(self, error: ErrorCode, again: Any) -> None:
        """Look for the coordinator and try again.

        Raises:
            InvariantViolated: an error that nothing here is a reason for.
        """
        if error not in ELSEWHERE:
            raise InvariantViolated(f"{self._group} got {error.name}")
        self.cluster.coverage.hit(f"group error: {error.name.lower()}")
        self.look_up(self._key)
        self.kernel.after(30 + self.rng.randrange(100), again)

    # -- commits ------------------------------------------------------------------------------------------

    def _commit(self) -> None:
        partition = OffsetCommitRequestPartition(partition_index=0, committed_offset=self._offset)
        topic = OffsetCommitRequestTopic(name=self._topic, partitions=[partition])
        request = OffsetCommitRequest(group_id=self._group, topics=[topic])
        self._ask(("commit", request), self._committed)

    def _committed(self, node_id: int, answer: Any) -> None:
        error = told(answer)
        if error is not ErrorCode.NONE:
            # At times it has been started anew, and asks how far it had come: that nobody answered says nothing.
            self._failed(error, self._read if self.rng.random() < _RESTARTS else self._commit)
            return
        self._ghost.committed(self._group, self._offset)
        self.cluster.coverage.hit("offset commits acknowledged")
        if self._coordinator not in {node_id, -1}:
            self.cluster.coverage.hit("groups moved to another coordinator")
        self._coordinator = node_id
        self._later()

    # -- reads --------------------------------------------------------------------------------------------

    def _read(self) -> None:
        wanted = OffsetFetchRequestTopics(name=self._topic, partition_indexes=[0])
        asked = OffsetFetchRequestGroup(group_id=self._group, topics=[wanted])
        since = len(self._ghost.commits(self._group))
        self._ask(("committed", asked), lambda node_id, answer: self._was_read(since, node_id, answer))

    def _was_read(self, since: int, node_id: int, answer: Any) -> None:
        error = told_of_read(answer)
        if error is not ErrorCode.NONE:
            self._failed(error, self._read)
            return
        group, by_leader = answer
        self._ghost.read(
            self._group, group.topics[0].partitions[0].committed_offset, since, by_leader=by_leader
        )
        self.cluster.coverage.hit(
            "offset commits read" if by_leader else "offset commits read from a past leader"
        )
        if not self.finishing:
            self._later()
        elif by_leader:
            self.finished = True
        else:
            self.kernel.after(100, self._read)
