"""Topics made because somebody needs them: internal topics, and names that clients just use. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from moldau_broker.base.topics import CONSUMER_OFFSETS
from moldau_broker.metadata.operation import Result, View
from moldau_broker.metadata.topics_control import create_topics
from moldau_broker.wire.messages.create_topics import (
    CreatableTopic,
    CreatableTopicConfig,
    CreateTopicsRequest,
    CreateTopicsResponse,
)


def auto_create_topics(view: View, names: Iterable[str]) -> Result[CreateTopicsResponse]:
    """Create these topics with the broker's defaults; an internal one with its own settings."""
    topics = [
        _offsets_topic(view)
        if name == CONSUMER_OFFSETS
        else CreatableTopic(name=name, num_partitions=-1, replication_factor=-1)
        for name in dict.fromkeys(names)
    ]
    return create_topics(view, CreateTopicsRequest(topics=topics))


def _offsets_topic(view: View) -> CreatableTopic:
    """`__consumer_offsets`: compacted, small segments; as many replicas as there are brokers, up to the setting."""
    groups = view.settings.groups
    live = sum(1 for broker in view.image.brokers.values() if broker.active)
    settings = {
        "cleanup.policy": "compact",
        "compression.type": "producer",
        "segment.bytes": str(groups.offsets_segment_bytes),
    }
    return CreatableTopic(
        name=CONSUMER_OFFSETS,
        num_partitions=groups.offsets_partitions,
        replication_factor=max(1, min(groups.offsets_replication_factor, live)),
        configs=[CreatableTopicConfig(name=name, value=value) for name, value in settings.items()],
    )
