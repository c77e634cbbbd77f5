"""What resources as the API server has them say of themselves, as numbers. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from moldau_operator.telemetry.clusters import BalanceSeen, RolloutSeen, read_balance, read_rollout, wall_ms

READY: Final = "Ready"
UNITS: Final = ("records", "seconds")


@dataclass(frozen=True, slots=True)
class Declared:
    """Resources, and how many are not as declared, by (kind, namespace); unready Clusters by (namespace, name).

    `unready_since_ms` holds every Cluster: the wall time since when it is not Ready, None while it is. `budgets` are
    how far groups may be behind, by (namespace, group id, "records" or "seconds"). `rollouts` holds every Cluster,
    `balances` those that are balanced.
    """

    resources: Mapping[tuple[str, str], int] = field(default_factory=dict)
    gaps: Mapping[tuple[str, str], int] = field(default_factory=dict)
    unready_since_ms: Mapping[tuple[str, str], int | None] = field(default_factory=dict)
    budgets: Mapping[tuple[str, str, str], float] = field(default_factory=dict)
    rollouts: tuple[RolloutSeen, ...] = ()
    balances: tuple[BalanceSeen, ...] = ()


def read_declared(objects: Iterable[Mapping[str, Any]], kinds: Iterable[str], namespace: str) -> Declared:
    """`kinds` are shown with 0 where there is no resource of them."""
    places = [(kind, namespace) for kind in kinds]
    resources: Counter[tuple[str, str]] = Counter(dict.fromkeys(places, 0))
    gaps: Counter[tuple[str, str]] = Counter(dict.fromkeys(places, 0))
    unready: dict[tuple[str, str], int | None] = {}
    budgets: dict[tuple[str, str, str], float] = {}
    clusters = []
    for one in objects:
        kind, metadata = str(one["kind"]), one["metadata"]
        place = (kind, str(metadata.get("namespace", "")))
        resources[place] += 1
        ready = _condition(one, READY)
        is_ready = ready.get("status") == "True"
        gaps[place] += not is_ready
        if kind == "Cluster":
            since = str(ready.get("lastTransitionTime") or metadata.get("creationTimestamp") or "")
            unready[place[1], str(metadata["name"])] = None if is_ready else wall_ms(since)
            clusters.append(one)
        if kind == "ConsumerGroup":
            budgets |= _budgets(one, place[1])
    return Declared(
        resources,
        gaps,
        unready,
        budgets,
        rollouts=tuple(map(read_rollout, clusters)),
        balances=tuple(found for one in clusters if (found := read_balance(one)) is not None),
    )


def _budgets(one: Mapping[str, Any], namespace: str) -> dict[tuple[str, str, str], float]:
    """A resource that cannot be read has none; that it cannot is said in its condition."""
    spec = one.get("spec") or {}
    group = str(spec.get("groupId") or one["metadata"]["name"])
    return {
        (namespace, group, unit): amount
        for unit, amount in (spec.get("maxLag") or {}).items()
        if unit in UNITS and isinstance(amount, int)
    }


def _condition(one: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    for condition in (one.get("status") or {}).get("conditions") or ():
        if condition.get("type") == name:
            found: Mapping[str, Any] = condition
            return found
    return {}
