"""A Cluster to the settings of each of its nodes. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Final

from moldau_operator.resources.cluster import Cluster, Pool
from moldau_operator.seams.platform import NodeSpec, PoolSpec

_DIFFERENCES_SHOWN: Final = 4


def pool_specs(cluster: Cluster) -> tuple[PoolSpec, ...]:
    """What each pool's nodes should run with, without addresses and folders, which are the platform's."""
    return tuple(
        PoolSpec(name=pool.name, nodes=tuple(node_spec(cluster, pool, node_id) for node_id in pool.node_ids))
        for pool in cluster.spec.pools
    )


def node_spec(cluster: Cluster, pool: Pool, node_id: int) -> NodeSpec:
    """One node of a pool."""
    settings = dict(cluster.spec.config)
    settings["node.id"] = str(node_id)
    settings["process.roles"] = ",".join(sorted(pool.roles))
    if pool.rack is not None:
        settings["broker.rack"] = pool.rack
    return NodeSpec(
        node_id=node_id,
        pool=pool.name,
        roles=frozenset(pool.roles),
        settings=settings,
        revision=revision_of(settings, cluster.spec.rollout.restarted_at),
    )


def revision_of(settings: Mapping[str, str], restarted_at: str) -> str:
    """A short name for exactly these settings; a new `restarted_at` makes a new revision of the same ones."""
    text = json.dumps([sorted(settings.items()), restarted_at], separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def differences(old: Mapping[str, str], new: Mapping[str, str]) -> str:
    """The settings that differ, in words, so that a restart has a reason to show; the first few of many."""
    names = [name for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]
    if not names:
        return "a restart was asked for (spec.rollout.restartedAt)"
    shown = [
        f"{name} {old.get(name, 'unset')} -> {new.get(name, 'unset')}" for name in names[:_DIFFERENCES_SHOWN]
    ]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
