"""Fetch: served 4-18.

Behaviour: whole batches up to the high watermark (last stable offset under read_committed), at least one batch
for the first partition that has any (KIP-74), in the order asked; long poll until `min_bytes` visible bytes or
`max_wait_ms`. Sessions as in KIP-227. A read that would have to wait for the disk is done off the event loop. Other
brokers, on the internal listener only, read up to the log's end, and what they ask for says what they have on disk.
Version notes: v7 sessions, v9 leader epoch fencing (KIP-320), v11 preferred replica, v12 diverging epoch,
v13 topic ids, v15 replica state, v16 current leader (KIP-951).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from moldau_broker.base.deferred import Deferred
from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.limits import WAITING_FETCHES_MAX
from moldau_broker.replication.outcome import PartitionRead
from moldau_broker.replication.partition import Partition
from moldau_broker.replication.waiting import DelayedFetch
from moldau_broker.server.fetch_answer import partition_data
from moldau_broker.server.fetch_look import TOPIC_IDS_SINCE, FetchLook
from moldau_broker.server.fetch_sessions import (
    FINAL_EPOCH,
    INITIAL_EPOCH,
    NO_SESSION,
    FetchPartition,
    FetchSession,
)
from moldau_broker.server.handlers.spec import Handler, RequestContext
from moldau_broker.server.leader_hints import FETCH_SINCE, LeaderHints
from moldau_broker.server.readers import read_ahead
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.fetch import (
    FetchableTopicResponse,
    FetchRequest,
    FetchResponse,
    NodeEndpoint,
    PartitionData,
)

if TYPE_CHECKING:
    from moldau_broker.server.broker import Broker

_AWAKE = "the fetch session that listens"


def handle(
    broker: Broker, context: RequestContext, request: FetchRequest
) -> FetchResponse | Deferred[FetchResponse]:
    """Answer with what is visible now, or wait for more."""
    uses_topic_ids = context.api_version >= TOPIC_IDS_SINCE
    wishes = _wishes(request)
    session: FetchSession | None = None
    incremental = False
    if request.session_epoch in (INITIAL_EPOCH, FINAL_EPOCH):
        if request.session_id != NO_SESSION:
            broker.fetch_sessions.close(request.session_id)
        if request.session_epoch == INITIAL_EPOCH:
            session = broker.fetch_sessions.create(
                wishes, uses_topic_ids=uses_topic_ids, now_ms=context.now_ms
            )
    else:
        found = broker.fetch_sessions.use(
            request.session_id, request.session_epoch, uses_topic_ids=uses_topic_ids, now_ms=context.now_ms
        )
        if isinstance(found, ErrorCode):
            return FetchResponse(error_code=found)
        session, incremental = found, True
        if not broker.fetch_sessions.update(session, wishes, _forgotten(request, session)):
            return FetchResponse(error_code=ErrorCode.FETCH_SESSION_ID_NOT_FOUND)
    if session is not None:
        _keep_awake(context, session)
    look = FetchLook(broker, context, request, session, wishes)
    outcome = _Fetch(look, incremental=incremental).start()
    if isinstance(outcome, Deferred):
        context.connection.wait_for(outcome)
    return outcome


def _keep_awake(context: RequestContext, session: FetchSession) -> None:
    """A session listens for as long as the connection that used it last is there and uses no other."""
    callbacks = context.connection.on_close
    earlier = callbacks.get(_AWAKE)
    if earlier != session.sleep:
        if earlier is not None:
            earlier()
        callbacks[_AWAKE] = session.sleep


def _wishes(request: FetchRequest) -> list[FetchPartition]:
    return [
        FetchPartition(
            topic.topic,
            topic.topic_id,
            wanted.partition,
            wanted.fetch_offset,
            wanted.partition_max_bytes,
            wanted.current_leader_epoch,
            wanted.last_fetched_epoch,
            wanted.log_start_offset,
            wanted.read_offset,
        )
        for topic in request.topics
        for wanted in topic.partitions
    ]


def _forgotten(request: FetchRequest, session: FetchSession) -> Iterable[tuple[object, int]]:
    return [
        session.key(topic.topic, topic.topic_id, index)
        for topic in request.forgotten_topics_data
        for index in topic.partitions
    ]


class _Fetch:
    """One fetch request from its first look at the logs to its answer."""

    __slots__ = (
        "_broker",
        "_context",
        "_incremental",
        "_later",
        "_look",
        "_request",
        "_session",
    )

    def __init__(self, look: FetchLook, *, incremental: bool) -> None:
        self._look = look
        self._broker = look.broker
        self._context = look.context
        self._request = look.request
        self._session = look.session
        self._incremental = incremental
        self._later: Deferred[FetchResponse] | None = None

    def start(self) -> FetchResponse | Deferred[FetchResponse]:
        reads = self._look.read(wait=False)
        if reads is None:
            return self._read_from_disk()
        size, failed = 0, False
        for read in reads:
            if read.records:
                size += len(read.records)
            if read.error is not ErrorCode.NONE or read.preferred >= 0 or read.diverging is not None:
                failed = True
        request = self._request
        crowded = len(self._broker.waiting_fetches) >= WAITING_FETCHES_MAX
        nothing = not (self._look.asked if self._session is None else self._session.partitions)
        if request.max_wait_ms <= 0 or nothing or failed or size >= request.min_bytes or crowded:
            return self._respond(reads)
        if size and self._look.is_cut_short(reads):
            return self._respond(reads)
        self._look.looked(reads)
        later: Deferred[FetchResponse] = Deferred()
        self._later = later
        self._wait(request.min_bytes - size)
        return later

    def _wait(self, missing_bytes: int) -> None:
        broker, connection, session = self._broker, self._context.connection, self._session
        partitions: list[Partition] = []
        if session is None:
            # What is appended to one held back is not for this follower now: no empty answer is made for it.
            partitions = list(
                dict.fromkeys(
                    target
                    for wish, target in zip(self._look.asked, self._look.targets, strict=True)
                    if isinstance(target, Partition) and not wish.held_back
                )
            )

        def over() -> None:
            timer.cancel()
            broker.waiting_fetches.discard(waiting)
            if session is not None and session.waiting is waiting:
                session.waiting = None

        def done() -> None:
            over()
            connection.on_close.pop(waiting, None)
            broker.turn.soon(self._finish)

        def gone() -> None:
            over()
            waiting.cancel()

        waiting = DelayedFetch(partitions, missing_bytes, done, for_replica=self._look.is_replica)
        if session is not None:
            session.waiting = waiting
        timer = broker.timers.call_later(self._request.max_wait_ms, waiting.finish)
        connection.on_close[waiting] = gone
        broker.waiting_fetches.add(waiting)

    def _finish(self) -> None:
        later = self._later
        assert later is not None
        self._look.again()
        reads = self._look.read(wait=False)
        if reads is not None:
            later.complete(self._respond(reads))
            return
        self._read_from_disk().on_complete(later.complete)

    def _read_from_disk(self) -> Deferred[FetchResponse]:
        """Bring what is asked for into the page cache off the loop, then read as usual."""
        later: Deferred[FetchResponse] = Deferred()
        cold = list(self._look.cold())

        def warmed() -> None:
            reads = self._look.read(wait=True)
            assert reads is not None
            later.complete(self._respond(reads))

        self._broker.readers.warm(partial(read_ahead, cold, self._look.bytes_max()), warmed)
        return later

    def _respond(self, reads: list[PartitionRead]) -> FetchResponse:
        topics: list[tuple[FetchPartition, list[PartitionData]]] = []
        session = self._session
        hints: LeaderHints | None = None
        for wish, target, read in zip(self._look.asked, self._look.targets, reads, strict=True):
            size = len(read.records) if read.records else 0
            if isinstance(target, Partition):
                target.count_answer(read.error, size, for_replica=self._look.is_replica)
                if size and self._look.is_replica:
                    self._broker.replicas.throttles.answered(target, size)
            if session is not None:
                tell = wish.must_tell(read.error, size, read.high_watermark, read.log_start_offset)
                tell = tell or read.preferred >= 0 or read.diverging is not None
                if size:
                    key = session.key_of(wish)
                    if key in session.partitions:
                        session.partitions.move_to_end(key)
                if self._incremental and not tell:
                    continue
            if not topics or topics[-1][0].name != wish.name or topics[-1][0].topic_id != wish.topic_id:
                topics.append((wish, []))
            hint = None
            if read.error is not ErrorCode.NONE and self._context.api_version >= FETCH_SINCE:
                if hints is None:
                    view = self._broker.metadata.view(self._context.listener)
                    hints = LeaderHints(view, self._broker.node_id)
                hint = hints.of(read.error, wish.name, wish.topic_id, wish.index)
            topics[-1][1].append(partition_data(wish.index, read, hint))
        self._look.looked(reads)
        return FetchResponse(
            session_id=session.session_id if session is not None else NO_SESSION,
            responses=[
                FetchableTopicResponse(topic=wish.name, topic_id=wish.topic_id, partitions=partitions)
                for wish, partitions in topics
            ],
            node_endpoints=hints.endpoints(_endpoint) if hints is not None else (),
        )


def _endpoint(node_id: int, host: str, port: int, rack: str | None) -> NodeEndpoint:
    return NodeEndpoint(node_id=node_id, host=host, port=port, rack=rack)


HANDLER = Handler(api=ApiKey.FETCH, versions=(4, 18), handle=handle)
