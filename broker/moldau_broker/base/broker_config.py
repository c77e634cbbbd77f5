"""Every broker setting we act on, as fields of grouped frozen dataclasses. Pure.

The class is the table: each field carries its `Setting` (Kafka's name, type, default, bounds, documentation),
and `BROKER_SETTINGS` is collected from the fields, plus the `log.*` names that only supply topic defaults.
Names are Kafka's wherever Kafka has one; our own have no prefix and never collide with Kafka's (a test
holds that). Where our default differs from Kafka's, `DIFFERENT_DEFAULTS` says why.

What Kafka knows and we do not act on is in `known_config`; what must be refused at start in `refused_config`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final, TypeVar, cast

from moldau_broker.base import limits
from moldau_broker.base.config_types import (
    INT_MAX,
    Check,
    Setting,
    SettingType,
    Value,
    at_least,
    between,
    either,
    one_of,
    split_list,
)
from moldau_broker.base.topic_config import TOPIC_SETTINGS

_BOOLEAN, _STRING, _INT, _SHORT = SettingType.BOOLEAN, SettingType.STRING, SettingType.INT, SettingType.SHORT
_LONG, _DOUBLE, _LIST = SettingType.LONG, SettingType.DOUBLE, SettingType.LIST

G = TypeVar("G")


def connections_by_address(text: str) -> dict[str, int]:
    """`max.connections.per.ip.overrides` as counts by address.

    Raises:
        ValueError: an item that is not ADDRESS:COUNT; the text is that item.
    """
    counts = {}
    for item in split_list(text):
        address, colon, count = item.rpartition(":")
        if not colon or not address or not (count.isascii() and count.isdigit()):
            raise ValueError(item)
        counts[address.strip("[]")] = int(count)
    return counts


def _are_connection_overrides(value: Value) -> str | None:
    assert isinstance(value, str)
    try:
        connections_by_address(value)
    except ValueError:
        return "every item must look like ADDRESS:COUNT"
    return None


def _field(
    name: str,
    kind: SettingType,
    default: str | None,
    doc: str,
    check: Check | None = None,
    *,
    dynamic: bool = False,
) -> Any:
    setting = Setting(name=name, type=kind, default=default, doc=doc, check=check, dynamic=dynamic)
    return field(default=setting.parse(default), metadata={"setting": setting})


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """Who this node is and where its data lives."""

    id: int = _field("node.id", _INT, "1", "Number of this node in the cluster.", at_least(0))
    roles: tuple[str, ...] = _field(
        "process.roles",
        _LIST,
        "broker,controller",
        "What this process is; one node is both broker and controller.",
    )
    cluster_id: str | None = _field(
        "cluster.id",
        _STRING,
        None,
        "Id a new data directory is formatted with; drawn at random when unset. Must match an existing one.",
    )
    rack: str | None = _field("broker.rack", _STRING, None, "Failure domain of this node, shown to clients.")
    log_dirs: tuple[str, ...] | None = _field(
        "log.dirs", _LIST, None, "Data directory; log.dir when unset. Exactly one is supported."
    )
    log_dir: tuple[str, ...] = _field(
        "log.dir", _LIST, "moldau-data", "Data directory when log.dirs is unset."
    )
    metadata_log_dir: str | None = _field(
        "metadata.log.dir", _STRING, None, "Directory of the metadata log; must be the data directory."
    )

    @property
    def data_dirs(self) -> tuple[str, ...]:
        """The data directories as written; a usable configuration has exactly one."""
        return self.log_dir if self.log_dirs is None else self.log_dirs

    @property
    def data_dir(self) -> str:
        """The one data directory, as written (relative to the working directory if not absolute)."""
        return self.data_dirs[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerSettings:
    """The listener settings as written; `server.listeners_config` makes sockets of them."""

    listeners: tuple[str, ...] = _field(
        "listeners",
        _LIST,
        "CLIENT://127.0.0.1:9092,INTERNAL://127.0.0.1:9091,CONTROLLER://127.0.0.1:9093",
        "Addresses to listen on, NAME://HOST:PORT each; no host is every interface, port 0 any free port.",
    )
    advertised: tuple[str, ...] | None = _field(
        "advertised.listeners",
        _LIST,
        None,
        "Addresses clients are told to connect to; the listeners when unset.",
    )
    protocol_map: str = _field(
        "listener.security.protocol.map",
        _STRING,
        "SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT",
        "Security protocol of each listener name; a name not listed is PLAINTEXT, the only one served yet.",
    )
    inter_broker: str | None = _field(
        "inter.broker.listener.name", _STRING, None, "Listener that brokers use among themselves."
    )
    controller: tuple[str, ...] = _field(
        "controller.listener.names", _LIST, "CONTROLLER", "Listeners that the metadata quorum uses."
    )
    quorum_voters: tuple[str, ...] = _field(
        "controller.quorum.voters",
        _LIST,
        "",
        "Voters of the metadata quorum (id@host:port); only this node yet.",
    )
    quorum_bootstrap: tuple[str, ...] = _field(
        "controller.quorum.bootstrap.servers",
        _LIST,
        "",
        "Addresses at which the metadata quorum is found; only this node yet.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSettings:
    """Bounds on connections, frames and fetches."""

    request_max_bytes: int = _field(
        "socket.request.max.bytes",
        _INT,
        str(limits.FRAME_BYTES_MAX),
        "Largest request frame in bytes. Unless set, it grows with the largest max.message.bytes.",
        at_least(1),
    )
    in_flight_bytes_max: int = _field(
        "queued.max.request.bytes",
        _LONG,
        str(limits.IN_FLIGHT_FRAME_BYTES_MAX),
        "Bytes that incomplete request frames of all connections may hold together; -1 is no bound.",
        either(-1, at_least(1)),
    )
    connections_max: int = _field(
        "max.connections",
        _INT,
        str(limits.CONNECTIONS_MAX),
        "Open connections over all listeners; a further one is closed at once.",
        at_least(0),
        dynamic=True,
    )
    connections_per_ip_max: int = _field(
        "max.connections.per.ip",
        _INT,
        str(INT_MAX),
        "Open connections from one address; unlimited by default, as clients behind NAT share one.",
        at_least(0),
        dynamic=True,
    )
    connections_per_ip_overrides: str = _field(
        "max.connections.per.ip.overrides",
        _STRING,
        "",
        "Exceptions to max.connections.per.ip, ADDRESS:COUNT each, comma-separated.",
        _are_connection_overrides,
        dynamic=True,
    )
    connection_creation_rate: int = _field(
        "max.connection.creation.rate",
        _INT,
        str(INT_MAX),
        "New connections per second; further ones wait their turn.",
        at_least(0),
        dynamic=True,
    )
    connections_idle_ms_max: int = _field(
        "connections.max.idle.ms", _LONG, "600000", "A connection without a request for this long is closed."
    )
    listen_backlog: int = _field(
        "socket.listen.backlog.size",
        _INT,
        str(limits.LISTEN_BACKLOG),
        "Connections the kernel queues before they are accepted.",
        at_least(1),
    )
    fetch_max_bytes: int = _field(
        "fetch.max.bytes",
        _INT,
        str(limits.FETCH_BYTES_MAX),
        "Most bytes of records in one fetch answer.",
        at_least(1024),
    )
    fetch_session_slots: int = _field(
        "max.incremental.fetch.session.cache.slots",
        _INT,
        str(limits.FETCH_SESSION_SLOTS_MAX),
        "Fetch sessions kept at once; 0 keeps none.",
        at_least(0),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicDefaults:
    """How topics come and go, and what a new one is like."""

    auto_create: bool = _field(
        "auto.create.topics.enable",
        _BOOLEAN,
        "true",
        "Whether a client's use of an unknown topic creates it.",
    )
    delete_enable: bool = _field("delete.topic.enable", _BOOLEAN, "true", "Whether topics can be deleted.")
    num_partitions: int = _field(
        "num.partitions", _INT, "1", "Partitions of a topic created without a number.", at_least(1)
    )
    replication_factor: int = _field(
        "default.replication.factor", _INT, "1", "Replicas of a topic created without a number.", at_least(1)
    )
    partitions_per_broker_max: int = _field(
        "max.partitions.per.broker",
        _INT,
        str(limits.PARTITIONS_PER_BROKER_MAX),
        "Replicas a broker may hold; a topic that would exceed it is refused.",
        at_least(1),
    )
    partitions_per_answer_max: int = _field(
        "max.request.partition.size.limit",
        _INT,
        "2000",
        "Partitions in one page of DescribeTopicPartitions.",
        at_least(1),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """Durability, retention and cleaning of the node's logs."""

    flush_acks_all: bool = _field(
        "log.flush.acks.all",
        _BOOLEAN,
        "true",
        "Whether acks=all is answered only after fdatasync. False answers after the write, as Kafka does.",
    )
    recovery_bytes_max: int = _field(
        "log.recovery.max.bytes",
        _LONG,
        str(64 * 1024 * 1024),
        "Written bytes of one log that may lie above its recovery point: what a crash costs in re-reading.",
        at_least(1024 * 1024),
    )
    recovery_ms_max: int = _field(
        "log.recovery.max.ms",
        _LONG,
        "30000",
        "Longest time a written byte stays above its log's recovery point.",
        at_least(100),
    )
    high_watermark_checkpoint_interval_ms: int = _field(
        "replica.high.watermark.checkpoint.interval.ms",
        _LONG,
        "5000",
        "How often high watermarks, log starts and recovery points are written to their checkpoint files.",
    )
    retention_check_interval_ms: int = _field(
        "log.retention.check.interval.ms",
        _LONG,
        "300000",
        "How often logs are looked at for segments to delete.",
        at_least(1),
    )
    producer_id_expiration_ms: int = _field(
        "producer.id.expiration.ms",
        _INT,
        "86400000",
        "How long an idle idempotent producer's sequence numbers are remembered.",
        at_least(1),
    )
    decompressed_bytes_max: int = _field(
        "record.decompressed.max.bytes",
        _INT,
        str(limits.DECOMPRESSED_BYTES_MAX),
        "Largest decompressed batch, where bodies are opened at all.",
        at_least(1024),
    )
    decompressed_ratio_max: int = _field(
        "record.decompressed.max.ratio",
        _INT,
        str(limits.DECOMPRESSED_RATIO_MAX),
        "Largest decompressed size per compressed byte, where bodies are opened at all.",
        at_least(2),
    )
    cleaner_enable: bool = _field(
        "log.cleaner.enable", _BOOLEAN, "true", "Whether compacted topics are cleaned."
    )
    cleaner_dedupe_bytes: int = _field(
        "log.cleaner.dedupe.buffer.size",
        _LONG,
        str(32 * 1024 * 1024),
        "Memory of the cleaner's key map; it exists only while a log is cleaned.",
        at_least(1024),
    )
    cleaner_load_factor: float = _field(
        "log.cleaner.io.buffer.load.factor",
        _DOUBLE,
        "0.9",
        "How full the cleaner's key map may become.",
        between(0.1, 0.99),
    )
    cleaner_io_bytes: int = _field(
        "log.cleaner.io.buffer.size", _INT, "524288", "Bytes the cleaner reads at a time.", at_least(4096)
    )
    cleaner_bytes_per_second: float = _field(
        "log.cleaner.io.max.bytes.per.second",
        _DOUBLE,
        "1.7976931348623157E308",
        "Most bytes the cleaner reads and writes per second.",
        at_least(1),
    )
    cleaner_backoff_ms: int = _field(
        "log.cleaner.backoff.ms", _LONG, "15000", "Pause when there is nothing to clean.", at_least(0)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSettings:
    """Consumer groups and their offsets."""

    session_timeout_ms_min: int = _field(
        "group.min.session.timeout.ms",
        _INT,
        "6000",
        "Shortest session timeout a member may ask for.",
        at_least(1),
    )
    session_timeout_ms_max: int = _field(
        "group.max.session.timeout.ms",
        _INT,
        "1800000",
        "Longest session timeout a member may ask for.",
        at_least(1),
    )
    initial_rebalance_delay_ms: int = _field(
        "group.initial.rebalance.delay.ms",
        _INT,
        "3000",
        "How long the first rebalance of an empty group waits for more members.",
        at_least(0),
    )
    members_max: int = _field(
        "group.max.size", _INT, str(limits.GROUP_MEMBERS_MAX), "Most members of one group.", at_least(1)
    )
    offsets_partitions: int = _field(
        "offsets.topic.num.partitions",
        _INT,
        "50",
        "Partitions of __consumer_offsets when created.",
        at_least(1),
    )
    offsets_replication_factor: int = _field(
        "offsets.topic.replication.factor",
        _SHORT,
        "3",
        "Replicas of __consumer_offsets when created; fewer while there are fewer brokers.",
        at_least(1),
    )
    offsets_segment_bytes: int = _field(
        "offsets.topic.segment.bytes",
        _INT,
        "104857600",
        "Segment size of __consumer_offsets: small, so that it is cleaned and loaded quickly.",
        at_least(1024 * 1024),
    )
    offsets_retention_minutes: int = _field(
        "offsets.retention.minutes",
        _INT,
        "10080",
        "How long offsets outlive their group's last member, or a simple consumer's last commit.",
        at_least(1),
    )
    offsets_retention_check_interval_ms: int = _field(
        "offsets.retention.check.interval.ms",
        _LONG,
        "600000",
        "How often expired offsets are looked for.",
        at_least(1),
    )
    offset_metadata_bytes_max: int = _field(
        "offset.metadata.max.bytes",
        _INT,
        str(limits.OFFSET_METADATA_BYTES_MAX),
        "Longest text a client may commit with an offset.",
        at_least(0),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataSettings:
    """The metadata log and its snapshots."""

    snapshot_bytes: int = _field(
        "metadata.log.max.record.bytes.between.snapshots",
        _LONG,
        "20971520",
        "Bytes of metadata records after which a snapshot is taken.",
        at_least(1),
    )
    snapshot_interval_ms: int = _field(
        "metadata.log.max.snapshot.interval.ms",
        _LONG,
        "3600000",
        "Time after which a snapshot is taken if there are new records; 0 is never.",
        at_least(0),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """The HTTP endpoint for probes and metrics."""

    host: str = _field("http.host", _STRING, "127.0.0.1", "Address of /livez, /readyz and /metrics.")
    port: int = _field(
        "http.port",
        _INT,
        "8092",
        "Port of /livez, /readyz and /metrics; 0 is any free one, -1 none.",
        between(-1, 65535),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetrySettings:
    """Logs."""

    log_level: str = _field(
        "telemetry.log.level",
        _STRING,
        "info",
        "Least severe log line written.",
        one_of("debug", "info", "warn", "error"),
    )
    log_format: str = _field(
        "telemetry.log.format",
        _STRING,
        "auto",
        "Form of log lines: json, human, or auto: human on a terminal, else json.",
        one_of("auto", "json", "human"),
    )


GROUPS: Final = (
    NodeSettings,
    ListenerSettings,
    NetworkSettings,
    TopicDefaults,
    LogSettings,
    GroupSettings,
    MetadataSettings,
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
}
"""By name: Kafka's default and why ours is another."""
