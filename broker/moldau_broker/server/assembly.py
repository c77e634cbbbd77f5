"""The parts of a broker that need more than a line to build. Decides nothing; `app` puts them together."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from moldau_broker.base.clock import Clock
from moldau_broker.base.ids import format_uuid, random_uuid
from moldau_broker.client.config import ClientConfig
from moldau_broker.metadata.image import Endpoint
from moldau_broker.metadata.local_node import LocalNode
from moldau_broker.raft.quorum import VoterEndpoint
from moldau_broker.replication.fetcher import ReplicaFetchers
from moldau_broker.replication.manager import ReplicaManager
from moldau_broker.server.config import BrokerConfig
from moldau_broker.server.descriptors import connections_possible
from moldau_broker.server.handlers.spec import ListenerKind
from moldau_broker.server.listeners import ConnectionLimits
from moldau_broker.storage.errors import StorageError
from moldau_broker.storage.logdir import LogDir
from moldau_broker.storage.names import META_PROPERTIES

if TYPE_CHECKING:
    from moldau_broker.server.membership import Membership
    from moldau_broker.storage.compact_cleaner import Cleaner
    from moldau_broker.storage.log import Log

logger = logging.getLogger(__name__)

ADMIN_LISTENER = "ADMIN"
"""The name under which a broker's HTTP port stands in its registration."""


def open_log_dir(config: BrokerConfig, clock: Clock, rng: Random) -> LogDir:
    """Lock the data directory, formatting an empty one; a new cluster without a given id gets a random one.

    Raises:
        DirectoryInUse: another process holds it.
        StorageError, OSError: it belongs to somebody else, or the disk refuses.
    """
    path = Path(config.node.data_dir)
    path.mkdir(parents=True, exist_ok=True)
    cluster_id = config.node.cluster_id
    if cluster_id is None and not (path / META_PROPERTIES).exists():
        if len(config.quorum_servers) > 1 or "controller" not in config.node.roles:
            raise StorageError(
                "a new data directory of a node among others needs cluster.id, the same on all of them; "
                f"for example {format_uuid(random_uuid(rng))}"
            )
        cluster_id = format_uuid(random_uuid(rng))
    return LogDir.open(path, cluster_id=cluster_id, node_id=config.node.id, clock=clock)


def local_node(config: BrokerConfig, ports: Mapping[str, int]) -> LocalNode:
    """What this node tells the cluster of itself; `ports` are the bound ones, by listener name."""
    brokers: dict[str, Endpoint] = {}
    controllers: list[VoterEndpoint] = []
    for listener in config.listeners:
        port = listener.advertised_port or ports[listener.name]
        if listener.kind is ListenerKind.CONTROLLER:
            controllers.append(VoterEndpoint(listener.name, listener.advertised_host, port))
        else:
            brokers[listener.name] = Endpoint(listener.advertised_host, port)
            if listener.kind is ListenerKind.INTERNAL and "http" in ports:
                # So that brokers find each other's admin API; Kafka's clients are only told of listeners they use.
                brokers[ADMIN_LISTENER] = Endpoint(listener.advertised_host, ports["http"])
    roles = config.node.roles
    return LocalNode(
        endpoints=brokers,
        controller_endpoints=tuple(controllers) if "controller" in roles else (),
        rack=config.node.rack,
        is_broker="broker" in roles,
    )


def connection_limits(config: BrokerConfig) -> ConnectionLimits:
    """Kafka's connection settings as the listeners want them, as far as there are descriptors for them."""
    network = config.network
    possible = connections_possible()
    if possible < network.connections_max:
        wanted = "max.connections" in config.explicit
        logger.log(
            logging.WARNING if wanted else logging.INFO,
            "connections.bounded_by_open_files",
            extra={"max_connections": network.connections_max, "possible": possible},
        )
    return ConnectionLimits(
        min(network.connections_max, possible),
        network.connections_per_ip_max,
        dict(config.per_ip_connections),
        network.connections_idle_ms_max,
        network.connection_creation_rate,
    )


def make_fetchers(
    config: BrokerConfig, member: Membership, replicas: ReplicaManager, clock: Clock
) -> ReplicaFetchers:
    """The fetchers of followed partitions; they reach leaders by the inter-broker listener."""
    internal = next((one.name for one in config.listeners if one.kind is ListenerKind.INTERNAL), None)

    def endpoint_of(broker_id: int) -> Endpoint | None:
        broker = member.publisher.image.brokers.get(broker_id)
        return broker.endpoints.get(internal) if broker is not None and internal is not None else None

    return ReplicaFetchers(
        replicas,
        config.node.id,
        lambda: member.broker_epoch,
        config.replication,
        endpoint_of,
        ClientConfig(client_id=f"broker-{config.node.id}-fetcher", connect_timeout_ms=1_000),
        clock,
    )


def make_cleaner(config: BrokerConfig, log_dir: LogDir, replicas: ReplicaManager, clock: Clock) -> Cleaner:
    """The cleaner of compacted logs; imported here, as a broker that never cleans need not carry it."""
    from moldau_broker.storage.compact_cleaner import Candidate, Cleaner
    from moldau_broker.storage.compact_job import CleanerSettings

    def candidates() -> list[Candidate]:
        return [
            Candidate(partition.log, partition.last_stable_offset)
            for partition in replicas.partitions()
            if partition.offline_reason is None
        ]

    def problem(log: Log, text: str) -> None:
        where = {"topic": log.topic, "partition": log.partition, "reason": text}
        logger.error("cleaner.problem", extra=where)

    settings = config.log
    return Cleaner(
        log_dir.disk,
        candidates,
        CleanerSettings(
            map_bytes_max=settings.cleaner_dedupe_bytes,
            map_load_max=settings.cleaner_load_factor,
            io_bytes=settings.cleaner_io_bytes,
            io_bytes_per_second=settings.cleaner_bytes_per_second,
            backoff_ms=settings.cleaner_backoff_ms,
        ),
        wall_ms=clock.wall_ms,
        on_problem=problem,
    )
