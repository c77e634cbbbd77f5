"""A topic that comes and goes: deleted, and made again under its name, while clients write to it and read it.

Its clients speak of it by id (Produce since version 13, Fetch since 13). They learn the id from whichever broker they
ask, which may not have heard of the latest one yet, and write on to one that is gone until they are told.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import Uuid
from moldau_broker.testing.sim.administration import new_topic
from moldau_broker.testing.sim.client import Client, Key
from moldau_broker.testing.sim.clients import Consumer, Producer, Stream
from moldau_broker.testing.sim.kernel import InvariantViolated
from moldau_broker.testing.sim.network import Broken
from moldau_broker.testing.sim.partition_ghost import PartitionGhost
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.create_topics import CreateTopicsRequest
from moldau_broker.wire.messages.delete_topics import DeleteTopicsRequest, DeleteTopicState

if TYPE_CHECKING:
    from moldau_broker.testing.sim.broker_cluster import BrokerCluster
    from moldau_broker.testing.sim.swarm import TopicPlan
    from moldau_broker.testing.sim.topic_ghosts import TopicGhosts

_LIFE_MS = 7_000
_PAUSE_MS = 1_500


class Caretaker(Client):
    """Makes the topic and deletes it, over and over.

    Attributes:
        busy: it has not come to its end yet.
    """

    cluster: BrokerCluster

    def __init__(self, cluster: BrokerCluster, host_id: int, plan: TopicPlan) -> None:
        super().__init__(cluster, host_id)
        self._plan = plan
        self._stays = self.rng.random() < 0.6
        self._controller = 1
        self._turn = 0
        self._asking = False
        self._finishing = False
        self.busy = True
        self._make()

    def finish(self) -> None:
        """Delete it for good or leave it, as this world has it; do not wait any longer."""
        self._finishing = True
        if not self._asking:
            self._next()

    def _next(self) -> None:
        """The next step, at once."""
        self._turn += 1
        topic = self.cluster.images.newest.topics.get(self._plan.name)
        if self._finishing and (topic is not None) == self._stays:
            self.busy = False
        elif topic is None:
            self._make()
        else:
            self._delete(topic.topic_id)

    def _later(self, delay_ms: int) -> None:
        self._asking = False
        if self._finishing:
            self._next()
        else:
            self.kernel.after(delay_ms, self._due, self._turn)

    def _due(self, turn: int) -> None:
        if turn == self._turn:
            self._next()

    def _ask(self, key: ApiKey, request: Any, on_answer: Callable[[Any], bool]) -> None:
        """Ask one node after the other until `on_answer` takes the answer."""
        self._asking = True

        def answered(answer: Any) -> None:
            if isinstance(answer, Broken) or not on_answer(answer):
                self._controller = self.rng.choice(self.cluster.node_ids())
                self.kernel.after(30 + self.rng.randrange(60), self._ask, key, request, on_answer)

        self.cluster.network.call(self.host, self._controller, ("controller", key, request), answered)

    def _make(self) -> None:
        def answered(answer: Any) -> bool:
            error = answer.topics[0].error_code
            if error not in (ErrorCode.NONE, ErrorCode.TOPIC_ALREADY_EXISTS):
                return False
            if self.cluster.coverage["topics deleted"] and error == ErrorCode.NONE:
                self.cluster.coverage.hit("topics made again")
            self._later(1_000 + self.rng.randrange(_LIFE_MS))
            return True

        request = CreateTopicsRequest(topics=[new_topic(self._plan, self.cluster.node_ids(), self.rng)])
        self._ask(ApiKey.CREATE_TOPICS, request, answered)

    def _delete(self, topic_id: Uuid) -> None:
        def answered(answer: Any) -> bool:
            error = answer.responses[0].error_code
            is_there = topic_id in self.cluster.images.newest.topics_by_id
            if error == ErrorCode.NONE and is_there:
                raise InvariantViolated(f"{self._plan.name}: called deleted, and it is there")
            if is_there or error not in (ErrorCode.NONE, ErrorCode.UNKNOWN_TOPIC_ID):
                return False  # a controller of the past does not know what was made after its time
            self._later(self.rng.choice((0, self.rng.randrange(_PAUSE_MS))))
            return True

        request = DeleteTopicsRequest(topics=[DeleteTopicState(name=None, topic_id=topic_id)])
        self._ask(ApiKey.DELETE_TOPICS, request, answered)


class _Seeker(Client):
    """A client that looks for the topic's id, at first and whenever it is told that the one it knows is gone."""

    cluster: BrokerCluster

    def seek(self, key: Key, adopt: Callable[[Uuid | None], None]) -> None:
        """Ask somebody for the id that the name has now."""

        def answered(answer: Any) -> None:
            if not isinstance(answer, Broken) and answer != self.topic_ids.get(key[0]):
                self.leaders.clear()
                if answer is None:
                    del self.topic_ids[key[0]]
                else:
                    self.topic_ids[key[0]] = answer
                adopt(answer)

        self.cluster.network.call(
            self.host, self.rng.choice(self.cluster.node_ids()), ("topic", key[0]), answered
        )


class _Stream(Stream):
    """Writes to the topic of one id, until it is given up."""

    _producer: Writer

    def __init__(self, producer: Writer, key: Key, topic_id: Uuid, ghosts: TopicGhosts) -> None:
        super().__init__(producer, key, ghosts.new_producer(topic_id), ghosts.of(topic_id, key[1]))
        self._topic_id = topic_id
        self.given_up = False

    def begin(self) -> None:
        """The next batch, unless the topic is gone."""
        if not self.given_up:
            super().begin()

    def _send(self, batch: bytes, count: int) -> None:
        if not self.given_up:
            super()._send(batch, count)

    def _answered(self, answer: Any, batch: bytes, count: int) -> None:
        if not isinstance(answer, Broken):
            if answer[0] is ErrorCode.UNKNOWN_TOPIC_ID:
                self._producer.told_gone()
            elif self.given_up and answer[0] is not ErrorCode.NONE:
                return
        elif self.given_up:
            return
        super()._answered(answer, batch, count)


class Writer(Producer, _Seeker):
    """Writes to whichever topic has the name, as far as it knows."""

    def __init__(self, cluster: BrokerCluster, host_id: int, key: Key, ghosts: TopicGhosts) -> None:
        super().__init__(cluster, host_id, [])
        self._key = key
        self._ghosts = ghosts
        self._stream: _Stream | None = None
        self._look()

    def _look(self) -> None:
        if not self.streams and not self.finishing:
            self.told_gone()
            self.kernel.after(300, self._look)

    def told_gone(self) -> None:
        """The id it knows, if any, is nobody's there."""
        self.seek(self._key, self._adopt)

    def _adopt(self, topic_id: Uuid | None) -> None:
        if self._stream is not None:
            self._stream.given_up, self._stream.busy = True, False
        self.streams, self._stream = [], None
        if topic_id is None:
            self._look()
        else:
            self._stream = _Stream(self, self._key, topic_id, self._ghosts)
            self.streams = [self._stream]
            self._stream.begin()


class Reader(Consumer, _Seeker):
    """Reads whichever topic has the name, as far as it knows, each from its beginning."""

    def __init__(self, cluster: BrokerCluster, host_id: int, key: Key, ghosts: TopicGhosts) -> None:
        super().__init__(cluster, host_id, [key])
        self._ghosts = ghosts

    def ghost(self, key: Key) -> PartitionGhost:
        """Of the topic it reads."""
        return self._ghosts.of(self.topic_ids[key[0]], key[1])

    def look_up(self, key: Key) -> None:
        """Ask for the id as well."""

        def adopt(topic_id: Uuid | None) -> None:
            self.positions[key] = 0

        self.seek(key, adopt)
        if key[0] in self.topic_ids:
            super().look_up(key)
