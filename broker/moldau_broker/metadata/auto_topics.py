"""Topics made because somebody needs them: internal topics, and names that clients just use. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from moldau_broker.base.broker_config import GroupSettings
from moldau_broker.base.topics import CONSUMER_OFFSETS
from moldau_broker.metadata.image import MetadataImage
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
    return create_topics(view, auto_topics_request(view.image, view.settings.groups, names))


def auto_topics_request(
    image: MetadataImage, groups: GroupSettings, names: Iterable[str]
) -> CreateTopicsRequest:
    """What creates these topics; the numbers of ordinary ones are left to the controller's settings."""
    return CreateTopicsRequest(
        topics=[
            _offsets_topic(image, groups)
            if name == CONSUMER_OFFSETS
            else CreatableTopic(name=name, num_partitions=-1, replication_factor=-1)
            for name in dict.fromkeys(names)
        ]
    )


def _offsets_topic(image: MetadataImage, groups: GroupSettings) -> CreatableTopic:
    """`__consumer_offsets`: compacted, small segments; as many replicas as there are brokers, up to the setting."""
    live = sum(1 for broker in image.brokers.values() if broker.active)
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
