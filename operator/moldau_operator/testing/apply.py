"""Server-side apply: who set which field of an object, and what an apply makes of it. Pure.

As Kubernetes' structured merge: mappings merge field by field, lists that have keys merge item by item, sets value by
value, and every other list is one value. A field that its last manager no longer applies goes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias

from moldau_operator.seams.api_server import ApiError, Object
from moldau_operator.testing.copying import copied

Path: TypeAlias = tuple[Any, ...]
"""Names of fields, `Item`s of lists with keys, and `Member`s of sets."""

Leaves: TypeAlias = dict[Path, Any]


class Item(NamedTuple):
    """An item of a list, by the values of its keys."""

    keys: tuple[tuple[str, Any], ...]


class Member(NamedTuple):
    """A value of a set."""

    value: Any


Owner: TypeAlias = tuple[str, str, str]
"""Manager, "Apply" or "Update", and subresource."""

SETS: Final = frozenset({"finalizers", "roles", "managedSettings"})

LISTS: Final[Mapping[str, tuple[str, ...]]] = {
    "conditions": ("type",),
    "containers": ("name",),
    "env": ("name",),
    "imagePullSecrets": ("name",),
    "initContainers": ("name",),
    "listeners": ("name",),
    "nodes": ("id",),
    "ownerReferences": ("uid",),
    "pools": ("name",),
    "topics": ("topic",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
    "volumeMounts": ("mountPath",),
    "volumes": ("name",),
}
"""Lists whose items are told apart by keys, by the field's name: unambiguous among the objects we write."""

_PORTS: Final = (("containerPort", "protocol"), ("port", "protocol"))
_DEFAULTS: Final = {"protocol": "TCP"}


@dataclass(slots=True)
class Managers:
    """Who set which leaves of one object."""

    sets: dict[Owner, frozenset[Path]] = field(default_factory=dict)

    def apply(
        self, there: Object, wanted: Object, manager: str, subresource: str = "", *, force: bool
    ) -> Object:
        """The object after an apply.

        Raises:
            ApiError: a field has another value by another manager, and `force` is not given (409).
        """
        owner, now, new = (manager, "Apply", subresource), leaves(there), leaves(wanted)
        changed = {path for path, value in new.items() if path in now and now[path] != value}
        rivals = {other: paths & changed for other, paths in self.sets.items() if other != owner}
        rivals = {other: paths for other, paths in rivals.items() if paths}
        if rivals and not force:
            (other, _, _), paths = next(iter(sorted(rivals.items())))
            raise ApiError(409, f'conflict with "{other}": {_words(min(paths, key=str))}')
        for rival, lost in rivals.items():
            self._keep(rival, self.sets[rival] - lost)
        merged = copied(there)
        before = self.sets.get(owner, frozenset())
        elsewhere = {path for other, paths in self.sets.items() if other != owner for path in paths}
        for path in sorted(before - new.keys() - elsewhere, key=_names_its_item):
            _remove(merged, path)
        _merge(merged, wanted)
        self._keep(owner, frozenset(new))
        return merged

    def update(self, before: Object | None, after: Object, manager: str, subresource: str = "") -> None:
        """Note a write that is no apply: what it changed is its manager's, and what it removed is nobody's."""
        old, new = leaves(before or {}), leaves(after)
        for owner, paths in list(self.sets.items()):
            if owner[2] != subresource:
                continue
            self._keep(owner, frozenset(path for path in paths if path in new and old.get(path) == new[path]))
        owner = (manager, "Update", subresource)
        fresh = {path for path, value in new.items() if path not in old or old[path] != value}
        self._keep(owner, self.sets.get(owner, frozenset()) | fresh)

    def _keep(self, owner: Owner, paths: frozenset[Path]) -> None:
        if paths:
            self.sets[owner] = paths
        else:
            self.sets.pop(owner, None)


def _names_its_item(path: Path) -> bool:
    """Whether a leaf is a key of its item, by which the item's other leaves are found: it goes last."""
    item = path[-2] if len(path) > 1 else None
    return isinstance(item, Item) and path[-1] in dict(item.keys)


def leaves(one: Any, path: Path = (), name: str = "") -> Leaves:
    """Every value of an object that is somebody's to set."""
    if isinstance(one, Mapping) and one:
        found: Leaves = {}
        for key, value in one.items():
            found |= leaves(value, (*path, key), key)
        return found
    if isinstance(one, list) and one:
        keys = keys_of(name, one)
        if keys is not None:
            found = {}
            for item in one:
                found |= leaves(item, (*path, _item(keys, item)))
            return found
        if name in SETS:
            return {(*path, Member(value)): value for value in one}
    return {path: one}


def keys_of(name: str, items: list[Any]) -> tuple[str, ...] | None:
    """The keys that tell a list's items apart; None for a list that is one value."""
    if not all(isinstance(item, Mapping) for item in items):
        return None
    candidates = _PORTS if name == "ports" else (LISTS[name],) if name in LISTS else ()
    return next((keys for keys in candidates if all(keys[0] in item for item in items)), None)


def _item(keys: tuple[str, ...], item: Mapping[str, Any]) -> Item:
    return Item(tuple((key, item.get(key, _DEFAULTS.get(key))) for key in keys))


def _merge(into: Any, new: Mapping[str, Any]) -> None:
    for name, value in new.items():
        there = into.get(name)
        if isinstance(value, Mapping) and isinstance(there, dict):
            _merge(there, value)
        elif isinstance(value, list) and isinstance(there, list) and there and value:
            into[name] = _merge_lists(name, there, value)
        else:
            into[name] = copied(value)


def _merge_lists(name: str, there: list[Any], new: list[Any]) -> list[Any]:
    if name in SETS:
        return [*there, *(value for value in new if value not in there)]
    keys = keys_of(name, [*there, *new])
    if keys is None:
        return copied(new)
    known = {_item(keys, item): item for item in there}
    for item in new:
        found = known.get(_item(keys, item))
        if found is not None:
            _merge(found, item)
    wanted = {_item(keys, item) for item in new}
    # Applied items come in the applied order, behind those of others.
    others = [item for item in there if _item(keys, item) not in wanted]
    applied = [known.get(_item(keys, item), copied(item)) for item in new]
    return there if [*wanted] == [*known] else [*others, *applied]


def _remove(one: Any, path: Path) -> None:
    """Take a leaf away, and what is empty without it."""
    chain: list[tuple[Any, Any]] = []
    for name, step in _steps(path):
        inner = _find(one, name, step)
        if inner is None:
            return
        chain.append((one, inner[0]))
        one = inner[1]
    for holder, key in reversed(chain):
        if isinstance(holder, list):
            holder.remove(key)
        else:
            del holder[key]
        if holder:
            return


def _steps(path: Path) -> Iterator[tuple[str, Any]]:
    name = ""
    for step in path:
        yield name, step
        name = step if isinstance(step, str) else ""


def _find(one: Any, name: str, step: Any) -> tuple[Any, Any] | None:
    """What to remove from a holder, and what lies there."""
    if isinstance(step, Member):
        return (step.value, step.value) if isinstance(one, list) and step.value in one else None
    if isinstance(step, Item):
        keys = tuple(key for key, _ in step.keys)
        found = next(
            (item for item in one or () if isinstance(item, dict) and _item(keys, item) == step), None
        )
        return None if found is None else (found, found)
    return (step, one[step]) if isinstance(one, dict) and step in one else None


def _words(path: Path) -> str:
    return "".join(
        f".{step}"
        if isinstance(step, str)
        else f"[{dict(step.keys)}]"
        if isinstance(step, Item)
        else f"[{step.value}]"
        for step in path
    )
