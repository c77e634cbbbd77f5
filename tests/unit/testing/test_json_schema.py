"""The part of JSON Schema that our own schemas use."""

import pytest

from moldau_broker.testing.json_schema import SchemaMismatch, check

DOCUMENT = {"small": {"type": "integer", "maximum": 3}}
THING = {
    "type": "object",
    "required": ["a"],
    "additionalProperties": False,
    "properties": {
        "a": {"$ref": "#/small"},
        "b": {"type": "array", "items": {"type": "string"}, "maxItems": 2},
    },
}


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        ({"a": 3, "b": ["x"]}, THING),
        (1, {"type": "number", "minimum": 1}),
        ("A_B", {"type": "string", "pattern": "^[A-Z_]+$", "minLength": 1, "maxLength": 3}),
        ("late", {"oneOf": [{"enum": ["early", "late"]}, {"type": "object"}]}),
        ({"x": "y"}, {"additionalProperties": {"type": "string"}, "minProperties": 1}),
        ([1, 2], {"uniqueItems": True}),
        (True, {"type": "boolean", "description": "a note", "default": False}),
    ],
)
def test_schema_takes_what_fits(value, schema):
    """Every keyword once."""
    check(value, schema, DOCUMENT)


@pytest.mark.parametrize(
    ("value", "schema", "text"),
    [
        ({}, THING, "missing"),
        ({"a": 4}, THING, r"\$\.a: 4 is not at most 3"),
        ({"a": True}, THING, "no integer"),
        ({"a": 1, "c": 1}, THING, "'c' is not in the schema"),
        ({"a": 1, "b": [1]}, THING, r"\$\.b\[0\]"),
        ({"a": 1, "b": ["", "", ""]}, THING, "at most as long"),
        ([], THING, "no object"),
        ("now", {"oneOf": [{"enum": ["early"]}, {"type": "object"}]}, "0 of 2"),
        ("early", {"oneOf": [{"enum": ["early"]}, {"type": "string"}]}, "2 of 2"),
        ({"x": 1}, {"additionalProperties": {"type": "string"}}, "no string"),
        ({}, {"minProperties": 1}, "at least"),
        ([1, 1], {"uniqueItems": True}, "twice"),
        ("", {"minLength": 1}, "at least"),
        ("b", {"pattern": "^a"}, "like"),
        (0.5, {"minimum": 1}, "at least"),
    ],
)
def test_schema_refuses_what_does_not_fit(value, schema, text):
    """And says where."""
    with pytest.raises(SchemaMismatch, match=text):
        check(value, schema, DOCUMENT)


def test_schema_with_an_unknown_keyword_is_an_error():
    """A check that is not made must not look like one that holds."""
    with pytest.raises(KeyError):
        check(1, {"multipleOf": 2}, DOCUMENT)
