"""A Cluster to the settings of each of its nodes. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from moldau_broker.base.broker_config import BROKER_SETTINGS
from moldau_operator.resources.cluster import Cluster, Pool, Role
from moldau_operator.seams.platform import NodeSpec, PoolSpec

CONTROLLERS_MAX: Final = 5
"""Nodes that are broker and controller in one: five voters survive the loss of two; more only make commits slower."""

_HOUR_MS: Final = 3_600_000
_COARSER: Final = {
    "log.retention.ms": (("log.retention.minutes", 60_000), ("log.retention.hours", _HOUR_MS)),
    "log.roll.ms": (("log.roll.hours", _HOUR_MS),),
    "log.roll.jitter.ms": (("log.roll.jitter.hours", _HOUR_MS),),
}
_UNSET_MEANS: Final = {
    "log.retention.ms": str(168 * _HOUR_MS),
    "log.roll.ms": str(168 * _HOUR_MS),
    "log.roll.jitter.ms": "0",
    "log.flush.interval.ms": str(2**63 - 1),
}
"""Kafka's defaults of the settings that have none of their own, as their own unit would say them."""

_DIFFERENCES_SHOWN: Final = 4


def pool_specs(cluster: Cluster, cluster_id: str = "", leaving: Collection[int] = ()) -> tuple[PoolSpec, ...]:
    """What each pool's nodes should run with, without addresses and folders, which are the platform's.

    Args:
        cluster_id: of the cluster's data; empty leaves it to the first node.
        leaving: nodes that are no longer declared and have not been emptied yet; they stay as they were.
    """
    ids = node_ids(cluster, leaving)
    combined = 0
    specs: list[PoolSpec] = []
    roles: dict[int, frozenset[Role]] = {}
    for node_id, pool in sorted((node, pool) for pool, nodes in ids.items() for node in nodes):
        wanted = cluster.spec.pools[pool].roles
        if len(wanted) > 1:
            combined += 1
            if combined > CONTROLLERS_MAX:
                wanted = frozenset({Role.BROKER})
        roles[node_id] = wanted
    for index, pool_of in enumerate(cluster.spec.pools):
        nodes = tuple(node_spec(cluster, pool_of, node, roles[node], cluster_id) for node in ids[index])
        specs.append(PoolSpec(name=pool_of.name, nodes=nodes))
    return tuple(specs)


def node_ids(cluster: Cluster, leaving: Collection[int] = ()) -> dict[int, tuple[int, ...]]:
    """The ids of the nodes of each pool, by the pool's index; a leaving node belongs to the pool below its id."""
    found = {index: set(pool.node_ids) for index, pool in enumerate(cluster.spec.pools)}
    bases = sorted((pool.node_id_base, index) for index, pool in enumerate(cluster.spec.pools))
    for node in leaving:
        owner = max((one for one in bases if one[0] <= node), default=bases[0])[1]
        found[owner].add(node)
    return {index: tuple(sorted(nodes)) for index, nodes in found.items()}


def controllers_of(pools: Iterable[PoolSpec]) -> tuple[int, ...]:
    """The ids of the controllers among these nodes, in order."""
    return tuple(sorted(n.node_id for pool in pools for n in pool.nodes if Role.CONTROLLER in n.roles))


def node_spec(
    cluster: Cluster, pool: Pool, node_id: int, roles: frozenset[Role], cluster_id: str
) -> NodeSpec:
    """One node of a pool."""
    settings = dict(cluster.spec.config)
    settings["node.id"] = str(node_id)
    settings["process.roles"] = ",".join(sorted(roles))
    if pool.rack is not None:
        settings["broker.rack"] = pool.rack
    fixed = {name: value for name, value in settings.items() if not is_dynamic(name)}
    if cluster_id:  # not part of the revision: a node that runs has it on its disk already
        settings["cluster.id"] = cluster_id
    return NodeSpec(
        node_id=node_id,
        pool=pool.name,
        roles=frozenset(roles),
        settings=settings,
        revision=revision_of(fixed, cluster.spec.rollout.restarted_at),
    )


def is_dynamic(name: str) -> bool:
    """Whether running brokers take a new value of this setting, and its default is known should it go."""
    setting = BROKER_SETTINGS.get(name)
    return setting is not None and setting.dynamic and default_of(name, {}) is not None


def default_of(name: str, declared: Mapping[str, str]) -> str | None:
    """What counts where a broker setting is not given; None where nothing does.

    A few settings in milliseconds have no default of their own: a coarser one counts then, declared or not.
    """
    for coarser, factor in _COARSER.get(name, ()):
        value = declared.get(coarser, "").strip()
        if value.lstrip("-").isdigit():
            return value if int(value) < 0 else str(int(value) * factor)
    setting = BROKER_SETTINGS.get(name)
    return _UNSET_MEANS.get(name, setting.default if setting is not None else None)


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
