"""A setting that is accepted is read somewhere: nothing is configured in vain."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from moldau_broker.base.broker_config import GROUPS
from moldau_broker.base.topic_config import TopicConfig

BROKER = Path(__file__).resolve().parents[2] / "broker" / "moldau_broker"
TABLES = {
    "broker_config.py",
    "data_config.py",
    "node_config.py",
    "topic_config.py",
    "topic_settings.py",
}

NOT_READ_YET: dict[str, str] = {}
"""Attribute: why nobody reads it. May only shrink."""

ATTRIBUTES = [field.name for group in (*GROUPS, TopicConfig) for field in fields(group)]


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_setting_is_read_by_somebody(attribute: str) -> None:
    """Each attribute of a settings group occurs in code outside the tables."""
    pattern = re.compile(rf"\.{attribute}\b")
    readers = [
        path.name
        for path in BROKER.rglob("*.py")
        if path.name not in TABLES and pattern.search(path.read_text())
    ]
    assert bool(readers) != (attribute in NOT_READ_YET), readers
