"""`MemoryApi` over HTTP: what `kubectl`, kopf and our own client speak, on a loopback port.

Lists in pages, watches with bookmarks, 410 Gone once the history is forgotten, watches cut off on demand. Requests go
through the same doors as those of a test in the same process, so every call can be refused, lost or counted.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from moldau_operator.seams.api_server import RESOURCES, ApiError, Object, Resource
from moldau_operator.testing.apiserver import Change, MemoryApi

BY_PLURAL: Final[Mapping[tuple[str, str], Resource]] = {
    (one.api_version, one.plural): one for one in RESOURCES.values()
}
DISCOVERED: Final = (
    Resource("v1", "Namespace", "namespaces"),
    Resource("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions"),
)
"""Kinds outside of namespaces, which kopf wants to see and never asks for: told of, not served."""

_EVERYTHING: Final = (*RESOURCES.values(), *DISCOVERED)
_VERBS: Final = ["create", "delete", "get", "list", "patch", "update", "watch"]
_REASONS: Final = {
    400: "BadRequest",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    410: "Expired",
    422: "Invalid",
}
_BOOKMARK_S: Final = 0.5


class HttpApi:
    """Serves one `MemoryApi` until it is closed.

    Attributes:
        url: where, once it is started.
        watches: how many are open.
    """

    def __init__(self, api: MemoryApi) -> None:
        self.api = api
        self.url = ""
        self.watches = 0
        self._changed = asyncio.Event()
        self._cut = asyncio.Event()
        self._tokens = 0
        self._pages: dict[str, tuple[int, list[Object]]] = {}
        self._runner: web.AppRunner | None = None
        api.changed = self._tell

    async def start(self) -> None:
        """Listen on a free port of 127.0.0.1."""
        application = web.Application()
        application.router.add_get("/api", _core_versions)
        application.router.add_get("/apis", _groups)
        for version in {one.api_version for one in _EVERYTHING}:
            root = f"/apis/{version}" if "/" in version else f"/api/{version}"
            application.router.add_get(root, _resources(version))
            application.router.add_route(
                "*", root + "/namespaces/{namespace}/{plural}", self._answer(version)
            )
            one = root + "/namespaces/{namespace}/{plural}/{name}"
            application.router.add_route("*", one, self._answer(version))
            application.router.add_route("*", one + "/{subresource}", self._answer(version))
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"

    async def close(self) -> None:
        """Stop listening; open watches end."""
        self.cut_watches()
        if self._runner is not None:
            await self._runner.cleanup()

    def cut_watches(self) -> None:
        """End every open watch, without a word."""
        self._cut.set()
        self._cut = asyncio.Event()

    def kubeconfig(self, namespace: str) -> str:
        """A file for everybody who reads KUBECONFIG."""
        names = {"clusters": {"cluster": {"server": self.url}}, "users": {"user": {"token": "none"}}}
        document: Object = {"apiVersion": "v1", "kind": "Config", "current-context": "it"}
        document |= {key: [{"name": "it", **value}] for key, value in names.items()}
        context = {"cluster": "it", "user": "it", "namespace": namespace}
        return json.dumps(document | {"contexts": [{"name": "it", "context": context}]})

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _answer(self, version: str) -> Any:
        async def answer(request: web.Request) -> web.StreamResponse:
            resource = BY_PLURAL.get((version, request.match_info["plural"]))
            if resource is None:
                return _failure(ApiError(404, "the server could not find the requested resource"))
            try:
                if request.method == "GET" and request.query.get("watch") in {"1", "true"}:
                    return await self._watch(request, resource)
                return web.json_response(await self._do(request, resource))
            except ApiError as error:
                if error.status == 0 and request.transport is not None:  # nobody answers
                    request.transport.close()
                return _failure(error)

        return answer

    async def _do(self, request: web.Request, resource: Resource) -> Object:
        namespace, name = request.match_info["namespace"], request.match_info.get("name", "")
        manager = request.query.get("fieldManager", "unknown")
        body = json.loads(text) if (text := await request.text()) else {}
        if body and request.method != "DELETE":
            body = {"apiVersion": resource.api_version, "kind": resource.kind, **body}
            body["metadata"] = {"namespace": namespace, **body.get("metadata", {})}
        match request.method, bool(name):
            case "GET", True:
                found = await self.api.get(resource, namespace, name)
                if found is None:
                    raise ApiError(404, f'{resource.plural} "{name}" not found')
                return found
            case "GET", False:
                return await self._list(request, resource, namespace)
            case "POST", False:
                return await self.api.create(body, manager=manager)
            case "PUT", True:
                return await self.api.replace(body, manager=manager)
            case "PATCH", True if "apply-patch" in request.headers.get("Content-Type", ""):
                force, part = request.query.get("force") == "true", request.match_info.get("subresource", "")
                return await self.api.apply(body, subresource=part, manager=manager, force=force)
            case "DELETE", True:
                uid = (body.get("preconditions") or {}).get("uid", "")
                orphan = body.get("propagationPolicy") == "Orphan"
                await self.api.delete(resource, namespace, name, uid=uid, orphan=orphan)
                return {"kind": "Status", "apiVersion": "v1", "status": "Success"}
        raise ApiError(405, "the server does not allow this method on the requested resource")

    async def _list(self, request: web.Request, resource: Resource, namespace: str) -> Object:
        """In pages of one moment; a page of a moment that is forgotten is Gone."""
        limit, token = int(request.query.get("limit", 0)), request.query.get("continue", "")
        if token:
            version, rest = self._pages.pop(token, (-1, []))
            if version < self.api.forgotten:
                raise ApiError(
                    410, "The provided continue parameter is too old to display a consistent list result."
                )
        else:
            rest = await self.api.select(resource, namespace, _labels(request))
            version = self.api.version
        page, rest = (rest[:limit], rest[limit:]) if limit else (rest, [])
        metadata: Object = {"resourceVersion": str(version)}
        if rest:
            self._tokens += 1
            metadata["continue"] = f"{version}.{self._tokens}"
            self._pages[metadata["continue"]] = (version, rest)
        kind = f"{resource.kind}List"
        return {"apiVersion": resource.api_version, "kind": kind, "metadata": metadata, "items": page}

    async def _watch(self, request: web.Request, resource: Resource) -> web.StreamResponse:
        """Tell every change behind a version; end when it is cut, when its time is over or when its past is gone."""
        namespace, cut = request.match_info["namespace"], self._cut
        since = int(request.query.get("resourceVersion") or self.api.version)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        self.watches += 1
        try:
            async with asyncio.timeout(float(request.query.get("timeoutSeconds", 300))):
                while not cut.is_set():
                    if since < self.api.forgotten:
                        gone = _status(
                            ApiError(410, f"too old resource version: {since} ({self.api.forgotten})")
                        )
                        await _line(response, {"type": "ERROR", "object": gone})
                        break
                    changed = self._changed
                    for one in [one for one in self.api.history if one.version > since]:
                        since = one.version
                        if _concerns(one, resource, namespace, _labels(request)):
                            await _line(response, {"type": one.verb, "object": one.one})
                    if not await _either(changed, cut, _BOOKMARK_S):
                        await _line(response, _bookmark(resource, since))
        except (TimeoutError, ConnectionResetError):
            pass
        finally:
            self.watches -= 1
        return response


async def _line(response: web.StreamResponse, event: Object) -> None:
    await response.write(json.dumps(event).encode() + b"\n")


async def _either(one: asyncio.Event, other: asyncio.Event, seconds: float) -> bool:
    """Whether one of the two came in time."""
    tasks = [asyncio.ensure_future(event.wait()) for event in (one, other)]
    try:
        done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        return bool(done)
    finally:
        for task in tasks:
            task.cancel()


def _bookmark(resource: Resource, version: int) -> Object:
    metadata = {"resourceVersion": str(version)}
    one = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}
    return {"type": "BOOKMARK", "object": one}


def _concerns(change: Change, resource: Resource, namespace: str, labels: Mapping[str, str]) -> bool:
    one = change.one
    has = (one["metadata"].get("labels") or {}).items()
    mine = one["kind"] == resource.kind and one["metadata"]["namespace"] == namespace
    return mine and all(item in has or (item[1] == "" and item[0] in dict(has)) for item in labels.items())


def _labels(request: web.Request) -> dict[str, str]:
    """`a=b,c`: a label with a value, and one that is there."""
    parts = [part.partition("=") for part in request.query.get("labelSelector", "").split(",") if part]
    return {name: value for name, _, value in parts}


def _status(error: ApiError) -> Object:
    reason = _REASONS.get(error.status, "InternalError")
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": str(error),
        "reason": reason,
        "code": error.status,
    }


def _failure(error: ApiError) -> web.Response:
    return web.json_response(_status(error), status=error.status or 503)


async def _core_versions(_request: web.Request) -> web.Response:
    return web.json_response({"kind": "APIVersions", "versions": ["v1"]})


async def _groups(_request: web.Request) -> web.Response:
    groups = []
    for api_version in sorted({one.api_version for one in _EVERYTHING if "/" in one.api_version}):
        group, _, version = api_version.partition("/")
        served = {"groupVersion": api_version, "version": version}
        groups.append({"name": group, "versions": [served], "preferredVersion": served})
    return web.json_response({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})


def _resources(version: str) -> Any:
    async def answer(_request: web.Request) -> web.Response:
        found: list[Object] = []
        for one in _EVERYTHING:
            if one.api_version == version:
                named = {
                    "singularName": one.kind.lower(),
                    "kind": one.kind,
                    "namespaced": one not in DISCOVERED,
                }
                found.append({"name": one.plural, **named, "verbs": _VERBS})
                found.append({"name": f"{one.plural}/status", **named, "verbs": ["get", "patch"]})
        body = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": found}
        return web.json_response(body)

    return answer
