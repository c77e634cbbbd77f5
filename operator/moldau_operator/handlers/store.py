"""`StatusStore` over the status subresource; what a resource leaves to do is in the ledger first."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from moldau_broker.base.clock import Clock
from moldau_operator.handlers.ledger import Ledger
from moldau_operator.handlers.old_crds import UndeclaredFields
from moldau_operator.handlers.statuses import write_status
from moldau_operator.resources.meta import Key
from moldau_operator.resources.status import ClusterStatus, GroupStatus
from moldau_operator.seams.api_server import RESOURCES, ApiError, ApiServer, Object
from moldau_operator.seams.status_store import Status
from moldau_operator.specs.ledger import Entry, entry_of

logger = logging.getLogger(__name__)

FINALIZER: Final = "moldau.dev/finalizer"
"""Earlier versions held resources with it; it is taken away wherever it is seen."""

LAG_WRITE_MS: Final = 10_000
"""Lag moves with every record; more than six writes a minute for each group would be etcd's whole work."""

MANY: Final = 50
AT_ONCE: Final = 16
"""Statuses written side by side where there are many: 2,000 Topics declared at once are ready in seconds, and the
server's own limit for one client (some hundreds in flight) is far away."""

_OLD_CRDS: Final = (
    "the installed definitions are older than this operator; kubectl apply --server-side -f crds/"
)


class KubeStatuses:
    """Writes what differs from what the server was seen to have."""

    def __init__(self, api: ApiServer, clock: Clock) -> None:
        self._api = api
        self._clock = clock
        self._objects: dict[Key, Object] = {}
        self._details: dict[Key, dict[str, Any]] = {}
        self._lag_written_ms: dict[Key, int] = {}
        self._undeclared = UndeclaredFields()
        self.ledgers: dict[str, Ledger] = {}
        """By Cluster: the ledgers that were read since `saw`."""

    def saw(self, objects: Mapping[Key, Object]) -> None:
        """What the server has now."""
        self._objects = dict(objects)
        self.ledgers.clear()
        for key in self._lag_written_ms.keys() - objects.keys():
            del self._lag_written_ms[key]

    def detail(self, key: Key, fields: Mapping[str, Any]) -> None:
        """Further status fields of a resource, written with its status."""
        self._details[key] = dict(fields)

    async def save(self, changed: Mapping[Key, Status]) -> None:
        """Write the statuses that differ; a resource that is gone by now needs none."""
        wanted = [
            (key, status, body) for key, status in changed.items() if (body := self._wanted(key, status))
        ]
        await self._note(wanted)
        at_once = AT_ONCE if len(wanted) > MANY else 1
        for start in range(0, len(wanted), at_once):
            batch = wanted[start : start + at_once]
            if at_once == 1:
                await self._write(*batch[0])
            else:
                await asyncio.gather(*(self._write(*one) for one in batch))

    def _wanted(self, key: Key, status: Status) -> Object | None:
        """The status as it is to be written; None where that is not needed."""
        there = self._objects.get(key)
        if there is None:
            return None
        whole = {**write_status(status), **self._details.get(key, {})}
        wanted = self._undeclared.without(key.kind, whole, self._clock.monotonic_ms())
        before = there.get("status") or {}
        return None if before == wanted or self._is_too_soon(key, status, before, wanted) else wanted

    async def _write(self, key: Key, status: Status, wanted: Object) -> None:
        resource, uid = RESOURCES[key.kind], self._objects[key]["metadata"]["uid"]
        metadata = {"name": key.name, "namespace": key.namespace, "uid": uid}
        one = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}
        # A conflict is no reason to go on: what is about to be done counts on its being written down first.
        self._objects[key] = await self._apply(key.kind, one, wanted)
        if isinstance(status, GroupStatus):
            self._lag_written_ms[key] = self._clock.monotonic_ms()

    async def _apply(self, kind: str, one: Object, wanted: Object) -> Object:
        """Without the fields that older definitions refuse, told once: the rest is worth more than none of it."""
        while True:
            now_ms = self._clock.monotonic_ms()
            wanted = self._undeclared.without(kind, wanted, now_ms)
            try:
                return await self._api.apply({**one, "status": wanted}, subresource="status")
            except ApiError as error:
                fields = self._undeclared.learn(kind, str(error), now_ms)
                if not fields:
                    raise
                logger.warning("crds.old", extra={"kind": kind, "fields": fields, "reason": _OLD_CRDS})

    async def _note(self, wanted: list[tuple[Key, Status, Object]]) -> None:
        """The ledger comes first: whoever sees a resource Ready may count on its deletion policy."""
        changes: dict[str, dict[str, Entry | None]] = {}
        for key, status, body in wanted:
            one = self._objects[key]
            owner = str((one.get("spec") or {}).get("cluster", ""))
            if not isinstance(status, ClusterStatus) and owner in self.ledgers:
                changes.setdefault(owner, {})[one["metadata"]["uid"]] = entry_of(one, body)
        for owner, found in changes.items():
            await self.ledgers[owner].keep(found)

    async def forget(self, keys: frozenset[Key]) -> None:
        """Strike resources out of the ledger that are gone and whose end has no work left."""
        for ledger in self.ledgers.values():
            await ledger.keep({key.uid: None for key in keys})

    async def let_loose(self, key: Key) -> None:
        """Take away the finalizer that an earlier version set."""
        there = self._objects.get(key)
        if there is None or FINALIZER not in (there["metadata"].get("finalizers") or ()):
            return
        metadata = {"name": key.name, "namespace": key.namespace, "uid": there["metadata"]["uid"]}
        resource = RESOURCES[key.kind]
        await self._api.apply(
            {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}
        )

    def _is_too_soon(self, key: Key, status: Status, before: Object, wanted: Object) -> bool:
        """Whether only a group's figures moved, and were written a moment ago."""
        written = self._lag_written_ms.get(key)
        if not isinstance(status, GroupStatus) or written is None:
            return False
        if self._clock.monotonic_ms() - written >= LAG_WRITE_MS:
            return False
        still = replace(
            status, lag=None, lag_by_topic={}, lag_seconds=None, seconds_by_topic={}, conditions=()
        )
        calm = write_status(still)
        kept = {name: before.get(name) for name in calm if name not in {"topics", "conditions"}}
        same = all(kept[name] == calm[name] for name in kept)
        return same and _statuses(before) == _statuses(wanted)


def _statuses(status: Object) -> list[tuple[str, str]]:
    return [(one["type"], one["status"]) for one in status.get("conditions") or ()]
