"""Messages and records as the JSON that Kafka's own converters print. No I/O here.

Source: Kafka's generated `*JsonConverter` classes: fields in schema order under their camel-case names, only
those the version carries, tagged ones only if they differ from their default; uuids in base64, bytes too.
"""

from __future__ import annotations

import base64
import json
import re
from decimal import Decimal
from math import isfinite
from typing import Any, Final

from moldau_broker.base.ids import format_uuid
from moldau_broker.wire.schema import Field, Struct, fields_of

_ESCAPE: Final = re.compile(r"\\(u[0-9a-f]{4}|.)")
_ODD_NAMES: Final = {"kraft_version": "kRaftVersion", "kraft_version_feature": "kRaftVersionFeature"}
_CAMEL_HUMP: Final = re.compile(r"_([a-z0-9])")
_WORD_START: Final = re.compile(r"(?<!^)(?=[A-Z])")


def message_json(message: Struct, version: int) -> dict[str, Any]:
    """`message` as Kafka's converter would give it for `version`, ready for `to_text`."""
    return {
        camel_case(field.name): _value(getattr(message, field.name), field, version)
        for field in fields_of(type(message))
        if field.carried(version)
        and (field.tag is None or not _same(getattr(message, field.name), field.default))
    }


def to_text(value: object) -> str:
    """Compact JSON as Jackson writes it: characters beyond ASCII as they are, escapes in upper-case hex."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{_quoted(key)}:{to_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(to_text, value)) + "]"
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, float):
        return java_double(value)
    return json.dumps(value)


def camel_case(name: str) -> str:
    """`leader_epoch` -> `leaderEpoch`."""
    return _ODD_NAMES.get(name) or _CAMEL_HUMP.sub(lambda match: match[1].upper(), name.strip("_"))


def constant_case(class_name: str) -> str:
    """`PartitionChangeRecord` -> `PARTITION_CHANGE_RECORD`, the name of its record type."""
    return _WORD_START.sub("_", class_name).upper()


def _value(value: Any, field: Field, version: int) -> Any:
    if value is None:
        return None
    if field.array:
        return [_element(item, field, version) for item in value]
    return _element(value, field, version)


def _element(value: Any, field: Field, version: int) -> Any:
    if field.struct is not None:
        return message_json(value, version)
    if field.type == "Uuid":
        return format_uuid(value)
    if field.type in ("Bytes", "Records"):
        return base64.b64encode(value).decode("ascii")
    return value


def _same(one: Any, default: Any) -> bool:
    if isinstance(one, (list, tuple)) and isinstance(default, (list, tuple)):
        return list(one) == list(default)
    return bool(one == default)


def _quoted(text: str) -> str:
    plain = json.dumps(text, ensure_ascii=False)
    return _ESCAPE.sub(lambda match: "\\" + match[1][0] + match[1][1:].upper(), plain)


def java_double(value: float) -> str:
    """A float as Java's `Double.toString` prints it: scientific below 1e-3 and from 1e7 on."""
    if not isfinite(value):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    sign, figures, exponent = Decimal(repr(value)).as_tuple()
    digits = "".join(map(str, figures)).rstrip("0") or "0"
    shift = len(figures) + int(exponent) - 1 if value else 0  # power of ten of the first digit
    if -3 <= shift < 7:
        whole = digits[: shift + 1].ljust(shift + 1, "0") if shift >= 0 else "0"
        part = digits[shift + 1 :] if shift >= 0 else "0" * (-shift - 1) + digits
        text = f"{whole}.{part or '0'}"
    else:
        text = f"{digits[0]}.{digits[1:] or '0'}E{shift}"
    return "-" + text if sign else text
