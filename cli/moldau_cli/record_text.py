"""Records as lines, in and out: plain text, columns, JSON. Pure.

JSON is one object a line. Bytes that are UTF-8 are strings; others are {"base64": "..."}, so that whatever
`consume -o json` prints, `produce --json` can send again.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any, NamedTuple

from moldau_broker.client.partitions import TopicPartition
from moldau_broker.wire.records import Headers, Record
from moldau_cli.output import human_time


class BadLine(ValueError):
    """A line of input that is no record; the text says why."""


class Line(NamedTuple):
    """A record as a line of input describes it; None leaves the choice to the producer."""

    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    partition: int | None = None
    timestamp_ms: int | None = None


def to_text(record: Record, key_separator: str | None) -> bytes:
    """The value, and the key before it if there is a separator. Null prints as nothing."""
    value = record.value or b""
    return value if key_separator is None else (record.key or b"") + key_separator.encode() + value


def to_columns(partition: TopicPartition, record: Record) -> bytes:
    """partition@offset, time, key, value and headers, separated by tabs."""
    headers = " ".join(f"{name}={_readable(content)}" for name, content in record.headers)
    cells = (
        f"{partition}@{record.offset}",
        human_time(record.timestamp),
        _readable(record.key),
        _readable(record.value),
        headers,
    )
    return "\t".join(cells).rstrip("\t").encode("utf-8", "surrogateescape")


def to_json(partition: TopicPartition, record: Record) -> bytes:
    """One JSON object without line breaks."""
    data = {
        "topic": partition.topic,
        "partition": partition.partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
        "key": _json_value(record.key),
        "value": _json_value(record.value),
        "headers": [{"key": name, "value": _json_value(content)} for name, content in record.headers],
    }
    return json.dumps(data, ensure_ascii=False).encode("utf-8", "surrogateescape")


def from_text(line: bytes, key_separator: bytes | None) -> Line:
    """A value, or key and value around the first separator.

    Raises:
        BadLine: there must be a separator and there is none.
    """
    if key_separator is None:
        return Line(None, line)
    key, found, value = line.partition(key_separator)
    if not found:
        raise BadLine(f"no key separator {key_separator.decode()!r} in it")
    return Line(key, value)


def from_json(line: bytes) -> Line:
    """What `to_json` writes. Only `value` is required; `topic` and `offset` are ignored.

    Raises:
        BadLine: it is not such an object; the text says what is wrong with it.
    """
    try:
        data = json.loads(line)
    except ValueError as error:
        raise BadLine(f"not JSON: {error}") from error
    if not isinstance(data, dict):
        raise BadLine('not a JSON object such as {"key": "k", "value": "v"}')
    if "value" not in data:
        raise BadLine('no "value" (null makes a tombstone)')
    headers = data.get("headers") or []
    if isinstance(headers, dict):
        headers = [{"key": name, "value": content} for name, content in headers.items()]
    if not isinstance(headers, list):
        raise BadLine('"headers" is neither a list nor an object')
    return Line(
        key=_bytes(data.get("key"), "key"),
        value=_bytes(data["value"], "value"),
        headers=[_header(header) for header in headers],
        partition=_integer(data.get("partition"), "partition"),
        timestamp_ms=_integer(data.get("timestamp"), "timestamp"),
    )


def _readable(content: bytes | None) -> str:
    return "-" if content is None else content.decode("utf-8", "replace")


def _json_value(content: bytes | None) -> str | dict[str, str] | None:
    if content is None:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(content).decode("ascii")}


def _header(header: Any) -> tuple[str, bytes | None]:
    if not isinstance(header, dict) or not isinstance(header.get("key"), str):
        raise BadLine('a header is not an object with "key" and "value"')
    return header["key"], _bytes(header.get("value"), "header")


def _bytes(value: Any, name: str) -> bytes | None:
    """Strings as UTF-8, {"base64": ...} decoded; any other JSON is sent as JSON text."""
    if value is None:
        return None
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    if isinstance(value, dict) and set(value) == {"base64"}:
        try:
            return base64.b64decode(value["base64"], validate=True)
        except (binascii.Error, ValueError, TypeError):
            raise BadLine(f'"{name}" is not base64') from None
    return json.dumps(value, ensure_ascii=False).encode()


def _integer(value: Any, name: str) -> int | None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise BadLine(f'"{name}" is not an integer')
    return value
