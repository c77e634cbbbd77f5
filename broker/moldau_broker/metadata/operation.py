"""What a controller operation sees and gives. Pure.

An operation is a function of a `View`; it changes nothing. Its records go to the log, the same records are
replayed into the next image, and its response leaves once they are committed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeAlias, TypeVar

from moldau_broker.base.broker_config import GroupSettings, TopicDefaults
from moldau_broker.base.errors import ErrorCode
from moldau_broker.metadata.image import MetadataImage, ResourceType
from moldau_broker.wire.schema import Struct

if TYPE_CHECKING:
    from random import Random


T = TypeVar("T")

NUM_PARTITIONS: Final = "num.partitions"
REPLICATION_FACTOR: Final = "default.replication.factor"
TOPIC_NUMBERS: Final = frozenset({NUM_PARTITIONS, REPLICATION_FACTOR})
"""Settings by which the controller makes topics, whichever broker it runs on: they are the cluster's, no broker's own.
Kafka fixes them at start; here they change while brokers run, for all of them."""

RECORDS_MAX: Final = 10_000
"""Records of one operation: they are one atomic batch, and Kafka's controller draws the same line."""


class ClusterSettings(NamedTuple):
    """How the controller treats brokers and leaderships; names and defaults as in the settings of the same names.

    Attributes:
        session_timeout_ms: `broker.session.timeout.ms`; a broker not heard of for so long is fenced.
        leader_rebalance: `auto.leader.rebalance.enable`.
        imbalance_check_ms: `leader.imbalance.check.interval.seconds`, in milliseconds.
        imbalance_percent: `leader.imbalance.per.broker.percentage`.
    """

    session_timeout_ms: int = 6_000
    leader_rebalance: bool = True
    imbalance_check_ms: int = 300_000
    imbalance_percent: int = 10


class ControllerSettings(NamedTuple):
    """What the node's configuration says to the controller.

    Attributes:
        node_id: this node.
        topics, groups: the typed settings.
        explicit: every broker setting written in the configuration, by name; supplies topic defaults.
        cluster: sessions and leaderships.
    """

    node_id: int
    topics: TopicDefaults = TopicDefaults()
    groups: GroupSettings = GroupSettings()
    explicit: Mapping[str, str] = MappingProxyType({})
    cluster: ClusterSettings = ClusterSettings()


class View(NamedTuple):
    """The state an operation decides on.

    Attributes:
        image: includes what was written and is not committed yet.
        next_offset: offset that the operation's first record will get.
        settings: configuration of this node.
        rng: for topic ids and where placement begins.
    """

    image: MetadataImage
    next_offset: int
    settings: ControllerSettings
    rng: Random

    def broker_defaults(self) -> Mapping[str, str]:
        """Explicit broker settings that supply topic defaults, dynamic ones over the configuration's."""
        dynamic = self.image.broker_settings(self.settings.node_id)
        return {**self.settings.explicit, **dynamic} if dynamic else self.settings.explicit

    def topic_defaults(self) -> TopicDefaults:
        """What a topic created without numbers gets: cluster-wide dynamic settings over the configuration's."""
        dynamic = self.image.config(ResourceType.BROKER, "")
        if TOPIC_NUMBERS.isdisjoint(dynamic):
            return self.settings.topics
        topics = self.settings.topics
        try:
            return replace(
                topics,
                num_partitions=int(dynamic.get(NUM_PARTITIONS, topics.num_partitions)),
                replication_factor=int(dynamic.get(REPLICATION_FACTOR, topics.replication_factor)),
            )
        except ValueError:
            # Refused where it is set; whatever the log says, topics are created.
            return topics


class Result(NamedTuple, Generic[T]):
    """Records to write as one atomic batch, and the answer once they are committed."""

    response: T
    records: tuple[Struct, ...] = ()


Operation: TypeAlias = Callable[[View], Result[T]]


class Refusal(NamedTuple):
    """Why one item of a request is refused: a protocol error and words for the client."""

    error: ErrorCode
    message: str | None = None
