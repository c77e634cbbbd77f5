"""The settings a consumer, share or streams group may have of its own (KIP-848, KIP-932, KIP-1071). Pure.

Source: Apache Kafka 4.3 `GroupConfig`. None is acted on: classic groups, the only ones served, bring their
timeouts with each member. They are listed with the defaults Kafka gives them, and changing one is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from moldau_broker.base.config_types import Check, Setting, SettingType, at_least, one_of

_BOOLEAN, _STRING, _INT = SettingType.BOOLEAN, SettingType.STRING, SettingType.INT

_TABLE: Final[tuple[tuple[str, SettingType, str, Check | None, str], ...]] = (
    ("consumer.assignment.interval.ms", _INT, "1000", at_least(0), "Pause between two assignments."),
    ("consumer.heartbeat.interval.ms", _INT, "5000", at_least(1), "How often members report."),
    ("consumer.session.timeout.ms", _INT, "45000", at_least(1), "When a silent member is given up."),
    ("share.assignment.interval.ms", _INT, "1000", at_least(0), "Pause between two assignments."),
    ("share.auto.offset.reset", _STRING, "latest", None, "Where a new share group begins."),
    ("share.delivery.count.limit", _INT, "5", at_least(2), "Deliveries before a record is given up."),
    ("share.heartbeat.interval.ms", _INT, "5000", at_least(1), "How often members report."),
    (
        "share.isolation.level",
        _STRING,
        "read_uncommitted",
        one_of("read_committed", "read_uncommitted"),
        "Whether open and aborted transactions are read.",
    ),
    ("share.partition.max.record.locks", _INT, "2000", at_least(100), "Records in flight of one partition."),
    ("share.record.lock.duration.ms", _INT, "30000", at_least(1000), "How long a record stays acquired."),
    ("share.renew.acknowledge.enable", _BOOLEAN, "true", None, "Whether a member may renew its locks."),
    ("share.session.timeout.ms", _INT, "45000", at_least(1), "When a silent member is given up."),
    ("streams.assignment.interval.ms", _INT, "1000", at_least(0), "Pause between two assignments."),
    ("streams.heartbeat.interval.ms", _INT, "5000", at_least(1), "How often members report."),
    ("streams.initial.rebalance.delay.ms", _INT, "3000", at_least(0), "How long a first rebalance waits."),
    ("streams.num.standby.replicas", _INT, "0", at_least(0), "Standby copies of each stateful task."),
    ("streams.session.timeout.ms", _INT, "45000", at_least(1), "When a silent member is given up."),
)

_NO_BROKER_DEFAULT: Final = frozenset(
    {"share.auto.offset.reset", "share.isolation.level", "share.renew.acknowledge.enable"}
)

GROUP_SETTINGS: Final[Mapping[str, Setting]] = {
    name: Setting(
        name=name,
        type=kind,
        default=default,
        check=check,
        doc=doc,
        synonyms=() if name in _NO_BROKER_DEFAULT else (f"group.{name}",),
        acted_on=False,
    )
    for name, kind, default, check, doc in _TABLE
}
"""By name. The broker settings of the same name under `group.` supply the defaults."""
