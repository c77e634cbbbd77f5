"""What changed between two images, for those who act on changes. Pure.

Images share what did not change, so most of this is comparing identities; nothing is computed before it is
asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from moldau_broker.metadata.image import MetadataImage, TopicImage

K = TypeVar("K")


class MetadataDelta:
    """The way from `before` to `after`."""

    __slots__ = ("after", "before")

    def __init__(self, before: MetadataImage, after: MetadataImage) -> None:
        self.before = before
        self.after = after

    def created_topics(self) -> Iterator[TopicImage]:
        """Topics with an id that was not there before; a topic deleted and made again is one."""
        yield from _added(self.before.topics_by_id, self.after.topics_by_id)

    def deleted_topics(self) -> Iterator[TopicImage]:
        """Topics as they were, whose id is gone."""
        yield from _added(self.after.topics_by_id, self.before.topics_by_id)

    def changed_topics(self) -> Iterator[tuple[TopicImage, TopicImage]]:
        """(before, after) of topics that stayed, but not as they were."""
        if self.before.topics_by_id is self.after.topics_by_id:
            return
        for topic_id, topic in self.after.topics_by_id.items():
            was = self.before.topics_by_id.get(topic_id)
            if was is not None and was is not topic:
                yield was, topic

    def changed_brokers(self) -> set[int]:
        """Ids of brokers registered, changed or removed."""
        return _changed(self.before.brokers, self.after.brokers)

    def changed_configs(self) -> set[tuple[int, str]]:
        """(resource type, name) of resources whose dynamic settings changed."""
        return _changed(self.before.configs, self.after.configs)

    @property
    def features_changed(self) -> bool:
        """Whether a finalized feature level changed."""
        return self.before.features != self.after.features


def _added(before: Mapping[Any, TopicImage], after: Mapping[Any, TopicImage]) -> Iterator[TopicImage]:
    if before is not after:
        for key, value in after.items():
            if key not in before:
                yield value


def _changed(before: Mapping[K, Any], after: Mapping[K, Any]) -> set[K]:
    if before is after:
        return set()
    keys = {key for key, value in after.items() if before.get(key) is not value}
    return keys | (before.keys() - after.keys())
