"""What a fetch finds in the partitions it asks for: who is meant, what followers say, what may be read.

A look is made when the request comes, and again when it has waited. In a session the second one is at the partitions
where something has happened meanwhile (`fetch_sessions`). No waiting here, no I/O of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import Uuid
from moldau_broker.replication.outcome import PartitionRead
from moldau_broker.replication.partition import Partition
from moldau_broker.server.fetch_answer import divergence, without_records
from moldau_broker.server.fetch_budget import FetchBudget
from moldau_broker.server.fetch_sessions import FetchPartition, FetchSession
from moldau_broker.server.handlers.spec import ListenerKind, RequestContext
from moldau_broker.server.readers import ReadAhead
from moldau_broker.wire.batches import iter_batches
from moldau_broker.wire.messages.fetch import FetchRequest

if TYPE_CHECKING:
    from moldau_broker.server.broker import Broker

TOPIC_IDS_SINCE: Final = 13
_REPLICA_STATE_SINCE: Final = 15
_PREFERRED_SINCE: Final = 11
_READ_COMMITTED: Final = 1
_CONSUMERS: Final = (-1, -2)
"""The replica ids of those that are none: consumers, and Kafka's replica verification tool."""


class FetchLook:
    """The looks of one fetch.

    Attributes:
        broker, context, request, session: whom is asked for what; without a session every request says all it wants.
        asked: the wishes that are looked at.
        targets: the partition that each is for, or why there is none.
        is_replica: whether a follower asks.
    """

    __slots__ = (
        "_everything",
        "_heard",
        "_hears",
        "_replica_id",
        "asked",
        "broker",
        "context",
        "is_replica",
        "request",
        "session",
        "targets",
    )

    def __init__(
        self,
        broker: Broker,
        context: RequestContext,
        request: FetchRequest,
        session: FetchSession | None,
        wishes: list[FetchPartition],
    ) -> None:
        self.broker = broker
        self.context = context
        self.request = request
        self.session = session
        self._heard: set[Partition] = set()
        self._hears = True
        state = request.replica_state
        versioned = context.api_version >= _REPLICA_STATE_SINCE
        self._replica_id = state.replica_id if versioned else request.replica_id
        self.is_replica = self._replica_id not in _CONSUMERS
        # What a reader of committed records, or one that may be sent elsewhere, is told depends on more than it hears.
        self._everything = request.isolation_level == _READ_COMMITTED or bool(request.rack_id)
        self.asked = wishes
        if session is not None:
            now_ms = broker.clock.monotonic_ms()
            self.asked = session.look_at(now_ms, everything=self._everything)
        self.targets: list[Partition | ErrorCode] = [self._find(wish) for wish in self.asked]

    def again(self) -> None:
        """Look once more, as it has waited.

        What a follower says with its question was true when it asked; it is not said again. Meanwhile the replica may
        have been set aside as damaged and begun anew, and would be taken for in sync.
        """
        self._hears = False
        if self.session is not None:
            if not self._everything:
                self.asked = list(self.session.stirred.values())
            self.targets = [self._find(wish) for wish in self.asked]

    def _find(self, wish: FetchPartition) -> Partition | ErrorCode:
        if self.is_replica and self.context.listener_kind is not ListenerKind.INTERNAL:
            return ErrorCode.TOPIC_AUTHORIZATION_FAILED
        replicas = self.broker.replicas
        if self.context.api_version >= TOPIC_IDS_SINCE:
            partition = replicas.partition_by_id(Uuid(wish.topic_id), wish.index)
            if partition is None:
                return self.broker.missing_id_error(wish.topic_id, wish.index)
        else:
            partition = replicas.partition(wish.name, wish.index)
            if partition is None:
                return replicas.missing_error(wish.name, wish.index)
        if self.session is not None:
            self.session.watch(wish, partition, for_replica=self.is_replica)
        return partition

    def end(self, partition: Partition) -> int:
        """How far the reader may see."""
        return partition.log_end_offset if self.is_replica else partition.high_watermark

    @property
    def _from_any(self) -> bool:
        """Whether the reader may read from a follower, and knows it (KIP-392)."""
        selector = self.broker.settings.replication.selector
        return selector is not None and self.context.api_version >= _PREFERRED_SINCE

    def _preferred(self, target: Partition, wish: FetchPartition) -> int:
        """An in-sync replica in the reader's rack that has what it wants, -1 if it had better stay (KIP-392)."""
        rack, broker = self.request.rack_id, self.broker
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

    def is_cut_short(self, reads: list[PartitionRead]) -> bool:
        """Whether more is there than fits: the answer is as large as it gets, and waiting would add nothing."""
        for target, read in zip(self.targets, reads, strict=True):
            if read.records and isinstance(target, Partition):
                *_, (_, last) = iter_batches(read.records)
                if last.base_offset + last.last_offset_delta + 1 < self.end(target):
                    return True
        return False

    def bytes_max(self) -> int:
        """How large the answer may get."""
        return max(0, min(self.request.max_bytes, self.broker.settings.network.fetch_max_bytes))

    def cold(self) -> Iterator[ReadAhead]:
        """What is to be brought into the page cache first, where a read would wait for the disk."""
        for wish, target in zip(self.asked, self.targets, strict=True):
            if isinstance(target, Partition):
                end = self.end(target)
                offset = wish.position(end)
                if target.log_start_offset <= offset < end:
                    yield ReadAhead(target.log, offset, max(0, wish.max_bytes), end)

    def read(self, *, wait: bool) -> list[PartitionRead] | None:
        """What is to be told of each; None where that would wait for the disk and must not."""
        request, now_ms = self.request, self.broker.clock.monotonic_ms
        budget = FetchBudget(
            self.bytes_max(), request.min_bytes, for_replica=self.is_replica, now_ms=now_ms()
        )
        is_replica, from_any = self.is_replica, not self.is_replica and self._from_any
        committed = request.isolation_level == _READ_COMMITTED
        reads: list[PartitionRead] = []
        empty_so_far = True
        for wish, target in zip(self.asked, self.targets, strict=True):
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
                wish.held_back = self.broker.replicas.throttles.holds_back_answer(target, self._replica_id)
                if wish.held_back:
                    reads.append(without_records(target))
                    continue
            elif (preferred := self._preferred(target, wish)) >= 0:
                reads.append(without_records(target, preferred=preferred))
                continue
            end = self.end(target)
            offset = wish.position(end)
            if offset == end and not committed:  # most partitions of most sessions
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
        epoch = self.request.replica_state.replica_epoch
        error = target.fetched_by(self._replica_id, epoch, wish.fetch_offset, wish.log_start_offset)
        if error is ErrorCode.NONE:
            self._heard.add(target)
        return error

    def looked(self, reads: list[PartitionRead]) -> None:
        """Which partitions of a session have nothing to say until something happens to them."""
        session = self.session
        if session is None:
            return
        for wish, target, read in zip(self.asked, self.targets, reads, strict=True):
            end = self.end(target) if isinstance(target, Partition) else -1
            quiet = (
                end >= 0
                and read.error is ErrorCode.NONE
                and not read.records
                and read.diverging is None
                and read.preferred < 0
                and not wish.held_back
                and wish.position(end) == end
                and not wish.is_news(read.high_watermark, read.log_start_offset)
            )
            session.looked(wish, quiet=quiet, gave_data=bool(read.records))
