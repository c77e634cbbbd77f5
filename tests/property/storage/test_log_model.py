"""A log against a list of batches: whatever is done to it, it reads back as the list does."""

from __future__ import annotations

from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.topic_config import TopicConfig
from moldau_broker.storage.errors import DiskFull, OffsetOutOfRange
from moldau_broker.testing.disk import SimDisk
from moldau_broker.testing.logs import append, make_batch, open_at, read_all
from moldau_broker.wire.records import parse_header


class LogModel(RuleBasedStateMachine):
    """The model: batches as (base, last, epoch, timestamp, bytes), and how far they are durable."""

    @initialize(
        segment=st.sampled_from([200, 700, 5_000]),
        interval=st.sampled_from([0, 100, 1_000]),
        seed=st.integers(0, 2**32),
    )
    def begin(self, segment, interval, seed):
        self.config = TopicConfig(
            segment_bytes=segment, index_interval_bytes=interval, file_delete_delay_ms=0, retention_ms=-1
        )
        self.rng = Random(seed)
        self.disk = SimDisk()
        self.log = open_at(self.disk, self.config)
        self.batches = []
        self.start = 0
        self.durable = 0
        self.epoch = 0
        self.now = 1_000
        self.sequences = {}

    @rule(records=st.integers(1, 4), size=st.integers(0, 80), producer=st.sampled_from([-1, 1, 2]))
    def append(self, records, size, producer):
        self.now += self.rng.choice([-3, 0, 1, 5])
        epoch, sequence = self.sequences.get(producer, (0, 0))
        batch = make_batch(
            [self.rng.randbytes(size) for _ in range(records)],
            timestamp=self.now,
            producer_id=producer,
            producer_epoch=epoch if producer >= 0 else -1,
            base_sequence=sequence if producer >= 0 else -1,
        )
        header = parse_header(batch)
        if producer >= 0:
            verdict = self.log.producers.check(header)
            assert verdict.error is ErrorCode.NONE
            assert verdict.duplicate is None
        end = self.log.log_end_offset
        base = append(self.log, batch, epoch=self.epoch, now_ms=self.now)
        assert base == end
        if producer >= 0:
            self.sequences[producer] = (epoch, sequence + records)
            duplicate = self.log.producers.check(header).duplicate
            assert duplicate is not None
            assert duplicate.base_offset == base
        last = base + records - 1
        self.batches.append((base, last, self.epoch, header.max_timestamp, bytes(batch), producer, sequence))

    @rule()
    def new_leader(self):
        self.epoch += self.rng.randint(1, 3)

    @rule()
    def flush(self):
        self.durable = self.log.sync()
        assert self.durable == self.log.log_end_offset

    @rule()
    def roll(self):
        self.log.roll()

    @rule(back=st.integers(0, 12))
    def truncate(self, back):
        offset = max(self.start, self.log.log_end_offset - back)
        if offset == self.log.log_end_offset:
            return
        self.log.truncate_to(offset)
        self.batches = [batch for batch in self.batches if batch[1] < offset]
        self.durable = min(self.durable, self.log.log_end_offset)
        assert all(start < self.log.log_end_offset for _, start in self.log.epochs.entries())
        self.remember_sequences()
        self.epoch += 1

    @rule(forward=st.integers(0, 12))
    def delete_records(self, forward):
        offset = min(self.log.log_start_offset + forward, self.log.log_end_offset)
        self.log.advance_log_start(offset)
        self.log.high_watermark = self.log.log_end_offset
        self.log.enforce_retention(self.now)
        self.log.purge(self.now)
        self.start = offset
        assert self.log.log_start_offset == offset
        assert len(self.log.segments) == 1 or self.log.segments[1].base_offset > offset

    @rule()
    def full_disk(self):
        self.disk.capacity = self.disk.used() + 30
        end, size = self.log.log_end_offset, self.log.size_bytes
        try:
            append(self.log, make_batch([bytes(200)]), epoch=self.epoch, now_ms=self.now)
        except DiskFull:
            assert (self.log.log_end_offset, self.log.size_bytes) == (end, size)
        else:
            raise AssertionError("a full disk took a batch")
        self.disk.capacity = None

    @rule()
    def stop_and_start(self):
        self.log.close()
        self.log = open_at(self.disk, self.config, log_start_offset=self.start)
        self.durable = self.log.log_end_offset
        assert self.log.durable_offset == self.durable

    @rule()
    def kill(self):
        self.disk.crash(self.rng, lose_nothing=True)
        self.reopen()
        assert self.log.recovery.cut_at == -1

    @precondition(lambda self: self.durable >= self.start)
    @rule()
    def power_failure(self):
        self.disk.crash(self.rng)
        self.disk.make_folder("t-0")
        self.reopen()
        end = self.log.log_end_offset
        assert end >= self.durable
        self.batches = [batch for batch in self.batches if batch[1] < end]
        self.remember_sequences()

    def reopen(self):
        self.log = open_at(
            self.disk, self.config, clean=False, recovery_point=self.durable, log_start_offset=self.start
        )

    def remember_sequences(self):
        self.sequences = {}
        for base, last, _, _, _, producer, sequence in self.batches:
            if producer >= 0:
                self.sequences[producer] = (0, sequence + last - base + 1)
        known = {entry.producer_id: entry for entry in self.log.producers}
        for producer in list(self.sequences):
            if producer not in known:  # all it wrote is gone: it may begin anywhere
                del self.sequences[producer]
        for producer, entry in known.items():
            # What is left of a producer may be a snapshot's; a fresh producer id would begin anew.
            self.sequences.setdefault(producer, (entry.epoch, entry.last_sequence + 1))

    def visible(self):
        return [batch for batch in self.batches if batch[1] >= self.start]

    @invariant()
    def reads_back(self):
        if not hasattr(self, "log"):
            return
        visible = self.visible()
        assert [data for _, data in read_all(self.log, max_bytes=self.rng.choice([1, 150, 10_000]))] == [
            batch[4] for batch in visible
        ]
        assert self.log.log_start_offset == self.start
        if visible:
            batch = self.rng.choice(visible)
            offset = max(self.start, self.rng.randint(batch[0], batch[1]))
            assert bytes(self.log.read(offset, 1)) == batch[4]
            target = batch[3]
            first = next(b for b in visible if b[3] >= target)
            found = self.log.offset_for_timestamp(target)
            assert found is not None
            assert found.offset <= first[1]
            assert found.timestamp >= target or found.offset == self.start
        try:
            self.log.read(self.log.log_end_offset + 1, 1)
        except OffsetOutOfRange:
            pass
        else:
            raise AssertionError("read beyond the end")

    @invariant()
    def epochs_agree(self):
        if not hasattr(self, "log"):
            return
        for base, last, epoch, *_ in self.visible():
            assert self.log.epochs.epoch_for(max(base, self.start)) == epoch
            assert self.log.epochs.epoch_for(last) == epoch

    @invariant()
    def producers_agree(self):
        if not hasattr(self, "log"):
            return
        for producer in (1, 2):
            written = [b for b in self.visible() if b[5] == producer]
            if written:
                entry = self.log.producers.get(producer)
                assert entry.batches[-1].base_offset == written[-1][0]
                assert entry.last_sequence == written[-1][6] + written[-1][1] - written[-1][0]


TestLogModel = LogModel.TestCase
TestLogModel.settings = settings(stateful_step_count=40)
