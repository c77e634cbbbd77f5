"""What people type for times, sizes, offsets, partitions and headers. Pure; errors are `ValueError`s in words."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple

_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_AGO: Final = re.compile(r"-(\d+)([smhdw])")

TIME_FORMS: Final = "2025-01-31T12:00:00Z, a date, -10m (s, m, h, d, w ago), or milliseconds since 1970"

_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([kmgt])(i?)b?|b)?", re.IGNORECASE)
_POWERS: Final = {"k": 1, "m": 2, "g": 3, "t": 4}


class Position(NamedTuple):
    """A place in a partition's log, as people name it.

    Attributes:
        kind: `earliest` and `latest` are the ends of the log; `offset` is absolute; `back` counts records
            from the end; `timestamp` is the first record not older than `value` (milliseconds).
        value: the offset, the count or the time; 0 where the kind says it all.
    """

    kind: Literal["earliest", "latest", "offset", "back", "timestamp"]
    value: int = 0

    def __str__(self) -> str:
        return self.kind if self.kind in ("earliest", "latest") else f"{self.kind} {self.value}"


def parse_time(text: str, now_ms: int) -> int:
    """Milliseconds since 1970 from ISO 8601 (local time unless it names a zone), `-10m`, or milliseconds."""
    text = text.strip()
    if ago := _AGO.fullmatch(text):
        return now_ms - int(ago[1]) * _SECONDS[ago[2]] * 1000
    if text.isdecimal() and len(text) > 8:  # shorter digits are ISO 8601's basic dates: 20250131
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a time; write {TIME_FORMS}") from None
    if moment.tzinfo is None:
        moment = moment.astimezone()
    return int(moment.astimezone(UTC).timestamp() * 1000)


def parse_size(text: str) -> int:
    """Bytes from 1000000, 50MiB (binary) or 50MB (decimal); at least one."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is not a size; write bytes, or for example 50MiB or 10GB")
    unit = 1 if found[2] is None else (1024 if found[3] else 1000) ** _POWERS[found[2].lower()]
    size = int(float(found[1]) * unit)
    if size < 1:
        raise ValueError(f"{text!r} is nothing; write at least one byte")
    return size


def parse_offset(text: str) -> Position:
    """`earliest`, `latest`, an absolute offset, or -N for the last N records."""
    text = text.strip()
    if text == "earliest":
        return Position("earliest")
    if text == "latest":
        return Position("latest")
    try:
        number = int(text)
    except ValueError:
        raise ValueError(f"{text!r} is not an offset; write a number, -N, earliest or latest") from None
    return Position("back", -number) if number < 0 else Position("offset", number)


def parse_reset_target(text: str, now_ms: int) -> Position:
    """Where a group shall stand: `earliest`, `latest`, an offset as plain digits or offset:N, or a time.

    `timestamp:` in front forces a time (milliseconds since 1970 would else be read as an offset).
    """
    text = text.strip()
    prefix, colon, rest = text.partition(":")
    if colon and prefix == "offset":
        text = rest
        if not text.isdecimal():
            raise ValueError(f"{rest!r} is not an offset")
    if colon and prefix == "timestamp":
        return Position("timestamp", parse_time(rest, now_ms))
    if text in ("earliest", "latest") or text.isdecimal():
        return parse_offset(text)
    try:
        return Position("timestamp", parse_time(text, now_ms))
    except ValueError:
        raise ValueError(f"{text!r} is not earliest, latest, an offset or a time ({TIME_FORMS})") from None


def parse_topic_partitions(text: str) -> tuple[str, list[int] | None]:
    """`orders` (all partitions, None) or `orders:0,2,5-7`."""
    topic, colon, numbers = text.partition(":")
    if not topic:
        raise ValueError(f"{text!r} names no topic")
    return topic, parse_partitions(numbers) if colon else None


def parse_partitions(text: str) -> list[int]:
    """`0,2,5-7` as sorted numbers without repeats."""
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ValueError(f"{part.strip()!r} is not a partition; write numbers and ranges like 0,2,5-7")
        found.update(range(int(first), int(last or first) + 1))
    return sorted(found)


def parse_header(text: str) -> tuple[str, bytes]:
    """`name=value`; the value may be empty, the name may not."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ValueError(f"{text!r} is not name=value")
    return name, value.encode()


_ESCAPES: Final = {"t": "\t", "n": "\n", "r": "\r", "0": "\0", "\\": "\\"}


def unescape(text: str) -> str:
    """A separator as typed in a shell: \\t, \\n, \\r, \\0 and \\\\ stand for the characters they name."""
    return re.sub(r"\\([tnr0\\])", lambda match: _ESCAPES[match[1]], text)
