"""The cluster as the active controller knows it; nobody else tells these series."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from moldau_broker.metadata.image import NO_LEADER
from moldau_broker.telemetry.exposition import label_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from moldau_broker.metadata.image import BrokerImage
    from moldau_broker.metadata.publisher import MetadataPublisher
    from moldau_broker.server.metrics.elections import ElectionCounter
    from moldau_broker.server.metrics.filters import Filters
    from moldau_broker.telemetry.exposition import Exposition
    from moldau_broker.telemetry.registry import Emitter

_CONTROLLER: Final = "kafka_controller_kafkacontroller_"


def emit_cluster(
    metadata: MetadataPublisher,
    controls: Callable[[], bool],
    elections: ElectionCounter,
    filters: Filters,
    listener: str | None,
) -> Emitter:
    """Brokers, topics and what is wrong with them; `listener` is where a broker's shown address is found."""

    def emit(exposition: Exposition) -> Iterator[None]:
        exposition.add("moldau_leader_elections_total", elections.elections)
        exposition.add("kafka_controller_controllerstats_uncleanleaderelections_total", elections.unclean)
        is_ours = controls()
        exposition.add(f"{_CONTROLLER}activecontrollercount", int(is_ours))
        if not is_ours:
            return
        image = metadata.image
        active = [broker for broker in image.brokers.values() if not broker.fenced]
        exposition.add("kafka_brokers", len(active))
        for broker in active:
            exposition.add("kafka_broker_info", 1, str(broker.id), _address(broker, listener))
        exposition.add(f"{_CONTROLLER}activebrokercount", len(active))
        exposition.add(f"{_CONTROLLER}fencedbrokercount", len(image.brokers) - len(active))
        partitions = exposition.column("kafka_topic_partitions")
        count = offline = imbalanced = 0
        for topic in image.topics.values():
            count += len(topic.partitions)
            for partition in topic.partitions:
                offline += partition.leader == NO_LEADER
                imbalanced += partition.leader != partition.replicas[0]
            if filters.topics.admits(topic.name):
                partitions.put(label_text(("topic",), (topic.name,)), len(topic.partitions))
            yield
        exposition.add(f"{_CONTROLLER}offlinepartitionscount", offline)
        exposition.add(f"{_CONTROLLER}globaltopiccount", len(image.topics))
        exposition.add(f"{_CONTROLLER}globalpartitioncount", count)
        exposition.add(f"{_CONTROLLER}preferredreplicaimbalancecount", imbalanced)

    return emit


def _address(broker: BrokerImage, listener: str | None) -> str:
    """Where clients reach it: on that listener, else the first it has."""
    endpoint = broker.endpoints.get(listener or "") or next(iter(broker.endpoints.values()), None)
    return "" if endpoint is None else f"{endpoint.host}:{endpoint.port}"
