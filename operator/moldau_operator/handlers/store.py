"""`StatusStore` over the status subresource, and the finalizers of resources whose end has work to do."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from moldau_broker.base.clock import Clock
from moldau_operator.handlers.statuses import write_status
from moldau_operator.resources.meta import Key
from moldau_operator.resources.status import GroupStatus
from moldau_operator.seams.api_server import RESOURCES, ApiServer, Object
from moldau_operator.seams.status_store import Status

FINALIZER: Final = "moldau.dev/finalizer"

LAG_WRITE_MS: Final = 10_000
"""Lag moves with every record; more than six writes a minute for each group would be etcd's whole work."""

MANY: Final = 50
AT_ONCE: Final = 16
"""Statuses written side by side where there are many: 2,000 Topics declared at once are ready in seconds, and the
server's own limit for one client (some hundreds in flight) is far away."""


class KubeStatuses:
    """Writes what differs from what the server was seen to have."""

    def __init__(self, api: ApiServer, clock: Clock) -> None:
        self._api = api
        self._clock = clock
        self._objects: dict[Key, Object] = {}
        self._details: dict[Key, dict[str, Any]] = {}
        self._lag_written_ms: dict[Key, int] = {}

    def saw(self, objects: Mapping[Key, Object]) -> None:
        """What the server has now."""
        self._objects = dict(objects)
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
        wanted = {**write_status(status), **self._details.get(key, {})}
        before = there.get("status") or {}
        return None if before == wanted or self._is_too_soon(key, status, before, wanted) else wanted

    async def _write(self, key: Key, status: Status, wanted: Object) -> None:
        resource, uid = RESOURCES[key.kind], self._objects[key]["metadata"]["uid"]
        metadata = {"name": key.name, "namespace": key.namespace, "uid": uid}
        one = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}
        # A conflict is no reason to go on: what is about to be done counts on its being written down first.
        applied = await self._api.apply({**one, "status": wanted}, subresource="status")
        self._objects[key] = applied
        if isinstance(status, GroupStatus):
            self._lag_written_ms[key] = self._clock.monotonic_ms()

    async def forget(self, keys: frozenset[Key]) -> None:
        """Let go of resources whose end has no work left."""
        for key in sorted(keys):
            await self.hold(key, wanted=False)

    async def hold(self, key: Key, *, wanted: bool) -> bool:
        """Set or take away our finalizer; gives whether that needed a write."""
        there = self._objects.get(key)
        if there is None or (FINALIZER in (there["metadata"].get("finalizers") or ())) is wanted:
            return False
        metadata = {"name": key.name, "namespace": key.namespace, "uid": there["metadata"]["uid"]}
        if wanted:
            metadata["finalizers"] = [FINALIZER]
        resource = RESOURCES[key.kind]
        await self._api.apply(
            {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}
        )
        finalizers = [one for one in there["metadata"].get("finalizers") or () if one != FINALIZER]
        there["metadata"]["finalizers"] = [*finalizers, FINALIZER] if wanted else finalizers
        return True

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
