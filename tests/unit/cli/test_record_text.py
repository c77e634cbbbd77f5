"""Records as lines: what is printed as JSON can be sent again as it was."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moldau_broker.client.partitions import TopicPartition
from moldau_broker.wire.records import Record
from moldau_cli.record_text import BadLine, Line, from_json, from_text, to_columns, to_json, to_text

HERE = TopicPartition("orders", 3)
content = st.none() | st.binary(max_size=30) | st.text(max_size=20).map(str.encode)


@given(
    key=content,
    value=content,
    headers=st.lists(st.tuples(st.text(max_size=8), content), max_size=3),
    timestamp=st.integers(0, 2**62),
)
def test_json_round_trip(
    key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]], timestamp: int
) -> None:
    """Any bytes, nulls and repeated headers survive printing and reading."""
    line = to_json(HERE, Record(9, timestamp, key, value, headers))
    assert b"\n" not in line
    assert from_json(line) == Line(key, value, headers, 3, timestamp)


def test_json_shape_is_documented() -> None:
    """Programs rely on these names."""
    record = Record(9, 1_000, b"k", b"\xff", [("h", b"v")])
    assert json.loads(to_json(HERE, record)) == {
        "topic": "orders",
        "partition": 3,
        "offset": 9,
        "timestamp": 1000,
        "key": "k",
        "value": {"base64": "/w=="},
        "headers": [{"key": "h", "value": "v"}],
    }


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('{"value": "v"}', Line(None, b"v", [])),
        ('{"value": null, "key": "k"}', Line(b"k", None, [])),
        ('{"value": {"a": 1}}', Line(None, b'{"a": 1}', [])),
        ('{"value": 5, "key": true}', Line(b"true", b"5", [])),
        ('{"value": "v", "headers": {"a": "b"}}', Line(None, b"v", [("a", b"b")])),
        ('{"value": "\\u00e4", "offset": 7, "topic": "x"}', Line(None, "ä".encode(), [])),
    ],
)
def test_from_json_takes_what_people_write(text: str, line: Line) -> None:
    """Only the value is required; other JSON is sent as JSON."""
    assert from_json(text.encode()) == line


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x", "not JSON"),
        ("[]", "not a JSON object"),
        ("{}", 'no "value"'),
        ('{"value": {"base64": "?"}}', '"value" is not base64'),
        ('{"value": 1, "partition": "a"}', '"partition" is not an integer'),
        ('{"value": 1, "timestamp": true}', '"timestamp" is not an integer'),
        ('{"value": 1, "headers": 3}', '"headers"'),
        ('{"value": 1, "headers": [1]}', "a header is not an object"),
    ],
)
def test_from_json_says_what_is_wrong(text: str, words: str) -> None:
    """The message goes to whoever wrote the line."""
    with pytest.raises(BadLine, match=words):
        from_json(text.encode())


def test_text_has_the_value_and_the_key_if_asked() -> None:
    """Null prints as nothing."""
    record = Record(0, 0, b"k", b"v")
    assert to_text(record, None) == b"v"
    assert to_text(record, "\t") == b"k\tv"
    assert to_text(Record(0, 0, None, None), ":") == b":"


def test_from_text_splits_at_the_first_separator() -> None:
    """The value may hold the separator again."""
    assert from_text(b"v", None) == Line(None, b"v")
    assert from_text(b"k:v:w", b":") == Line(b"k", b"v:w")
    with pytest.raises(BadLine, match="no key separator ':'"):
        from_text(b"kv", b":")


def test_columns_are_readable() -> None:
    """One line with place, time, key, value and headers."""
    record = Record(9, 0, None, b"a\xff", [("h", b"1"), ("n", None)])
    assert to_columns(HERE, record).decode() == "orders-3@9\t1970-01-01T00:00:00.000Z\t-\ta\ufffd\th=1 n=-"
