"""The zones of Kubernetes' machines, where the operator may read them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import monotonic
from typing import Final

from moldau_operator.resources import conditions
from moldau_operator.resources.cluster import Cluster, Role
from moldau_operator.resources.conditions import Condition, ConditionType, Reason
from moldau_operator.seams.api_server import MACHINES, ApiError, ApiServer

LABEL_ZONE: Final = "topology.kubernetes.io/zone"
AGE_S_MAX: Final = 30.0
"""Machines come rarely, and a pod that starts in a zone not known yet has no rack until it starts again."""

_FORBIDDEN: Final = 403


class Zones:
    """Read now and then; what was read last is used while the server cannot be asked."""

    def __init__(self, api: ApiServer, now_s: Callable[[], float] = monotonic) -> None:
        self._api = api
        self._now_s = now_s
        self._read_s: float | None = None
        self._zones: Mapping[str, str] | None = None

    @property
    def known(self) -> bool:
        """Whether they could be read."""
        return self._zones is not None

    async def by_machine(self) -> Mapping[str, str] | None:
        """The zone of each machine that has one; None where reading machines is not allowed.

        Raises:
            ApiError: the server cannot be asked, and never could.
        """
        now = self._now_s()
        if self._read_s is not None and now - self._read_s < AGE_S_MAX:
            return self._zones
        try:
            machines = await self._api.select(MACHINES, "", {})
        except ApiError as error:
            if error.status == _FORBIDDEN:
                self._zones, self._read_s = None, now
            elif self._read_s is None:
                raise
            return self._zones
        self._read_s = now
        self._zones = {
            one["metadata"]["name"]: zone
            for one in machines
            if (zone := (one["metadata"].get("labels") or {}).get(LABEL_ZONE))
        }
        return self._zones


def racks_condition(cluster: Cluster, *, known: bool) -> Condition:
    """Where brokers' racks come from, in words."""
    kind = ConditionType.RACKS_KNOWN
    brokers = [pool for pool in cluster.spec.pools if Role.BROKER in pool.roles]
    if all(pool.rack is not None for pool in brokers):
        return conditions.flag(kind, True, Reason.FROM_SPEC, "every pool says its rack")
    if known:
        return conditions.flag(kind, True, Reason.FROM_MACHINES, "a broker's rack is its machine's zone")
    words = (
        "the operator may not read machines, so replicas are not spread over zones: give pools a rack, "
        "or install with clusterRole.create=true"
    )
    return conditions.flag(kind, False, Reason.NOT_ALLOWED, words)
