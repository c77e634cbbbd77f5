"""Every broker setting we act on, in one table, collected from the fields of grouped frozen dataclasses. Pure.

The class is the table: each field of a group (`node_config`, `data_config`) carries its `Setting`, and
`BROKER_SETTINGS` adds the `log.*` names that only supply topic defaults. Names are Kafka's wherever Kafka has one; our
own have no prefix and never collide with Kafka's (a test holds that). Where our default differs from Kafka's,
`DIFFERENT_DEFAULTS` says why.

What Kafka knows and we do not act on is in `known_config`; what must be refused at start in `refused_config`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final, TypeVar, cast

from moldau_broker.base.cluster_config import QuorumSettings, ReplicationSettings, SessionSettings
from moldau_broker.base.config_types import INT_MAX, Setting, SettingType, at_least, either
from moldau_broker.base.data_config import GroupSettings, LogSettings, MetadataSettings, TopicDefaults
from moldau_broker.base.node_config import (
    HttpSettings,
    ListenerSettings,
    NetworkSettings,
    NodeSettings,
    TelemetrySettings,
    connections_by_address,
)
from moldau_broker.base.topic_settings import TOPIC_SETTINGS

__all__ = [
    "ALIASES",
    "BROKER_SETTINGS",
    "DIFFERENT_DEFAULTS",
    "GROUPS",
    "GroupSettings",
    "HttpSettings",
    "ListenerSettings",
    "LogSettings",
    "MetadataSettings",
    "NetworkSettings",
    "NodeSettings",
    "QuorumSettings",
    "ReplicationSettings",
    "SessionSettings",
    "TelemetrySettings",
    "TopicDefaults",
    "build_group",
    "connections_by_address",
    "group_settings",
]

_INT, _LONG = SettingType.INT, SettingType.LONG

G = TypeVar("G")

GROUPS: Final = (
    NodeSettings,
    ListenerSettings,
    NetworkSettings,
    TopicDefaults,
    LogSettings,
    GroupSettings,
    MetadataSettings,
    QuorumSettings,
    SessionSettings,
    ReplicationSettings,
    HttpSettings,
    TelemetrySettings,
)

ALIASES: Final[Mapping[str, str]] = {"broker.id": "node.id"}
"""Kafka's older names, accepted for the newer ones."""

_UNSET: Final = ("log.retention.ms", "log.roll.ms", "log.roll.jitter.ms", "log.flush.interval.ms")
_RETENTION_BOUND: Final = either(-1, at_least(1))


def _topic_default_settings() -> list[Setting]:
    """The broker settings that only supply topic settings' defaults, made from the topic table.

    Synonyms in hours and minutes have their own type and default and are fixed at start, as in Kafka.
    """
    special = {
        "log.retention.minutes": (_INT, None, _RETENTION_BOUND, False),
        "log.retention.hours": (_INT, "168", _RETENTION_BOUND, False),
        "log.roll.hours": (_INT, "168", at_least(1), False),
        "log.roll.jitter.hours": (_INT, "0", at_least(0), False),
        "log.flush.scheduler.interval.ms": (_LONG, TOPIC_SETTINGS["flush.ms"].default, at_least(0), False),
    }
    settings = []
    for topic in TOPIC_SETTINGS.values():
        for name in topic.synonyms:
            default = None if name in _UNSET else topic.default
            kind, default, check, dynamic = special.get(name, (topic.type, default, topic.check, True))
            settings.append(
                Setting(
                    name=name,
                    type=kind,
                    default=default,
                    doc=f"Default of {topic.name} for topics that do not set it. {topic.doc}",
                    check=check,
                    acted_on=topic.acted_on,
                    dynamic=dynamic and topic.acted_on,
                )
            )
    return settings


def group_settings(group: type[Any]) -> list[Setting]:
    """The settings of one group class, in field order."""
    return [cast("Setting", item.metadata["setting"]) for item in fields(group)]


BROKER_SETTINGS: Final[Mapping[str, Setting]] = {
    setting.name: setting
    for setting in [*(one for group in GROUPS for one in group_settings(group)), *_topic_default_settings()]
}
"""By name: what we act on, and what merely supplies topic defaults (acted on as its topic setting is)."""


def build_group(group: type[G], values: Mapping[str, str]) -> G:
    """A settings group from explicit settings by name; what is missing has its default.

    Raises:
        SettingError: a value that its setting does not allow.
    """
    found: dict[str, Any] = {}
    for item in fields(cast("type[Any]", group)):
        setting: Setting = item.metadata["setting"]
        text = values.get(setting.name)
        if text is not None:
            found[item.name] = setting.parse(text)
    return group(**found)


DIFFERENT_DEFAULTS: Final[Mapping[str, tuple[str | None, str]]] = {
    "node.id": (None, "Kafka insists on one; a single node should start without a configuration."),
    "process.roles": (None, "Kafka insists on it; a single node is always both."),
    "controller.listener.names": (None, "Kafka insists on it; ours has a name from the start."),
    "listeners": (
        "PLAINTEXT://:9092",
        "Kafka listens on every interface, unauthenticated; ours on loopback until told otherwise.",
    ),
    "log.dir": ("/tmp/kafka-logs", "Data below /tmp is gone after a reboot."),  # noqa: S108 (Kafka's default, quoted)
    "socket.request.max.bytes": ("104857600", "One frame of 100 MiB is twice our memory budget; see limits."),
    "queued.max.request.bytes": ("-1", "Without a bound, a hundred slow large requests exhaust memory."),
    "max.connections": (str(INT_MAX), "Bounded by memory, not by the kernel running out of descriptors."),
    "socket.listen.backlog.size": ("50", "A reconnect storm after a restart should queue, not be refused."),
    "fetch.max.bytes": ("57671680", "Consumers ask for 50 MiB by default; more only costs memory."),
    "group.max.size": (str(INT_MAX), "A loop of joining clients must not fill the memory."),
    "log.cleaner.dedupe.buffer.size": ("134217728", "The cleaner's whole budget is 64 MiB."),
    "controller.quorum.auto.join.enable": ("false", "Who has the role controller is meant to vote."),
    "controller.quorum.election.timeout.ms": ("1000", "A vote is one small fsync and two messages: 20 ms."),
    "controller.quorum.fetch.timeout.ms": (
        "2000",
        "A leader that is cut off is missed earlier; one that died is noticed by its connection at once.",
    ),
    "controller.quorum.election.backoff.max.ms": (
        "1000",
        "Pre-vote keeps candidates from disturbing anybody.",
    ),
    "controller.quorum.request.timeout.ms": (
        "2000",
        "Within the fetch time-out, so that a lost answer costs no election.",
    ),
    "broker.session.timeout.ms": (
        "9000",
        "Heartbeats come four times as often, and a dropped connection is looked into at once.",
    ),
    "broker.heartbeat.interval.ms": (
        "2000",
        "A heartbeat costs 0.1 ms; four of them are missed within two seconds.",
    ),
    "replica.lag.time.max.ms": ("30000", "A follower that stopped holds acks=all up for this long."),
    "replica.fetch.backoff.ms": ("1000", "A new leader is followed within a tenth of a second."),
}
"""By name: Kafka's default and why ours is another."""
