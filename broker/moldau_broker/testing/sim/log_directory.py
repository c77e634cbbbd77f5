"""The partitions' logs on one simulated disk: the twin of `storage.logdir`, as far as replicas use it.

A log that loses its name, damaged or nobody's, is kept aside until it is certain that its topic is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import TYPE_CHECKING, Any

from moldau_broker.base.ids import Uuid
from moldau_broker.base.topic_config import TopicConfig
from moldau_broker.metadata.image import MetadataImage
from moldau_broker.storage.errors import FileMissing, StorageError
from moldau_broker.testing.sim.client import Key
from moldau_broker.testing.sim.partition_log import SimLog

if TYPE_CHECKING:
    from moldau_broker.testing.sim.node import SimNode

_NEWEST_EPOCH = "newest-epoch"


class SimLogDirectory:
    """One life's view of them: a `replication.seams.LogDirectory`.

    Attributes:
        offline: partitions whose log is damaged.
    """

    def __init__(self, node: SimNode, watch: Callable[[SimLog], None]) -> None:
        """`watch` is told every log that is opened or made."""
        self._node = node
        self._watch = watch
        self._found: list[SimLog] = []
        self._may_sweep: bool | None = None
        self.offline: dict[Key, StorageError] = {}

    def load(self) -> dict[Key, SimLog]:
        """Open what is there; damaged ones end up in `offline`."""
        self._found = [log for log in self._node.disk.logs.values() if isinstance(log, SimLog)]
        for log in self._found:
            self._open(log)
            if log.failure is not None:
                self._failed(log, log.failure)
        return {(log.topic, log.partition): log for log in self._found if log.failure is None}

    def _open(self, log: SimLog) -> None:
        self._watch(log)
        log.on_failed, log.take_room = self._failed, self._node.disk.take_room

    def _failed(self, log: SimLog, error: StorageError) -> None:
        """As `storage.logdir.LogDir.failed`."""
        self._node.coverage.hit("bit flips found by reading")
        self.offline[log.topic, log.partition] = error

    def create_log(self, topic: str, partition: int, topic_id: Uuid, config: TopicConfig) -> SimLog:
        """A new, empty log; whoever had its name must be out of the way."""
        disk = self._node.disk
        if (topic, partition) in self.offline or (topic, partition) in disk.logs:
            raise StorageError(f"{topic}-{partition} exists already")
        disk.operation()
        disk.take_room()
        log = SimLog(topic, partition, topic_id, config, disk.operation)
        disk.logs[topic, partition] = log
        self._open(log)
        return log

    def delete_log(self, log: SimLog) -> None:
        """The replica has moved away, or its topic was deleted."""
        disk = self._node.disk
        disk.operation()
        self._node.coverage.hit("replicas dropped")
        disk.logs.pop((log.topic, log.partition), None)
        disk.files.pop(("checkpoint", (log.topic, log.partition)), None)
        self.offline.pop((log.topic, log.partition), None)

    def remove_offline(self, topic: str, partition: int) -> None:
        """A damaged replica is set aside; one that could not be made has no folder."""
        log = self._node.disk.logs.get((topic, partition))
        if log is None:
            raise FileMissing(f"{topic}-{partition} is not there")
        self._set_aside(log)
        if self.offline.pop((topic, partition), None) is not None:
            self._node.coverage.hit("replicas begun anew")

    def stray_log(self, log: SimLog) -> None:
        """Set aside: damaged, or of a topic that is not there any more."""
        if (log.topic, log.partition) in self.offline:
            self.remove_offline(log.topic, log.partition)
        else:
            self._node.coverage.hit("strays set aside")
            self._node.disk.operation()
            self._set_aside(log)

    def _set_aside(self, log: SimLog) -> None:
        disk, key = self._node.disk, (log.topic, log.partition)
        disk.aside.append(disk.logs.pop(key))
        disk.files.pop(("checkpoint", key), None)

    # -- what was deleted meanwhile -----------------------------------------------------------------------

    def first_image(self, image: MetadataImage) -> None:
        """Called before each image is acted on; the first one says whether this is the cluster the logs are from."""
        if self._may_sweep is None:
            self._may_sweep = any(log.topic_id in image.topics_by_id for log in self._found)
            self._found.clear()

    def note_epoch(self, broker_epoch: int) -> bool:
        """They only grow, as metadata is never restored here. A full disk cannot note it."""
        disk = self._node.disk
        if disk.room == 0:
            self._may_sweep = False
            return False
        assert broker_epoch > disk.files.get(_NEWEST_EPOCH, -1), "a registration is newer than any before it"
        disk.files[_NEWEST_EPOCH] = broker_epoch
        return True

    def drop_strays(self, is_gone: Callable[[Uuid, int], bool]) -> int:
        """What was set aside goes, if it is whole and nobody's."""
        disk = self._node.disk
        kept: list[Any] = [
            log for log in disk.aside if log.is_damaged or not is_gone(log.topic_id, log.partition)
        ]
        dropped = len(disk.aside) - len(kept)
        if dropped:
            disk.operation()
            disk.aside = kept
        return dropped

    def left_over(self, dead: Container[Uuid]) -> SimLog | None:
        """A log of a topic that is gone, where this life could know that it is; None if all is as it should be.

        It cannot know where it found nothing that the cluster knows: then the metadata may be another cluster's.
        """
        if self._may_sweep is False:
            return None
        disk = self._node.disk
        logs = [log for log in (*disk.logs.values(), *disk.aside) if isinstance(log, SimLog)]
        return next((log for log in logs if log.topic_id in dead and not log.is_damaged), None)
