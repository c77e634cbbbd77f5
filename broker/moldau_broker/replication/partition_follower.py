"""A hosted replica as a follower: what it asks its leader for, and how it takes the answer. Use `Partition`."""

from __future__ import annotations

from moldau_broker.replication.follower import Advice, Ask, Step, advise, ask
from moldau_broker.replication.partition_base import NO_LEADER, PartitionBase
from moldau_broker.storage.disk import Buffer
from moldau_broker.storage.errors import DiskFull, InvalidBatches, StorageError
from moldau_broker.storage.verify import OFFSET_MAX, find_fault


class FollowingPartition(PartitionBase):
    """The part of a partition that follows. Use `Partition`."""

    __slots__ = ()

    def ask(self, *, ahead_of: Ask | None = None) -> Ask | None:
        """What to ask the leader for; None while that cannot be said: it leads, or its log is not all on disk.

        With `ahead_of`, the question before this one: go on reading where the log ends, although not all of it is on
        disk. Only in one epoch: what is not on disk has then come from its leader, and cannot part from its log.
        """
        log = self.log
        if self.is_leader or self.leader_id == NO_LEADER or self.offline_reason is not None:
            return None
        if log.durable_offset < log.log_end_offset:
            if ahead_of is None or ahead_of.leader_epoch != self.leader_epoch:
                return None
            return ask(
                self.leader_epoch, log.durable_offset, log.log_start_offset, log.epochs, log.log_end_offset
            )
        return ask(self.leader_epoch, log.log_end_offset, log.log_start_offset, log.epochs)

    def _append(self, records: Buffer, now_ms: int) -> Advice:
        """Take what the leader gave, or what comes before a batch of it that is damaged.

        The next question then begins at that batch. A leader looks at the checksum of the first batch it gives, so it
        finds out that it is the one who is damaged.

        Raises:
            InvalidBatches: nothing of it can be taken.
            StorageError: as `Log.append_replica`.
        """
        log = self.log
        try:
            log.append_replica(records, now_ms)
        except InvalidBatches:
            fault = find_fault(records, log.log_end_offset, OFFSET_MAX, first_only=False)
            if fault is None or fault.position == 0:
                raise
            records = memoryview(records)[: fault.position]
            log.append_replica(records, now_ms)
        self.replica_bytes_in += len(records)
        return Advice(Step.APPEND)

    def take(
        self,
        asked: Ask,
        error: int,
        records: Buffer | None,
        diverging: tuple[int, int],
        high_watermark: int,
        log_start: int,
        now_ms: int,
    ) -> Advice | None:
        """Take the leader's answer to `asked`; gives what was done, None where it came too late.

        The log may be cut, which waits for the disk: rare, and nothing else of this partition goes on meanwhile.
        """
        if self.is_leader or asked.leader_epoch != self.leader_epoch or self.offline_reason is not None:
            return None
        log = self.log
        advice = advise(asked, error, diverging, log_start, log.log_end_offset, log.epochs)
        try:
            if advice.step is Step.TRUNCATE:
                log.truncate_to(advice.offset)
            elif advice.step is Step.RESTART:
                log.truncate_fully(advice.offset)
            elif advice.step is Step.APPEND and records is not None and len(records):
                advice = self._append(records, now_ms)
        except (InvalidBatches, DiskFull) as refused:
            advice = Advice(Step.BACK_OFF, why=str(refused), ours=True)
        except StorageError as failure:
            self.go_offline(str(failure))
            return Advice(Step.BACK_OFF, why=str(failure), ours=True)
        end = log.log_end_offset
        if advice.step is Step.APPEND:
            if log_start > log.log_start_offset:
                log.advance_log_start(min(log_start, end))
            self.high_watermark = max(self.high_watermark, min(high_watermark, end))
        self.high_watermark = log.high_watermark = min(self.high_watermark, end)
        if self.fetch_waiters:
            self._wake_consumers(0)
        return advice
