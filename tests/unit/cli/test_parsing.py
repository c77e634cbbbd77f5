"""What people type for times, offsets, partitions and headers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moldau_cli.parsing import (
    Position,
    parse_header,
    parse_offset,
    parse_partitions,
    parse_reset_target,
    parse_size,
    parse_time,
    parse_topic_partitions,
    unescape,
)

NOW = 1_700_000_000_000


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("2023-11-14T22:13:20Z", NOW),
        ("2023-11-14T23:13:20+01:00", NOW),
        ("20231114T221320Z", NOW),
        ("1700000000000", NOW),
        ("-10m", NOW - 600_000),
        ("-2h", NOW - 7_200_000),
        ("-0s", NOW),
        ("-1w", NOW - 604_800_000),
        ("1970-01-01T00:00:00.5Z", 500),
    ],
)
def test_parse_time_reads_iso_ago_and_milliseconds(text: str, ms: int) -> None:
    """The forms the help names."""
    assert parse_time(text, NOW) == ms


def test_parse_time_without_zone_is_local(monkeypatch: pytest.MonkeyPatch) -> None:
    """People mean their own clock unless they say otherwise."""
    monkeypatch.setenv("TZ", "UTC-3")
    import time

    time.tzset()
    try:
        assert parse_time("2023-11-15T01:13:20", NOW) == NOW
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("text", ["", "yesterday", "-10x", "10m", "2023-13-01", "12"])
def test_parse_time_says_what_it_understands(text: str) -> None:
    """The error shows the legal forms."""
    with pytest.raises(ValueError, match="2025-01-31T12:00:00Z"):
        parse_time(text, NOW)


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("earliest", Position("earliest")),
        ("latest", Position("latest")),
        ("0", Position("offset", 0)),
        ("42", Position("offset", 42)),
        ("-5", Position("back", 5)),
    ],
)
def test_parse_offset_reads_ends_numbers_and_distances(text: str, position: Position) -> None:
    """Negative numbers count from the end."""
    assert parse_offset(text) == position


def test_parse_offset_refuses_words() -> None:
    """The error names the forms."""
    with pytest.raises(ValueError, match="earliest or latest"):
        parse_offset("first")


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("earliest", Position("earliest")),
        ("latest", Position("latest")),
        ("7", Position("offset", 7)),
        ("1700000000000", Position("offset", NOW)),
        ("offset:7", Position("offset", 7)),
        ("timestamp:1700000000000", Position("timestamp", NOW)),
        ("2023-11-14T22:13:20Z", Position("timestamp", NOW)),
        ("-10m", Position("timestamp", NOW - 600_000)),
    ],
)
def test_parse_reset_target_reads_every_form(text: str, position: Position) -> None:
    """Digits are an offset unless marked as a time."""
    assert parse_reset_target(text, NOW) == position


@pytest.mark.parametrize("text", ["", "first", "offset:x", "offset:-1", "timestamp:x", "-5"])
def test_parse_reset_target_refuses_the_rest(text: str) -> None:
    """A wrong target must not move a group anywhere."""
    with pytest.raises(ValueError):
        parse_reset_target(text, NOW)


@given(st.sets(st.integers(0, 500), min_size=1))
def test_parse_partitions_reads_lists(numbers: set[int]) -> None:
    """Any order, sorted and without repeats afterwards."""
    text = ",".join(str(number) for number in [*numbers, *numbers])
    assert parse_partitions(text) == sorted(numbers)


def test_parse_partitions_reads_ranges() -> None:
    """Both ends count."""
    assert parse_partitions("0, 2-4,3") == [0, 2, 3, 4]


@pytest.mark.parametrize("text", ["", "a", "1,", "1-", "-1", "1--2"])
def test_parse_partitions_refuses_the_rest(text: str) -> None:
    """A typing error is not taken for another partition."""
    with pytest.raises(ValueError):
        parse_partitions(text)


def test_parse_topic_partitions_takes_all_without_a_list() -> None:
    """A topic alone means all of it."""
    assert parse_topic_partitions("orders") == ("orders", None)
    assert parse_topic_partitions("orders:0,2") == ("orders", [0, 2])
    with pytest.raises(ValueError, match="names no topic"):
        parse_topic_partitions(":1")


def test_parse_header_splits_at_the_first_equals() -> None:
    """Values may hold equals signs, and nothing."""
    assert parse_header("a=b=c") == ("a", b"b=c")
    assert parse_header("a=") == ("a", b"")
    for text in ("a", "=b"):
        with pytest.raises(ValueError):
            parse_header(text)


def test_unescape_knows_the_characters_a_shell_cannot_type() -> None:
    """Backslash forms become characters, everything else stays."""
    assert unescape(r"\t|\n|\0|\\t|\x") == "\t|\n|\0|\\t|\\x"


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1),
        ("1000000", 1_000_000),
        ("50MiB", 50 << 20),
        ("50 MB", 50_000_000),
        ("1.5k", 1_500),
        ("2gi", 2 << 30),
    ],
)
def test_sizes_are_bytes_with_decimal_or_binary_units(text: str, size: int) -> None:
    """MB are a million, MiB are two to the twentieth."""
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "x", "-1", "0", "0.1", "1 PB", "1MiBs"])
def test_what_is_no_size_is_refused_in_words(text: str) -> None:
    """And nothing at all is no size either."""
    with pytest.raises(ValueError, match=r"write (bytes|at least one byte)"):
        parse_size(text)
