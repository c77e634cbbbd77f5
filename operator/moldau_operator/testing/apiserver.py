"""An API server in memory, as far as an operator can tell: versions, generations, conflicts, server-side apply,
finalizers, custom resource definitions, and the story of changes that watches tell.

`testing.controllers` does what Kubernetes' own controllers do, `testing.apiserver_http` serves it over HTTP. Every call
can be made the last one of its caller, before or after it took effect.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias

from moldau_operator.seams.api_server import RESOURCES, ApiError, Object, Resource
from moldau_operator.specs.objects import FIELD_MANAGER
from moldau_operator.testing.apply import Managers
from moldau_operator.testing.copying import copied
from moldau_operator.testing.defaults import add_defaults
from moldau_operator.testing.schema import Definition
from moldau_operator.testing.validation import check_change

ObjectKey: TypeAlias = tuple[str, str, str]
"""Kind, namespace, name."""

HISTORY_MAX: Final = 20_000
"""Changes that a watch can begin behind, as etcd keeps five minutes of them."""

PERSON: Final = "kubectl"
"""The field manager of `put`."""

_LINGER: Final = frozenset({"Pod", "PersistentVolumeClaim"})
"""They go when a kubelet, or their last user, lets go."""

_STATUS_KINDS: Final = frozenset(RESOURCES) - {"ConfigMap", "Event", "Lease"}
_SERVER_FIELDS: Final = frozenset(
    {"name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp"}
)


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


class Change(NamedTuple):
    """What a watch tells: ADDED, MODIFIED or DELETED, and the object as it is (was)."""

    version: int
    verb: str
    one: Object


@dataclass(slots=True)
class MemoryApi:
    """Implements `ApiServer`.

    Attributes:
        calls: every request, in order.
        kill_at: the index in `calls` at which the caller dies, before the call's effect unless
            `kill_after_effect`.
        refuse: called with each request; an error it gives is raised instead of the effect.
        lose: called with each request after its effect; an error it gives is what the caller hears.
        definitions: of custom resources, by kind; a kind without one is taken as it is.
        expandable: whether volumes can grow.
        history: the latest changes, for watches.
        forgotten: the version of the last change that is not in `history` any more.
    """

    objects: dict[ObjectKey, Object] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    kill_at: int | None = None
    kill_after_effect: bool = False
    refuse: Callable[[Call], ApiError | None] = lambda _call: None
    lose: Callable[[Call], ApiError | None] = lambda _call: None
    definitions: Mapping[str, Definition] = field(default_factory=dict)
    expandable: bool = True
    history: deque[Change] = field(default_factory=deque)
    forgotten: int = 0
    changed: Callable[[], None] = lambda: None
    _managers: dict[ObjectKey, Managers] = field(default_factory=dict)
    version: int = 0

    @property
    def writes(self) -> list[Call]:
        """The requests that changed something."""
        return [call for call in self.calls if call.wrote]

    async def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """As the protocol."""
        call = self._begin("get", resource.kind, name)
        found = self.objects.get((resource.kind, namespace, name))
        self._end(call)
        return copied(found)

    async def select(self, resource: Resource, namespace: str, labels: Mapping[str, str]) -> list[Object]:
        """As the protocol."""
        call = self._begin("list", resource.kind, "")
        found = [copied(one) for one in self.matching(resource.kind, namespace, labels)]
        self._end(call)
        return found

    async def apply(
        self, wanted: Object, *, subresource: str = "", manager: str = FIELD_MANAGER, force: bool = True
    ) -> Object:
        """As the protocol, for any field manager."""
        key = object_key(wanted)
        call = self._begin("apply", wanted["kind"], key[2])
        there = self.objects.get(key)
        uid = wanted["metadata"].get("uid")
        if there is None and (subresource or uid):
            raise ApiError(409 if uid else 404, f"{call}: it is not there")
        if there is not None and uid and uid != there["metadata"]["uid"]:
            raise ApiError(409, f"{call}: another object has this name now")
        now = {"status": wanted["status"]} if subresource else _writable(wanted)
        definition = self.definitions.get(key[0])
        if definition is not None:
            definition.check_declared(now, f"{key[1]}/{key[2]}")
        managers = self._managers.get(key) or Managers()
        trial = Managers(dict(managers.sets))
        merged = trial.apply(there or self._fresh(wanted), now, manager, subresource, force=force)
        call.wrote = self._store(key, there, merged, subresource)
        self._managers[key] = trial
        self._end(call)
        return copied(self.objects.get(key, merged))

    async def create(self, wanted: Object, *, manager: str = FIELD_MANAGER) -> Object:
        """As the protocol."""
        key = object_key(wanted)
        call = self._begin("create", wanted["kind"], key[2])
        if key in self.objects:
            raise ApiError(409, f"{call}: it is there already")
        call.wrote = self._update(key, None, wanted, manager)
        self._end(call)
        return copied(self.objects[key])

    async def replace(self, wanted: Object, *, manager: str = FIELD_MANAGER) -> Object:
        """As the protocol; without a resourceVersion it is over whatever is there."""
        key = object_key(wanted)
        call = self._begin("replace", wanted["kind"], key[2])
        there = self.objects.get(key)
        if there is None:
            raise ApiError(404, f"{call}: it is not there")
        version = wanted["metadata"].get("resourceVersion")
        if version and version != there["metadata"]["resourceVersion"]:
            raise ApiError(409, f"{call}: the object has been modified")
        call.wrote = self._update(key, there, wanted, manager)
        self._end(call)
        return copied(self.objects.get(key, wanted))

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
        self._end(call)

    def matching(self, kind: str, namespace: str, labels: Mapping[str, str]) -> list[Object]:
        """The stored objects of a kind that have all these labels, by name; not copies."""
        return [
            one
            for (found, space, _), one in sorted(self.objects.items())
            if found == kind
            and space == namespace
            and labels.items() <= (one["metadata"].get("labels") or {}).items()
        ]

    def put(self, one: Object) -> Object:
        """As a person would, with kubectl: make an object, or replace its spec and add to its metadata."""
        key = object_key(one)
        there = self.objects.get(key)
        wanted = copied(one)
        if there is not None:
            metadata = {**there["metadata"], **wanted["metadata"], "resourceVersion": ""}
            wanted = {**there, **wanted, "metadata": metadata}
        self._update(key, there, wanted, PERSON)
        return self.objects[key]

    def patch(self, key: ObjectKey, change: Callable[[Object], object]) -> None:
        """As one of Kubernetes' own controllers would: change an object in place, its status too."""
        there = self.objects[key]
        merged = copied(there)
        change(merged)
        self._store(key, there, merged, "status" if merged.get("status") != there.get("status") else "")

    def remove(self, kind: str, namespace: str, name: str) -> None:
        """As a person would, with kubectl."""
        self._remove((kind, namespace, name), orphan=False)

    def finish(self, key: ObjectKey) -> None:
        """Whoever held an object that is being deleted lets go."""
        self._gone(key)

    def of(self, kind: str) -> dict[str, Object]:
        """All objects of a kind, by name."""
        return {name: one for (found, _, name), one in sorted(self.objects.items()) if found == kind}

    def take(self, other: MemoryApi) -> None:
        """Begin with another server's objects."""
        self.objects = {key: copied(one) for key, one in other.objects.items()}
        self._managers = {key: Managers(dict(one.sets)) for key, one in other._managers.items()}
        self.version = self.forgotten = other.version

    def compact(self) -> None:
        """Forget every change: watches and lists that began before must begin anew."""
        self.history.clear()
        self.forgotten = self.version

    def _begin(self, verb: str, kind: str, name: str) -> Call:
        call = Call(verb, kind, name)
        if self.kill_at == len(self.calls) and not self.kill_after_effect:
            raise Killed
        self.calls.append(call)
        error = self.refuse(call)
        if error is not None:
            raise error
        return call

    def _end(self, call: Call) -> None:
        if self.kill_after_effect and self.kill_at == len(self.calls) - 1:
            raise Killed
        error = self.lose(call)
        if error is not None:
            raise error

    def _fresh(self, wanted: Object) -> Object:
        meta = wanted["metadata"]
        self.version += 1
        minute, second = divmod(self.version, 60)
        hour, minute = divmod(minute, 60)
        return {
            "apiVersion": wanted["apiVersion"],
            "kind": wanted["kind"],
            "metadata": {
                "name": meta["name"],
                "namespace": meta["namespace"],
                "uid": f"uid-{self.version}",
                "generation": 1,
                "creationTimestamp": f"2027-01-{1 + hour // 24 % 28:02d}T{hour % 24:02d}:{minute:02d}:{second:02d}Z",
            },
        }

    def _update(self, key: ObjectKey, there: Object | None, wanted: Object, manager: str) -> bool:
        """A write of the whole object, by its resourceVersion or without."""
        merged = self._fresh(wanted)
        if there is not None:
            kept = {name: value for name, value in there["metadata"].items() if name in _SERVER_FIELDS}
            merged = {"apiVersion": there["apiVersion"], "kind": there["kind"], "metadata": kept}
        body = _writable(wanted)
        merged["metadata"] |= body.pop("metadata")
        merged |= body
        if there is not None and "status" in there:
            merged["status"] = there["status"]
        before = copied(there)
        wrote = self._store(key, there, merged)
        if key in self.objects:
            managers = self._managers.setdefault(key, Managers())
            managers.update(_writable(before) if before else None, _writable(merged), manager)
        return wrote

    def _store(self, key: ObjectKey, there: Object | None, merged: Object, subresource: str = "") -> bool:
        taken = {
            port.get("nodePort", 0)
            for one in self.of("Service").values()
            for port in one["spec"].get("ports", ())
        }
        add_defaults(merged, taken)
        definition = self.definitions.get(key[0])
        if definition is not None:
            merged = definition.admit(merged, there)
        if subresource != "status" and key[0] in _STATUS_KINDS:
            merged.pop("status", None)
            if there is not None and "status" in there:
                merged["status"] = there["status"]
            elif definition is not None and (first := definition.first_status) is not None:
                merged["status"] = first
        if there is not None and _content(there) == _content(merged):
            return False
        check_change(there, merged, expandable=self.expandable)
        self.version += 1
        merged["metadata"]["resourceVersion"] = str(self.version)
        if there is not None and there.get("spec") != merged.get("spec"):
            merged["metadata"]["generation"] = there["metadata"]["generation"] + 1
        self.objects[key] = merged
        ends = "deletionTimestamp" in merged["metadata"] and not merged["metadata"].get("finalizers")
        if ends and key[0] not in _LINGER:
            self._gone(key)
        else:
            self._tell("ADDED" if there is None else "MODIFIED", merged)
        return True

    def _gone(self, key: ObjectKey) -> None:
        self._managers.pop(key, None)
        one = self.objects.pop(key)
        self.version += 1
        last = copied(one)
        last["metadata"]["resourceVersion"] = str(self.version)
        self._tell("DELETED", last)

    def _tell(self, verb: str, one: Object) -> None:
        self.history.append(Change(self.version, verb, copied(one)))
        while len(self.history) > HISTORY_MAX:
            self.forgotten = self.history.popleft().version
        self.changed()

    def _remove(self, key: ObjectKey, *, orphan: bool) -> None:
        one = self.objects[key]
        uid = one["metadata"]["uid"]
        if key[0] in _LINGER or one["metadata"].get("finalizers"):
            if "deletionTimestamp" not in one["metadata"]:
                self.patch(key, lambda it: it["metadata"].update(deletionTimestamp="2027-02-01T00:00:00Z"))
            return
        self._gone(key)
        for other, child in list(self.objects.items()):
            owners = child["metadata"].get("ownerReferences") or ()
            if other not in self.objects or not any(owner["uid"] == uid for owner in owners):
                continue
            if orphan:
                kept = [owner for owner in owners if owner["uid"] != uid]
                self.patch(other, lambda it, kept=kept: it["metadata"].update(ownerReferences=kept))  # type: ignore[misc]
            else:
                self._remove(other, orphan=False)


def object_key(one: Object) -> ObjectKey:
    """The key of an object in `MemoryApi.objects`."""
    assert one["kind"] in RESOURCES, one["kind"]
    return one["kind"], one["metadata"]["namespace"], one["metadata"]["name"]


def _content(one: Object) -> Object:
    metadata: dict[str, Any] = {
        name: value
        for name, value in one["metadata"].items()
        if name not in {"resourceVersion", "generation"} and value not in ([], {})
    }
    return {**one, "metadata": metadata}


def _writable(one: Object) -> Object:
    """What callers may set by a write of the object itself."""
    found = {name: value for name, value in one.items() if name not in {"apiVersion", "kind", "status"}}
    found["metadata"] = {name: value for name, value in one["metadata"].items() if name not in _SERVER_FIELDS}
    return copied(found)
