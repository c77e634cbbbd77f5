"""What consumers subscribe to: read from their opaque metadata, and kept by topic. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from moldau_broker.wire.codec import decode
from moldau_broker.wire.errors import WireError
from moldau_broker.wire.messages.consumer_protocol import ConsumerProtocolSubscription

_VERSION_BYTES = 2
_EVERY_VERSION_BEGINS_AS = 0


def subscribed_topics(metadata: Iterable[bytes]) -> frozenset[str] | None:
    """The topics named in consumer-protocol subscriptions; None if one of them cannot be read.

    Only the part that every version begins with is read, so that clients newer than this broker are understood.
    """
    topics: set[str] = set()
    for blob in metadata:
        if len(blob) < _VERSION_BYTES:
            return None
        try:
            subscription, _ = decode(
                ConsumerProtocolSubscription, _EVERY_VERSION_BEGINS_AS, blob, _VERSION_BYTES
            )
        except WireError:
            return None
        topics.update(subscription.topics)
    return frozenset(topics)


class SubscriptionIndex:
    """Topic -> groups that are subscribed to it."""

    __slots__ = ("_groups", "_topics")

    def __init__(self) -> None:
        self._groups: dict[str, set[str]] = {}
        self._topics: dict[str, frozenset[str]] = {}

    def update(self, group_id: str, topics: frozenset[str] | None) -> None:
        """The group is subscribed to exactly `topics` from now on; None or nothing takes it out."""
        old = self._topics.pop(group_id, frozenset())
        new = topics or frozenset()
        for topic in old - new:
            groups = self._groups[topic]
            groups.remove(group_id)
            if not groups:
                del self._groups[topic]
        for topic in new - old:
            self._groups.setdefault(topic, set()).add(group_id)
        if new:
            self._topics[group_id] = new

    def groups_of(self, topic: str) -> frozenset[str]:
        """The groups with a member that is subscribed to `topic`."""
        return frozenset(self._groups.get(topic, ()))
