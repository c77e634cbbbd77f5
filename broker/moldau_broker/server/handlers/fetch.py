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
from moldau_broker.base.ids import Uuid
from moldau_broker.base.limits import WAITING_FETCHES_MAX
from moldau_broker.replication.outcome import PartitionRead
from moldau_broker.replication.partition import Partition
from moldau_broker.replication.waiting import DelayedFetch
from moldau_broker.server.fetch_answer import divergence, partition_data, without_records
from moldau_broker.server.fetch_budget import FetchBudget
from moldau_broker.server.fetch_sessions import (
    FINAL_EPOCH,
    INITIAL_EPOCH,
    NO_SESSION,
    FetchPartition,
    FetchSession,
)
from moldau_broker.server.handlers.spec import Handler, ListenerKind, RequestContext
from moldau_broker.server.leader_hints import FETCH_SINCE, LeaderHints
from moldau_broker.server.readers import ReadAhead, read_ahead
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.batches import iter_batches
from moldau_broker.wire.messages.fetch import (
    FetchableTopicResponse,
    FetchRequest,
    FetchResponse,
    NodeEndpoint,
    PartitionData,
)

if TYPE_CHECKING:
    from moldau_broker.server.broker import Broker

_TOPIC_IDS_SINCE = 13
_REPLICA_STATE_SINCE = 15
_PREFERRED_SINCE = 11
_READ_COMMITTED = 1
_AWAKE = "the fetch session that listens"
_CONSUMERS = (-1, -2)
"""The replica ids of those that are none: consumers, and Kafka's replica verification tool."""


def handle(
    broker: Broker, context: RequestContext, request: FetchRequest
) -> FetchResponse | Deferred[FetchResponse]:
    """Answer with what is visible now, or wait for more."""
    uses_topic_ids = context.api_version >= _TOPIC_IDS_SINCE
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
    outcome = _Fetch(broker, context, request, session, wishes, incremental=incremental).start()
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
        "_asked",
        "_broker",
        "_context",
        "_everything",
        "_heard",
        "_hears",
        "_incremental",
        "_is_replica",
        "_later",
        "_replica_id",
        "_request",
        "_session",
        "_targets",
    )

    def __init__(
        self,
        broker: Broker,
        context: RequestContext,
        request: FetchRequest,
        session: FetchSession | None,
        wishes: list[FetchPartition],
        *,
        incremental: bool,
    ) -> None:
        self._broker = broker
        self._context = context
        self._request = request
        self._session = session
        self._incremental = incremental
        self._later: Deferred[FetchResponse] | None = None
        self._heard: set[Partition] = set()
        self._hears = True
        state = request.replica_state
        versioned = context.api_version >= _REPLICA_STATE_SINCE
        self._replica_id = state.replica_id if versioned else request.replica_id
        self._is_replica = self._replica_id not in _CONSUMERS
        # What a reader of committed records, or one that may be sent elsewhere, is told depends on more than it hears.
        self._everything = request.isolation_level == _READ_COMMITTED or bool(request.rack_id)
        self._asked = wishes
        if session is not None:
            now_ms = broker.clock.monotonic_ms()
            self._asked = session.look_at(now_ms, everything=self._everything or not incremental)
        self._targets: list[Partition | ErrorCode] = [self._find(wish) for wish in self._asked]

    def _find(self, wish: FetchPartition) -> Partition | ErrorCode:
        if self._is_replica and self._context.listener_kind is not ListenerKind.INTERNAL:
            return ErrorCode.TOPIC_AUTHORIZATION_FAILED
        replicas = self._broker.replicas
        if self._context.api_version >= _TOPIC_IDS_SINCE:
            partition = replicas.partition_by_id(Uuid(wish.topic_id), wish.index)
            if partition is None:
                return self._broker.missing_id_error(wish.topic_id, wish.index)
        else:
            partition = replicas.partition(wish.name, wish.index)
            if partition is None:
                return replicas.missing_error(wish.name, wish.index)
        if self._session is not None:
            self._session.watch(wish, partition, for_replica=self._is_replica)
        return partition

    def _end(self, partition: Partition) -> int:
        """How far the reader may see."""
        return partition.log_end_offset if self._is_replica else partition.high_watermark

    def start(self) -> FetchResponse | Deferred[FetchResponse]:
        reads = self._read_all(wait=False)
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
        nothing = not (self._asked if self._session is None else self._session.partitions)
        if request.max_wait_ms <= 0 or nothing or failed or size >= request.min_bytes or crowded:
            return self._respond(reads)
        if size and self._is_cut_short(reads):
            return self._respond(reads)
        self._looked(reads)
        later: Deferred[FetchResponse] = Deferred()
        self._later = later
        self._wait(later, request.min_bytes - size)
        return later

    @property
    def _from_any(self) -> bool:
        """Whether the reader may read from a follower, and knows it (KIP-392)."""
        selector = self._broker.settings.replication.selector
        return selector is not None and self._context.api_version >= _PREFERRED_SINCE

    def _preferred(self, target: Partition, wish: FetchPartition) -> int:
        """An in-sync replica in the reader's rack that has what it wants, -1 if it had better stay (KIP-392)."""
        rack, broker = self._request.rack_id, self._broker
        if not rack or not target.is_leader or not self._from_any:
            return -1
        brokers = broker.metadata.image.brokers
        here = brokers.get(broker.node_id)
        if here is not None and here.rack == rack:
            return -1
        for replica in target.isr:
            known = brokers.get(replica)
            near = known is not None and known.active and known.rack == rack
            if near and target.can_read_from(replica, wish.fetch_offset):
                return replica
        return -1

    def _is_cut_short(self, reads: list[PartitionRead]) -> bool:
        """Whether more is there than fits: the answer is as large as it gets, and waiting would add nothing."""
        for target, read in zip(self._targets, reads, strict=True):
            if read.records and isinstance(target, Partition):
                *_, (_, last) = iter_batches(read.records)
                if last.base_offset + last.last_offset_delta + 1 < self._end(target):
                    return True
        return False

    def _wait(self, later: Deferred[FetchResponse], missing_bytes: int) -> None:
        broker, connection, session = self._broker, self._context.connection, self._session
        partitions: list[Partition] = []
        if session is None:
            # What is appended to one held back is not for this follower now: no empty answer is made for it.
            partitions = list(
                dict.fromkeys(
                    target
                    for wish, target in zip(self._asked, self._targets, strict=True)
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

        waiting = DelayedFetch(partitions, missing_bytes, done, for_replica=self._is_replica)
        if session is not None:
            session.waiting = waiting
        timer = broker.timers.call_later(self._request.max_wait_ms, waiting.finish)
        connection.on_close[waiting] = gone
        broker.waiting_fetches.add(waiting)

    def _finish(self) -> None:
        later, session = self._later, self._session
        assert later is not None
        # What a follower says with its question was true when it asked; once it has waited it is not said again.
        # Meanwhile the replica may have been set aside as damaged and begun anew, and would be taken for in sync.
        self._hears = False
        if session is not None:
            if not self._everything:
                self._asked = list(session.stirred.values())
            self._targets = [self._find(wish) for wish in self._asked]
        reads = self._read_all(wait=False)
        if reads is not None:
            later.complete(self._respond(reads))
            return
        self._read_from_disk().on_complete(later.complete)

    def _read_from_disk(self) -> Deferred[FetchResponse]:
        """Bring what is asked for into the page cache off the loop, then read as usual."""
        later: Deferred[FetchResponse] = Deferred()
        reads = [
            ReadAhead(target.log, wish.fetch_offset, max(0, wish.max_bytes), self._end(target))
            for wish, target in zip(self._asked, self._targets, strict=True)
            if isinstance(target, Partition)
            and target.log_start_offset <= wish.fetch_offset < self._end(target)
        ]

        def warmed() -> None:
            reads = self._read_all(wait=True)
            assert reads is not None
            later.complete(self._respond(reads))

        self._broker.readers.warm(partial(read_ahead, reads, self._bytes_max()), warmed)
        return later

    def _bytes_max(self) -> int:
        return max(0, min(self._request.max_bytes, self._broker.settings.network.fetch_max_bytes))

    def _read_all(self, *, wait: bool) -> list[PartitionRead] | None:
        request, now_ms = self._request, self._broker.clock.monotonic_ms
        budget = FetchBudget(
            self._bytes_max(), request.min_bytes, for_replica=self._is_replica, now_ms=now_ms()
        )
        is_replica, from_any = self._is_replica, not self._is_replica and self._from_any
        committed = request.isolation_level == _READ_COMMITTED
        reads: list[PartitionRead] = []
        empty_so_far = True
        for wish, target in zip(self._asked, self._targets, strict=True):
            if isinstance(target, ErrorCode):
                reads.append(PartitionRead(target))
                continue
            error = target.leadership_error(
                wish.current_leader_epoch, follower_will_do=from_any, for_replica=is_replica
            )
            if error is not ErrorCode.NONE:
                reads.append(PartitionRead(error))
                continue
            if wish.last_fetched_epoch >= 0:
                diverging = divergence(target, wish)
                if diverging is not None and diverging[1] < 0 and is_replica:
                    # Nothing is known of that epoch, and (-1, -1) would mean that all is well.
                    start = target.log_start_offset
                    mark = target.high_watermark
                    reads.append(PartitionRead(ErrorCode.OFFSET_OUT_OF_RANGE, mark, mark, start))
                    continue
                if diverging is not None:
                    reads.append(without_records(target, diverging=diverging))
                    continue
            if is_replica:
                error = self._hear(wish, target)
                if error is not ErrorCode.NONE:
                    reads.append(PartitionRead(error))
                    continue
                wish.held_back = self._broker.replicas.throttles.holds_back_answer(target, self._replica_id)
                if wish.held_back:
                    reads.append(without_records(target))
                    continue
            elif (preferred := self._preferred(target, wish)) >= 0:
                reads.append(without_records(target, preferred=preferred))
                continue
            offset = wish.fetch_offset
            if offset == self._end(target) and not committed:  # most partitions of most sessions
                reads.append(without_records(target))
                continue
            limit = min(budget.left, max(0, wish.max_bytes))
            read = target.read(
                offset, limit, committed=committed, min_one=empty_so_far, to_end=is_replica, wait=False
            )
            if read is None and wait:
                # The helper has read as much as fits; what is cold now comes with a later answer, if this has any.
                read = (
                    target.read(
                        offset, limit, committed=committed, min_one=True, to_end=is_replica, wait=True
                    )
                    if empty_so_far
                    else without_records(target)
                )
            if read is None:
                return None
            if read.records:
                empty_so_far = False
                budget.take(len(read.records), now_ms())
            reads.append(read)
        return reads

    def _hear(self, wish: FetchPartition, target: Partition) -> ErrorCode:
        """Take note, once, of what a follower says with its question."""
        if not self._hears or target in self._heard:
            return ErrorCode.NONE
        epoch = self._request.replica_state.replica_epoch
        error = target.fetched_by(self._replica_id, epoch, wish.fetch_offset, wish.log_start_offset)
        if error is ErrorCode.NONE:
            self._heard.add(target)
        return error

    def _looked(self, reads: list[PartitionRead]) -> None:
        """Which partitions of a session have nothing to say until something happens to them."""
        session = self._session
        if session is None:
            return
        for wish, target, read in zip(self._asked, self._targets, reads, strict=True):
            quiet = (
                isinstance(target, Partition)
                and read.error is ErrorCode.NONE
                and not read.records
                and read.diverging is None
                and read.preferred < 0
                and not wish.held_back
                and wish.fetch_offset == self._end(target)
                and not wish.is_news(read.high_watermark, read.log_start_offset)
            )
            session.looked(wish, quiet=quiet, gave_data=bool(read.records))

    def _respond(self, reads: list[PartitionRead]) -> FetchResponse:
        topics: list[tuple[FetchPartition, list[PartitionData]]] = []
        session = self._session
        hints: LeaderHints | None = None
        for wish, target, read in zip(self._asked, self._targets, reads, strict=True):
            size = len(read.records) if read.records else 0
            if isinstance(target, Partition):
                target.count_answer(read.error, size, for_replica=self._is_replica)
                if size and self._is_replica:
                    self._broker.replicas.throttles.answered(target, size)
            if session is not None:
                tell = wish.must_tell(read.error, size, read.high_watermark, read.log_start_offset)
                tell = tell or read.preferred >= 0 or read.diverging is not None
                if size:
                    key = session.key(wish.name, wish.topic_id, wish.index)
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
        self._looked(reads)
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
