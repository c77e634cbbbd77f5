"""The Lease that one operator of a namespace holds (coordination.k8s.io, as client-go's leader election keeps it).

A holder that cannot renew in time must leave before another may take over: both count on the Lease's duration, the
holder from when it asked, the other from when it saw the last change, by its own clock.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from moldau_broker.base.clock import Clock
from moldau_operator.seams.api_server import LEASES, ApiError, ApiServer, Object

NAME: Final = "moldau-operator"
DURATION_S: Final = 30
"""An operator that ends in order lets go, and one that is killed comes back under its pod's name: nobody waits for this
but the one who takes over from a machine that is gone. Half of it is lost on a machine ten times overcommitted, where
one answer takes five seconds, and a holder that leaves is kept away for minutes by the kubelet's back-off."""
RENEW_S: Final = 5.0
GIVE_UP_S: Final = 20.0
"""Without a renewal for so long the holder leaves: 10 s before anybody else may begin."""


class Lease:
    """One candidate."""

    def __init__(self, api: ApiServer, namespace: str, identity: str, clock: Clock) -> None:
        self._api = api
        self._namespace = namespace
        self._identity = identity
        self._clock = clock
        self._seen = ""
        self._seen_ms = 0
        self.renewed_ms: int | None = None
        """When the last renewal was asked for (monotonic); None while it is not held."""

    @property
    def is_lost(self) -> bool:
        """Whether it was held and may be taken by somebody else soon."""
        if self.renewed_ms is None:
            return False
        return self._clock.monotonic_ms() - self.renewed_ms > GIVE_UP_S * 1000

    @property
    def is_held(self) -> bool:
        """Whether it is held for certain, by this process's own clock."""
        return self.renewed_ms is not None and not self.is_lost

    async def try_hold(self) -> bool:
        """Take it or renew it; False when somebody else has it or was faster.

        Raises:
            ApiError: the server cannot be asked.
        """
        asked_ms = self._clock.monotonic_ms()
        there = await self._api.get(LEASES, self._namespace, NAME)
        try:
            if there is None:
                await self._api.create(self._wanted(None))
            elif not self._is_free(there):
                self.renewed_ms = None
                return False
            else:
                await self._api.replace(self._wanted(there))
        except ApiError as error:
            if error.is_conflict:
                return False
            raise
        self.renewed_ms = asked_ms
        return True

    async def let_go(self) -> None:
        """Give it back, so that the next one need not wait."""
        there = await self._api.get(LEASES, self._namespace, NAME)
        if there is not None and there["spec"].get("holderIdentity") == self._identity:
            spec = {**there["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
            await self._api.replace({**there, "spec": spec})
        self.renewed_ms = None

    def _is_free(self, there: Object) -> bool:
        holder = there["spec"].get("holderIdentity") or ""
        if holder in {"", self._identity}:
            return True
        version = str(there["metadata"].get("resourceVersion", ""))
        now = self._clock.monotonic_ms()
        if version != self._seen:
            self._seen, self._seen_ms = version, now
            return False
        return now - self._seen_ms > int(there["spec"].get("leaseDurationSeconds") or DURATION_S) * 1000

    def _wanted(self, there: Object | None) -> Object:
        spec = (there or {}).get("spec", {})
        now = datetime.fromtimestamp(self._clock.wall_ms() / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        changes = spec.get("holderIdentity") != self._identity
        return {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": (there or {}).get("metadata") or {"name": NAME, "namespace": self._namespace},
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": DURATION_S,
                "acquireTime": now if changes else spec.get("acquireTime", now),
                "renewTime": now,
                "leaseTransitions": int(spec.get("leaseTransitions") or 0) + int(bool(spec) and changes),
            },
        }
