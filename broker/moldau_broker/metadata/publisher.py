"""Hands each new committed image to everyone who acts on metadata, in order."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeAlias

from moldau_broker.metadata.delta import MetadataDelta
from moldau_broker.metadata.image import MetadataImage
from moldau_broker.metadata.views import ListenerView

logger = logging.getLogger(__name__)

Subscriber: TypeAlias = Callable[[MetadataDelta, MetadataImage], None]


class MetadataPublisher:
    """The metadata this node acts on.

    Attributes:
        image: the newest published image; committed, and never older than what any client was told.
    """

    __slots__ = ("_empty", "_published", "_subscribers", "_views", "image")

    def __init__(self, cluster_id: str) -> None:
        self._empty = self.image = MetadataImage(cluster_id)
        self._published = False
        self._subscribers: list[Subscriber] = []
        self._views: dict[str, ListenerView] = {}

    def view(self, listener: str) -> ListenerView:
        """The current image as clients of that listener see it."""
        view = self._views.get(listener)
        if view is None:
            view = self._views[listener] = ListenerView(self.image, listener)
        elif view.image is not self.image:
            view = self._views[listener] = view.updated(self.image)
        return view

    def subscribe(self, subscriber: Subscriber) -> None:
        """Call `subscriber(delta, image)` for every image from now on; at once if there is one already.

        The first call of each subscriber has a delta from the empty image.
        """
        self._subscribers.append(subscriber)
        if self._published:
            self._call(subscriber, MetadataDelta(self._empty, self.image))

    def publish(self, image: MetadataImage) -> None:
        """Make `image` the one this node acts on."""
        delta = MetadataDelta(self.image, image)
        self.image = image
        self._published = True
        for subscriber in self._subscribers:
            self._call(subscriber, delta)

    def _call(self, subscriber: Subscriber, delta: MetadataDelta) -> None:
        try:
            subscriber(delta, delta.after)
        except Exception:
            # One part that fails must not keep the others, and every client, from the truth.
            logger.exception("metadata.subscriber_failed", extra={"offset": delta.after.offset})
