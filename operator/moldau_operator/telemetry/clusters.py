"""What a Cluster's status says of its rollout and its balance, as numbers. Pure.

Read off the status, not off the reconcilers: it is what people see, and it outlives the operator's process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from moldau_operator.resources.balance_status import (
    THROTTLE_BYTES,
    PlanState,
    PlanStatus,
    read_balance_status,
)

NOT_SERVING, NOT_SAFE_YET = "NodeNotServing", "NotSafeYet"
"""What a rollout waits for: a node that was restarted, or the moment at which the next one may be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutSeen:
    """A Cluster's rollout.

    Attributes:
        place: namespace and name of the Cluster.
        since_ms: wall time at which it began; None while none is under way.
        nodes_left: that do not serve what they should yet.
        blocked_since_ms, node, cause: since when it waits, for which node, and why; None, "" and "" while it does not.
    """

    place: tuple[str, str]
    since_ms: int | None = None
    nodes_left: int = 0
    blocked_since_ms: int | None = None
    node: str = ""
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceSeen:
    """A Cluster's balance.

    Attributes:
        place: namespace and name of the Cluster.
        leaders_max, leaders_optimum: the most leaderships of a broker, and the least that maximum could be.
        plan: to move replicas; None where there is none.
        throttle_bytes: a second, of each broker.
    """

    place: tuple[str, str]
    leaders_max: int
    leaders_optimum: int
    plan: PlanStatus | None
    throttle_bytes: int


def read_rollout(cluster: Mapping[str, Any]) -> RolloutSeen:
    """Of a Cluster as the API server has it."""
    place = _place(cluster)
    rollout = (cluster.get("status") or {}).get("rollout")
    if not rollout:
        return RolloutSeen(place=place)
    blocked = rollout.get("blockedBy") or {}
    return RolloutSeen(
        place=place,
        since_ms=wall_ms(str(rollout.get("since") or blocked.get("since") or "")),
        nodes_left=int(rollout.get("total", 0)) - int(rollout.get("updated", 0)),
        blocked_since_ms=wall_ms(str(blocked.get("since", ""))) if blocked else None,
        node=str(blocked.get("node", "")),
        cause="" if not blocked else NOT_SERVING if rollout.get("current") is not None else NOT_SAFE_YET,
    )


def read_balance(cluster: Mapping[str, Any]) -> BalanceSeen | None:
    """Of a Cluster as the API server has it; None where nobody has looked, or balancing is off."""
    found = read_balance_status((cluster.get("status") or {}).get("balance"))
    if found is None:
        return None
    throttle = ((cluster.get("spec") or {}).get("balance") or {}).get("throttleBytesPerSecond")
    return BalanceSeen(
        place=_place(cluster),
        leaders_max=found.max_leaders,
        leaders_optimum=found.optimum,
        plan=found.last_plan,
        throttle_bytes=throttle if isinstance(throttle, int) else THROTTLE_BYTES,
    )


def imbalance(plan: PlanStatus, *, after: bool) -> float | None:
    """The fullest broker against the mean, 1 where all are even: by bytes, by replicas where nothing has any.

    None without brokers or anything on them.
    """
    by_bytes = [one.bytes_after if after else one.bytes_before for one in plan.brokers]
    by_count = [one.replicas_after if after else one.replicas_before for one in plan.brokers]
    for shares in (by_bytes, by_count):
        if any(shares):
            return max(shares) * len(shares) / sum(shares)
    return None


def is_open(plan: PlanStatus) -> bool:
    """Whether it is still to be carried out."""
    return plan.state is not PlanState.DONE


def wall_ms(text: str) -> int:
    """RFC 3339 as the API server writes it; 0, the distant past, where it is not one."""
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1000)
    except ValueError:
        return 0


def _place(cluster: Mapping[str, Any]) -> tuple[str, str]:
    metadata = cluster["metadata"]
    return str(metadata.get("namespace", "")), str(metadata["name"])
