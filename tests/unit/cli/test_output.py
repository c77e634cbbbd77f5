"""Tables for pipes, and numbers for people."""

from __future__ import annotations

import json

import pytest

from moldau_cli.output import BAD, Styled, Table, human_bytes, human_time, plural, show


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (150 * 1024, "150 KiB"),
        (5 << 20, "5.0 MiB"),
        (3 << 50, "3072 TiB"),
    ],
)
def test_human_bytes(size: int, text: str) -> None:
    """Binary units, three figures."""
    assert human_bytes(size) == text


def test_human_time_survives_any_timestamp() -> None:
    """A record may claim any int64."""
    assert human_time(0) == "1970-01-01T00:00:00.000Z"
    assert human_time(-1) == "-"
    assert human_time(2**63 - 1) == str(2**63 - 1)


def test_plural() -> None:
    """One is one."""
    assert [plural(count, "record") for count in (0, 1, 1_000)] == ["0 records", "1 record", "1,000 records"]


def test_show_aligns_columns_for_pipes(capsys: pytest.CaptureFixture[str]) -> None:
    """No colours, no cut values, numbers right-aligned and without separators."""
    table = Table(["NAME", "COUNT", "STATE"])
    table.add("a", 1_000_000, Styled("bad", BAD))
    table.add("long name", None, "ok")
    show("table", None, table)
    assert capsys.readouterr().out == (
        "NAME         COUNT  STATE\na          1000000  bad\nlong name        -  ok\n"
    )


def test_show_says_when_there_is_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """An empty answer is a line for people on stderr and nothing for programs."""
    show("table", [], Table(["NAME"]), empty="no topics")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "no topics\n")
    show("json", [], Table(["NAME"]), empty="no topics")
    assert json.loads(capsys.readouterr().out) == []
