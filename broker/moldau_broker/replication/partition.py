"""One replica of one partition: leader append, high watermark, who waits for it. No event loop here.

Theory of operation: the leader appends to its log, the high watermark follows what the in-sync replicas
hold (alone: the log end), and two kinds of waiters follow the high watermark. An acks=all append is answered
once the high watermark *and* this replica's own durable (fdatasynced) end have passed it; a long-polling fetch
is woken when enough visible bytes have arrived. The group commit thread reports durable ends back to the thread
that owns the partition, so nothing here needs a lock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import Uuid
from moldau_broker.metadata.image import PartitionImage
from moldau_broker.replication.outcome import AppendOutcome, PartitionRead
from moldau_broker.replication.validation import Accepted
from moldau_broker.storage.disk import Buffer
from moldau_broker.storage.errors import CorruptLog, DiskFull, OffsetOutOfRange, StorageError
from moldau_broker.storage.log import Log
from moldau_broker.storage.producers import WrittenBatch

NO_LEADER = -1
_NOTHING = memoryview(b"")


class Committer(Protocol):
    """Makes a log durable and says when (see `storage.group_commit`)."""

    def request(self, log: Log, callback: Callable[[StorageError | None], None]) -> None:
        """Fdatasync `log` in the next round; `callback(error)` runs on the owning thread afterwards."""
        ...


class VisibleBytesListener(Protocol):
    """A fetch that waits for more visible bytes."""

    def on_visible_bytes(self, count: int) -> None:
        """`count` bytes have become readable (0: something else changed, look again)."""
        ...


class Partition:
    """A hosted replica.

    Attributes:
        topic, index, topic_id: which partition this is.
        log: its log; offsets below are the log's.
        leader_id, leader_epoch, partition_epoch, isr: as last told by the metadata image.
        high_watermark: first offset that is not yet replicated to every in-sync replica.
        offline_reason: why reads and writes answer KAFKA_STORAGE_ERROR, or None.
        bytes_in, bytes_out, requests: what was appended and read here since the replica was opened.
    """

    __slots__ = (
        "_committer",
        "_committing",
        "_holds_aborted",
        "_node_id",
        "_replica_count",
        "_waiting_commit",
        "bytes_in",
        "bytes_out",
        "fetch_waiters",
        "high_watermark",
        "index",
        "is_leader",
        "isr",
        "leader_epoch",
        "leader_id",
        "log",
        "offline_reason",
        "partition_epoch",
        "requests",
        "topic",
        "topic_id",
    )

    def __init__(self, log: Log, topic_id: Uuid, node_id: int, committer: Committer) -> None:
        self.topic = log.topic
        self.index = log.partition
        self.topic_id = topic_id
        self.log = log
        self.leader_id = NO_LEADER
        self.leader_epoch = -1
        self.partition_epoch = -1
        self.isr: tuple[int, ...] = ()
        self.is_leader = False
        self.high_watermark = log.log_end_offset
        self.offline_reason: str | None = None
        self.bytes_in = self.bytes_out = self.requests = 0
        self.fetch_waiters: list[VisibleBytesListener] = []
        # Only a folder taken over from Kafka can: transactions are not served, and looking costs a system call.
        self._holds_aborted = bool(log.aborted_transactions(log.log_start_offset, log.log_end_offset))
        self._node_id = node_id
        self._replica_count = 0
        self._committer = committer
        self._committing = False
        self._waiting_commit: deque[tuple[int, Callable[[ErrorCode], None]]] = deque()

    @property
    def log_start_offset(self) -> int:
        """First offset that may be read."""
        return self.log.log_start_offset

    @property
    def log_end_offset(self) -> int:
        """Offset the next record will get."""
        return self.log.log_end_offset

    @property
    def last_stable_offset(self) -> int:
        """First offset a read_committed reader may not pass (a folder from Kafka may hold open transactions)."""
        return self.log.last_stable_offset(self.high_watermark)

    def become(self, image: PartitionImage) -> None:
        """Take over what the metadata image says; a new leader epoch begins at the current log end."""
        leader_id, leader_epoch = image.leader, image.leader_epoch
        self.partition_epoch = image.partition_epoch
        self.isr = image.isr
        self._replica_count = len(image.replicas)
        if leader_epoch == self.leader_epoch and leader_id == self.leader_id:
            return
        was_leader = self.is_leader
        self.leader_id = leader_id
        self.leader_epoch = leader_epoch
        self.is_leader = leader_id == self._node_id
        if self.is_leader:
            self.log.assign_epoch(leader_epoch, self.log.log_end_offset)
            self._advance_high_watermark(0)
        elif was_leader:
            self._fail_waiting(ErrorCode.NOT_LEADER_OR_FOLLOWER)
        self._wake(0)

    def leadership_error(self, current_leader_epoch: int) -> ErrorCode:
        """NONE where this replica leads in the epoch the client knows (-1: the client does not say; KIP-320)."""
        if self.offline_reason is not None:
            return ErrorCode.KAFKA_STORAGE_ERROR
        if current_leader_epoch >= 0:
            if current_leader_epoch < self.leader_epoch:
                return ErrorCode.FENCED_LEADER_EPOCH
            if current_leader_epoch > self.leader_epoch:
                return ErrorCode.UNKNOWN_LEADER_EPOCH
        return ErrorCode.NONE if self.is_leader else ErrorCode.NOT_LEADER_OR_FOLLOWER

    def append(self, accepted: Accepted, now_ms: int, *, all_in_sync: bool) -> AppendOutcome:
        """Append one validated batch as leader: idempotence check, offsets, write to the page cache.

        The high watermark is advanced before this returns; durability is a matter of `when_committed`.
        `all_in_sync` (acks=all) refuses the batch while fewer replicas are in sync than the topic asks for; as in
        Kafka, a topic that asks for more than its replicas asks for all of them.
        """
        error = self.leadership_error(-1)
        if error is not ErrorCode.NONE:
            return AppendOutcome(error, message=self.offline_reason)
        log = self.log
        if all_in_sync and len(self.isr) < min(log.config.min_insync_replicas, self._replica_count):
            return AppendOutcome(
                ErrorCode.NOT_ENOUGH_REPLICAS,
                message=f"{len(self.isr)} in-sync replicas, min.insync.replicas={log.config.min_insync_replicas}",
            )
        header = accepted.header
        if header.producer_id >= 0:
            verdict = log.producers.check(header)
            if verdict.duplicate is not None:
                return self._duplicate(verdict.duplicate)
            if verdict.error is not ErrorCode.NONE:
                return AppendOutcome(
                    verdict.error, log_start_offset=log.log_start_offset, message=verdict.reason
                )
        try:
            base_offset = log.append(accepted.batch, header, self.leader_epoch, now_ms)
        except DiskFull as full:
            return AppendOutcome(ErrorCode.KAFKA_STORAGE_ERROR, message=str(full))
        except StorageError as failure:
            self.go_offline(str(failure))
            return AppendOutcome(ErrorCode.KAFKA_STORAGE_ERROR, message=str(failure))
        self.bytes_in += header.size
        self.requests += 1
        self._advance_high_watermark(header.size)
        return AppendOutcome(
            ErrorCode.NONE,
            base_offset,
            log.log_end_offset,
            accepted.log_append_time_ms,
            log.log_start_offset,
        )

    def _duplicate(self, written: WrittenBatch) -> AppendOutcome:
        return AppendOutcome(
            ErrorCode.NONE,
            written.base_offset,
            written.last_offset + 1,
            log_start_offset=self.log.log_start_offset,
        )

    def when_committed(self, next_offset: int, callback: Callable[[ErrorCode], None]) -> None:
        """Call `callback(error)` once everything below `next_offset` is replicated and on disk here."""
        if self.offline_reason is not None:
            callback(ErrorCode.KAFKA_STORAGE_ERROR)
            return
        if self.high_watermark >= next_offset and self.log.durable_offset >= next_offset:
            callback(ErrorCode.NONE)
            return
        self._waiting_commit.append((next_offset, callback))
        self.request_commit()

    def request_commit(self) -> None:
        """Ask for a group commit round unless one is on its way."""
        if not self._committing and self.offline_reason is None:
            self._committing = True
            self._committer.request(self.log, self._on_committed)

    def _on_committed(self, error: StorageError | None) -> None:
        self._committing = False
        if error is not None:
            self.go_offline(str(error))
            return
        self._release_committed()
        if self._waiting_commit and self.log.durable_offset < self._waiting_commit[-1][0]:
            self.request_commit()

    def _release_committed(self) -> None:
        limit = min(self.high_watermark, self.log.durable_offset)
        waiting = self._waiting_commit
        while waiting and waiting[0][0] <= limit:
            waiting.popleft()[1](ErrorCode.NONE)

    def _advance_high_watermark(self, visible_bytes: int) -> None:
        """Alone in the ISR, the high watermark is the log end."""
        log = self.log
        self.high_watermark = log.high_watermark = log.log_end_offset
        if self.fetch_waiters:
            self._wake(visible_bytes)

    def _wake(self, visible_bytes: int) -> None:
        for waiter in tuple(self.fetch_waiters):
            waiter.on_visible_bytes(visible_bytes)

    def _fail_waiting(self, error: ErrorCode) -> None:
        waiting, self._waiting_commit = self._waiting_commit, deque()
        for _, callback in waiting:
            callback(error)

    def go_offline(self, reason: str) -> None:
        """Answer KAFKA_STORAGE_ERROR from now on; after a failed fsync no retry can be trusted."""
        if self.offline_reason is None:
            self.offline_reason = reason
            self._fail_waiting(ErrorCode.KAFKA_STORAGE_ERROR)
            self._wake(0)

    def stop(self) -> None:
        """The replica leaves this broker (topic deleted, reassigned): everyone waiting is told."""
        self.is_leader = False
        self._fail_waiting(ErrorCode.NOT_LEADER_OR_FOLLOWER)
        self._wake(0)

    def read(
        self, offset: int, max_bytes: int, *, committed: bool, min_one: bool, wait: bool
    ) -> PartitionRead | None:
        """Whole batches from the one that contains `offset`, up to the visible end.

        Args:
            offset: first offset wanted.
            max_bytes: upper bound on the bytes returned, but for the first batch under `min_one` (KIP-74).
            committed: read_committed isolation: bound by the last stable offset.
            min_one: whether the first batch is returned however large.
            wait: False asks only the page cache; the answer is None where the disk would have to be waited for.
        """
        log = self.log
        bound = self.last_stable_offset if committed else self.high_watermark
        start = log.log_start_offset
        if offset < start or offset > log.log_end_offset:
            return PartitionRead(ErrorCode.OFFSET_OUT_OF_RANGE, self.high_watermark, bound, start)
        records: Buffer = _NOTHING
        if offset < bound and (max_bytes > 0 or min_one):
            try:
                if wait:
                    records = log.read(offset, max_bytes, up_to=bound, min_one=min_one)
                else:
                    found = log.read_nowait(offset, max_bytes, up_to=bound, min_one=min_one)
                    if found is None:
                        return None
                    records = found
            except OffsetOutOfRange:
                return PartitionRead(
                    ErrorCode.OFFSET_OUT_OF_RANGE, self.high_watermark, bound, log.log_start_offset
                )
            except (CorruptLog, StorageError) as failure:
                self.go_offline(str(failure))
                return PartitionRead(ErrorCode.KAFKA_STORAGE_ERROR)
        self.bytes_out += len(records)
        self.requests += 1
        read = PartitionRead(
            ErrorCode.NONE, self.high_watermark, self.last_stable_offset, start, memoryview(records)
        )
        if committed:
            read.aborted = self._aborted(offset, bound)
        return read

    def _aborted(self, start: int, end: int) -> tuple[tuple[int, int], ...]:
        if not self._holds_aborted:
            return ()
        return tuple((txn.producer_id, txn.first_offset) for txn in self.log.aborted_transactions(start, end))

    def delete_records(self, before_offset: int) -> ErrorCode:
        """Move the log start to `before_offset` (-1: the high watermark); DeleteRecords."""
        target = self.high_watermark if before_offset == -1 else before_offset
        if target < 0 or target > self.high_watermark:
            return ErrorCode.OFFSET_OUT_OF_RANGE
        try:
            self.log.advance_log_start(target)
        except StorageError as failure:
            self.go_offline(str(failure))
            return ErrorCode.KAFKA_STORAGE_ERROR
        return ErrorCode.NONE
