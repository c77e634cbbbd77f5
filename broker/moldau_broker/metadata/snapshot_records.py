"""An image as the shortest run of records that leads to it. Pure.

Features come first, as in Kafka's snapshots: they say how to read the rest.
"""

from __future__ import annotations

from collections.abc import Iterator

from moldau_broker.metadata.image import BrokerImage, MetadataImage, PartitionImage, TopicImage
from moldau_broker.metadata.records import METADATA_VERSION_FEATURE
from moldau_broker.metadata.replay import KRAFT_VERSION
from moldau_broker.wire.messages import metadata_records as records
from moldau_broker.wire.schema import Struct


def snapshot_records(image: MetadataImage) -> Iterator[Struct]:
    """Replayed onto an empty image these give `image` again, offset aside; kraft.version is the quorum's to write."""
    for name in sorted(image.features, key=lambda name: (name != METADATA_VERSION_FEATURE, name)):
        if name != KRAFT_VERSION:
            yield records.FeatureLevelRecord(name=name, feature_level=image.features[name])
    for _, broker in sorted(image.brokers.items()):
        yield _broker_record(broker)
    for _, topic in sorted(image.topics.items()):
        yield from _topic_records(topic)
    for (kind, resource), settings in sorted(image.configs.items()):
        for name, value in sorted(settings.items()):
            yield records.ConfigRecord(resource_type=kind, resource_name=resource, name=name, value=value)
    if image.producer_ids:
        yield records.ProducerIdsRecord(broker_id=-1, broker_epoch=-1, next_producer_id=image.producer_ids)


def _broker_record(broker: BrokerImage) -> Struct:
    return records.RegisterBrokerRecord(
        broker_id=broker.id,
        incarnation_id=broker.incarnation_id,
        broker_epoch=broker.epoch,
        end_points=[
            records.BrokerEndpoint(
                name=name, host=at.host, port=at.port, security_protocol=at.security_protocol
            )
            for name, at in broker.endpoints.items()
        ],
        features=[
            records.BrokerFeature(
                name=name, min_supported_version=levels.lowest, max_supported_version=levels.highest
            )
            for name, levels in broker.features.items()
        ],
        rack=broker.rack,
        fenced=broker.fenced,
        in_controlled_shutdown=broker.in_controlled_shutdown,
        log_dirs=broker.directories,
    )


def _topic_records(topic: TopicImage) -> Iterator[Struct]:
    yield records.TopicRecord(name=topic.name, topic_id=topic.topic_id)
    for index, partition in enumerate(topic.partitions):
        yield _partition_record(topic, index, partition)


def _partition_record(topic: TopicImage, index: int, partition: PartitionImage) -> Struct:
    return records.PartitionRecord(
        partition_id=index,
        topic_id=topic.topic_id,
        replicas=partition.replicas,
        isr=partition.isr,
        removing_replicas=partition.removing,
        adding_replicas=partition.adding,
        leader=partition.leader,
        leader_epoch=partition.leader_epoch,
        partition_epoch=partition.partition_epoch,
        directories=partition.directories,
        leader_recovery_state=partition.leader_recovery_state,
        eligible_leader_replicas=partition.elr or None,
        last_known_elr=partition.last_known_elr or None,
    )
