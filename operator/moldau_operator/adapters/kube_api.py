"""`ApiServer` over the asyncio client of the `kubernetes` package.

Only its transport and its way of finding credentials are used; objects stay plain mappings, as they are sent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, urlencode

from aiohttp import ClientError, ClientTimeout
from kubernetes.aio import client, config

from moldau_operator.seams.api_server import RESOURCES, ApiError, Object, Resource
from moldau_operator.specs.objects import FIELD_MANAGER

TIMEOUT: Final = ClientTimeout(total=30, connect=5)
"""A list of 2,000 Topics takes a second on a busy server."""

PAGE: Final = 500

_APPLY: Final = "application/apply-patch+yaml"  # JSON is YAML
_JSON: Final = "application/json"


async def connect() -> KubeApi:
    """The API server of the pod this runs in, else of KUBECONFIG.

    Raises:
        ApiError: neither is there, or what is there cannot be used.
    """
    settings = client.Configuration()
    try:
        try:
            config.load_incluster_config(client_configuration=settings)
        except config.ConfigException:
            await config.load_kube_config(client_configuration=settings)
    except (config.ConfigException, OSError) as error:
        raise ApiError(0, f"no way to an API server: {error}") from error
    return KubeApi(client.ApiClient(settings))


class KubeApi:
    """Implements `ApiServer`.

    Args:
        manager: whose fields an apply sets; `force` takes them from whoever has them.
        page: most objects of one answer to a list.
    """

    def __init__(
        self,
        transport: client.ApiClient,
        manager: str = FIELD_MANAGER,
        *,
        force: bool = True,
        page: int = PAGE,
    ) -> None:
        self._transport = transport
        self._manager = manager
        self._force = force
        self._page = page

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.close()

    async def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """As the protocol."""
        try:
            return await self._ask("GET", _path(resource, namespace, name))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def select(self, resource: Resource, namespace: str, labels: Mapping[str, str]) -> list[Object]:
        """As the protocol, in pages; a list that grew too old between two pages is asked for once more, whole."""
        try:
            return await self._list(resource, namespace, labels, self._page)
        except ApiError as error:
            if error.status != 410:
                raise
        return await self._list(resource, namespace, labels, 0)

    async def _list(
        self, resource: Resource, namespace: str, labels: Mapping[str, str], page_size: int
    ) -> list[Object]:
        query = {"limit": str(page_size)} if page_size else {}
        if labels:
            query["labelSelector"] = ",".join(f"{name}={value}" for name, value in sorted(labels.items()))
        found: list[Object] = []
        while True:
            page = await self._ask("GET", _path(resource, namespace), query)
            found += page.get("items") or []
            more = page.get("metadata", {}).get("continue")
            if not more:
                break
            query["continue"] = more
        for one in found:  # the server leaves these out of lists
            one.setdefault("apiVersion", resource.api_version)
            one.setdefault("kind", resource.kind)
        return sorted(found, key=lambda one: str(one["metadata"]["name"]))

    async def apply(self, wanted: Object, *, subresource: str = "") -> Object:
        """As the protocol."""
        path = _path_of(wanted) + (f"/{subresource}" if subresource else "")
        return await self._ask(
            "PATCH",
            path,
            {"fieldManager": self._manager, "force": str(self._force).lower()},
            wanted,
            content=_APPLY,
        )

    async def create(self, wanted: Object) -> Object:
        """As the protocol."""
        path = _path_of(wanted).rpartition("/")[0]
        return await self._ask("POST", path, {"fieldManager": self._manager}, wanted)

    async def replace(self, wanted: Object) -> Object:
        """As the protocol."""
        return await self._ask("PUT", _path_of(wanted), {"fieldManager": self._manager}, wanted)

    async def delete(
        self, resource: Resource, namespace: str, name: str, *, uid: str = "", orphan: bool = False
    ) -> None:
        """As the protocol."""
        body: Object = {"kind": "DeleteOptions", "apiVersion": "v1"}
        if uid:
            body["preconditions"] = {"uid": uid}
        if orphan:
            body["propagationPolicy"] = "Orphan"
        try:
            await self._ask("DELETE", _path(resource, namespace, name), {}, body)
        except ApiError as error:
            if error.status != 404:
                raise

    async def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        *,
        content: str = _JSON,
    ) -> Object:
        configuration = self._transport.configuration
        url = f"{configuration.host}{path}" + (f"?{urlencode(query)}" if query else "")
        headers: dict[str, Any] = {"Accept": _JSON, "Content-Type": content}
        await self._transport.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        try:
            answer = await self._transport.rest_client.request(
                method, url, headers=headers, body=body, _request_timeout=TIMEOUT
            )
            data = await answer.read()
        except (ClientError, OSError, TimeoutError) as error:
            raise ApiError(
                0, f"the API server does not answer: {str(error) or type(error).__name__}"
            ) from error
        try:
            found = json.loads(data)
        except ValueError:
            found = {"message": data[:200].decode(errors="replace")}
        if not 200 <= answer.status < 300:
            words = found.get("message") or answer.reason
            raise ApiError(answer.status, f"the API server refuses {method} {path}: {words}")
        return dict(found)


def _path_of(one: Object) -> str:
    metadata = one["metadata"]
    return _path(RESOURCES[one["kind"]], metadata["namespace"], metadata["name"])


def _path(resource: Resource, namespace: str, name: str = "") -> str:
    root = f"/apis/{resource.api_version}" if "/" in resource.api_version else f"/api/{resource.api_version}"
    path = f"{root}/namespaces/{quote(namespace, safe='')}" if namespace else root
    path += f"/{resource.plural}"
    return f"{path}/{quote(name, safe='')}" if name else path
