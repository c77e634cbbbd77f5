"""The group settings are Kafka's, and none of them is acted on yet."""

import json
from pathlib import Path

import pytest

from moldau_broker.base.broker_config import BROKER_SETTINGS
from moldau_broker.base.group_config import GROUP_SETTINGS
from moldau_broker.base.known_config import KNOWN_SETTINGS

KAFKA = {
    setting["name"]: setting
    for setting in json.loads((Path(__file__).parents[2] / "data/kafka/facts.json").read_text())[
        "groupConfigs"
    ]
}


def test_group_settings_are_kafkas():
    """All 17 of Kafka 4.3, none acted on."""
    assert set(GROUP_SETTINGS) == set(KAFKA)
    assert not any(setting.acted_on for setting in GROUP_SETTINGS.values())


@pytest.mark.parametrize("name", sorted(KAFKA))
def test_group_setting_matches_kafka(name):
    """Type and default are Kafka's, and the broker setting behind it exists with the same default."""
    setting, default = GROUP_SETTINGS[name], KAFKA[name]["default"]
    assert setting.type.name.lower() == KAFKA[name]["type"]
    assert setting.default == (str(default).lower() if isinstance(default, bool) else str(default))
    for synonym in setting.synonyms:
        assert (BROKER_SETTINGS.get(synonym) or KNOWN_SETTINGS[synonym]).default == setting.default
