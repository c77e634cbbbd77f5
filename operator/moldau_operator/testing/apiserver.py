"""An API server in memory, as far as an operator can tell: versions, generations, conflicts, server-side apply.

Beside it a stand-in for Kubernetes' own controllers: StatefulSets get pods and claims, pods become ready, what is
being deleted goes. Every call can be made the last one of its caller, before or after it took effect.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from moldau_operator.seams.api_server import RESOURCES, ApiError, Object, Resource


class Killed(BaseException):
    """The caller's process ends here; nothing it would have done afterwards happens."""


@dataclass(slots=True)
class Call:
    """One request that reached the server; `wrote` tells whether an object changed by it."""

    verb: str
    kind: str
    name: str
    wrote: bool = False

    def __str__(self) -> str:
        return f"{self.verb} {self.kind} {self.name}".rstrip()


@dataclass(slots=True)
class MemoryApi:
    """Implements `ApiServer`.

    Attributes:
        calls: every request, in order.
        kill_at: the index in `calls` at which the caller dies, before the call's effect unless
            `kill_after_effect`.
        refuse: called with each request; an error it gives is raised.
    """

    objects: dict[tuple[str, str, str], Object] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    kill_at: int | None = None
    kill_after_effect: bool = False
    refuse: Callable[[Call], ApiError | None] = lambda _call: None
    _applied: dict[tuple[str, str, str, str], Object] = field(default_factory=dict)
    _version: int = 0

    @property
    def writes(self) -> list[Call]:
        """The requests that changed something."""
        return [call for call in self.calls if call.wrote]

    async def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """As the protocol."""
        self._begin("get", resource.kind, name)
        found = self.objects.get((resource.kind, namespace, name))
        self._end()
        return copy.deepcopy(found)

    async def select(self, resource: Resource, namespace: str, labels: Mapping[str, str]) -> list[Object]:
        """As the protocol."""
        self._begin("list", resource.kind, "")
        found = [
            copy.deepcopy(one)
            for (kind, space, _), one in sorted(self.objects.items())
            if kind == resource.kind
            and space == namespace
            and labels.items() <= (one["metadata"].get("labels") or {}).items()
        ]
        self._end()
        return found

    async def apply(self, wanted: Object, *, subresource: str = "") -> Object:
        """As the protocol, for one field manager: fields it named before and no longer does go."""
        key = _key(wanted)
        call = self._begin("apply", wanted["kind"], key[2])
        there = self.objects.get(key)
        uid = wanted["metadata"].get("uid")
        if there is None and (subresource or uid):
            raise ApiError(404 if subresource else 409, f"{call}: it is not there")
        if there is not None and uid and uid != there["metadata"]["uid"]:
            raise ApiError(409, f"{call}: another object has this name now")
        before = self._applied.get((*key, subresource), {})
        now = {"status": wanted["status"]} if subresource else _without_identity(wanted)
        merged = copy.deepcopy(there) if there is not None else self._fresh(wanted)
        _remove(merged, before, now)
        _merge(merged, now)
        _keep_sets_valid(wanted["kind"], there, merged)
        self._applied[(*key, subresource)] = copy.deepcopy(now)
        call.wrote = self._store(key, there, merged)
        self._end()
        return copy.deepcopy(merged)

    async def create(self, wanted: Object) -> Object:
        """As the protocol."""
        key = _key(wanted)
        call = self._begin("create", wanted["kind"], key[2])
        if key in self.objects:
            raise ApiError(409, f"{call}: it is there already")
        merged = self._fresh(wanted)
        _merge(merged, _without_identity(wanted))
        call.wrote = self._store(key, None, merged)
        self._end()
        return copy.deepcopy(merged)

    async def replace(self, wanted: Object) -> Object:
        """As the protocol."""
        key = _key(wanted)
        call = self._begin("replace", wanted["kind"], key[2])
        there = self.objects.get(key)
        if there is None:
            raise ApiError(404, f"{call}: it is not there")
        if wanted["metadata"].get("resourceVersion") != there["metadata"]["resourceVersion"]:
            raise ApiError(409, f"{call}: the object has been modified")
        call.wrote = self._store(key, there, copy.deepcopy(wanted))
        self._end()
        return copy.deepcopy(self.objects[key])

    async def delete(
        self, resource: Resource, namespace: str, name: str, *, uid: str = "", orphan: bool = False
    ) -> None:
        """As the protocol: what has finalizers stays until they are gone, pods and claims until they let go."""
        key = (resource.kind, namespace, name)
        call = self._begin("delete", resource.kind, name)
        there = self.objects.get(key)
        if there is not None:
            if uid and there["metadata"]["uid"] != uid:
                raise ApiError(409, f"{call}: another object has this name now")
            call.wrote = True
            self._remove(key, orphan=orphan)
        self._end()

    def put(self, one: Object) -> Object:
        """As a person would, with kubectl: make or replace the spec and labels of an object."""
        key = _key(one)
        there = self.objects.get(key)
        merged = copy.deepcopy(there) if there is not None else self._fresh(one)
        for name, value in _without_identity(one).items():
            if name == "metadata":
                merged["metadata"].update(copy.deepcopy(value))
            else:
                merged[name] = copy.deepcopy(value)
        self._store(key, there, merged)
        return self.objects[key]

    def remove(self, kind: str, namespace: str, name: str) -> None:
        """As a person would, with kubectl."""
        self._remove((kind, namespace, name), orphan=False)

    def of(self, kind: str) -> dict[str, Object]:
        """All objects of a kind, by name."""
        return {name: one for (found, _, name), one in sorted(self.objects.items()) if found == kind}

    def settle(self, ready: Callable[[Object], bool] = lambda _pod: True) -> None:
        """What Kubernetes does by itself, once: pods end and are made, claims are bound, pods become ready."""
        for key, one in list(self.objects.items()):
            if key[0] == "Pod" and "deletionTimestamp" in one["metadata"]:
                del self.objects[key]
        mounted = {f"data-{name}" for name in self.of("Pod")}
        for key, one in list(self.objects.items()):
            gone = key[0] == "PersistentVolumeClaim" and "deletionTimestamp" in one["metadata"]
            if gone and key[2] not in mounted:
                del self.objects[key]
        for one in self.of("StatefulSet").values():
            self._run_set(one)
        for pod in self.of("Pod").values():
            state = "True" if ready(pod) else "False"
            pod["status"] = {"conditions": [{"type": "Ready", "status": state}]}

    def _run_set(self, one: Object) -> None:
        meta, spec = one["metadata"], one["spec"]
        wanted = {f"{meta['name']}-{n}" for n in range(spec["replicas"])}
        for name, pod in self.of("Pod").items():
            owner = name.rpartition("-")[0] == meta["name"]
            if owner and name not in wanted and "deletionTimestamp" not in pod["metadata"]:
                self._remove(("Pod", meta["namespace"], name), orphan=False)
        for name in sorted(wanted):
            for template in spec["volumeClaimTemplates"]:
                claim = f"{template['metadata']['name']}-{name}"
                key = ("PersistentVolumeClaim", meta["namespace"], claim)
                if key not in self.objects:
                    body = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", **copy.deepcopy(template)}
                    body["metadata"] |= {"name": claim, "namespace": meta["namespace"]}
                    self.put(body)
            if ("Pod", meta["namespace"], name) not in self.objects:
                pod = {"apiVersion": "v1", "kind": "Pod", **copy.deepcopy(spec["template"])}
                pod["metadata"] |= {"name": name, "namespace": meta["namespace"]}
                self.put(pod)

    def _begin(self, verb: str, kind: str, name: str) -> Call:
        call = Call(verb, kind, name)
        if self.kill_at == len(self.calls) and not self.kill_after_effect:
            raise Killed
        error = self.refuse(call)
        if error is not None:
            raise error
        self.calls.append(call)
        return call

    def _end(self) -> None:
        if self.kill_after_effect and self.kill_at == len(self.calls) - 1:
            raise Killed

    def _fresh(self, wanted: Object) -> Object:
        meta = wanted["metadata"]
        self._version += 1
        return {
            "apiVersion": wanted["apiVersion"],
            "kind": wanted["kind"],
            "metadata": {
                "name": meta["name"],
                "namespace": meta["namespace"],
                "uid": f"uid-{self._version}",
                "generation": 1,
                "creationTimestamp": f"2027-01-01T00:00:00Z+{self._version:06d}",
            },
        }

    def _store(self, key: tuple[str, str, str], there: Object | None, merged: Object) -> bool:
        if there is not None and _content(there) == _content(merged):
            return False
        self._version += 1
        merged["metadata"]["resourceVersion"] = str(self._version)
        if there is not None and there.get("spec") != merged.get("spec"):
            merged["metadata"]["generation"] = there["metadata"]["generation"] + 1
        self.objects[key] = merged
        ends = "deletionTimestamp" in merged["metadata"] and not merged["metadata"].get("finalizers")
        if ends and key[0] not in _LINGER:
            self._gone(key)
        return True

    def _gone(self, key: tuple[str, str, str]) -> None:
        self._applied = {one: value for one, value in self._applied.items() if one[:3] != key}
        self.objects.pop(key, None)

    def _remove(self, key: tuple[str, str, str], *, orphan: bool) -> None:
        one = self.objects[key]
        if key[0] in _LINGER or one["metadata"].get("finalizers"):
            one["metadata"].setdefault("deletionTimestamp", "2027-01-01T00:00:00Z")
            return
        self._gone(key)
        if orphan:
            return
        uid = one["metadata"]["uid"]
        for other, child in list(self.objects.items()):
            owners = child["metadata"].get("ownerReferences") or ()
            in_set = key[0] == "StatefulSet" and other[0] == "Pod" and other[2].rpartition("-")[0] == key[2]
            if other in self.objects and (in_set or any(owner["uid"] == uid for owner in owners)):
                self._remove(other, orphan=False)


_LINGER: Final = frozenset({"Pod", "PersistentVolumeClaim"})
"""They go when a kubelet, or their last user, lets go."""


def _key(one: Object) -> tuple[str, str, str]:
    assert one["kind"] in RESOURCES, one["kind"]
    return one["kind"], one["metadata"]["namespace"], one["metadata"]["name"]


def _content(one: Object) -> Object:
    metadata = {k: v for k, v in one["metadata"].items() if k not in {"resourceVersion", "generation"}}
    return {**one, "metadata": metadata}


def _without_identity(one: Object) -> Object:
    found = {name: value for name, value in one.items() if name not in {"apiVersion", "kind", "status"}}
    skip = {"name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp"}
    found["metadata"] = {name: value for name, value in one["metadata"].items() if name not in skip}
    return copy.deepcopy(found)


def _merge(into: Object, new: Mapping[str, Any]) -> None:
    """Mappings are merged, lists replaced: our lists have one manager."""
    for name, value in new.items():
        if isinstance(value, Mapping) and isinstance(into.get(name), dict):
            _merge(into[name], value)
        else:
            into[name] = copy.deepcopy(value)


def _remove(into: Object, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    for name, value in before.items():
        if name not in into:
            continue
        if isinstance(value, Mapping) and isinstance(now.get(name), Mapping) and isinstance(into[name], dict):
            _remove(into[name], value, now[name])
        elif name not in now and name != "metadata":
            del into[name]


def _keep_sets_valid(kind: str, there: Object | None, merged: Object) -> None:
    """What the server refuses of a StatefulSet's change."""
    if kind != "StatefulSet" or there is None:
        return
    fixed = ("serviceName", "podManagementPolicy", "selector", "volumeClaimTemplates")
    for name in fixed:
        if there["spec"].get(name) != merged["spec"].get(name):
            raise ApiError(422, f"StatefulSet {merged['metadata']['name']}: spec.{name} is immutable")
