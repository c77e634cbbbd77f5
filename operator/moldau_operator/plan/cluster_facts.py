"""What the plans of a cluster's topics need to know of the cluster itself. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from moldau_operator.plan.factors import FactorAsk, Name
from moldau_operator.plan.placement import PackBroker
from moldau_operator.plan.topic_replicas import Places
from moldau_operator.resources.cluster import Cluster, Role
from moldau_operator.seams.broker_admin import ClusterView


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterFacts:
    """What a topic's plan needs to know of its cluster.

    Attributes:
        brokers: how many are declared to hold replicas.
        config: the Cluster's broker settings.
        paused: whether nothing may be changed.
        registered: how many brokers there are; None while nobody could be asked.
        homes: the declared brokers, with what limits them; empty: all there are.
        places: where replicas should lie; asked for only when some topic's replicas are not as declared.
    """

    brokers: int
    config: Mapping[str, str]
    paused: bool = False
    registered: int | None = None
    homes: tuple[PackBroker, ...] = ()
    places: Places | None = None

    @classmethod
    def of(cls, cluster: Cluster, view: ClusterView | None) -> ClusterFacts:
        """What is declared of a cluster and, where its brokers could be asked, seen of it."""
        return cls(
            brokers=cluster.spec.brokers,
            config=cluster.spec.config,
            paused=cluster.spec.pause,
            registered=len(view.broker_ids) + len(view.fenced_ids) if view is not None else None,
            homes=declared_homes(cluster),
        )

    def ask(self, wanted: Mapping[Name, int], view: ClusterView) -> FactorAsk:
        """What to ask the packer, where these partitions should have so many replicas."""
        homes = self.homes or tuple(map(PackBroker, sorted((*view.broker_ids, *view.fenced_ids))))
        return FactorAsk(
            wanted=wanted,
            homes=tuple(broker._replace(rack=view.racks.get(broker.id, broker.rack)) for broker in homes),
            away=frozenset(broker.id for broker in homes if broker.id not in view.broker_ids),
        )


def declared_homes(cluster: Cluster) -> tuple[PackBroker, ...]:
    """The brokers that a Cluster declares, by id: their pools' racks, and the bytes their volumes hold."""
    return tuple(
        sorted(
            PackBroker(node, pool.rack, int(pool.storage.size.amount) if pool.storage.size else None)
            for pool in cluster.spec.pools
            if Role.BROKER in pool.roles
            for node in pool.node_ids
        )
    )
