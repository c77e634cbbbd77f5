"""One data directory: whose it is, which logs it holds, what its checkpoints say.

`open`, `load_logs` and `close` block. Everything else belongs to the loop thread, except `checkpoint` with
values taken there (`collect`), and `purge`.
Source: protocol guide of Kafka 4.3, on-disk format; `LogManager`.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from random import Random, SystemRandom
from typing import TYPE_CHECKING

from moldau_broker.base.clock import Clock, SystemClock
from moldau_broker.base.ids import Uuid, random_uuid
from moldau_broker.base.topics import CLUSTER_METADATA
from moldau_broker.storage.checkpoints import (
    decode_clean_shutdown,
    encode_clean_shutdown,
    encode_partition_metadata,
)
from moldau_broker.storage.closing import close_all
from moldau_broker.storage.disk import Disk, DiskFile, OsDisk, open_files_allowed
from moldau_broker.storage.errors import CorruptLog, FileMissing, StorageError
from moldau_broker.storage.folder import quarantine
from moldau_broker.storage.identity import Identity, read_identity, write_identity
from moldau_broker.storage.load_progress import LoadProgress
from moldau_broker.storage.loading import Opening, open_log
from moldau_broker.storage.names import (
    CLEAN_SHUTDOWN,
    DELETE_FOLDER,
    HIGH_WATERMARKS,
    LOCK,
    LOG_STARTS,
    PARTITION_METADATA,
    RECOVERY_POINTS,
    STRAY_FOLDER,
    folder_name,
    marked_folder_name,
    parse_folder,
)
from moldau_broker.storage.offset_checkpoints import Collected, OffsetCheckpoints, TopicPartition
from moldau_broker.storage.place import OpenFiles, Place
from moldau_broker.storage.strays import Strays, note_epoch

if TYPE_CHECKING:
    from moldau_broker.base.topic_config import TopicConfig
    from moldau_broker.storage.log import Log
    from moldau_broker.storage.log_base import LogBase


class LogDir:
    """An open data directory, locked against other processes.

    Attributes:
        cluster_id, node_id, directory_id: from meta.properties.
        was_clean: it was closed cleanly by its last user.
        previous_broker_epoch: the epoch that user wrote down; -1 if unknown.
        logs: by (topic, partition).
        offline: partitions whose folder could not be opened, or whose log has failed since, and why.
        on_flush_due: called with a log that should be flushed although nobody waits; on the loop thread.
    """

    def __init__(
        self,
        disk: Disk,
        lock: DiskFile,
        identity: Identity,
        checkpoints: OffsetCheckpoints,
        *,
        clock: Clock,
        rng: Random,
        open_files_max: int,
    ) -> None:
        self.disk = disk
        self.clock = clock
        self.cluster_id, self.node_id, self.directory_id = identity
        self.was_clean = False
        self.previous_broker_epoch = -1
        self.logs: dict[TopicPartition, Log] = {}
        self.offline: dict[TopicPartition, StorageError] = {}
        self._checkpoints = checkpoints
        self.on_flush_due: Callable[[LogBase], None] | None = None
        self._lock_file: DiskFile | None = lock
        self._rng = rng
        self._files = OpenFiles(open_files_max)
        self._trash: deque[tuple[int, str]] = deque()
        self._strays = Strays(disk)

    # --- opening and closing -------------------------------------------------------------------------

    @classmethod
    def open(
        cls,
        where: str | os.PathLike[str] | Disk,
        *,
        cluster_id: str | None,
        node_id: int,
        clock: Clock | None = None,
        rng: Random | None = None,
        open_files_max: int = 0,
    ) -> LogDir:
        """Lock the directory and read what it says of itself; an empty one is formatted.

        `cluster_id` None accepts the directory's own; a new directory needs one. `open_files_max` bounds the
        log files kept open (softly; reopening one costs 5 us): by default half of what the process may open,
        as connections need the rest.

        Raises:
            StorageError: it is in use, belongs to another cluster or node, or cannot be read.
        """
        disk = OsDisk(where) if isinstance(where, str | os.PathLike) else where
        lock = disk.lock(LOCK)
        rng = rng or SystemRandom()
        checkpoints = OffsetCheckpoints(disk)
        identity = read_identity(disk, cluster_id, node_id)
        if identity is None:
            identity = Identity(cluster_id or "", node_id, random_uuid(rng))
            checkpoints.create()
            write_identity(disk, identity)  # last: without it the directory is new
        checkpoints.read()
        directory = cls(
            disk,
            lock,
            identity,
            checkpoints,
            clock=clock or SystemClock(),
            rng=rng,
            open_files_max=open_files_max or open_files_allowed() // 2,
        )
        directory._take_clean_marker()
        return directory

    def _take_clean_marker(self) -> None:
        """From here on an end of this process is a crash until `close` says otherwise."""
        try:
            self.previous_broker_epoch = decode_clean_shutdown(self.disk.read(CLEAN_SHUTDOWN))
        except FileMissing:
            return
        self.was_clean = True
        self.disk.unlink(CLEAN_SHUTDOWN)
        self.disk.sync_folder()

    def close(self, *, clean: bool = True, broker_epoch: int = -1) -> None:
        """Close every log; after a clean close the next opening checks nothing. Blocks for the flushes.

        A log that cannot be flushed makes the whole close unclean, so that the next opening looks at it.
        """
        if self._lock_file is None:
            return
        clean = close_all(self.logs.values(), clean=clean) and clean
        try:
            if clean:
                self.checkpoint(self.collect())
                self.disk.replace(CLEAN_SHUTDOWN, encode_clean_shutdown(broker_epoch))
        finally:
            self._lock_file = None

    # --- logs ----------------------------------------------------------------------------------------

    def load_logs(
        self,
        config_for: Callable[[str], TopicConfig],
        progress: Callable[[LoadProgress], None] | None = None,
    ) -> dict[TopicPartition, Log]:
        """Open every partition's folder but the metadata log's. Damaged ones end up in `offline`.

        Blocks, for long after a crash; may run on a helper thread before the directory is used otherwise.
        """
        found = []
        for entry in self.disk.entries():
            if not entry.is_folder:
                continue
            key = parse_folder(entry.name)
            if entry.name.endswith(DELETE_FOLDER):
                self._trash.append((0, entry.name))
            elif entry.name.endswith(STRAY_FOLDER):
                self._strays.note(entry.name, config_for("").file_delete_delay_ms)
            elif key is not None and key not in self.logs and key[0] != CLUSTER_METADATA:
                found.append(key)
        state = LoadProgress(logs=len(found))
        for key in sorted(found):
            state.current, state.scanned, state.to_scan = folder_name(*key), 0, 0
            if progress is not None:
                progress(state)

            def scanned(_: str, done: int, to_do: int) -> None:
                state.scanned, state.to_scan = done, to_do
                if progress is not None:
                    progress(state)

            try:
                self._open(key, config_for(key[0]), scanned)
            except StorageError as error:
                self.offline[key] = error
            state.logs_loaded += 1
        if progress is not None:
            progress(state)
        present = {*self.logs, *self.offline}
        self._checkpoints.carry_only(lambda key: key in present or key[0] == CLUSTER_METADATA)
        return self.logs

    def open_log(
        self,
        topic: str,
        partition: int,
        config: TopicConfig,
        *,
        topic_id: Uuid | None = None,
        progress: Callable[[str, int, int], None] | None = None,
    ) -> Log:
        """Open one log, made if it is not there: for logs that `load_logs` leaves out (cluster metadata).

        Raises:
            CorruptLog: durable data is damaged.
            StorageError: the disk refuses.
        """
        key = (topic, partition)
        assert key not in self.logs, f"{key} is open"
        folder = folder_name(topic, partition)
        if any(entry.name == folder for entry in self.disk.entries()):
            return self._open(key, config, progress)
        return self._create(key, topic_id, config)

    def create_log(self, topic: str, partition: int, topic_id: Uuid, config: TopicConfig) -> Log:
        """Make a partition's folder and its empty log. Durable with the log's first flush.

        Raises:
            StorageError: the name is illegal, the partition exists, or the disk refuses.
        """
        key = (topic, partition)
        if key in self.logs or key in self.offline:
            raise StorageError(f"{topic}-{partition} exists already")
        try:
            folder_name(topic, partition)
        except ValueError as error:
            raise StorageError(str(error)) from error
        return self._create(key, topic_id, config)

    def _create(self, key: TopicPartition, topic_id: Uuid | None, config: TopicConfig) -> Log:
        if self._checkpoints.promises(key):
            # Lines of a deleted namesake would promise offsets that this log never had.
            self._checkpoints.forget(key)
            self.checkpoint(self.collect())
        folder = folder_name(*key)
        self.disk.make_folder(folder)
        try:
            if topic_id is not None:
                self.disk.write(f"{folder}/{PARTITION_METADATA}", encode_partition_metadata(topic_id))
            how = Opening(clean=True, now_ms=self.clock.wall_ms())
            return self._adopt(key, open_log(*key, config, Place(self.disk, folder), self._files, how))
        except StorageError:
            self.disk.remove_folder(folder)
            raise

    def _open(
        self, key: TopicPartition, config: TopicConfig, progress: Callable[[str, int, int], None] | None
    ) -> Log:
        checkpoints = self._checkpoints
        point = None if checkpoints.points_lost else checkpoints.carried(RECOVERY_POINTS, key)
        how = Opening(
            clean=self.was_clean,
            recovery_point=point,
            log_start_offset=checkpoints.carried(LOG_STARTS, key),
            now_ms=self.clock.wall_ms(),
            progress=progress,
        )
        place = Place(self.disk, folder_name(*key))
        log = open_log(*key, config, place, self._files, how)
        mark = checkpoints.carried(HIGH_WATERMARKS, key)
        log.high_watermark = min(max(mark, log.log_start_offset), log.log_end_offset)
        checkpoints.forget(key)
        return self._adopt(key, log)

    def _adopt(self, key: TopicPartition, log: Log) -> Log:
        log.observer = self
        self.logs[key] = log
        return log

    # --- what logs tell ------------------------------------------------------------------------------

    def failed(self, log: LogBase, error: StorageError) -> None:
        """A log has gone out of service. Any thread; blocks for a note where data is damaged, which a restart heeds."""
        if isinstance(error, CorruptLog):
            quarantine(log.place, error)
        self.offline[log.topic, log.partition] = error

    def flush_due(self, log: LogBase) -> None:
        """A log has gathered flush.messages, or what a restart should have to check at most."""
        if self.on_flush_due is not None:
            self.on_flush_due(log)

    def truncating(self, log: LogBase, offset: int) -> None:
        """A log is about to be cut: no checkpoint may promise what goes. Blocks for the write."""
        collected = self.collect()
        for offsets in collected.offsets.values():
            key = log.topic, log.partition
            if key in offsets:
                offsets[key] = min(offsets[key], offset)
        self.checkpoint(collected)

    # --- taking logs away ----------------------------------------------------------------------------

    def delete_log(self, log: Log, *, delay_ms: int | None = None) -> None:
        """Take a log out of service and its folder out of sight; `purge` frees the space when it is due.

        Raises:
            StorageError: the folder could not be renamed.
        """
        folder = self._mark(log, DELETE_FOLDER)
        delay = log.config.file_delete_delay_ms if delay_ms is None else delay_ms
        self._trash.append((self.clock.wall_ms() + delay, folder))

    def stray_log(self, log: Log) -> None:
        """Set a folder aside that the cluster's metadata does not know; `drop_strays` may delete it.

        Raises:
            StorageError: the folder could not be renamed.
        """
        delay_ms = log.config.file_delete_delay_ms
        self._strays.note(self._mark(log, STRAY_FOLDER), delay_ms)

    def note_epoch(self, broker_epoch: int) -> bool:
        """See `strays.note_epoch`."""
        return note_epoch(self.disk, broker_epoch)

    def drop_strays(self, is_gone: Callable[[Uuid, int], bool]) -> int:
        """Have `purge` delete, after their delay, strays of which the metadata is sure, by topic id and partition."""
        gone = self._strays.take(is_gone)
        now_ms = self.clock.wall_ms()
        self._trash.extend((now_ms + delay_ms, folder) for folder, delay_ms in gone)
        return len(gone)

    def _mark(self, log: Log, mark: str) -> str:
        unique = f"{self._rng.getrandbits(128):032x}"
        folder = marked_folder_name(log.topic, log.partition, unique, mark)
        log.move_away(folder)
        key = log.topic, log.partition
        self.logs.pop(key, None)
        self.offline.pop(key, None)
        return folder

    def remove_offline(self, topic: str, partition: int) -> None:
        """Set the folder of a partition aside that could not be opened, so that it can be made anew.

        Raises:
            StorageError: the folder could not be renamed.
        """
        unique = f"{self._rng.getrandbits(128):032x}"
        target = marked_folder_name(topic, partition, unique, STRAY_FOLDER)
        self.disk.rename(folder_name(topic, partition), target)
        self.offline.pop((topic, partition), None)
        self._checkpoints.forget((topic, partition))

    def give_up_log(self, topic: str, partition: int) -> None:
        """Its files are about to be set aside: no checkpoint promises anything of it any more. Raises StorageError."""
        key = (topic, partition)
        self.logs.pop(key, None)
        self.offline.pop(key, None)
        self._checkpoints.forget(key)
        self.checkpoint(self.collect())

    def has_trash(self, now_ms: int) -> bool:
        """Whether `purge` has anything to do."""
        return any(due <= now_ms for due, _ in self._trash) or any(
            log.has_trash(now_ms) for log in self.logs.values()
        )

    def purge(self, now_ms: int) -> int:
        """Free what deleted folders and segments hold once their delay is over; bytes freed. Blocks."""
        freed = sum(log.purge(now_ms) for log in list(self.logs.values()))
        for _ in range(len(self._trash)):
            due, folder = self._trash.popleft()
            if due > now_ms:
                self._trash.append((due, folder))
                continue
            freed += sum(entry.size for entry in self.disk.entries(folder))
            self.disk.remove_folder(folder)
        return freed

    # --- checkpoints ---------------------------------------------------------------------------------

    @property
    def damaged(self) -> list[str]:
        """Checkpoints that were unreadable at opening, for the log line."""
        return self._checkpoints.damaged

    def collect(self) -> Collected:
        """The checkpoints' values as of now. Loop thread."""
        return self._checkpoints.collect(self.logs.items())

    def checkpoint(self, collected: Collected) -> None:
        """Write the checkpoints whose values changed, durably, unless newer ones were written. Any thread.

        Raises:
            StorageError: a file could not be replaced; the old one stands.
        """
        self._checkpoints.write(collected)
