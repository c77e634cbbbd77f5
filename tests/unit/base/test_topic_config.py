"""The topic settings are Kafka's, and a topic's values come from its own, the broker's, and Kafka's defaults."""

import json
from dataclasses import fields
from pathlib import Path

import pytest

from moldau_broker.base.config_types import SettingError
from moldau_broker.base.topic_config import (
    TOPIC_SETTINGS,
    TopicConfig,
    resolve_topic_config,
    synonym_text,
    validate_topic_setting,
    validate_topic_settings,
)

FACTS = json.loads((Path(__file__).parents[2] / "data/kafka/facts.json").read_text())
KAFKA = {setting["name"]: setting for setting in FACTS["topicConfigs"]}
OURS = {"record.validation"}


def _text(default) -> str:
    if isinstance(default, bool):
        return str(default).lower()
    return ",".join(default) if isinstance(default, list) else str(default)


def test_topic_settings_are_kafkas_and_ours():
    """All 33 settings of Kafka 4.3, and one of our own."""
    assert set(TOPIC_SETTINGS) == set(KAFKA) | OURS


@pytest.mark.parametrize("name", sorted(KAFKA))
def test_topic_setting_matches_kafka(name):
    """Type, default and the broker settings behind it are those of Kafka's LogConfig."""
    setting, kafka = TOPIC_SETTINGS[name], KAFKA[name]
    assert setting.type.name.lower() == kafka["type"]
    assert setting.default == _text(kafka["default"])
    assert list(setting.synonyms) == FACTS["topicConfigSynonyms"].get(name, [])


@pytest.mark.parametrize(
    "name", sorted(name for name in KAFKA if KAFKA[name].get("valid", "").startswith("["))
)
def test_topic_setting_has_kafkas_bounds(name):
    """Kafka's lower bound passes and the value below it does not; of enumerations, every word passes."""
    setting, valid = TOPIC_SETTINGS[name], KAFKA[name]["valid"]
    if "[partitionId]" in valid:
        for text in ("", "*", "0:1", "0:1, 12:3"):
            setting.parse(text)
        for text in ("*,0:1", "0", "0:", "a:1", "0:1:2"):
            with pytest.raises(SettingError, match="partition"):
                setting.parse(text)
        return
    if "..." not in valid:
        for word in valid.strip("[]").split(", "):
            setting.parse(word)
        with pytest.raises(SettingError):
            setting.parse("something else")
        return
    low, *_, high = valid.removesuffix(" or -1").strip("[]").split(",")
    setting.parse(low)
    with pytest.raises(SettingError):
        setting.parse(str(int(low) - 1))
    if high != "...":
        setting.parse(high)
        with pytest.raises(SettingError):
            setting.parse(str(int(high) + 1))


def test_every_topic_setting_is_documented():
    """DescribeConfigs has something to say about each."""
    assert all(len(setting.doc) > 20 for setting in TOPIC_SETTINGS.values())


def test_topic_config_has_an_attribute_for_each_setting_acted_on():
    """No code can read a setting that is only listed, and none that is acted on is missing."""
    acted_on = {name.replace(".", "_") for name, setting in TOPIC_SETTINGS.items() if setting.acted_on}
    assert {field.name for field in fields(TopicConfig)} == acted_on


@pytest.mark.parametrize("field", fields(TopicConfig), ids=lambda field: field.name)
def test_topic_config_defaults_are_the_tables(field):
    """`TopicConfig()` is what the table's default texts say."""
    value = TOPIC_SETTINGS[field.name.replace("_", ".")].parse(
        TOPIC_SETTINGS[field.name.replace("_", ".")].default
    )
    assert field.default == (frozenset(value) if isinstance(value, tuple) else value)


def test_resolve_prefers_the_topics_own_setting():
    """Override, then broker, then default."""
    overrides, broker = {"retention.ms": "5"}, {"log.retention.ms": "6", "log.segment.bytes": "2097152"}
    config = resolve_topic_config(overrides, broker)
    assert (config.retention_ms, config.segment_bytes, config.flush_ms) == (5, 2097152, 2**63 - 1)


@pytest.mark.parametrize(
    ("broker", "retention_ms"),
    [
        ({"log.retention.ms": "1", "log.retention.minutes": "1", "log.retention.hours": "1"}, 1),
        ({"log.retention.minutes": "1", "log.retention.hours": "1"}, 60_000),
        ({"log.retention.hours": "1"}, 3_600_000),
        ({"log.retention.hours": "-1"}, -1),
        ({"log.retention.minutes": "-1"}, -1),
        ({}, 604_800_000),
    ],
)
def test_resolve_finer_unit_wins(broker, retention_ms):
    """log.retention.ms beats minutes, minutes beat hours; a negative count is no limit."""
    assert resolve_topic_config({}, broker).retention_ms == retention_ms


def test_resolve_roll_and_flush_families():
    """The other families of units resolve the same way."""
    config = resolve_topic_config(
        {}, {"log.roll.hours": "2", "log.roll.jitter.hours": "1", "log.flush.scheduler.interval.ms": "9"}
    )
    assert (config.segment_ms, config.segment_jitter_ms, config.flush_ms) == (7_200_000, 3_600_000, 9)


def test_resolve_reads_lists_as_sets():
    """cleanup.policy may come in any order, twice, or empty (nothing is ever removed)."""
    assert resolve_topic_config({"cleanup.policy": "delete, compact,delete"}, {}).cleanup_policy == {
        "compact",
        "delete",
    }
    empty = resolve_topic_config({"cleanup.policy": ""}, {})
    assert not empty.is_compacted
    assert not empty.is_deleted


def test_resolve_skips_what_it_does_not_know():
    """A log opens whatever its metadata says: names of other versions and settings not acted on have no effect."""
    assert resolve_topic_config({"no.such": "1", "preallocate": "true"}, {}) == TopicConfig()


def test_resolve_shares_equal_configs():
    """A thousand partitions configured alike hold one object."""
    assert resolve_topic_config({"retention.ms": "77"}, {}) is resolve_topic_config(
        {"retention.ms": "77"}, {"x": "y"}
    )


def test_resolve_refuses_a_bad_value():
    """A value that cannot be read is an error, not a default."""
    with pytest.raises(SettingError, match=r"retention\.ms"):
        resolve_topic_config({"retention.ms": "soon"}, {})


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("no.such", "1", "not a topic setting"),
        ("retention.ms", "-2", "at least -1"),
        ("remote.storage.enable", "true", "not acted on"),
        ("preallocate", "perhaps", "true or false"),
        ("leader.replication.throttled.replicas", "all", "[partition]:[broker]"),
    ],
)
def test_validate_says_why_not(name, value, words):
    """Unknown, out of bounds, or known and without effect: each is refused in words."""
    assert words in (validate_topic_setting(name, value) or "")


@pytest.mark.parametrize(
    ("name", "value"), [("retention.ms", "-1"), ("preallocate", "FALSE"), ("cleanup.policy", "")]
)
def test_validate_accepts(name, value):
    """A legal value passes, also the default of a setting that is not acted on."""
    assert validate_topic_setting(name, value) is None


def test_validate_looks_at_the_whole():
    """Two settings may contradict each other, also across the topic's own and the broker's."""
    assert validate_topic_settings({"min.compaction.lag.ms": "10", "max.compaction.lag.ms": "10"}, {}) is None
    assert "must not be above" in (
        validate_topic_settings({"min.compaction.lag.ms": "10", "max.compaction.lag.ms": "9"}, {}) or ""
    )
    assert "must not be above" in (
        validate_topic_settings({"min.compaction.lag.ms": "10"}, {"log.cleaner.max.compaction.lag.ms": "9"})
        or ""
    )
    assert "at least" in (validate_topic_settings({"min.compaction.lag.ms": "-1"}, {}) or "")


def test_synonym_text_converts_units():
    """Hours and minutes become milliseconds; other texts stay."""
    assert synonym_text("log.roll.hours", "3") == "10800000"
    assert synonym_text("log.cleanup.policy", "compact") == "compact"
