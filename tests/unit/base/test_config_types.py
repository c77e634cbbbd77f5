"""A setting's text becomes a value as Kafka's ConfigDef reads it."""

import pytest

from moldau_broker.base.config_types import (
    Setting,
    SettingError,
    SettingType,
    any_of,
    at_least,
    between,
    clip,
    either,
    one_of,
)


def _setting(kind: SettingType, check=None) -> Setting:
    return Setting(name="some.setting", type=kind, default=None, doc="", check=check)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (SettingType.LONG, " 7 ", 7),
        (SettingType.LONG, "+7", 7),
        (SettingType.LONG, "-9223372036854775808", -(2**63)),
        (SettingType.INT, "2147483647", 2**31 - 1),
        (SettingType.SHORT, "-32768", -32768),
        (SettingType.BOOLEAN, " TRUE ", True),
        (SettingType.BOOLEAN, "false", False),
        (SettingType.DOUBLE, "5e-1", 0.5),
        (SettingType.DOUBLE, ".5", 0.5),
        (SettingType.LIST, " a , b ", ("a", "b")),
        (SettingType.LIST, "", ()),
        (SettingType.STRING, " x ", "x"),
    ],
)
def test_setting_parses_text(kind, text, value):
    """Blanks around a value are dropped, signs and cases are accepted as Java accepts them."""
    assert _setting(kind).parse(text) == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (SettingType.LONG, ""),
        (SettingType.LONG, "1e3"),
        (SettingType.LONG, "1_000"),
        (SettingType.LONG, "٣"),
        (SettingType.LONG, "9223372036854775808"),
        (SettingType.INT, "2147483648"),
        (SettingType.SHORT, "40000"),
        (SettingType.BOOLEAN, "yes"),
        (SettingType.BOOLEAN, "1"),
        (SettingType.DOUBLE, "NaN"),
        (SettingType.DOUBLE, "1e999"),
        (SettingType.DOUBLE, "inf"),
        (SettingType.LIST, "a,,b"),
        (SettingType.LIST, ","),
    ],
)
def test_setting_refuses_text_of_another_type(kind, text):
    """What Python would take and Java would not is refused, and the error names the setting."""
    with pytest.raises(SettingError, match=r"some\.setting="):
        _setting(kind).parse(text)


@pytest.mark.parametrize(
    ("check", "kind", "good", "bad"),
    [
        (at_least(5), SettingType.INT, "5", "4"),
        (between(0, 1), SettingType.DOUBLE, "1", "1.01"),
        (one_of("a", "b"), SettingType.STRING, "b", "B"),
        (any_of("a", "b"), SettingType.LIST, "b,a,b", "a,c"),
        (either(-1, between(1, 9)), SettingType.INT, "-1", "0"),
    ],
)
def test_setting_checks_bounds(check, kind, good, bad):
    """A value inside the bounds passes; one outside is refused with the rule in words."""
    setting = _setting(kind, check)
    setting.parse(good)
    with pytest.raises(SettingError, match="must"):
        setting.parse(bad)


@pytest.mark.parametrize(
    ("kind", "text", "normal"),
    [
        (SettingType.LONG, " +7 ", "7"),
        (SettingType.BOOLEAN, "TRUE", "true"),
        (SettingType.LIST, " a ,b ", "a,b"),
        (SettingType.DOUBLE, "0.50", "0.5"),
    ],
)
def test_setting_normalizes_text(kind, text, normal):
    """Settings are listed in their plain form, however they were written."""
    assert _setting(kind).normalize(text) == normal


def test_setting_absent_value_stays_absent():
    """A setting without a value has no value, whatever its bounds."""
    assert _setting(SettingType.INT, at_least(5)).parse(None) is None
    assert _setting(SettingType.INT, at_least(5)).normalize(None) is None


def test_password_is_sensitive():
    """Only passwords are hidden."""
    assert _setting(SettingType.PASSWORD).sensitive
    assert not _setting(SettingType.STRING).sensitive


def test_error_does_not_echo_a_huge_value():
    """A client chooses values; an error line stays short."""
    with pytest.raises(SettingError) as caught:
        _setting(SettingType.INT).parse("9" * 1_000_000)
    assert len(str(caught.value)) < 300
    assert clip("x" * 500).endswith("(500 characters)")
