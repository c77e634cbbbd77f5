"""Hosted partitions on a disk in memory, following an image that a test writes by hand.

bench = ReplicaBench()
partition = bench.create_topic("t")
outcome = partition.append(bench.accepted(make_batch()), bench.clock.wall_ms(), all_in_sync=True)
partition.when_committed(outcome.next_offset, told.append)
bench.committer.flush()          # now it is durable, and `told` knows
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random

from moldau_broker.base.ids import Uuid, format_uuid, random_uuid
from moldau_broker.metadata.delta import MetadataDelta
from moldau_broker.metadata.image import MetadataImage, PartitionImage, ResourceType, TopicImage
from moldau_broker.replication.lost import ControllerSender
from moldau_broker.replication.manager import ReplicaManager
from moldau_broker.replication.partition import Partition
from moldau_broker.replication.validation import Accepted
from moldau_broker.storage.errors import StorageError
from moldau_broker.storage.log import Log
from moldau_broker.storage.logdir import LogDir
from moldau_broker.testing.controller import ManualClock
from moldau_broker.testing.disk import SimDisk
from moldau_broker.wire.records import parse_header

NODE_ID = 1


class ManualCommitter:
    """Flushes when told to; requests for one log share a flush, as in `storage.group_commit`.

    Attributes:
        flushes: done so far.
    """

    def __init__(self) -> None:
        self.flushes = 0
        self._waiting: dict[Log, list[Callable[[StorageError | None], None]]] = {}

    @property
    def asked(self) -> int:
        """Logs with a request that waits."""
        return len(self._waiting)

    def request(self, log: Log, callback: Callable[[StorageError | None], None]) -> None:
        """See `replication.partition.Committer`."""
        self._waiting.setdefault(log, []).append(callback)

    def flush(self) -> None:
        """Do what was asked for until now, and tell."""
        waiting, self._waiting = self._waiting, {}
        for log, callbacks in waiting.items():
            self.flushes += 1
            failure: StorageError | None = None
            try:
                log.mark_durable(log.flush(), log.generation)
            except StorageError as error:
                failure = error
            for callback in callbacks:
                callback(failure)

    def flush_all(self) -> None:
        """Until nobody asks any more."""
        while self._waiting:
            self.flush()


class ReplicaBench:
    """A replica manager with everything below it real but the disk, the clock and the committer.

    Attributes:
        disk, clock, committer: what a test turns.
        log_dir, replicas: the parts under test.
        image: what the cluster looks like; changed by the methods, each of which publishes it.
    """

    def __init__(
        self,
        disk: SimDisk | None = None,
        *,
        seed: int = 1,
        flush_acks_all: bool = True,
        node_id: int = NODE_ID,
        controller: ControllerSender | None = None,
    ) -> None:
        self.node_id = node_id
        self._controller = controller
        self.disk = disk or SimDisk()
        self.clock = ManualClock()
        self.committer = ManualCommitter()
        self._rng = Random(seed)  # noqa: S311 - a test is to be repeatable
        self._flush_acks_all = flush_acks_all
        self.image = MetadataImage("cluster")
        self.log_dir: LogDir
        self.replicas: ReplicaManager
        self._open()

    def _open(self) -> None:
        self.log_dir = LogDir.open(
            self.disk,
            cluster_id=format_uuid(Uuid(bytes(15) + b"\x07")),
            node_id=self.node_id,
            clock=self.clock,
            rng=self._rng,
        )
        self.committer = ManualCommitter()
        self.replicas = ReplicaManager(
            self.node_id,
            self.log_dir,
            self.committer,
            self.clock,
            {},
            flush_acks_all=self._flush_acks_all,
            controller=self._controller,
            broker_epoch=lambda: self.image.brokers[self.node_id].epoch,
        )

    def restart(self, *, clean: bool = True, power_failure: Random | None = None) -> None:
        """Close and open again, with the image as it is.

        Unclean is a kill, which loses nothing written; a power failure keeps what was synced and, as the random
        numbers have it, some of the rest.
        """
        if clean and power_failure is None:
            self.log_dir.close()
        self.disk.crash(power_failure or self._rng, lose_nothing=power_failure is None)
        self._open()
        logs = self.log_dir.load_logs(
            lambda topic: self.replicas.topic_config(self.image, topic)  # as the composed broker does
        )
        self.replicas.adopt(logs)
        self.replicas.apply(MetadataDelta(MetadataImage("cluster"), self.image), self.image)

    # --- the image ------------------------------------------------------------------------------------

    def publish(
        self,
        *topics: TopicImage,
        without: Sequence[str] = (),
        configs: Mapping[tuple[int, str], Mapping[str, str]] | None = None,
    ) -> None:
        """The next image: these topics new or changed, those gone, these settings."""
        by_name = {name: topic for name, topic in self.image.topics.items() if name not in without}
        by_name.update({topic.name: topic for topic in topics})
        before = self.image
        image = MetadataImage(
            "cluster",
            offset=before.offset + 1,
            topics=by_name,
            topics_by_id={topic.topic_id: topic for topic in by_name.values()},
            brokers=before.brokers,
            configs=before.configs if configs is None else {**before.configs, **configs},
        )
        self.follow(image)

    def follow(self, image: MetadataImage) -> None:
        """The next image, whole."""
        before, self.image = self.image, image
        self.replicas.apply(MetadataDelta(before, image), image)

    def topic(
        self,
        name: str,
        partitions: int = 1,
        *,
        leader: int = NODE_ID,
        epoch: int = 0,
        replicas: tuple[int, ...] = (NODE_ID,),
        isr: tuple[int, ...] | None = None,
    ) -> TopicImage:
        """An image of a topic, with the id it has already or a new one."""
        known = self.image.topics.get(name)
        one = PartitionImage(
            replicas=replicas,
            directories=(Uuid(bytes(16)),) * len(replicas),
            isr=replicas if isr is None else isr,
            leader=leader,
            leader_epoch=epoch,
            partition_epoch=epoch,
        )
        topic_id = known.topic_id if known is not None else random_uuid(self._rng)
        return TopicImage(name, topic_id, (one,) * partitions)

    def create_topic(self, name: str, partitions: int = 1, **settings: str) -> Partition:
        """Publish a topic led here; settings are Kafka's, with _ for the dots. Gives partition 0."""
        config = {key.replace("_", "."): value for key, value in settings.items()}
        self.publish(
            self.topic(name, partitions),
            configs={(int(ResourceType.TOPIC), name): config} if config else None,
        )
        return self.partition(name)

    def partition(self, name: str, index: int = 0) -> Partition:
        """A hosted partition, which must be there."""
        found = self.replicas.partition(name, index)
        assert found is not None, f"{name}-{index} is not hosted: {self.replicas.failures}"
        return found

    # --- requests -------------------------------------------------------------------------------------

    @staticmethod
    def accepted(batch: bytearray) -> Accepted:
        """A batch as if it had been validated."""
        return Accepted(batch, parse_header(batch))
