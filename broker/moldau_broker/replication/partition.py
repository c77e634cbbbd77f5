"""One replica of one partition: leader append, high watermark, who waits for it. No event loop here.

Theory of operation: the leader appends to its log, the high watermark follows what the in-sync replicas
hold fsynced (`replication.leader`; a partition of one replica: the log end), and two kinds of waiters follow the high
watermark. An acks=all append is answered once the high watermark *and* this replica's own durable (fdatasynced) end
have passed it; a long-polling fetch is woken when enough visible bytes have arrived. Followers' fetches wait for
appended bytes, visible or not. As a follower the log takes what the leader gives (`replication.follower`). The group
commit thread reports durable ends back to the thread that owns the partition, so nothing here needs a lock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from moldau_broker.base.errors import ErrorCode
from moldau_broker.metadata.image import PartitionImage
from moldau_broker.replication.absences import OutOfSync
from moldau_broker.replication.leader import LeaderState, Outcome, Proposal
from moldau_broker.replication.outcome import AppendOutcome
from moldau_broker.replication.partition_base import (
    ALONE,
    ELSEWHERE,
    Committer,
    Surroundings,
    VisibleBytesListener,
)
from moldau_broker.replication.partition_follower import FollowingPartition
from moldau_broker.replication.validation import Accepted
from moldau_broker.storage.errors import DiskFull, StorageError
from moldau_broker.storage.producers import WrittenBatch, is_ahead
from moldau_broker.storage.verify import OFFSET_MAX
from moldau_broker.wire.batches import BatchHeader

__all__ = ["ALONE", "Committer", "Partition", "Surroundings", "VisibleBytesListener"]


SILENCE_MS: Final = 2_000
"""A follower asks twice a second when all is well."""


class Partition(FollowingPartition):
    """A hosted replica; its attributes are documented at `PartitionBase`."""

    __slots__ = ()

    def become(self, image: PartitionImage) -> None:
        """Take over what the metadata image says; a new leader epoch begins at the current log end."""
        leader_id, leader_epoch = image.leader, image.leader_epoch
        self._replica_count = len(image.replicas)
        replicated = self._replica_count > 1
        if self.leader_epoch < 0 and replicated:
            # Of several replicas the log's end says nothing; what was known of the committed part is on disk.
            self.high_watermark = self.log.high_watermark
        self.replicated = replicated
        if leader_epoch == self.leader_epoch and leader_id == self.leader_id:
            self._adopt(image)
            return
        was_leader = self.is_leader
        self.leader_id = leader_id
        self.leader_epoch = leader_epoch
        self.partition_epoch = image.partition_epoch
        self.isr = image.isr
        self.is_leader = leader_id == self._node_id
        self.is_ready = self.is_cut_off = False
        led, self._leader = self._leader, None
        self._hidden.clear()
        if was_leader:
            self._fail_waiting(ErrorCode.NOT_LEADER_OR_FOLLOWER)
        if self.is_leader:
            self._lead(image, led)
        self._wake(0)

    def _adopt(self, image: PartitionImage) -> None:
        """The same leader in the same epoch: other replicas, another ISR."""
        leader = self._leader
        if leader is None:
            self.partition_epoch = image.partition_epoch
            self.isr = image.isr
            return
        leader.adopt(image, self._around.now_ms())
        self.partition_epoch, self.isr = leader.partition_epoch, leader.isr
        self._look_again()
        self._release_deleted()

    def _lead(self, image: PartitionImage, led: LeaderState | None) -> None:
        log = self.log
        start = log.log_end_offset
        log.assign_epoch(self.leader_epoch, start)
        self.led_since_ms = self._around.now_ms()
        self._leader = LeaderState(self._node_id, image, start, self.led_since_ms, led)
        self._look_again()
        if self.replicated and log.durable_offset < start:
            self.request_commit()
        recovered = self._leader.recovered(self._around.broker_epoch)
        if recovered is not None:
            self._around.propose(self, recovered)

    def _look_again(self) -> None:
        """The high watermark may have moved for another reason than an append."""
        if self.replicated:
            self._follow_the_isr()
        else:
            self._advance_high_watermark(0)

    def append(self, accepted: Accepted, now_ms: int, *, all_in_sync: bool) -> AppendOutcome:
        """Append one validated batch as leader: idempotence check, offsets, write to the page cache.

        The high watermark is advanced before this returns; durability is a matter of `when_committed`.
        `all_in_sync` (acks=all) refuses the batch while fewer replicas are in sync than the topic asks for; as in
        Kafka, a topic that asks for more than its replicas asks for all of them.
        """
        log, header = self.log, accepted.header
        self.produces += 1
        error = self.leadership_error(-1)
        if error is not ErrorCode.NONE:
            return self._refuse(header, error, self.offline_reason)
        if all_in_sync and len(self.isr) < self._enough():
            few = f"{len(self.isr)} in-sync replicas, min.insync.replicas={log.config.min_insync_replicas}"
            return self._refuse(header, ErrorCode.NOT_ENOUGH_REPLICAS, few)
        if header.producer_id >= 0:
            verdict = log.producers.check(header)
            if verdict.duplicate is not None:
                return self._duplicate(verdict.duplicate)
            if verdict.error is not ErrorCode.NONE:
                error = verdict.error
                if error is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER:
                    error = self._gaps.reason(header.producer_id, self._first_since_election(header))
                self.failed_produces += error not in ELSEWHERE
                return AppendOutcome(error, log_start_offset=log.log_start_offset, message=verdict.reason)
        try:
            base_offset = log.append(accepted.batch, header, self.leader_epoch, now_ms)
        except DiskFull as full:
            return self._refuse(header, ErrorCode.KAFKA_STORAGE_ERROR, str(full))
        except StorageError as failure:
            self.go_offline(str(failure))
            self.failed_produces += 1
            return AppendOutcome(ErrorCode.KAFKA_STORAGE_ERROR, message=str(failure))
        self._gaps.stored(header.producer_id)
        size = header.size
        self.bytes_in += size
        self.records_in += header.record_count
        if self.replicated:
            self._hidden.append((log.log_end_offset, size))
            if not self._committing:
                self.request_commit()
            if self.replica_waiters:
                for waiter in tuple(self.replica_waiters):
                    waiter.on_visible_bytes(size)
        else:
            self._advance_high_watermark(size)
        return AppendOutcome(
            ErrorCode.NONE,
            base_offset,
            log.log_end_offset,
            accepted.log_append_time_ms,
            log.log_start_offset,
        )

    def _refuse(self, header: BatchHeader, error: ErrorCode, message: str | None) -> AppendOutcome:
        """Not appended for a reason that passes: its producer will send it again."""
        self.failed_produces += error not in ELSEWHERE
        if header.producer_id >= 0:
            self._gaps.refused(header.producer_id, error)
        return AppendOutcome(error, message=message)

    def _first_since_election(self, header: BatchHeader) -> int | None:
        """This leader epoch, if its producer has stored nothing in it and this batch goes on behind what it has."""
        leader, entry = self._leader, self.log.producers.get(header.producer_id)
        if leader is None or not self.replicated or entry is None or not entry.batches:
            return None
        same_epoch = header.producer_epoch == entry.epoch
        if same_epoch and not is_ahead(header.base_sequence, entry.last_sequence):
            return None
        return self.leader_epoch if entry.batches[-1].last_offset < leader.epoch_start else None

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

    def _on_committed(self, error: StorageError | None) -> None:
        self._committing = False
        if error is not None:
            self.go_offline(str(error))
            return
        if self.replicated and self._leader is not None:
            self._follow_the_isr()
        self._release_committed()
        durable = self.log.durable_offset
        if self._waiting_durable:
            self._tell_durable(durable if durable < self.log.log_end_offset else OFFSET_MAX)
        if (self._waiting_commit and durable < self._waiting_commit[-1][0]) or (
            durable < self.log.log_end_offset and (self.replicated or self._waiting_durable)
        ):
            self.request_commit()

    def _release_committed(self) -> None:
        waiting = self._waiting_commit
        if not waiting:
            return
        limit = min(self.high_watermark, self.log.durable_offset)
        error = ErrorCode.NONE
        if self.replicated and len(self.isr) < self._enough():
            error = ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND
        while waiting and waiting[0][0] <= limit:
            waiting.popleft()[1](error)

    def _enough(self) -> int:
        return min(self.log.config.min_insync_replicas, self._replica_count)

    def _advance_high_watermark(self, visible_bytes: int) -> None:
        """With one replica, the high watermark is the log end."""
        log = self.log
        self.high_watermark = log.high_watermark = log.log_end_offset
        if not self.is_ready and self.is_leader:
            self._become_ready()
        if self.fetch_waiters:
            self._wake_consumers(visible_bytes)

    def _follow_the_isr(self) -> None:
        """With several, it is what all of the maximal ISR have fsynced."""
        leader, log = self._leader, self.log
        if leader is None:
            return
        mark = leader.high_watermark(log.durable_offset, log.config.min_insync_replicas)
        if mark > self.high_watermark:
            self.high_watermark = log.high_watermark = mark
            seen, hidden = 0, self._hidden
            while hidden and hidden[0][0] <= mark:
                seen += hidden.popleft()[1]
            self._release_committed()
            if self.fetch_waiters:
                self._wake_consumers(seen)
            for waiter in self.replica_waiters:
                waiter.on_news()
        if not self.is_ready and self.high_watermark >= leader.epoch_start:
            self._become_ready()

    def _become_ready(self) -> None:
        self.is_ready = True
        if self._leader is not None:
            self._leader.ready = True
        self._around.became_ready(self)

    # --- followers, seen from the leader --------------------------------------------------------------

    def fetched_by(self, replica: int, broker_epoch: int, offset: int, log_start: int) -> ErrorCode:
        """A follower has everything below `offset` on disk: the high watermark and the ISR may follow from it."""
        leader = self._leader
        follower = leader.follower(replica) if leader is not None else None
        if leader is None or follower is None or 0 <= broker_epoch < follower.broker_epoch:
            return ErrorCode.NOT_LEADER_OR_FOLLOWER
        self.is_cut_off = False
        around = self._around
        leader.fetched(follower, offset, log_start, broker_epoch, self.log.log_end_offset, around.now_ms())
        self._release_deleted()
        proposal = leader.expulsion(replica, self.high_watermark, around.broker_epoch)
        self._follow_the_isr()
        if proposal is None:
            proposal = leader.expansion(replica, self.high_watermark, around.broker_epoch)
        if proposal is not None:
            around.propose(self, proposal)
        return ErrorCode.NONE

    def out_of_sync(self) -> OutOfSync | None:
        """The replicas that are out of sync and since when, None where somebody else leads."""
        return self._leader.out_of_sync() if self._leader is not None else None

    def look_around(self, *, is_forgotten: bool) -> None:
        """Stop to lead as long as neither the controller nor any in-sync follower is heard of.

        Nothing could be acknowledged meanwhile, and somebody else may lead by now; clients that wait here would
        not look for them. The first fetch of a follower, or a new image, ends it.
        """
        leader = self._leader
        if leader is None or not self.replicated:
            return
        cut_off = is_forgotten and leader.is_alone(self._around.now_ms(), SILENCE_MS)
        if cut_off and not self.is_cut_off:
            self._fail_waiting(ErrorCode.NOT_LEADER_OR_FOLLOWER)
            self.is_cut_off = True
            self._wake(0)
        self.is_cut_off = cut_off

    def can_read_from(self, replica: int, offset: int) -> bool:
        """Whether an in-sync follower holds what follows `offset`."""
        follower = self._leader.follower(replica) if self._leader is not None else None
        return (
            follower is not None and replica in self.isr and 0 <= follower.log_start <= offset <= follower.end
        )

    @property
    def low_watermark(self) -> int:
        """First offset that a replica on a live broker still has; -1 while one of them has not said."""
        if self._leader is None or not self.replicated:
            return self.log.log_start_offset
        return self._leader.low_watermark(self.log.log_start_offset, self._around.broker_epoch)

    def when_deleted(self, before_offset: int, callback: Callable[[ErrorCode], None]) -> None:
        """Call `callback(error)` once no replica on a live broker has anything below `before_offset`."""
        if self.low_watermark >= before_offset:
            callback(ErrorCode.NONE)
        else:
            self._waiting_deletion.append((before_offset, callback))

    def _release_deleted(self) -> None:
        if not self._waiting_deletion:
            return
        low = self.low_watermark
        done = [callback for before, callback in self._waiting_deletion if before <= low]
        self._waiting_deletion = [one for one in self._waiting_deletion if one[0] > low]
        for callback in done:
            callback(ErrorCode.NONE)

    def tick(self, lag_ms_max: int) -> None:
        """Propose an ISR without those that have been behind for too long; look again at whom to wait for."""
        leader = self._leader
        if leader is None or not self.replicated:
            return
        self._release_deleted()
        around = self._around
        proposal = leader.shrink(self.log.log_end_offset, around.now_ms(), lag_ms_max, around.broker_epoch)
        if proposal is not None:
            around.propose(self, proposal)

    def still_wants(self, proposal: Proposal) -> bool:
        """Whether nobody has said yet what became of it."""
        return self._leader is not None and self._leader.pending is proposal

    def proposal_answered(
        self, proposal: Proposal, error: int, isr: tuple[int, ...], partition_epoch: int
    ) -> bool:
        """The controller's answer; whether to ask again."""
        leader = self._leader
        if leader is None:
            return False
        outcome = leader.answered(proposal, error, isr, partition_epoch)
        self.isr, self.partition_epoch = leader.isr, leader.partition_epoch
        self._follow_the_isr()
        self._release_committed()
        return outcome is Outcome.RETRY
