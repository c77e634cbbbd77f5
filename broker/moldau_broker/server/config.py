"""The broker's configuration: read once from flags, environment and file, validated whole, then passed as values.

Precedence: `--set` over environment over file over defaults. Names are Kafka's; the environment spells
`log.retention.ms` as `MOLDAU_LOG_RETENTION_MS`. Every problem is collected before anything is refused, so that
one start shows them all.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from moldau_broker.base.broker_config import (
    ALIASES,
    BROKER_SETTINGS,
    GroupSettings,
    HttpSettings,
    ListenerSettings,
    LogSettings,
    MetadataSettings,
    NetworkSettings,
    NodeSettings,
    QuorumSettings,
    ReplicationSettings,
    SessionSettings,
    TelemetrySettings,
    TopicDefaults,
    build_group,
    connections_by_address,
)
from moldau_broker.base.config_types import SettingError, clip
from moldau_broker.base.limits import FRAME_OVERHEAD_BYTES_MAX
from moldau_broker.base.properties import PropertiesSyntaxError, parse_lines
from moldau_broker.base.topic_config import TopicConfig, resolve_topic_config
from moldau_broker.server.config_variables import UnknownVariable, fill_in, has_variables
from moldau_broker.server.listeners_config import Listener, ListenerError, build_listeners

ENVIRONMENT_PREFIX: Final = "MOLDAU_"
_LIKELY_MEANT: Final = 0.85


class ConfigError(Exception):
    """The configuration cannot be used. `problems` has one line for each reason; exit status 2."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerConfig:
    """All settings of one broker, grouped by what they configure.

    Attributes:
        listeners: the sockets to open.
        quorum_servers: `controller.quorum.bootstrap.servers` as (host, port), in the order written.
        per_ip_connections: `max.connections.per.ip.overrides`, parsed.
        topic_defaults: what a topic without settings of its own gets.
        explicit: the settings that were given, by name, as normalized text.
        static: those of `explicit` that do not come from the metadata log.
        ignored: the settings that were given and have no effect here; only for showing.
        warnings: what to log at start: settings that have no effect here.
    """

    node: NodeSettings
    network: NetworkSettings
    topics: TopicDefaults
    log: LogSettings
    groups: GroupSettings
    metadata: MetadataSettings
    quorum: QuorumSettings
    session: SessionSettings
    replication: ReplicationSettings
    http: HttpSettings
    telemetry: TelemetrySettings
    listeners: tuple[Listener, ...]
    quorum_servers: tuple[tuple[str, int], ...]
    per_ip_connections: Mapping[str, int]
    topic_defaults: TopicConfig
    explicit: Mapping[str, str]
    static: Mapping[str, str]
    ignored: Mapping[str, str]
    warnings: tuple[str, ...] = ()

    def frame_bytes_max(self, largest_batch_bytes: int | None = None) -> int:
        """The largest request frame: socket.request.max.bytes if set, else grown to hold the largest batch.

        `largest_batch_bytes` is the largest max.message.bytes of any topic; the broker's default if None.
        """
        configured = self.network.request_max_bytes
        if "socket.request.max.bytes" in self.explicit:
            return configured
        batch = self.topic_defaults.max_message_bytes if largest_batch_bytes is None else largest_batch_bytes
        return max(configured, batch + FRAME_OVERHEAD_BYTES_MAX)

    def with_dynamic(self, dynamic: Mapping[str, str]) -> BrokerConfig:
        """This configuration under the dynamic broker settings of the metadata log.

        A value that cannot be used is left out and named in `warnings`: it was valid where it was set, and a
        broker must not die of another version's setting.
        """
        usable: dict[str, str] = {}
        warnings = []
        for name, text in dynamic.items():
            setting = BROKER_SETTINGS.get(name)
            if setting is None or not setting.dynamic:
                warnings.append(f"{name}: not a dynamic broker setting here; no effect")
                continue
            try:
                usable[name] = setting.normalize(text) or ""
            except SettingError as error:
                warnings.append(f"dynamic setting ignored: {error}")
        explicit = {**self.static, **usable}
        return _build(explicit, self.static, self.ignored, self.listeners, tuple(warnings))


def load_config(
    file: str | None = None,
    sets: Sequence[str] = (),
    environment: Mapping[str, str] = MappingProxyType({}),
) -> BrokerConfig:
    """The configuration from a properties file, `key=value` flags and the environment.

    Raises:
        ConfigError: with every problem found.
    """
    collector = _Collector()
    if file is not None:
        collector.add_file(file, environment)
    collector.add_environment(environment)
    collector.add_flags(sets)
    return collector.build()


def environment_name(setting: str) -> str:
    """The environment variable of a setting: `log.retention.ms` is `MOLDAU_LOG_RETENTION_MS`."""
    return ENVIRONMENT_PREFIX + setting.upper().replace(".", "_").replace("-", "_")


class _Collector:
    """Gathers settings from their sources, later ones over earlier ones, with where each came from."""

    def __init__(self) -> None:
        self._values: dict[str, str] = {}
        self._origins: dict[str, str] = {}
        self._problems: list[str] = []
        self._warnings: list[str] = []
        self._ignored: dict[str, str] = {}

    def add_file(self, file: str, environment: Mapping[str, str]) -> None:
        try:
            data = Path(file).read_bytes()
        except OSError as error:
            self._problems.append(f"cannot read {file}: {error.strerror}")
            return
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            text = data.decode("latin-1")  # what java.util.Properties reads
        try:
            for name, value, line in parse_lines(text):
                self._add_from_file(name, value, f"{file}:{line}", environment)
        except PropertiesSyntaxError as error:
            self._problems.append(f"{file}: {error}")

    def _add_from_file(self, name: str, value: str, origin: str, environment: Mapping[str, str]) -> None:
        try:
            filled = fill_in(value, environment)
        except UnknownVariable as error:
            self._problems.append(f"{name}={clip(value)}: {clip(str(error))} ({origin})")
            return
        if filled or not has_variables(value):
            self._add(name, filled, origin)

    def add_environment(self, environment: Mapping[str, str]) -> None:
        names = [name for name in environment if name.startswith(ENVIRONMENT_PREFIX)]
        if not names:
            return
        known = {environment_name(setting): setting for setting in (*BROKER_SETTINGS, *ALIASES)}
        if not known.keys() >= set(names):
            from moldau_broker.base.known_config import KNOWN_SETTINGS

            known = {**{environment_name(setting): setting for setting in KNOWN_SETTINGS}, **known}
        for name in sorted(names):
            if name in known:
                self._add(known[name], environment[name], name)
            else:
                self._warn_of_variable(name, known)

    def _warn_of_variable(self, name: str, known: Iterable[str]) -> None:
        """The environment is shared (Kubernetes adds its own), so only a likely slip of the pen is reported."""
        from moldau_broker.base.refused_config import nearest

        near = nearest(name, known, _LIKELY_MEANT)
        if near:
            self._warnings.append(f"environment variable {clip(name)} is not a setting; did you mean {near}?")

    def add_flags(self, sets: Sequence[str]) -> None:
        for text in sets:
            name, equals, value = text.partition("=")
            if not equals or not name.strip():
                self._problems.append(f"--set {clip(text)}: must look like key=value")
            else:
                self._add(name.strip(), value, "--set")

    def _add(self, name: str, value: str, origin: str) -> None:
        name = ALIASES.get(name, name)
        self._values[name] = value
        self._origins[name] = origin

    def build(self) -> BrokerConfig:
        explicit = self._checked()
        listener_settings = build_group(ListenerSettings, explicit)
        listeners: tuple[Listener, ...] = ()
        try:
            listeners = build_listeners(listener_settings, socket.gethostname())
        except ListenerError as error:
            self._problems.append(str(error))
        self._problems.extend(_quorum_problems(build_group(NodeSettings, explicit), listener_settings))
        self._problems.extend(_unsupported_values(explicit))
        if self._problems:
            raise ConfigError(self._problems)
        return _build(explicit, explicit, self._ignored, listeners, tuple(self._warnings))

    def _checked(self) -> dict[str, str]:
        """The values that their settings allow, normalized; the others become problems or warnings."""
        explicit: dict[str, str] = {}
        for name, text in self._values.items():
            setting = BROKER_SETTINGS.get(name)
            if setting is None:
                problem = self._foreign(name, text)
                if problem:
                    self._problems.append(f"{problem} ({self._origins[name]})")
                else:
                    self._ignored[name] = text
                continue
            try:
                explicit[name] = setting.normalize(text) or ""
            except SettingError as error:
                self._problems.append(f"{error} ({self._origins[name]})")
            if not setting.acted_on:
                self._ignored[name] = text
        if self._ignored:
            self._warnings.append(f"known to Kafka, not acted on here: {', '.join(sorted(self._ignored))}")
        return explicit

    @staticmethod
    def _foreign(name: str, text: str) -> str | None:
        """What is wrong with a setting that is not ours; None when it is harmless."""
        from moldau_broker.base.refused_config import is_known, refusal, unknown_name

        return refusal(name, text) if is_known(name) else unknown_name(name)


def _build(
    explicit: Mapping[str, str],
    static: Mapping[str, str],
    ignored: Mapping[str, str],
    listeners: tuple[Listener, ...],
    warnings: tuple[str, ...],
) -> BrokerConfig:
    groups: dict[str, Any] = {
        name: build_group(group, explicit)
        for name, group in {
            "node": NodeSettings,
            "network": NetworkSettings,
            "topics": TopicDefaults,
            "log": LogSettings,
            "groups": GroupSettings,
            "metadata": MetadataSettings,
            "quorum": QuorumSettings,
            "session": SessionSettings,
            "replication": ReplicationSettings,
            "http": HttpSettings,
            "telemetry": TelemetrySettings,
        }.items()
    }
    return BrokerConfig(
        **groups,
        listeners=listeners,
        quorum_servers=_addresses(build_group(ListenerSettings, explicit).quorum_bootstrap),
        per_ip_connections=connections_by_address(groups["network"].connections_per_ip_overrides),
        topic_defaults=resolve_topic_config({}, explicit),
        explicit=explicit,
        static=static,
        ignored=ignored,
        warnings=warnings,
    )


_ROLES: Final = frozenset({"broker", "controller"})


def _quorum_problems(node: NodeSettings, listeners: ListenerSettings) -> list[str]:
    """Words for roles and addresses that do not make a cluster."""
    problems = []
    strange = [role for role in node.roles if role not in _ROLES]
    if strange or not node.roles:
        problems.append(
            f"process.roles={clip(','.join(node.roles))}: name broker, controller or both (broker,controller)"
        )
    problems.extend(
        f"controller.quorum.bootstrap.servers={clip(text)}: must look like HOST:PORT"
        for text in listeners.quorum_bootstrap
        if not _is_address(text)
    )
    if "controller" not in node.roles and not listeners.quorum_bootstrap and not problems:
        problems.append(
            "process.roles=broker needs controller.quorum.bootstrap.servers: the controllers' addresses, HOST:PORT"
        )
    voters = listeners.quorum_voters
    if len(voters) > 1:
        problems.append(
            "controller.quorum.voters names more than one node: voters are kept in the metadata log (KIP-853); "
            "leave it out and list the controllers' addresses in controller.quorum.bootstrap.servers"
        )
    elif voters and voters[0].partition("@")[0] != str(node.id):
        problems.append(
            f"controller.quorum.voters={clip(voters[0])}: the one voter must be this node, {node.id}@HOST:PORT"
        )
    return problems


def _addresses(texts: Sequence[str]) -> tuple[tuple[str, int], ...]:
    split = (text.strip().rpartition(":") for text in texts)
    return tuple((host.strip("[]"), int(port)) for host, _, port in split)


def _is_address(text: str) -> bool:
    host, _, port = text.strip().rpartition(":")
    return bool(host) and port.isascii() and port.isdigit() and 0 < int(port) < 65536


def _unsupported_values(explicit: Mapping[str, str]) -> list[str]:
    problems = []
    node = build_group(NodeSettings, explicit)
    dirs = node.data_dirs
    if len(dirs) != 1:
        problems.append(
            f"log.dirs={clip(','.join(dirs))}: name exactly one directory; several are not supported"
        )
    elif node.metadata_log_dir is not None and node.metadata_log_dir != node.data_dir:
        problems.append(
            f"metadata.log.dir={clip(node.metadata_log_dir)}: "
            "the metadata log is kept in the data directory; leave this out"
        )
    if node.cordoned:
        problems.append(
            "cordoned.log.dirs is set while a broker runs, for that broker (draining it does that)"
        )
    replication = build_group(ReplicationSettings, explicit)
    if replication.fetch_wait_ms_max >= replication.lag_time_ms_max:
        problems.append(
            f"replica.fetch.wait.max.ms={replication.fetch_wait_ms_max} must be below "
            f"replica.lag.time.max.ms={replication.lag_time_ms_max}: a waiting follower would look out of sync"
        )
    session = build_group(SessionSettings, explicit)
    if session.heartbeat_ms * 2 > session.timeout_ms:
        problems.append(
            f"broker.heartbeat.interval.ms={session.heartbeat_ms} must be at most half of "
            f"broker.session.timeout.ms={session.timeout_ms}: one late heartbeat would fence the broker"
        )
    if replication.selector is not None and not replication.selector.endswith("RackAwareReplicaSelector"):
        problems.append(
            f"replica.selector.class={clip(replication.selector)}: no classes are loaded; "
            "name RackAwareReplicaSelector, or leave it out to read from leaders"
        )
    groups = build_group(GroupSettings, explicit)
    if groups.session_timeout_ms_min > groups.session_timeout_ms_max:
        problems.append(
            f"group.min.session.timeout.ms={groups.session_timeout_ms_min} must not be above "
            f"group.max.session.timeout.ms={groups.session_timeout_ms_max}"
        )
    topics = resolve_topic_config({}, explicit)
    if topics.min_compaction_lag_ms > topics.max_compaction_lag_ms:
        problems.append(
            f"log.cleaner.min.compaction.lag.ms={topics.min_compaction_lag_ms} must not be above "
            f"log.cleaner.max.compaction.lag.ms={topics.max_compaction_lag_ms}"
        )
    return problems
