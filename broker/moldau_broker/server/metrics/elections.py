"""Counts elections while this node is the active controller. Pure.

Every node sees every image, but only the controller counts, so that a sum over all nodes counts each election once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moldau_broker.metadata.image import NO_LEADER, RECOVERING, PartitionImage

if TYPE_CHECKING:
    from collections.abc import Callable

    from moldau_broker.metadata.delta import MetadataDelta
    from moldau_broker.metadata.image import MetadataImage


class ElectionCounter:
    """A subscriber of the publisher.

    Attributes:
        elections: partitions that got another leader.
        unclean: those of them whose leader was not in sync.
    """

    __slots__ = ("_is_active", "elections", "unclean")

    def __init__(self, is_active: Callable[[], bool]) -> None:
        self._is_active = is_active
        self.elections = self.unclean = 0

    def follow(self, delta: MetadataDelta, image: MetadataImage) -> None:
        """Compare two images."""
        del image
        if not self._is_active():
            return
        for before, after in delta.changed_topics():
            for was, now in zip(before.partitions, after.partitions, strict=False):
                if was is not now:
                    self._count(was, now)

    def _count(self, was: PartitionImage, now: PartitionImage) -> None:
        if now.leader in (NO_LEADER, was.leader):
            return
        self.elections += 1
        self.unclean += now.leader_recovery_state == RECOVERING
