"""Properties files read as Java reads them."""

import pytest

from moldau_broker.base.properties import (
    PropertiesSyntaxError,
    format_properties,
    parse_lines,
    parse_properties,
)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a=1\nb = 2\nc:3\nd 4\n", {"a": "1", "b": "2", "c": "3", "d": "4"}),
        ("# a=1\n  ! b=2\n\n   \n  c=3", {"c": "3"}),
        ("a=1\\\n   2\\\n3", {"a": "123"}),
        ("a=1\\\\\nb=2", {"a": "1\\", "b": "2"}),
        ("a=\nb\nc=x y ", {"a": "", "b": "", "c": "x y "}),
        ("a\\=b=c\nd\\ e=f\n", {"a=b": "c", "d e": "f"}),
        ("a=\\t\\n\\u0041\\q", {"a": "\t\nAq"}),
        ("a=b=c\nurl=x://y:1", {"a": "b=c", "url": "x://y:1"}),
        ("a=1\r\nb=2\rc=3", {"a": "1", "b": "2", "c": "3"}),
        ("a=1\na=2", {"a": "2"}),
        ("a=1\\", {"a": "1"}),
        ("a  =  b", {"a": "b"}),
    ],
)
def test_properties_parse(text, values):
    """Separators, comments, continuations and escapes, each as `java.util.Properties` defines it.

    Reference: java.util.Properties.load.
    """
    assert parse_properties(text) == values


def test_properties_lines_are_numbered():
    """An entry is found by the line it begins on."""
    assert parse_lines("# one\na=1\\\n2\nb=2") == [("a", "12", 2), ("b", "2", 4)]


@pytest.mark.parametrize("text", ["a=\\u12", "a=\\uzzzz"])
def test_properties_broken_escape_is_refused(text):
    """A unicode escape has four digits; the error names the line."""
    with pytest.raises(PropertiesSyntaxError, match="line 1"):
        parse_properties(text)


def test_properties_format_gives_plain_lines():
    """Ordinary values stay readable."""
    assert format_properties({"cluster.id": "abc", "version": "1"}) == "cluster.id=abc\nversion=1\n"
