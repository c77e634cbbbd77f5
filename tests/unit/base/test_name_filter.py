"""Patterns with * and ?: what they match, and that none takes long."""

import fnmatch
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moldau_broker.base.name_filter import NameFilter, matches


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("*", "", True),
        ("*", "anything", True),
        ("", "", True),
        ("", "a", False),
        ("orders", "orders", True),
        ("orders", "orders2", False),
        ("orders-?", "orders-1", True),
        ("orders-?", "orders-", False),
        ("*-eu-*", "orders-eu-1", True),
        ("*-eu-*", "orders-us-1", False),
        ("a*b*c", "aXbXbc", True),
        ("a.c", "abc", False),
        ("[ab]", "a", False),
    ],
)
def test_pattern(pattern, name, expected):
    """Two characters are special, and no others."""
    assert matches(pattern, name) is expected


@given(st.text("ab*?", max_size=8), st.text("ab", max_size=10))
def test_pattern_matches_as_a_shell_does(pattern, name):
    """The same as the standard library's, which knows brackets too."""
    assert matches(pattern, name) is (re.fullmatch(fnmatch.translate(pattern), name) is not None)


def test_pattern_that_would_kill_a_regular_expression():
    """A hundred stars against a name of 249 characters: milliseconds."""
    begun = time.thread_time()
    assert not matches("a*" * 100 + "b", "a" * 249)
    assert time.thread_time() - begun < 1


def test_filter_denies_over_it_allows():
    """What is denied is denied whatever is allowed; nothing allowed is nothing shown."""
    names = NameFilter(("orders-*", "billing"), ("*-internal",))
    assert [names.admits(name) for name in ("orders-1", "billing", "other", "orders-internal")] == [
        True,
        True,
        False,
        False,
    ]
    assert names.admits("orders-1")
    assert not NameFilter((), ()).admits("a")
