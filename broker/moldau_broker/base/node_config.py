"""Settings of the node itself: who it is, where it listens, what it bounds, what it tells. Pure.

Each field carries its `Setting`; the table of all is `broker_config`.
"""

from __future__ import annotations

from dataclasses import dataclass

from moldau_broker.base import limits
from moldau_broker.base.config_types import (
    INT_MAX,
    SettingType,
    Value,
    at_least,
    between,
    either,
    one_of,
    setting_field,
    split_list,
)

_STRING, _INT, _LONG, _LIST = SettingType.STRING, SettingType.INT, SettingType.LONG, SettingType.LIST


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


def _is_all_or_nothing(value: Value) -> str | None:
    return None if value in ((), ("*",)) else "there is one data directory: * or nothing"


def _are_connection_overrides(value: Value) -> str | None:
    assert isinstance(value, str)
    try:
        connections_by_address(value)
    except ValueError:
        return "every item must look like ADDRESS:COUNT"
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """Who this node is and where its data lives."""

    id: int = setting_field("node.id", _INT, "1", "Number of this node in the cluster.", at_least(0))
    roles: tuple[str, ...] = setting_field(
        "process.roles",
        _LIST,
        "broker,controller",
        "What this process is: broker, controller, or both.",
    )
    cluster_id: str | None = setting_field(
        "cluster.id",
        _STRING,
        None,
        "Id a new data directory is formatted with; drawn at random when unset. Must match an existing one.",
    )
    rack: str | None = setting_field(
        "broker.rack", _STRING, None, "Failure domain of this node, shown to clients."
    )
    log_dirs: tuple[str, ...] | None = setting_field(
        "log.dirs", _LIST, None, "Data directory; log.dir when unset. Exactly one is supported."
    )
    log_dir: tuple[str, ...] = setting_field(
        "log.dir", _LIST, "moldau-data", "Data directory when log.dirs is unset."
    )
    cordoned: tuple[str, ...] = setting_field(
        "cordoned.log.dirs",
        _LIST,
        "",
        "*: this broker gets no new replicas, and leads nothing that another in-sync replica can (KIP-1066). Set while "
        "it runs, for one broker; draining it does that.",
        _is_all_or_nothing,
        dynamic=True,
    )
    metadata_log_dir: str | None = setting_field(
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

    listeners: tuple[str, ...] = setting_field(
        "listeners",
        _LIST,
        "CLIENT://127.0.0.1:9092,INTERNAL://127.0.0.1:9091,CONTROLLER://127.0.0.1:9093",
        "Addresses to listen on, NAME://HOST:PORT each; no host is every interface, port 0 any free port.",
    )
    advertised: tuple[str, ...] | None = setting_field(
        "advertised.listeners",
        _LIST,
        None,
        "Addresses clients are told to connect to; the listeners when unset.",
    )
    protocol_map: str = setting_field(
        "listener.security.protocol.map",
        _STRING,
        "SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT",
        "Security protocol of each listener name; a name not listed is PLAINTEXT, the only one served yet.",
    )
    inter_broker: str | None = setting_field(
        "inter.broker.listener.name", _STRING, None, "Listener that brokers use among themselves."
    )
    controller: tuple[str, ...] = setting_field(
        "controller.listener.names", _LIST, "CONTROLLER", "Listeners that the metadata quorum uses."
    )
    quorum_voters: tuple[str, ...] = setting_field(
        "controller.quorum.voters",
        _LIST,
        "",
        "Unused: voters are kept in the metadata log (KIP-853). Accepted where it names this node only.",
    )
    quorum_bootstrap: tuple[str, ...] = setting_field(
        "controller.quorum.bootstrap.servers",
        _LIST,
        "",
        "Controllers of the cluster, host:port each. The first one founds the quorum of a new cluster.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSettings:
    """Bounds on connections, frames and fetches."""

    request_max_bytes: int = setting_field(
        "socket.request.max.bytes",
        _INT,
        str(limits.FRAME_BYTES_MAX),
        "Largest request frame in bytes. Unless set, it grows with the largest max.message.bytes.",
        at_least(1),
    )
    in_flight_bytes_max: int = setting_field(
        "queued.max.request.bytes",
        _LONG,
        str(limits.IN_FLIGHT_FRAME_BYTES_MAX),
        "Bytes that incomplete request frames of all connections may hold together; -1 is no bound.",
        either(-1, at_least(1)),
    )
    connections_max: int = setting_field(
        "max.connections",
        _INT,
        str(limits.CONNECTIONS_MAX),
        "Open connections over all listeners; a further one is closed at once.",
        at_least(0),
        dynamic=True,
    )
    connections_per_ip_max: int = setting_field(
        "max.connections.per.ip",
        _INT,
        str(INT_MAX),
        "Open connections from one address; unlimited by default, as clients behind NAT share one.",
        at_least(0),
        dynamic=True,
    )
    connections_per_ip_overrides: str = setting_field(
        "max.connections.per.ip.overrides",
        _STRING,
        "",
        "Exceptions to max.connections.per.ip, ADDRESS:COUNT each, comma-separated.",
        _are_connection_overrides,
        dynamic=True,
    )
    connection_creation_rate: int = setting_field(
        "max.connection.creation.rate",
        _INT,
        str(INT_MAX),
        "New connections per second; further ones wait their turn.",
        at_least(1),
        dynamic=True,
    )
    connections_idle_ms_max: int = setting_field(
        "connections.max.idle.ms", _LONG, "600000", "A connection without a request for this long is closed."
    )
    listen_backlog: int = setting_field(
        "socket.listen.backlog.size",
        _INT,
        str(limits.LISTEN_BACKLOG),
        "Connections the kernel queues before they are accepted.",
        at_least(1),
    )
    fetch_max_bytes: int = setting_field(
        "fetch.max.bytes",
        _INT,
        str(limits.FETCH_BYTES_MAX),
        "Most bytes of records in one fetch answer.",
        at_least(1024),
    )
    fetch_session_slots: int = setting_field(
        "max.incremental.fetch.session.cache.slots",
        _INT,
        str(limits.FETCH_SESSION_SLOTS_MAX),
        "Fetch sessions kept at once; 0 keeps none.",
        at_least(0),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """The HTTP endpoint for probes and metrics."""

    host: str = setting_field("http.host", _STRING, "127.0.0.1", "Address of /livez, /readyz and /metrics.")
    port: int = setting_field(
        "http.port",
        _INT,
        "8092",
        "Port of /livez, /readyz and /metrics; 0 is any free one, -1 none.",
        between(-1, 65535),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetrySettings:
    """Logs, and which topics and groups have metrics of their own."""

    log_level: str = setting_field(
        "telemetry.log.level",
        _STRING,
        "info",
        "Least severe log line written.",
        one_of("debug", "info", "warn", "error"),
    )
    log_format: str = setting_field(
        "telemetry.log.format",
        _STRING,
        "auto",
        "Form of log lines: json, human, or auto: human on a terminal, else json.",
        one_of("auto", "json", "human"),
    )
    topics_allow: tuple[str, ...] = setting_field(
        "metrics.topics.allow",
        _LIST,
        "*",
        "Topics with metrics of their own: patterns in which * is any text and ? any character.",
        dynamic=True,
    )
    topics_deny: tuple[str, ...] = setting_field(
        "metrics.topics.deny",
        _LIST,
        "",
        "Topics without metrics of their own, whatever metrics.topics.allow says.",
        dynamic=True,
    )
    groups_allow: tuple[str, ...] = setting_field(
        "metrics.groups.allow",
        _LIST,
        "*",
        "Consumer groups with metrics of their own: patterns in which * is any text and ? any character.",
        dynamic=True,
    )
    groups_deny: tuple[str, ...] = setting_field(
        "metrics.groups.deny",
        _LIST,
        "",
        "Consumer groups without metrics of their own, whatever metrics.groups.allow says.",
        dynamic=True,
    )
