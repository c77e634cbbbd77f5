"""Settings of a node among others: the quorum, the broker's session, replication, leaderships. Pure.

Each field carries its `Setting`; the table of all is `broker_config`. Time-outs that differ from Kafka's are in
`DIFFERENT_DEFAULTS` there, with why: failures are to be noticed in seconds, not tens of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from moldau_broker.base.config_types import LONG_MAX, SettingType, at_least, setting_field

_BOOLEAN, _INT, _LONG, _STRING = SettingType.BOOLEAN, SettingType.INT, SettingType.LONG, SettingType.STRING


@dataclass(frozen=True, slots=True, kw_only=True)
class QuorumSettings:
    """The metadata quorum (KIP-595, KIP-853, KIP-996)."""

    auto_join: bool = setting_field(
        "controller.quorum.auto.join.enable",
        _BOOLEAN,
        "true",
        "Whether a node with the role controller becomes a voter by itself once it has caught up.",
    )
    election_timeout_ms: int = setting_field(
        "controller.quorum.election.timeout.ms",
        _INT,
        "500",
        "How long a candidate waits for votes before it tries again.",
        at_least(10),
    )
    fetch_timeout_ms: int = setting_field(
        "controller.quorum.fetch.timeout.ms",
        _INT,
        "1500",
        "How long a voter does without its leader before it stands for election, and a leader without a "
        "majority before it gives up (one and a half times that).",
        at_least(50),
    )
    election_backoff_ms_max: int = setting_field(
        "controller.quorum.election.backoff.max.ms",
        _INT,
        "500",
        "Longest random pause between elections, so that candidates do not meet again and again.",
        at_least(0),
    )
    request_timeout_ms: int = setting_field(
        "controller.quorum.request.timeout.ms",
        _INT,
        "1000",
        "How long an answer of the quorum is waited for.",
        at_least(10),
    )
    retry_backoff_ms: int = setting_field(
        "controller.quorum.retry.backoff.ms",
        _INT,
        "20",
        "Pause before a failed request of the quorum is sent again.",
        at_least(0),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSettings:
    """The broker's session with the controller (KIP-631)."""

    timeout_ms: int = setting_field(
        "broker.session.timeout.ms",
        _INT,
        "6000",
        "How long the controller does without a broker's heartbeat before it fences the broker.",
        at_least(100),
    )
    heartbeat_ms: int = setting_field(
        "broker.heartbeat.interval.ms",
        _INT,
        "500",
        "How often a broker tells the controller that it lives.",
        at_least(10),
    )
    controlled_shutdown: bool = setting_field(
        "controlled.shutdown.enable",
        _BOOLEAN,
        "true",
        "Whether a stopping broker hands over what it leads first.",
    )
    controlled_shutdown_ms_max: int = setting_field(
        "controlled.shutdown.max.ms",
        _INT,
        "10000",
        "How long a stopping broker waits at most until its leaderships are handed over.",
        at_least(0),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicationSettings:
    """Followers, in-sync replicas and who leads."""

    lag_time_ms_max: int = setting_field(
        "replica.lag.time.max.ms",
        _LONG,
        "10000",
        "How long a follower may be behind the leader before it is out of sync.",
        at_least(100),
    )
    fetch_wait_ms_max: int = setting_field(
        "replica.fetch.wait.max.ms",
        _INT,
        "500",
        "How long a follower's fetch waits for new records; must be below replica.lag.time.max.ms.",
        at_least(1),
    )
    fetch_bytes_min: int = setting_field(
        "replica.fetch.min.bytes",
        _INT,
        "1",
        "Fewest bytes a follower's fetch waits for.",
        at_least(0),
    )
    fetch_bytes_max: int = setting_field(
        "replica.fetch.max.bytes",
        _INT,
        "1048576",
        "Bytes of one partition in a follower's fetch; a larger first batch comes all the same.",
        at_least(0),
    )
    fetch_response_bytes_max: int = setting_field(
        "replica.fetch.response.max.bytes",
        _INT,
        "10485760",
        "Bytes of all partitions in a follower's fetch.",
        at_least(0),
    )
    fetch_backoff_ms: int = setting_field(
        "replica.fetch.backoff.ms",
        _INT,
        "100",
        "Pause of a follower after its leader could not be reached or refused.",
        at_least(0),
    )
    selector: str | None = setting_field(
        "replica.selector.class",
        _STRING,
        None,
        "Which replica consumers read from: unset is the leader, RackAwareReplicaSelector (Kafka's class name) one in "
        "the client's rack (KIP-392).",
    )
    leader_throttled_rate: int = setting_field(
        "leader.replication.throttled.rate",
        _LONG,
        str(LONG_MAX),
        "Bytes a second that this broker sends at most for replicas that leader.replication.throttled.replicas names.",
        at_least(0),
        dynamic=True,
    )
    follower_throttled_rate: int = setting_field(
        "follower.replication.throttled.rate",
        _LONG,
        str(LONG_MAX),
        "Bytes a second that this broker fetches at most for replicas that "
        "follower.replication.throttled.replicas names.",
        at_least(0),
        dynamic=True,
    )
    leader_rebalance: bool = setting_field(
        "auto.leader.rebalance.enable",
        _BOOLEAN,
        "true",
        "Whether the controller gives leaderships back to preferred replicas by itself.",
    )
    imbalance_check_seconds: int = setting_field(
        "leader.imbalance.check.interval.seconds",
        _LONG,
        "300",
        "How often the controller looks for leaderships to give back.",
        at_least(1),
    )
