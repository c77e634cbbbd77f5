"""Settings that change while the broker runs: from the metadata log into the parts that act on them."""

from __future__ import annotations

from moldau_broker.base.topic_config import resolve_topic_config
from moldau_broker.base.topics import CONSUMER_OFFSETS
from moldau_broker.coordinator.config import GroupConfig
from moldau_broker.metadata.delta import MetadataDelta
from moldau_broker.metadata.image import MetadataImage, ResourceType
from moldau_broker.server.assembly import connection_limits
from moldau_broker.server.broker import Broker
from moldau_broker.server.config import BrokerConfig
from moldau_broker.server.listeners import Listeners


def group_config(config: BrokerConfig, image: MetadataImage) -> GroupConfig:
    """What the group coordinator acts on."""
    topic = image.config(ResourceType.TOPIC, CONSUMER_OFFSETS)
    return GroupConfig.of(config.groups, resolve_topic_config(topic, config.explicit))


class DynamicSettings:
    """Keeps the running parts at the settings in force."""

    def __init__(self, static: BrokerConfig, broker: Broker, listeners: Listeners) -> None:
        self._static = static
        self._broker = broker
        self._listeners = listeners

    def follow(self, delta: MetadataDelta, image: MetadataImage) -> None:
        """A subscriber of the publisher."""
        if not delta.changed_configs():
            return
        config = self._static.with_dynamic(image.broker_settings(self._static.node.id))
        self._broker.settings = config
        self._broker.groups.update_config(group_config(config, image))
        self._listeners.limits = connection_limits(config)
        largest = max(
            (
                resolve_topic_config(settings, config.explicit).max_message_bytes
                for (kind, _), settings in image.configs.items()
                if kind == ResourceType.TOPIC and "max.message.bytes" in settings
            ),
            default=config.topic_defaults.max_message_bytes,
        )
        self._listeners.frame_bytes_max = config.frame_bytes_max(largest)
