"""The broker settings are Kafka's by name, type and default, except where a reason is given."""

import json
from pathlib import Path

import pytest

from moldau_broker.base.broker_config import (
    BROKER_SETTINGS,
    DIFFERENT_DEFAULTS,
    GROUPS,
    LogSettings,
    NodeSettings,
    build_group,
    connections_by_address,
    group_settings,
)
from moldau_broker.base.config_types import SettingError, SettingType
from moldau_broker.base.known_config import KNOWN_SETTINGS
from moldau_broker.base.topic_config import TOPIC_SETTINGS

FACTS = json.loads((Path(__file__).parents[2] / "data/kafka/facts.json").read_text())
KAFKA = {setting["name"]: setting for setting in FACTS["brokerConfigs"]}
ALL = {**KNOWN_SETTINGS, **BROKER_SETTINGS}

METRICS_FILTERS = {f"metrics.{kind}.{what}" for kind in ("topics", "groups") for what in ("allow", "deny")}
"""Ours: which topics and groups have metrics of their own."""

THROTTLES = {"follower.replication.throttled.rate", "leader.replication.throttled.rate"}
"""Kafka has them as dynamic settings only (DynamicConfig), so that its table of static ones does not list them."""

DYNAMIC_IN_KAFKA = frozenset(
    [
        "compression.type",
        "cordoned.log.dirs",
        "log.cleaner.delete.retention.ms",
        "log.cleaner.max.compaction.lag.ms",
        "log.cleaner.min.cleanable.ratio",
        "log.cleaner.min.compaction.lag.ms",
        "log.cleanup.policy",
        "log.flush.interval.messages",
        "log.flush.interval.ms",
        "log.index.interval.bytes",
        "log.index.size.max.bytes",
        "log.message.timestamp.after.max.ms",
        "log.message.timestamp.before.max.ms",
        "log.message.timestamp.type",
        "log.retention.bytes",
        "log.retention.ms",
        "log.roll.jitter.ms",
        "log.roll.ms",
        "log.segment.bytes",
        "log.segment.delete.delay.ms",
        "max.connection.creation.rate",
        "max.connections",
        "max.connections.per.ip",
        "max.connections.per.ip.overrides",
        "message.max.bytes",
        "min.insync.replicas",
        "unclean.leader.election.enable",
    ]
)
"""Those of our dynamic settings that a 4.3.1 broker's DescribeConfigs shows as not read-only."""


def _default(setting) -> str | None:
    default = setting.get("default")
    if default is None:
        return None
    if isinstance(default, bool):
        return str(default).lower()
    text = ",".join(default) if isinstance(default, list) else str(default)
    return text.removeprefix("class ")


def test_every_kafka_setting_is_known():
    """All 340 broker settings of Kafka 4.3 are acted on, or known not to be."""
    assert set(KAFKA) <= set(ALL)
    assert set(KNOWN_SETTINGS) <= set(KAFKA)
    assert not set(KNOWN_SETTINGS) & set(BROKER_SETTINGS)


@pytest.mark.parametrize("name", sorted(KAFKA))
def test_broker_setting_matches_kafka(name):
    """Type and default are Kafka's; a default that differs is in the table of differences, with Kafka's value."""
    setting, kafka = ALL[name], KAFKA[name]
    assert setting.type.name.lower() == kafka["type"]
    expected = _default(kafka)
    if name in DIFFERENT_DEFAULTS:
        assert DIFFERENT_DEFAULTS[name][0] == expected
        assert setting.default != expected
    elif setting.type is SettingType.DOUBLE:
        assert float(setting.default or "nan") == float(expected or "nan")
    else:
        assert setting.default == expected


def test_different_defaults_have_reasons():
    """Each difference is one of ours, and says why in a sentence."""
    assert set(DIFFERENT_DEFAULTS) <= set(BROKER_SETTINGS)
    assert all(len(reason) > 20 and reason.endswith(".") for _, reason in DIFFERENT_DEFAULTS.values())


def test_own_settings_do_not_collide_with_kafkas():
    """A name of ours is no Kafka broker setting, so that it cannot come to mean two things."""
    own = set(BROKER_SETTINGS) - set(KAFKA)
    assert own == {
        "cluster.id",
        "controlled.shutdown.max.ms",
        *THROTTLES,
        "http.host",
        "http.port",
        "log.flush.acks.all",
        "log.recovery.max.bytes",
        "log.recovery.max.ms",
        "log.scrub.interval.ms",
        "log.scrub.max.bytes.per.second",
        "max.partitions.per.broker",
        *METRICS_FILTERS,
        "record.validation",
        "telemetry.log.format",
        "telemetry.log.level",
    }


def test_dynamic_settings_are_dynamic_in_kafka():
    """What can be changed at run time here can be in Kafka too; what topics get without saying comes on top."""
    assert {name for name, setting in BROKER_SETTINGS.items() if setting.dynamic} == DYNAMIC_IN_KAFKA | {
        "record.validation",
        "num.partitions",
        "default.replication.factor",
        *METRICS_FILTERS,
        *THROTTLES,
    }


def test_topic_defaults_are_broker_settings():
    """Every synonym of a topic setting is a broker setting, acted on as the topic setting is."""
    for topic in TOPIC_SETTINGS.values():
        for synonym in topic.synonyms:
            assert BROKER_SETTINGS[synonym].acted_on == topic.acted_on


def test_every_broker_setting_is_documented():
    """DescribeConfigs has something to say about each."""
    assert all(len(setting.doc) > 20 for setting in BROKER_SETTINGS.values())


def test_every_default_passes_its_own_check():
    """No default would be refused if it were written down."""
    for setting in BROKER_SETTINGS.values():
        setting.parse(setting.default)


def test_groups_hold_each_setting_once():
    """No setting is a field of two groups."""
    names = [setting.name for group in GROUPS for setting in group_settings(group)]
    assert len(names) == len(set(names))


def test_build_group_takes_given_values_and_defaults():
    """Given settings are parsed, the rest has its default, foreign names are not looked at."""
    log = build_group(LogSettings, {"log.flush.acks.all": "false", "node.id": "nonsense"})
    assert (log.flush_acks_all, log.retention_check_interval_ms) == (False, 300_000)


def test_build_group_refuses_a_bad_value():
    """The error names the setting."""
    with pytest.raises(SettingError, match=r"node\.id=-1"):
        build_group(NodeSettings, {"node.id": "-1"})


def test_data_dir_is_log_dirs_then_log_dir():
    """log.dirs beats log.dir, as in Kafka."""
    assert build_group(NodeSettings, {"log.dir": "a"}).data_dir == "a"
    assert build_group(NodeSettings, {"log.dir": "a", "log.dirs": "b"}).data_dir == "b"


def test_connections_by_address():
    """Counts by address, IPv6 in brackets; anything else is refused."""
    assert connections_by_address("127.0.0.1:5, [::1]:7,host:0") == {"127.0.0.1": 5, "::1": 7, "host": 0}
    assert connections_by_address("") == {}
    for bad in ("127.0.0.1", ":5", "a:x", "a:-1", "a:٣"):
        with pytest.raises(ValueError, match=bad):
            connections_by_address(bad)
        with pytest.raises(SettingError, match="ADDRESS:COUNT"):
            BROKER_SETTINGS["max.connections.per.ip.overrides"].parse(bad)
