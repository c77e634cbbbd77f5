"""Whether a broker may be stopped, decided from the image. Pure.

Stopping a broker takes its replicas out of their in-sync sets. It may stop when every partition keeps a leader and
enough in-sync replicas for acks=all, and when the metadata quorum keeps its majority. A partition that is already
short of in-sync replicas is in the way only where this broker is one of those it still has.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from enum import Enum
from typing import NamedTuple

from moldau_broker.metadata.image import MetadataImage, PartitionImage


class Obstacle(Enum):
    """Why a partition is in the way."""

    ONLY_IN_SYNC_REPLICA = "only-in-sync-replica"
    BELOW_MIN_INSYNC_REPLICAS = "below-min-insync-replicas"


class BlockedPartition(NamedTuple):
    """A partition that would lose its leader, or refuse acks=all.

    Attributes:
        in_sync: the in-sync replicas on live brokers now, the one in question included.
        min_in_sync: how many acks=all needs: min.insync.replicas, or all replicas where there are fewer.
    """

    topic: str
    partition: int
    obstacle: Obstacle
    in_sync: tuple[int, ...]
    min_in_sync: int


class Stopping(NamedTuple):
    """The verdict on stopping one broker.

    Attributes:
        blocked: the partitions in the way.
        quorum_kept: whether the voters that remain and are alive are a majority.
    """

    blocked: tuple[BlockedPartition, ...]
    quorum_kept: bool

    @property
    def allowed(self) -> bool:
        """Whether nothing is in the way."""
        return self.quorum_kept and not self.blocked


def may_stop(
    image: MetadataImage,
    broker_id: int,
    min_insync_replicas: Callable[[str], int],
    voters: Collection[int],
    live_voters: Collection[int],
) -> Stopping:
    """What stopping `broker_id` would do.

    Args:
        image: the cluster.
        broker_id: a registered broker.
        min_insync_replicas: the setting of a topic.
        voters: the metadata quorum.
        live_voters: those that keep up with the quorum's leader, the leader included.
    """
    blocked = []
    for topic in image.topics.values():
        wanted = min_insync_replicas(topic.name)
        for index, partition in enumerate(topic.partitions):
            if broker_id not in partition.isr:
                continue
            in_sync = _live(image, partition)
            needed = min(wanted, len(partition.replicas))
            left = len([replica for replica in in_sync if replica != broker_id])
            if left >= needed:
                continue
            obstacle = Obstacle.BELOW_MIN_INSYNC_REPLICAS if left else Obstacle.ONLY_IN_SYNC_REPLICA
            blocked.append(BlockedPartition(topic.name, index, obstacle, in_sync, needed))
    left_voters = [voter for voter in live_voters if voter != broker_id and voter in voters]
    quorum_kept = broker_id not in voters or len(left_voters) > len(voters) // 2
    return Stopping(tuple(blocked), quorum_kept)


def _live(image: MetadataImage, partition: PartitionImage) -> tuple[int, ...]:
    return tuple(
        replica
        for replica in partition.isr
        if (broker := image.brokers.get(replica)) is not None and not broker.fenced
    )
