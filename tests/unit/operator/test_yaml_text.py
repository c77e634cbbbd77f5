"""YAML and JSON to located values: places, scalars, bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moldau_operator.resources.located import ResourcesInvalid
from moldau_operator.resources.yaml_text import DEPTH_MAX, TEXT_BYTES_MAX, parse_documents


def one(text: str | bytes) -> object:
    (document,) = parse_documents(text, "f.yaml")
    return document.plain()


def complaint(text: str | bytes) -> str:
    with pytest.raises(ResourcesInvalid) as caught:
        parse_documents(text, "f.yaml")
    return str(caught.value)


def refusal_of(text: str | bytes) -> str:
    try:
        parse_documents(text, "f.yaml")
    except ResourcesInvalid as error:
        return str(error)
    return "read"


def test_scalars_follow_the_core_schema_of_yaml_1_2() -> None:
    """yes, on, 1:30 and 010 stay text; only true and false are booleans."""
    text = "a: yes\nb: on\nc: 1:30\nd: 010\ne: true\nf: 0x10\ng: 1e3\nh: ~\ni: '5'\nj: 1_000\nk: -7\nl: .5"
    assert one(f"{text}\nm: 2026-01-31") == {
        "a": "yes",
        "b": "on",
        "c": "1:30",
        "d": "010",
        "e": True,
        "f": 16,
        "g": 1000.0,
        "h": None,
        "i": "5",
        "j": "1_000",
        "k": -7,
        "l": 0.5,
        "m": "2026-01-31",
    }


def test_json_is_yaml() -> None:
    """A JSON text reads as the same values."""
    assert one('{"a": [1, "2", null, {"b": false}]}') == {"a": [1, "2", None, {"b": False}]}


def test_documents_are_separate_and_empty_ones_left_out() -> None:
    """A stream of documents, some empty, gives the ones that hold something."""
    documents = parse_documents("---\na: 1\n---\n---\nb: 2\n...\n", "f.yaml")
    assert [document.plain() for document in documents] == [{"a": 1}, {"b": 2}]


def test_values_and_names_know_their_lines() -> None:
    """Every value and every field's name can be pointed at."""
    (document,) = parse_documents("a: 1\nb:\n  c:\n    - x\n    - y\n", "f.yaml")
    assert isinstance(document.value, dict)
    inner = document.value["b"].value.value
    assert isinstance(inner, dict)
    assert str(inner["c"].where) == "f.yaml:3"
    items = inner["c"].value.value
    assert isinstance(items, tuple)
    assert [str(item.where) for item in items] == ["f.yaml:4", "f.yaml:5"]


def test_aliases_and_merge_keys_are_followed() -> None:
    """An anchored mapping can be used again and merged, with its own fields winning."""
    text = "base: &b {x: 1, y: 2}\nuse: *b\nmerged:\n  <<: *b\n  y: 3\n"
    assert one(text) == {"base": {"x": 1, "y": 2}, "use": {"x": 1, "y": 2}, "merged": {"x": 1, "y": 3}}


def test_a_quoted_merge_key_is_a_name() -> None:
    """Only the plain << merges."""
    assert one("'<<': 1") == {"<<": 1}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: 2\na: 3", "f.yaml:3: a was given already on line 1"),
        ("a: [1,\n2", "f.yaml:2: is not YAML"),
        ("\ta: 1", "f.yaml:1: is not YAML"),
        ("a: *nobody", "*nobody refers to an anchor"),
        ("a: &x [*x]", "*x refers to an anchor that is not complete"),
        ("a: !!python/object:os.system x", "has no meaning here; remove it"),
        ("? [a]\n: 1", "a field's name must be text"),
        ("a: b\x01", "is not YAML"),
        (b"a: 1\nb: \xff\xfe", "f.yaml:2: is not UTF-8 text"),
        ("a: 1\n  b: 2", "f.yaml:2: is not YAML"),
        ("<<: 5", "takes an alias of a mapping"),
    ],
)
def test_what_cannot_be_read_is_said_with_its_line(text: str | bytes, words: str) -> None:
    """Every refusal names the file, the line where there is one, and the reason."""
    assert words in complaint(text)


def test_a_byte_order_mark_is_not_part_of_the_text() -> None:
    """Editors that write one do no harm."""
    assert one(b"\xef\xbb\xbfa: 1") == {"a": 1}


def test_an_alias_bomb_is_refused_by_the_number_of_its_values() -> None:
    """Nine to the eleventh values from twelve lines never come to be."""
    lines = ["a0: &a0 [1,1,1,1,1,1,1,1,1]"]
    lines += [f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    assert "more than 200,000 values" in complaint("\n".join(lines))


def test_nesting_is_bounded() -> None:
    """A tower of brackets is refused at the limit, not at the end of the stack."""
    assert one("[" * DEPTH_MAX + "]" * DEPTH_MAX) is not None
    assert f"more than {DEPTH_MAX} levels" in complaint("[" * (DEPTH_MAX + 1) + "]" * (DEPTH_MAX + 1))
    assert "levels" in complaint("[" * 100_000)


def test_size_is_bounded() -> None:
    """A text beyond the limit is refused unread."""
    assert "at most" in complaint("a" * (TEXT_BYTES_MAX + 1))


@given(st.text(alphabet=st.sampled_from("ab:-[]{}&*!|>'\"#%@ \n\t,?<0.1~\\"), max_size=200))
def test_any_text_reads_or_is_refused_in_words(text: str) -> None:
    """There is no third outcome."""
    assert refusal_of(text).startswith(("f.yaml", "read"))


@given(st.binary(max_size=100))
def test_any_bytes_read_or_are_refused_in_words(data: bytes) -> None:
    """There is no third outcome for bytes either."""
    assert refusal_of(data).startswith(("f.yaml", "read"))
