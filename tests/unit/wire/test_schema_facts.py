"""Our message classes, held field by field against the schemas of Apache Kafka 4.3.1's own jars."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from moldau_broker.base.errors import ErrorCode
from moldau_broker.wire.apis import API_SCHEMAS, UNSTABLE_VERSIONS, ApiKey
from moldau_broker.wire.catalog import message_classes
from moldau_broker.wire.messages.fetch import FetchPartition
from moldau_broker.wire.schema import Field, Struct, fields_of

KAFKA = Path(__file__).parents[2] / "data" / "kafka"
SCHEMAS = {schema["name"]: schema for schema in json.loads((KAFKA / "messages.json").read_text())}
FACTS = json.loads((KAFKA / "facts.json").read_text())
CLASSES = message_classes()

TYPES = {
    "boolean": "Boolean",
    "int8": "Int8",
    "int16": "Int16",
    "int32": "Int32",
    "int64": "Int64",
    "uint16": "UInt16",
    "uint32": "UInt32",
    "float64": "Float64",
    "uuid": "Uuid",
    "string": "String",
    "bytes": "Bytes",
    "records": "Records",
}
ZERO = {
    "boolean": False,
    "float64": 0.0,
    "uuid": bytes(16),
    "string": "",
    "bytes": b"",
    "records": b"",
}


OURS = {(FetchPartition, "read_offset")}
"""What Kafka's messages do not have: tagged fields, which whoever does not know them passes over."""


def snake(name: str) -> str:
    """A schema's name as our fields spell it."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def versions(text: str | None, last: int) -> set[int]:
    """The versions a range of the schema file stands for."""
    if text is None:
        return set()
    if text.endswith("+"):
        return set(range(int(text[:-1]), last + 1))
    first, _, until = text.partition("-")
    return set(range(int(first), int(until or first) + 1))


def theirs(fact: dict[str, Any], around: set[int]) -> dict[str, Any]:
    """What the schema file says of a field, over the versions that carry the struct around it."""
    last = max(around)
    carried = versions(fact["versions"], last) & around
    kind = fact["type"].removeprefix("[]")
    return {
        "name": snake(fact["name"]),
        "type": TYPES.get(kind, "struct"),
        "array": fact["type"].startswith("[]"),
        "versions": carried,
        "nullable": versions(fact.get("nullableVersions"), last) & carried,
        "tag": fact.get("tag"),
    }


def ours(field: Field, around: set[int]) -> dict[str, Any]:
    """What our class says of a field, in the same words."""
    carried = {version for version in around if field.carried(version)}
    kind = "String" if field.type == "LegacyString" else field.type
    return {
        "name": field.name,
        "type": "struct" if field.struct else kind,
        "array": field.array,
        "versions": carried,
        "nullable": {version for version in carried if field.nullable(version)},
        "tag": field.tag,
    }


def compare(cls: type[Struct], facts: list[dict[str, Any]], around: set[int]) -> None:
    """Assert that both list the same fields in the same order, all the way down."""
    fields = fields_of(cls)
    carried = [
        field
        for field in fields
        if any(field.carried(version) for version in around) and (cls, field.name) not in OURS
    ]
    assert [ours(field, around) for field in carried] == [theirs(fact, around) for fact in facts], cls
    for field, fact in zip(carried, facts, strict=True):
        if field.struct is None:
            assert field.default == default_of(fact), (cls, field)
        elif field.array or field.nullable(max(around)):
            assert field.default == (None if "default" in fact else ()), (cls, field)
        else:
            assert field.default == field.struct(), (cls, field)
        if field.struct is not None:
            compare(field.struct, fact["fields"], versions(fact["versions"], max(around)) & around)


def default_of(fact: dict[str, Any]) -> Any:
    """The default the schema file gives, or its type's zero."""
    if "default" in fact:
        # Kafka's records default to null even where null has no bytes; ours is then empty.
        return b"" if fact["type"] == "records" and "nullableVersions" not in fact else fact["default"]
    return () if fact["type"].startswith("[]") else ZERO.get(fact["type"], 0)


def test_fields_of_our_own_are_optional_and_far_from_kafkas() -> None:
    """Kafka gives its tags from 0 on, one by one."""
    for cls, name in OURS:
        (field,) = [one for one in fields_of(cls) if one.name == name]
        assert field.tag is not None
        assert field.tag >= 10_000


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_schema_has_the_fields_of_kafkas_own(name: str) -> None:
    """Names, order, types, versions, nulls, tags and defaults agree, nested structs included."""
    schema = CLASSES[name].__schema__
    facts = SCHEMAS[name]
    first, last = map(int, facts["versions"].split("-"))
    assert schema.versions == (first, last)
    assert schema.flexible == facts.get("flexibleFrom")
    assert schema.key == facts.get("apiKey")
    compare(CLASSES[name], facts["fields"], set(range(first, last + 1)))


@pytest.mark.parametrize("key", list(ApiKey))
def test_api_has_kafkas_key_name_and_versions(key: ApiKey) -> None:
    """The API table names the classes of each key; versions Kafka calls unstable are left out."""
    api = API_SCHEMAS[key]
    facts = SCHEMAS[api.name + "Request"]
    first, last = map(int, facts["versions"].split("-"))
    assert facts["apiKey"] == key
    assert (api.request, api.response) == (CLASSES[api.name + "Request"], CLASSES[api.name + "Response"])
    assert api.flexible_from == facts.get("flexibleFrom")
    assert (api.first_version, api.last_version) == (
        first,
        last - (1 if facts["latestVersionUnstable"] else 0),
    )
    assert (key in UNSTABLE_VERSIONS) == facts["latestVersionUnstable"]


def test_error_table_is_kafkas() -> None:
    """Every error code has Kafka's number, name and retriable flag."""
    known = {fact["name"]: (fact["code"], fact["retriable"]) for fact in FACTS["errors"]}
    assert {code.name: (code.value, code.retriable) for code in ErrorCode} == known
