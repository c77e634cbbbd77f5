"""Opening a partition's folder: what the files hold becomes a `Log`, damage is found, a crash is cleaned up.

Runs on a helper thread before the log serves; one log at a time.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING

from moldau_broker.storage import txn_index
from moldau_broker.storage.batches import EPOCH_AT, Scan
from moldau_broker.storage.checkpoints import decode_epochs, decode_partition_metadata
from moldau_broker.storage.epochs import LeaderEpochs
from moldau_broker.storage.errors import CorruptLog
from moldau_broker.storage.folder import check_quarantine, parse, quarantine, tidy
from moldau_broker.storage.index import OFFSET_ENTRY, TIME_ENTRY
from moldau_broker.storage.log import Log
from moldau_broker.storage.log_base import SNAPSHOT_EVERY_BYTES
from moldau_broker.storage.names import (
    INDEX,
    LEADER_EPOCHS,
    LOG,
    PARTITION_METADATA,
    SNAPSHOT,
    TIME_INDEX,
    TXN_INDEX,
)
from moldau_broker.storage.producer_log import ProducerLog
from moldau_broker.storage.recovery import (
    Fault,
    Progress,
    RecoveryReport,
    ascending,
    corrupt,
    judge,
    verified_start,
)
from moldau_broker.storage.segment import Segment
from moldau_broker.storage.segment_base import NEVER
from moldau_broker.storage.snapshots import Snapshots

if TYPE_CHECKING:
    from moldau_broker.base.ids import Uuid
    from moldau_broker.base.topic_config import TopicConfig
    from moldau_broker.storage.disk import Entry
    from moldau_broker.storage.place import OpenFiles, Place

_PROGRESS_EVERY_BYTES = 1 << 24
_LOOK_BACK_BYTES = (
    3 * SNAPSHOT_EVERY_BYTES
)  # indexes are written with each snapshot, durable with the next flush


@dataclass(frozen=True, slots=True)
class Opening:
    """How a log was left.

    Attributes:
        clean: by a clean shutdown: no scan.
        recovery_point: from the checkpoint; None when the checkpoint as a whole is lost.
        log_start_offset: from the checkpoint, 0 without a line.
        now_ms: wall clock.
        progress: told how the scan comes along.
    """

    clean: bool
    recovery_point: int | None = 0
    log_start_offset: int = 0
    now_ms: int = 0
    progress: Progress | None = None


def open_log(
    topic: str, partition: int, config: TopicConfig, place: Place, files: OpenFiles, how: Opening
) -> Log:
    """The log in a folder, which is empty for a new one.

    Raises:
        CorruptLog: durable data is damaged; the folder is marked and left as it is.
        StorageError: the disk refuses.
    """
    check_quarantine(place)
    try:
        return _Loader(topic, partition, config, place, files, how).load()
    except CorruptLog as error:
        quarantine(place, error)
        raise


class _Loader:
    """The steps of opening one log."""

    def __init__(
        self, topic: str, partition: int, config: TopicConfig, place: Place, files: OpenFiles, how: Opening
    ) -> None:
        self.topic = topic
        self.partition = partition
        self.config = config
        self.place = place
        self.files = files
        self.how = how
        self.report = RecoveryReport(clean=how.clean)
        self.is_new = False
        self.found = tidy(place)
        self.segments = self._segments()
        self.snapshots = Snapshots(
            place, [base for base, suffix in map(parse, self.found) if suffix == SNAPSHOT]
        )
        self.producers = ProducerLog(place, self.snapshots)
        self.epochs = LeaderEpochs()
        self.epochs_lost = False

    def load(self) -> Log:
        """Every step, in order."""
        self._read_epochs()
        how = self.how
        end = self._open_clean() if how.clean else self._recover()
        if how.recovery_point is not None and end < how.recovery_point:
            last = self.segments[-1]
            raise CorruptLog(
                f"the log ends at {end}, though it was durable up to offset {how.recovery_point}",
                file=self.place.path(last.name(LOG)),
                position=last.size,
                offset=end,
            )
        durable = end if how.clean else min(how.recovery_point or 0, end)
        if end < how.log_start_offset:
            self._start_over()
            end = durable = how.log_start_offset
        self.snapshots.drop_strays(segment.base_offset for segment in self.segments)
        start = max(how.log_start_offset, self.segments[0].base_offset)
        if self.epochs_lost or not self._epoch_fits(self.segments[-1], self.segments[-1].size):
            self.epochs_lost = True
            self._find_epochs()
        self.epochs.truncate_from_end(end)
        self.epochs.truncate_from_start(start)
        for segment in self.segments:
            self.files.forget(segment)  # nothing is open until it is used
        return Log(
            self.topic,
            self.partition,
            self._topic_id(),
            self.config,
            place=self.place,
            files=self.files,
            segments=tuple(self.segments),
            log_start_offset=start,
            log_end_offset=end,
            durable_offset=max(durable, start),
            epochs=self.epochs,
            producers=self.producers,
            recovery=self.report,
            # After a crash nobody knows whether the folder itself was ever synced.
            is_new=self.is_new or not how.clean,
            epochs_are_saved=how.clean and not self.epochs_lost,
        )

    # --- what is there -------------------------------------------------------------------------------

    def _segments(self) -> list[Segment]:
        logs = [(parse(name), entry) for name, entry in self.found.items()]
        live = sorted((base, entry) for (base, suffix), entry in logs if suffix == LOG)
        self.is_new = not live
        return [self._segment(base, entry) for base, entry in live] or [self._fresh()]

    def _segment(self, base: int, entry: Entry | None = None) -> Segment:
        return Segment(
            self.place,
            self.files,
            base,
            size=entry.size if entry else 0,
            created_ms=entry.modified_ms if entry else self.how.now_ms,
            interval=self.config.index_interval_bytes,
            index_bytes=self.config.segment_index_bytes,
        )

    def _fresh(self) -> Segment:
        segment = self._segment(self.how.log_start_offset)
        segment.create()
        return segment

    def _start_over(self) -> None:
        """All data lies below the log start offset: begin there, empty."""
        for segment in reversed(self.segments):
            segment.remove()
        self.segments = [self._fresh()]
        self.place.disk.sync_folder(self.place.folder)
        self.snapshots.drop_above(-1)
        self.producers.rebuild(self.segments, self.how.log_start_offset)

    def _topic_id(self) -> Uuid | None:
        if PARTITION_METADATA not in self.found:
            return None
        try:
            return decode_partition_metadata(self.place.disk.read(self.place.path(PARTITION_METADATA)))
        except CorruptLog:
            if self.how.clean or self.how.recovery_point:
                raise
            self.place.disk.unlink(self.place.path(PARTITION_METADATA))
            return None  # it becomes durable with the first flush, which never came

    def _read_epochs(self) -> None:
        self.epochs_lost = any(segment.size for segment in self.segments)
        if LEADER_EPOCHS in self.found:
            try:
                entries = decode_epochs(self.place.disk.read(self.place.path(LEADER_EPOCHS)))
            except CorruptLog:
                return
            self.epochs = LeaderEpochs(entries)
            self.epochs_lost = False

    def _epoch_fits(self, segment: Segment, position: int) -> bool:
        """Whether the newest epoch is that of the segment's last batch before byte `position`.

        It is not if a full disk kept the checkpoint from being written while batches still had room.
        """
        if position == 0:
            return True
        tail = segment.tail
        if tail is not None and tail.position and position == segment.size:
            epoch = int.from_bytes(segment.reader()(4, tail.position[-1] + EPOCH_AT), "big", signed=True)
        else:
            entry = segment.offset_index.floor(1, position - 1)
            epoch = list(segment.batches(entry[1] if entry else 0, position))[-1].leader_epoch
        return epoch in (self.epochs.latest, -1)

    def _find_epochs(self) -> None:
        """The checkpoint is gone: the batches know."""
        self.epochs.clear()
        for segment in self.segments:
            for batch in segment.batches():
                if batch.leader_epoch != self.epochs.latest and batch.leader_epoch >= 0:
                    self.epochs.assign(batch.leader_epoch, batch.base_offset)

    # --- after a clean shutdown ----------------------------------------------------------------------

    def _open_clean(self) -> int:
        """Nothing is scanned but the end; returns the log's end offset."""
        for segment in self.segments:
            if self._index_is_bad(segment):
                self._rebuild_index(segment)
        active = self.segments[-1]
        try:
            end = active.resume()
        except CorruptLog:
            self._rebuild_index(active)
            end = active.resume()
        self.report.walked_bytes = self.producers.rebuild(self.segments, end)
        return end

    def _index_is_bad(self, segment: Segment) -> bool:
        """Missing where there should be one, or not a whole number of entries."""
        for suffix, size in ((INDEX, OFFSET_ENTRY.size), (TIME_INDEX, TIME_ENTRY.size)):
            entry = self.found.get(segment.name(suffix))
            if entry is None:
                if segment.size > self.config.index_interval_bytes:
                    return True
            elif entry.size % size:
                return True
        return False

    def _rebuild_index(self, segment: Segment) -> None:
        """Both indexes anew from the headers."""
        self.report.rebuilt_indexes += 1
        size = segment.size
        batches = segment.batches(0, size)
        segment.rewind(0, 0, segment.base_offset, aborts_below=NEVER)
        for batch in batches:
            segment.note(batch.last_offset, batch.size, batch.max_timestamp)
        segment.finish()

    # --- after a crash -------------------------------------------------------------------------------

    def _recover(self) -> int:
        """Check everything from the recovery point on; returns the log's end offset.

        Raises:
            CorruptLog: below the recovery point.
        """
        segments, point = self.segments, self.how.recovery_point
        # With the recovery point at a segment's base, the one before may have been rolled without another
        # flush, so that its log is durable and its index is not: begin there.
        first = max(0, bisect_left([s.base_offset for s in segments], point or 0) - 1)
        for segment in segments[:first]:
            if self._index_is_bad(segment):
                self._rebuild_index(segment)
        keep, position, end = self._start_in(segments[first], point or 0)
        self.report.walked_bytes = self.producers.rebuild(
            segments[: first + 1], end, point or 0 if keep else 0
        )
        self.snapshots.drop_above(self.producers.as_of)
        self.epochs.truncate_from_end(end)
        if position or first:
            before = segments[first] if position else segments[first - 1]
            self.epochs_lost |= not self._epoch_fits(before, position or before.size)
        else:
            self.epochs_lost = False  # the scan sees every batch there is, and learns all epochs from them
        to_do = sum(segment.size for segment in segments[first:]) - position
        for at in range(first, len(segments)):
            segment = segments[at]
            size = segment.size
            read = segment.reader()
            scan = Scan(read, position, size, base_offset=segment.base_offset, next_offset=end)
            scan.gapless = at == len(segments) - 1  # the active segment is never compacted
            if segment.base_offset > end and at > first and not self.config.is_compacted:
                scan.fault = f"offsets {end} to {segment.base_offset} are missing"
            else:
                scan.next_offset = max(end, segment.base_offset)
                segment.rewind(keep, position, scan.next_offset, aborts_below=self.producers.as_of)
                if position:
                    segment.look_back(position, _LOOK_BACK_BYTES)
                self._take_in(segment, scan, to_do)
            if scan.fault is not None:
                is_last = at == len(segments) - 1
                what = judge(
                    scan, point, is_last=is_last, read=read, size=size, base_offset=segment.base_offset
                )
                if what is Fault.CORRUPT:
                    raise corrupt(self.place.path(segment.name(LOG)), scan, point)
                self._cut(at, scan, size)
                return scan.next_offset
            end = scan.next_offset
            keep = position = 0
            if at < len(segments) - 1:
                segment.finish()
        return end

    def _start_in(self, segment: Segment, point: int) -> tuple[int, int, int]:
        """(index entries to keep, position, offset) to scan from in the segment with the recovery point."""
        nothing = 0, 0, segment.base_offset
        if self._index_is_bad(segment) or point <= segment.base_offset:
            return nothing
        try:
            entries = segment.offset_index.entries()
            if not ascending(entries) or not ascending(segment.time_index.entries()):
                return nothing
            txn_index.read(self.place, segment.name(TXN_INDEX))
        except CorruptLog:
            return nothing
        read = segment.reader()
        keep, position = verified_start(entries, segment.base_offset, point, read, segment.size)
        if keep == 0:
            return nothing
        return keep, position, int.from_bytes(read(8, position), "big")

    def _take_in(self, segment: Segment, scan: Scan, to_do: int) -> None:
        """Indexes, epochs and producer state learn every whole batch of the scan."""
        read = segment.reader()
        report = self.report
        told = report.scanned_bytes
        for batch in scan:
            segment.note(batch.last_offset, batch.size, batch.max_timestamp)
            if batch.leader_epoch != self.epochs.latest and batch.leader_epoch >= 0:
                self.epochs.assign(batch.leader_epoch, batch.base_offset)
            if batch.producer_id >= 0 and batch.base_offset >= self.producers.as_of:
                self.producers.replay(batch, read, segment)
            report.scanned_bytes += batch.size
            if self.how.progress is not None and report.scanned_bytes - told >= _PROGRESS_EVERY_BYTES:
                told = report.scanned_bytes
                self.how.progress(self.place.folder, told, to_do)

    def _cut(self, at: int, scan: Scan, size: int) -> None:
        """End the log at the scan's last whole batch: later segments go, newest first, then the torn tail."""
        report, segment = self.report, self.segments[at]
        report.cut_at = scan.next_offset
        report.cut_bytes = size - scan.position
        report.reason = scan.fault or ""
        for later in reversed(self.segments[at + 1 :]):
            report.cut_bytes += later.size
            report.cut_segments += 1
            later.remove()
        del self.segments[at + 1 :]
        if scan.position == 0 and at > 0:
            report.cut_segments += 1
            segment.remove()
            del self.segments[at]
            self.segments[-1].resume()
        else:
            file = segment.handle()
            file.truncate(scan.position)
            file.datasync()
            if segment.tail is None:
                segment.resume()
        self.place.disk.sync_folder(self.place.folder)
