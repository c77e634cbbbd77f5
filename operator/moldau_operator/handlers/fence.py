"""Writes end where the Lease ends: a process that was asleep while another took over must not finish its pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from moldau_operator.seams.api_server import ApiError, ApiServer, Object, Resource


class FencedApi:
    """Implements `ApiServer`. Reads go through; a write is refused here once the Lease may be somebody else's.

    Args:
        holds: whether the Lease is held for certain, by this process's own clock.
    """

    def __init__(self, api: ApiServer, holds: Callable[[], bool]) -> None:
        self._api = api
        self._holds = holds

    async def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """As the protocol."""
        return await self._api.get(resource, namespace, name)

    async def select(self, resource: Resource, namespace: str, labels: Mapping[str, str]) -> list[Object]:
        """As the protocol."""
        return await self._api.select(resource, namespace, labels)

    async def apply(self, wanted: Object, *, subresource: str = "") -> Object:
        """As the protocol."""
        self._check()
        return await self._api.apply(wanted, subresource=subresource)

    async def create(self, wanted: Object) -> Object:
        """As the protocol."""
        self._check()
        return await self._api.create(wanted)

    async def replace(self, wanted: Object) -> Object:
        """As the protocol."""
        self._check()
        return await self._api.replace(wanted)

    async def delete(
        self, resource: Resource, namespace: str, name: str, *, uid: str = "", orphan: bool = False
    ) -> None:
        """As the protocol."""
        self._check()
        await self._api.delete(resource, namespace, name, uid=uid, orphan=orphan)

    def _check(self) -> None:
        if not self._holds():
            raise ApiError(0, "the Lease is lost; another operator may be at work")
