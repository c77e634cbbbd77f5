"""An API server whose writes and refusals are counted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from moldau_operator.seams.api_server import RESOURCES, ApiError, ApiServer, Object, Resource

if TYPE_CHECKING:
    from moldau_operator.telemetry.metrics import OperatorMetrics


class CountedApi:
    """See `seams.api_server.ApiServer`; every call goes through to another one."""

    def __init__(self, api: ApiServer, metrics: OperatorMetrics) -> None:
        self._api = api
        self._metrics = metrics

    async def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """The object; None when it is not there."""
        with self._counting(resource.plural):
            return await self._api.get(resource, namespace, name)

    async def select(self, resource: Resource, namespace: str, labels: Mapping[str, str]) -> list[Object]:
        """The objects that have all these labels."""
        with self._counting(resource.plural):
            return await self._api.select(resource, namespace, labels)

    async def apply(self, wanted: Object, *, subresource: str = "") -> Object:
        """Server-side apply."""
        name = _plural(wanted) + (f"/{subresource}" if subresource else "")
        with self._counting(name, "apply"):
            return await self._api.apply(wanted, subresource=subresource)

    async def create(self, wanted: Object) -> Object:
        """Make an object."""
        with self._counting(_plural(wanted), "create"):
            return await self._api.create(wanted)

    async def replace(self, wanted: Object) -> Object:
        """Write an object of exactly this resourceVersion."""
        with self._counting(_plural(wanted), "replace"):
            return await self._api.replace(wanted)

    async def delete(
        self, resource: Resource, namespace: str, name: str, *, uid: str = "", orphan: bool = False
    ) -> None:
        """Ask for an object's end."""
        with self._counting(resource.plural, "delete"):
            await self._api.delete(resource, namespace, name, uid=uid, orphan=orphan)

    @contextmanager
    def _counting(self, resource: str, verb: str = "") -> Iterator[None]:
        try:
            yield
        except ApiError as error:
            self._metrics.refused(resource, error.status)
            raise
        if verb:
            self._metrics.wrote(resource, verb)


def _plural(wanted: Object) -> str:
    known = RESOURCES.get(str(wanted["kind"]))
    return known.plural if known is not None else str(wanted["kind"]).lower()
