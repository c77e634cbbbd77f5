"""The cluster's metadata as one immutable value. Pure.

An image is never changed: `delta.MetadataDelta` builds the next one and shares every part that stayed the
same, so holding an old image is free and comparing two parts by identity is meaningful. Field names follow
Kafka's own images and its metadata records (KIP-500, KIP-631; directories: KIP-858; ELR: KIP-966).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from moldau_broker.base.ids import Uuid

NO_LEADER: Final = -1
RECOVERED: Final = 0
RECOVERING: Final = 1

CORDONED: Final = "cordoned.log.dirs"
"""The broker setting that keeps new replicas away from it."""

_EMPTY: Final[Mapping[Any, Any]] = MappingProxyType({})


class ResourceType(IntEnum):
    """What a dynamic setting belongs to (`ConfigResource.Type`, as in the config APIs and ConfigRecord)."""

    UNKNOWN = 0
    TOPIC = 2
    BROKER = 4
    BROKER_LOGGER = 8
    CLIENT_METRICS = 16
    GROUP = 32


class PartitionImage(NamedTuple):
    """One partition's replicas, leader and epochs.

    Attributes:
        replicas: broker ids; the first is the preferred leader.
        directories: for each replica the id of its log directory (KIP-858).
        isr: in-sync replicas.
        leader: broker id, or `NO_LEADER`.
        leader_epoch: counts leaders; every change of `leader`, also to none or to itself, adds one.
        partition_epoch: counts changes of any kind; AlterPartition's compare-and-set value.
        removing, adding: replicas of a reassignment under way (KIP-455).
        elr, last_known_elr: eligible leader replicas (KIP-966).
        leader_recovery_state: `RECOVERED`, or `RECOVERING` after an unclean election (KIP-704).
    """

    replicas: tuple[int, ...]
    directories: tuple[Uuid, ...]
    isr: tuple[int, ...]
    leader: int
    leader_epoch: int
    partition_epoch: int
    removing: tuple[int, ...] = ()
    adding: tuple[int, ...] = ()
    elr: tuple[int, ...] = ()
    last_known_elr: tuple[int, ...] = ()
    leader_recovery_state: int = RECOVERED

    def directory_of(self, broker_id: int) -> Uuid | None:
        """The directory id of that broker's replica, or None if it holds none."""
        for replica, directory in zip(self.replicas, self.directories, strict=True):
            if replica == broker_id:
                return directory
        return None


class TopicImage(NamedTuple):
    """A topic; `partitions[i]` is partition i."""

    name: str
    topic_id: Uuid
    partitions: tuple[PartitionImage, ...]


class Endpoint(NamedTuple):
    """Where a broker is reached on one listener; `security_protocol` is Kafka's id (0 = PLAINTEXT)."""

    host: str
    port: int
    security_protocol: int = 0


class VersionRange(NamedTuple):
    """Lowest and highest level of a feature that a broker supports."""

    lowest: int
    highest: int


class BrokerImage(NamedTuple):
    """A registered broker.

    Attributes:
        epoch: offset of its registration in the metadata log; names this incarnation.
        incarnation_id: drawn by the broker at each start.
        fenced: not yet (or no longer) fit to lead; not shown to clients.
        in_controlled_shutdown: leaving in order; gets no new leaderships.
        endpoints: by listener name, in registration order.
        features: supported feature levels.
        directories: ids of its log directories.
    """

    id: int
    epoch: int
    incarnation_id: Uuid
    fenced: bool
    in_controlled_shutdown: bool
    rack: str | None
    endpoints: Mapping[str, Endpoint]
    features: Mapping[str, VersionRange] = _EMPTY
    directories: tuple[Uuid, ...] = ()

    @property
    def active(self) -> bool:
        """May lead and host new replicas' leaderships."""
        return not self.fenced and not self.in_controlled_shutdown


class MetadataImage(NamedTuple):
    """Everything the metadata log says up to and including `offset`.

    Attributes:
        cluster_id: as in meta.properties.
        offset: last offset contained, -1 when empty. Also the epoch of the finalized features.
        epoch: leader epoch of the record at `offset`.
        topics, topics_by_id: the same `TopicImage`s under both keys.
        brokers: by id.
        configs: dynamic settings by (resource type, resource name); resources without any are absent.
        features: finalized levels by name, `kraft.version` included.
        producer_ids: the next producer id that no block was cut from yet.
    """

    cluster_id: str
    offset: int = -1
    epoch: int = 0
    topics: Mapping[str, TopicImage] = _EMPTY
    topics_by_id: Mapping[Uuid, TopicImage] = _EMPTY
    brokers: Mapping[int, BrokerImage] = _EMPTY
    configs: Mapping[tuple[int, str], Mapping[str, str]] = _EMPTY
    features: Mapping[str, int] = _EMPTY
    producer_ids: int = 0

    def partition(self, topic: str, index: int) -> PartitionImage | None:
        """The partition, or None if the topic or the index is unknown."""
        image = self.topics.get(topic)
        if image is None or not 0 <= index < len(image.partitions):
            return None
        return image.partitions[index]

    def config(self, resource_type: int, name: str) -> Mapping[str, str]:
        """The dynamic settings of a resource; empty if it has none."""
        return self.configs.get((int(resource_type), name), _EMPTY)

    def broker_settings(self, node_id: int) -> Mapping[str, str]:
        """Dynamic broker settings in force on a node: cluster-wide ones under the node's own."""
        everywhere = self.config(ResourceType.BROKER, "")
        own = self.config(ResourceType.BROKER, str(node_id))
        if not own:
            return everywhere
        return {**everywhere, **own} if everywhere else own

    def is_cordoned(self, broker_id: int) -> bool:
        """Whether a broker is to get nothing new: no replicas, and no leadership that another can have (KIP-1066)."""
        return bool(self.config(ResourceType.BROKER, str(broker_id)).get(CORDONED))

    @property
    def partition_count(self) -> int:
        """Number of partitions in the cluster (not replicas)."""
        return sum(len(topic.partitions) for topic in self.topics.values())
