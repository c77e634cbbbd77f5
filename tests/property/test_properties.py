"""Whatever is written as properties is read back."""

from hypothesis import given
from hypothesis import strategies as st

from moldau_broker.base.properties import PropertiesSyntaxError, format_properties, parse_properties

TEXT = st.text(st.characters(codec="utf-8"))


@given(st.dictionaries(TEXT.filter(bool), TEXT))
def test_properties_round_trip(values):
    """Any keys and values survive formatting and parsing."""
    assert parse_properties(format_properties(values)) == values


@given(TEXT)
def test_properties_any_text_parses_or_is_refused(text):
    """No text makes the parser fail in another way than its own error, which only a broken escape earns."""
    try:
        parse_properties(text)
    except PropertiesSyntaxError:
        refused = True
    else:
        refused = False
    assert not refused or "\\u" in text
