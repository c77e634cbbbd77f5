"""What every hosted replica has, whoever leads: its state, reading, waiters, and how it fails. Use `Partition`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import Uuid
from moldau_broker.replication.gaps import Gaps
from moldau_broker.replication.leader import LeaderState, Proposal
from moldau_broker.replication.outcome import PartitionRead
from moldau_broker.storage.disk import Buffer
from moldau_broker.storage.errors import CorruptLog, OffsetOutOfRange, StorageError
from moldau_broker.storage.log import Log
from moldau_broker.storage.verify import OFFSET_MAX, find_fault

if TYPE_CHECKING:
    from moldau_broker.replication.partition import Partition

NO_LEADER = -1
_NOTHING = memoryview(b"")

ELSEWHERE: Final = frozenset(
    {
        ErrorCode.NOT_LEADER_OR_FOLLOWER,
        ErrorCode.FENCED_LEADER_EPOCH,
        ErrorCode.UNKNOWN_LEADER_EPOCH,
    }
)
"""Answers that send a client to somebody else: nothing has failed."""


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

    def on_news(self) -> None:
        """There is something to tell with the next answer that is worth none of its own."""
        ...


class Surroundings(Protocol):
    """What a partition asks of whoever hosts it."""

    def now_ms(self) -> int:
        """Monotonic milliseconds."""
        ...

    def broker_epoch(self, broker_id: int) -> int | None:
        """The epoch of a broker that may be in sync, else None."""
        ...

    def propose(self, partition: Partition, proposal: Proposal) -> None:
        """Ask the controller for an ISR, and tell `partition.proposal_answered`."""
        ...

    def became_ready(self, partition: Partition) -> None:
        """It leads, and knows what was committed before."""
        ...


class _Alone:
    """Nobody hosts it: a partition of one replica needs nobody."""

    def now_ms(self) -> int:
        return 0

    def broker_epoch(self, broker_id: int) -> int | None:
        del broker_id
        return None

    def propose(self, partition: Partition, proposal: Proposal) -> None:
        pass

    def became_ready(self, partition: Partition) -> None:
        pass


ALONE = _Alone()


def _nobody() -> None:
    """Nobody has said anything of this replica."""


class PartitionBase:
    """A hosted replica.

    Attributes:
        topic, index, topic_id: which partition this is.
        log: its log; offsets below are the log's.
        leader_id, leader_epoch, partition_epoch, isr: as last told by the metadata image.
        high_watermark: first offset that is not yet replicated to every in-sync replica.
        is_leader, is_ready: whether it leads, and whether its high watermark has reached its epoch's start.
        replicated: whether there are other replicas.
        is_cut_off: it leads as far as it knows, and nobody may be listening to it any more.
        offline_reason: why reads and writes answer KAFKA_STORAGE_ERROR, or None.
        last_asking_epoch: the newest leader epoch in which its log, as it is, may have been fetched for.
        records_in, bytes_in, bytes_out: what clients had appended and read here since the replica was opened.
        replica_bytes_in, replica_bytes_out, replica_fetches: fetched from the leader, and by followers.
        produces, fetches, failed_produces, failed_fetches: clients' requests that named it, and those it refused for
            another reason than that somebody else leads.
        led_since_ms: when it began to lead in this epoch, monotonic.
        fetch_waiters, replica_waiters: fetches of consumers and of followers that wait.
        on_lost: called when what this replica has said it has may be here no longer: it is offline, or leaves.
    """

    __slots__ = (
        "_around",
        "_committer",
        "_committing",
        "_gaps",
        "_hidden",
        "_holds_aborted",
        "_leader",
        "_node_id",
        "_offline_epoch",
        "_replica_count",
        "_waiting_commit",
        "_waiting_deletion",
        "_waiting_durable",
        "bytes_in",
        "bytes_out",
        "failed_fetches",
        "failed_produces",
        "fetch_waiters",
        "fetches",
        "high_watermark",
        "index",
        "is_cut_off",
        "is_leader",
        "is_ready",
        "isr",
        "leader_epoch",
        "leader_id",
        "led_since_ms",
        "log",
        "offline_reason",
        "on_lost",
        "partition_epoch",
        "produces",
        "records_in",
        "replica_bytes_in",
        "replica_bytes_out",
        "replica_fetches",
        "replica_waiters",
        "replicated",
        "topic",
        "topic_id",
    )

    def __init__(
        self,
        log: Log,
        topic_id: Uuid,
        node_id: int,
        committer: Committer,
        around: Surroundings = ALONE,
    ) -> None:
        self.topic = log.topic
        self.index = log.partition
        self.topic_id = topic_id
        self.log = log
        self.leader_id = NO_LEADER
        self.leader_epoch = -1
        self.partition_epoch = -1
        self.isr: tuple[int, ...] = ()
        self.is_leader = self.is_ready = self.replicated = self.is_cut_off = False
        self.high_watermark = log.log_end_offset
        self.offline_reason: str | None = None
        self._offline_epoch = -1
        self.led_since_ms = 0
        self.records_in = self.bytes_in = self.bytes_out = 0
        self.replica_bytes_in = self.replica_bytes_out = self.replica_fetches = 0
        self.produces = self.fetches = self.failed_produces = self.failed_fetches = 0
        self.fetch_waiters: list[VisibleBytesListener] = []
        self.replica_waiters: list[VisibleBytesListener] = []
        self.on_lost: Callable[[], None] = _nobody
        self._around = around
        self._leader: LeaderState | None = None
        self._hidden: deque[tuple[int, int]] = deque()  # (end offset, bytes) of batches not visible yet
        self._gaps = Gaps()
        self._waiting_durable: list[tuple[int, Callable[[], None]]] = []
        # Only a folder taken over from Kafka can: transactions are not served, and looking costs a system call.
        self._holds_aborted = bool(log.aborted_transactions(log.log_start_offset, log.log_end_offset))
        self._node_id = node_id
        self._replica_count = 0
        self._committer = committer
        self._committing = False
        self._waiting_commit: deque[tuple[int, Callable[[ErrorCode], None]]] = deque()
        self._waiting_deletion: list[tuple[int, Callable[[ErrorCode], None]]] = []

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

    @property
    def last_asking_epoch(self) -> int:
        """See the class: an offline replica asks for nothing any more."""
        return self.leader_epoch if self.offline_reason is None else self._offline_epoch

    def leadership_error(
        self, current_leader_epoch: int, *, follower_will_do: bool = False, for_replica: bool = False
    ) -> ErrorCode:
        """NONE where this replica leads in the epoch the client knows (-1: the client does not say; KIP-320).

        `follower_will_do`: or where it follows a leader in that epoch (KIP-392). A leader that is cut off sends
        everybody away but followers, so that clients look for who leads now.
        """
        if self.offline_reason is not None:
            return ErrorCode.KAFKA_STORAGE_ERROR
        if current_leader_epoch >= 0:
            if current_leader_epoch < self.leader_epoch:
                return ErrorCode.FENCED_LEADER_EPOCH
            if current_leader_epoch > self.leader_epoch:
                return ErrorCode.UNKNOWN_LEADER_EPOCH
        if self.is_cut_off and not for_replica:
            return ErrorCode.NOT_LEADER_OR_FOLLOWER
        if self.is_leader or (follower_will_do and self.leader_id != NO_LEADER):
            return ErrorCode.NONE
        return ErrorCode.NOT_LEADER_OR_FOLLOWER

    def request_commit(self) -> None:
        """Ask for a group commit round unless one is on its way."""
        if not self._committing and self.offline_reason is None:
            self._committing = True
            self._committer.request(self.log, self._on_committed)

    def when_durable(self, callback: Callable[[], None]) -> None:
        """Call back once the log is on disk as it is now, or the partition is offline or gone."""
        if self.log.durable_offset >= self.log.log_end_offset or self.offline_reason is not None:
            callback()
            return
        self._waiting_durable.append((self.log.log_end_offset, callback))
        self.request_commit()

    def _tell_durable(self, until: int = OFFSET_MAX) -> None:
        """Those that waited for the log up to there."""
        waiting = self._waiting_durable
        self._waiting_durable = [one for one in waiting if one[0] > until]
        for callback in [callback for end, callback in waiting if end <= until]:
            callback()

    def _on_committed(self, error: StorageError | None) -> None:
        raise NotImplementedError

    # --- waiters --------------------------------------------------------------------------------------

    def _wake(self, visible_bytes: int) -> None:
        """Consumers and followers."""
        for waiter in (*self.fetch_waiters, *self.replica_waiters):
            waiter.on_visible_bytes(visible_bytes)

    def _wake_consumers(self, visible_bytes: int) -> None:
        for waiter in tuple(self.fetch_waiters):
            waiter.on_visible_bytes(visible_bytes)

    def _fail_waiting(self, error: ErrorCode) -> None:
        waiting = [*self._waiting_commit, *self._waiting_deletion]
        self._waiting_commit.clear()
        self._waiting_deletion.clear()
        for _, callback in waiting:
            callback(error)

    def go_offline(self, reason: str) -> None:
        """Answer KAFKA_STORAGE_ERROR from now on; after a failed fsync no retry can be trusted."""
        if self.offline_reason is None:
            self.offline_reason = reason
            self._offline_epoch = self.leader_epoch
            self.on_lost()
            self._fail_waiting(ErrorCode.KAFKA_STORAGE_ERROR)
            self._tell_durable()
            self._wake(0)

    def stop(self) -> None:
        """The replica leaves this broker (topic deleted, reassigned): everyone waiting is told."""
        self.is_leader = self.is_ready = False
        self.leader_id = NO_LEADER
        self._leader = None
        self.on_lost()
        self._fail_waiting(ErrorCode.NOT_LEADER_OR_FOLLOWER)
        self._tell_durable()
        self._wake(0)

    def read(
        self, offset: int, max_bytes: int, *, committed: bool, min_one: bool, wait: bool, to_end: bool = False
    ) -> PartitionRead | None:
        """Whole batches from the one that contains `offset`, up to the visible end.

        Args:
            offset: first offset wanted.
            max_bytes: upper bound on the bytes returned, but for the first batch under `min_one` (KIP-74).
            committed: read_committed isolation: bound by the last stable offset.
            min_one: whether the first batch is returned however large.
            wait: False asks only the page cache; the answer is None where the disk would have to be waited for.
            to_end: for a follower: also what is not visible yet.
        """
        log = self.log
        stable = self.last_stable_offset
        bound = stable if committed else self.high_watermark
        bound = log.log_end_offset if to_end else bound
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
                if self.replicated and records:
                    self._check(records, offset, bound)
            except OffsetOutOfRange:
                return PartitionRead(
                    ErrorCode.OFFSET_OUT_OF_RANGE, self.high_watermark, bound, log.log_start_offset
                )
            except StorageError as failure:
                if isinstance(failure, CorruptLog):
                    log.fail(failure)  # so that whoever owns the directory knows what is to be fetched again
                self.go_offline(str(failure))
                return PartitionRead(ErrorCode.KAFKA_STORAGE_ERROR)
        read = PartitionRead(ErrorCode.NONE, self.high_watermark, stable, start, memoryview(records))
        if committed:
            read.aborted = self._aborted(offset, bound)
        return read

    def _check(self, records: Buffer, offset: int, limit: int) -> None:
        """Look at the checksums of what is to be answered: where others have the same, damage is not passed on.

        All of it where it comes from the disk; of the newest batches, which are in memory, the first: 5 us.

        Raises:
            CorruptLog: it is damaged.
        """
        fault = find_fault(records, offset, limit, first_only=self.log.is_recent(offset))
        if fault is not None:
            place = f"{self.topic}-{self.index}"
            raise CorruptLog(
                f"{place}: {fault.reason}, found by a reader at offset {fault.offset}", offset=fault.offset
            )

    def count_answer(self, error: ErrorCode, size: int, *, for_replica: bool) -> None:
        """A fetch was answered with `size` bytes of this partition, or an error."""
        if for_replica:
            self.replica_fetches += 1
            self.replica_bytes_out += size
            return
        self.fetches += 1
        self.bytes_out += size
        if error is not ErrorCode.NONE and error not in ELSEWHERE:
            self.failed_fetches += 1

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
        for waiter in self.fetch_waiters:
            waiter.on_news()
        for waiter in tuple(self.replica_waiters):
            waiter.on_visible_bytes(0)  # followers learn of the new start by an answer
        return ErrorCode.NONE
