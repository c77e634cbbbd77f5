"""KIP-951: an answer that sends a client away names the leader it should turn to, and where that one listens. Pure.

Where nothing better is known than this very broker, there is no hint: a client that trusted it would come back at
once, again and again. Served by Produce from v10 and Fetch from v16 on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, TypeVar

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import Uuid
from moldau_broker.metadata.views import ListenerView

T = TypeVar("T")

PRODUCE_SINCE: Final = 10
FETCH_SINCE: Final = 16
_HINTED: Final = frozenset({ErrorCode.NOT_LEADER_OR_FOLLOWER, ErrorCode.FENCED_LEADER_EPOCH})


class Hint(NamedTuple):
    """Who leads a partition, and in which epoch."""

    leader_id: int
    leader_epoch: int


class LeaderHints:
    """The hints of one answer, and the addresses they need; each broker is named once."""

    __slots__ = ("_named", "_node_id", "_view")

    def __init__(self, view: ListenerView, node_id: int) -> None:
        """`view` is the newest metadata as the asking client's listener shows it; `node_id` is who answers."""
        self._view = view
        self._node_id = node_id
        self._named: set[int] = set()

    def of(self, error: int, topic: str, topic_id: bytes, index: int) -> Hint | None:
        """The hint that belongs to `error`; None where it wants none, or nobody better is known.

        Args:
            error: what the partition is answered.
            topic, topic_id: by which of the two the client named the topic; the name is empty where it did not.
            index: the partition.
        """
        if error not in _HINTED:
            return None
        image = self._view.image
        found = image.topics.get(topic) if topic else image.topics_by_id.get(Uuid(topic_id))
        if found is None or not 0 <= index < len(found.partitions):
            return None
        partition = found.partitions[index]
        leader = partition.leader
        refuses = leader == self._node_id and error == ErrorCode.NOT_LEADER_OR_FOLLOWER
        if refuses or not self._view.is_alive(leader):
            return None
        self._named.add(leader)
        return Hint(leader, partition.leader_epoch)

    def endpoints(self, make: Callable[[int, str, int, str | None], T]) -> list[T]:
        """`make(node id, host, port, rack)` of every leader named so far."""
        if not self._named:
            return []
        return [
            make(broker.id, at.host, at.port, broker.rack)
            for broker, at in self._view.brokers()
            if broker.id in self._named
        ]
