"""How an object in the API server differs from the one we would apply, in words. Pure.

The server adds defaults and other managers add fields, so what we do not name is not compared. A field that we
named once and no longer do shows in the digest that every object carries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from moldau_operator.resources.quantity import Quantity, parse_quantity
from moldau_operator.specs.objects import ANNOTATION_APPLIED, Manifest

_KEYS: Final = ("name", "uid", "containerPort", "port", "topologyKey")
"""What tells the items of a list apart, as far as our objects have lists of mappings."""

_QUANTITIES: Final = frozenset({"requests", "limits"})
_SHOWN_CHARS: Final = 60


def first_difference(wanted: Manifest, found: Manifest | None) -> str:
    """The first field that is not as wanted, as `path: found -> wanted`; empty when all are.

    A difference that a hand made comes before the news that the object would be rendered anew.
    """
    if found is None:
        return "it is not there"
    words = _compare("", _without_digest(wanted), found)
    if words:
        return words
    before, now = _digest(found), _digest(wanted)
    return "" if before == now else f"rendered anew: {before or 'unknown'} -> {now}"


def _digest(one: Manifest) -> str:
    return str((one["metadata"].get("annotations") or {}).get(ANNOTATION_APPLIED, ""))


def _without_digest(one: Manifest) -> Manifest:
    metadata = dict(one["metadata"])
    metadata["annotations"] = {
        name: value for name, value in metadata.get("annotations", {}).items() if name != ANNOTATION_APPLIED
    }
    return {**one, "metadata": metadata}


def _compare(path: str, wanted: Any, found: Any, *, amounts: bool = False) -> str:
    if isinstance(wanted, Mapping):
        if not isinstance(found, Mapping):
            return "" if not wanted and found is None else _say(path, found, wanted)
        for name, value in wanted.items():
            inner = f"{path}.{name}" if path else str(name)
            words = _compare(inner, value, found.get(name), amounts=name in _QUANTITIES or amounts)
            if words:
                return words
        return ""
    if isinstance(wanted, Sequence) and not isinstance(wanted, str):
        return _compare_lists(path, wanted, found)
    if wanted == found or (amounts and _same_amount(wanted, found)):
        return ""
    # The server leaves out what is empty, false or nothing.
    return "" if found is None and wanted in ("", False, 0) else _say(path, found, wanted)


def _compare_lists(path: str, wanted: Sequence[Any], found: Any) -> str:
    if not wanted and found is None:
        return ""
    if not isinstance(found, Sequence) or isinstance(found, str):
        return _say(path, found, wanted)
    key = next((key for key in _KEYS if all(isinstance(w, Mapping) and key in w for w in wanted)), None)
    if key is None:
        if len(wanted) != len(found):
            return _say(path, found, wanted)
        pairs = list(zip(map(str, range(len(wanted))), wanted, found, strict=True))
    else:
        there = {one.get(key): one for one in found if isinstance(one, Mapping)}
        pairs = [(str(one[key]), one, there.get(one[key])) for one in wanted]
        strange = [name for name in there if name not in {one[key] for one in wanted}]
        if strange:
            return f"{path}[{strange[0]}]: there -> not there"
    for label, one, other in pairs:
        words = _compare(f"{path}[{label}]", one, other)
        if words:
            return words
    return ""


def _same_amount(one: Any, other: Any) -> bool:
    """Whether two quantities are the same: the server writes 0.5 as 500m."""
    first, second = parse_quantity(str(one)), parse_quantity(str(other))
    return isinstance(first, Quantity) and isinstance(second, Quantity) and first.amount == second.amount


def _say(path: str, found: Any, wanted: Any) -> str:
    return f"{path}: {_show(found)} -> {_show(wanted)}"


def _show(value: Any) -> str:
    if value is None:
        return "not there"
    text = str(value).replace("\n", "\\n")
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}..."
