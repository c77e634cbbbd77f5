"""A follower's side of a fetch session (KIP-227): what has been asked, what need not be said again. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import Uuid
from moldau_broker.replication.follower import Ask
from moldau_broker.wire.messages.fetch import (
    FetchPartition,
    FetchRequest,
    FetchResponse,
    FetchTopic,
    ForgottenTopic,
    ReplicaState,
)

Key: TypeAlias = tuple[Uuid, int]
"""Topic id and partition index."""

_NO_SESSION: Final = 0
_FIRST_EPOCH: Final = 0
_EPOCH_MAX: Final = 2**31 - 1


class ReplicaSession:
    """One session on one connection; a fresh one asks for everything."""

    __slots__ = ("_asked", "_epoch", "_id")

    def __init__(self) -> None:
        self._id = _NO_SESSION
        self._epoch = _FIRST_EPOCH
        self._asked: dict[Key, Ask] = {}

    @property
    def stands(self) -> bool:
        """Whether the leader knows what was asked, so that only changes need be said."""
        return self._id != _NO_SESSION

    def asked(self, key: Key) -> Ask | None:
        """The question that an answer about this partition answers."""
        return self._asked.get(key)

    def request(
        self,
        asks: Mapping[Key, Ask],
        *,
        node_id: int,
        broker_epoch: int,
        max_wait_ms: int,
        min_bytes: int,
        max_bytes: int,
        partition_bytes: int,
        partial: bool = False,
    ) -> FetchRequest:
        """The next request: all of `asks`, or where a session stands only what differs from the last one.

        `partial`: whatever is not among `asks` is asked for as before, where otherwise it is no longer wanted.
        """
        said: Iterable[tuple[Key, Ask]] = asks.items()
        forgotten: Iterable[Key] = ()
        if self.stands:
            said = [(key, ask) for key, ask in asks.items() if self._asked.get(key) != ask]
            if not partial:
                forgotten = self._asked.keys() - asks.keys()
        assert self.stands or not partial, "there is no before"
        if partial:
            self._asked.update(asks)
        else:
            self._asked = dict(asks)
        return FetchRequest(
            replica_id=node_id,
            replica_state=ReplicaState(replica_id=node_id, replica_epoch=broker_epoch),
            max_wait_ms=max_wait_ms,
            min_bytes=min_bytes,
            max_bytes=max_bytes,
            session_id=self._id,
            session_epoch=self._epoch,
            topics=_topics(said, partition_bytes),
            forgotten_topics_data=_forgotten(forgotten),
        )

    def understood(self, answer: FetchResponse) -> bool:
        """Take note of the answer; False where the session is gone and everything has to be asked for again."""
        if answer.error_code != ErrorCode.NONE:
            self._id, self._epoch = _NO_SESSION, _FIRST_EPOCH
            return False
        self._id = answer.session_id
        if self._id == _NO_SESSION:
            self._epoch = _FIRST_EPOCH
        else:
            self._epoch = 1 if self._epoch == _EPOCH_MAX else self._epoch + 1
        return True


def _topics(said: Iterable[tuple[Key, Ask]], partition_bytes: int) -> list[FetchTopic]:
    by_topic: dict[Uuid, list[FetchPartition]] = {}
    for (topic_id, index), ask in said:
        by_topic.setdefault(topic_id, []).append(
            FetchPartition(
                partition=index,
                current_leader_epoch=ask.leader_epoch,
                fetch_offset=ask.offset,
                read_offset=ask.read_from,
                last_fetched_epoch=ask.last_epoch,
                log_start_offset=ask.log_start,
                partition_max_bytes=partition_bytes,
            )
        )
    return [FetchTopic(topic_id=topic_id, partitions=parts) for topic_id, parts in by_topic.items()]


def _forgotten(keys: Iterable[Key]) -> list[ForgottenTopic]:
    by_topic: dict[Uuid, list[int]] = {}
    for topic_id, index in sorted(keys):
        by_topic.setdefault(topic_id, []).append(index)
    return [ForgottenTopic(topic_id=topic_id, partitions=parts) for topic_id, parts in by_topic.items()]
