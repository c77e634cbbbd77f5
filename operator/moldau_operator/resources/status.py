"""What is remembered of each resource between two looks at it: its status. Pure.

In Kubernetes this is the status subresource; the local platform keeps it in the instance's folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from moldau_operator.resources.balance_status import BalanceStatus
from moldau_operator.resources.conditions import Condition
from moldau_operator.resources.meta import DeletionPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked:
    """The node that a rolling change waits for, why in words, and since when (RFC 3339)."""

    node: int
    reason: str
    since: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutStatus:
    """A rolling change under way.

    Attributes:
        total, updated: nodes, and those of them that serve what they should.
        current: the node whose turn it is; None between two.
        since: when it began (RFC 3339); empty until that was written down.
    """

    total: int
    updated: int
    current: int | None = None
    reason: str = ""
    blocked_by: Blocked | None = None
    since: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterStatus:
    """Of a Cluster.

    Attributes:
        cluster_id: of its data; minted before the first node starts.
        node_id_bases: by pool, kept because they can never change.
        node_ids: nodes that were set up and have not been emptied and removed since.
        broker_settings: settings that all brokers were given while they run, and not by somebody else.
        rollout: None while no node waits for a restart.
        balance: how even it is; None while nobody has looked, or where balancing is off.
    """

    observed_generation: int = 0
    conditions: tuple[Condition, ...] = ()
    cluster_id: str = ""
    node_id_bases: Mapping[str, int] = field(default_factory=dict)
    node_ids: tuple[int, ...] = ()
    broker_settings: tuple[str, ...] = ()
    rollout: RolloutStatus | None = None
    balance: BalanceStatus | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicStatus:
    """Of a Topic.

    Attributes:
        topic_name, deletion_policy: as declared last; needed when the resource is gone, and to see a change.
        topic_id: of the topic this resource stands for; empty until it was seen.
        under_replicated: partitions that lack an in-sync replica.
        owned: whether this resource created or adopted the topic, or is about to.
        settled_generation: the generation for which everything was done once; a difference that appears
            later without a new generation is drift.
        lost_to, lost_generation: the resource that held the topic when this one asked for it, and the
            generation that asked; another generation may ask again.
    """

    observed_generation: int = 0
    conditions: tuple[Condition, ...] = ()
    topic_name: str = ""
    deletion_policy: DeletionPolicy = DeletionPolicy.RETAIN
    topic_id: str = ""
    partitions: int = 0
    replicas: int = 0
    under_replicated: int = 0
    owned: bool = False
    settled_generation: int = -1
    lost_to: str = ""
    lost_generation: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingReset:
    """A reset that was decided: written down before it is carried out, so that it is carried out once.

    `offsets` is topic -> partition -> offset.
    """

    id: str
    offsets: Mapping[str, Mapping[int, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupStatus:
    """Of a ConsumerGroup.

    Attributes:
        lag: in records, None while nothing is committed or it cannot be told; `lag_by_topic` likewise.
        lag_seconds: whole seconds that the oldest record not consumed has waited; a topic (or all of them) that
            nobody could tell of has none.
    """

    observed_generation: int = 0
    conditions: tuple[Condition, ...] = ()
    group_id: str = ""
    deletion_policy: DeletionPolicy = DeletionPolicy.RETAIN
    state: str = ""
    members: int = 0
    lag: int | None = None
    lag_by_topic: Mapping[str, int] = field(default_factory=dict)
    lag_seconds: int | None = None
    seconds_by_topic: Mapping[str, int] = field(default_factory=dict)
    last_reset_id: str = ""
    pending_reset: PendingReset | None = None
