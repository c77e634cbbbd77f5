"""Images from this process's own registration on: what it may host replicas by. Pure.

A node that starts replays what its own metadata log holds, and that may end long before the cluster's. In such an
image its former life may still lead partitions in epochs that are over: to act on it would write a dead epoch over
newer ones, cut off what was replicated in them, and acknowledge writes nobody else will ever see. The registration is
written by the active controller after all that, so an image that contains it is not from before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from moldau_broker.base.ids import Uuid
from moldau_broker.metadata.delta import MetadataDelta
from moldau_broker.metadata.image import MetadataImage

Subscriber: TypeAlias = Callable[[MetadataDelta, MetadataImage], None]


class SinceRegistration:
    """A subscriber that passes on nothing until this incarnation is registered, then everything at once."""

    __slots__ = ("_empty", "_incarnation_id", "_node_id", "_registered", "_subscriber")

    def __init__(self, node_id: int, incarnation_id: Uuid, cluster_id: str, subscriber: Subscriber) -> None:
        self._node_id = node_id
        self._incarnation_id = incarnation_id
        self._empty = MetadataImage(cluster_id)
        self._subscriber = subscriber
        self._registered = False

    def __call__(self, delta: MetadataDelta, image: MetadataImage) -> None:
        """The next image; the first that is passed on comes with a delta from the empty image."""
        if not self._registered:
            broker = image.brokers.get(self._node_id)
            if broker is None or broker.incarnation_id != self._incarnation_id:
                return
            self._registered = True
            delta = MetadataDelta(self._empty, image)
        self._subscriber(delta, image)
