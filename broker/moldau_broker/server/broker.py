"""The composed broker as handlers see it: a bag of parts, built by `app`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from moldau_broker.base.clock import Clock
from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import Uuid
from moldau_broker.metadata.just_fenced import JustFenced
from moldau_broker.server.fetch_sessions import FetchSessions
from moldau_broker.server.handlers.spec import Handler, ListenerKind
from moldau_broker.server.turn import LoopTimers, Turn

if TYPE_CHECKING:
    from moldau_broker.coordinator.runtime import GroupCoordinator
    from moldau_broker.metadata.publisher import MetadataPublisher
    from moldau_broker.replication.manager import ReplicaManager
    from moldau_broker.replication.waiting import DelayedFetch
    from moldau_broker.server.config import BrokerConfig
    from moldau_broker.server.controller_channel import ControllerChannel
    from moldau_broker.server.liveness import LivenessProber
    from moldau_broker.server.metadata_scrub import Damage
    from moldau_broker.server.readers import Readers
    from moldau_broker.storage.logdir import LogDir


@dataclass(slots=True)
class Broker:
    """Everything a request may touch.

    Attributes:
        node_id, cluster_id: who we are.
        settings: the static settings, parsed.
        metadata: publishes the image; `metadata.image` is the current one.
        controller: asks the active controller, here or elsewhere.
        liveness: looks into brokers whose connection dropped, while this node is the controller.
        replicas: the partitions hosted here.
        groups: the group coordinator.
        served: the handlers of each kind of listener, sorted by key.
        metadata_damage: what was found damaged in the quorum's own folder, by path.
        just_fenced: brokers that clients are told of a little longer.
        supported_features: feature levels this program supports, by name.
    """

    node_id: int
    cluster_id: str
    settings: BrokerConfig
    clock: Clock
    log_dir: LogDir
    metadata: MetadataPublisher
    controller: ControllerChannel
    liveness: LivenessProber
    replicas: ReplicaManager
    groups: GroupCoordinator
    fetch_sessions: FetchSessions
    readers: Readers
    turn: Turn
    timers: LoopTimers
    served: Mapping[ListenerKind, tuple[Handler, ...]]
    supported_features: Mapping[str, tuple[int, int]]
    just_fenced: JustFenced = field(default_factory=JustFenced)
    metadata_damage: dict[str, Damage] = field(default_factory=dict)
    waiting_fetches: set[DelayedFetch] = field(default_factory=set)

    def finish_fetches(self) -> None:
        """Answer every long poll with what there is: the broker stops."""
        for waiting in tuple(self.waiting_fetches):
            waiting.finish()

    def missing_id_error(self, topic_id: bytes, index: int) -> ErrorCode:
        """What a request by topic id gets for a partition that is not hosted here (KIP-516)."""
        topic = self.metadata.image.topics_by_id.get(Uuid(topic_id))
        return ErrorCode.UNKNOWN_TOPIC_ID if topic is None else self.replicas.missing_error(topic.name, index)
