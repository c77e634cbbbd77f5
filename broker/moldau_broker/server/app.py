"""Builds a broker out of its parts, starts them in order and stops them in order.

Start: bind sockets, lock the data directory, lead the metadata quorum, recover logs, host replicas, serve.
Stop: refuse new work, let answers leave, write everything down, release the directory. Each stage may fail with
a `StartError` that carries the process' exit status.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping, Sequence
from random import SystemRandom
from typing import TYPE_CHECKING, Any

from moldau_broker.base.clock import Clock, SystemClock
from moldau_broker.base.topic_config import resolve_topic_config
from moldau_broker.base.topics import CONSUMER_OFFSETS
from moldau_broker.coordinator.runtime import GroupCoordinator
from moldau_broker.metadata.delta import MetadataDelta
from moldau_broker.metadata.errors import MetadataError
from moldau_broker.metadata.features import SUPPORTED
from moldau_broker.metadata.image import MetadataImage, ResourceType
from moldau_broker.metadata.publisher import MetadataPublisher
from moldau_broker.raft.errors import RaftError
from moldau_broker.replication.fetcher import ReplicaFetchers
from moldau_broker.replication.manager import ReplicaManager
from moldau_broker.replication.partition import Partition
from moldau_broker.replication.seams import LeadershipListener
from moldau_broker.server.assembly import (
    connection_limits,
    local_node,
    make_cleaner,
    make_fetchers,
    open_log_dir,
)
from moldau_broker.server.broker import Broker
from moldau_broker.server.config import BrokerConfig
from moldau_broker.server.controller_channel import PartitionChanges
from moldau_broker.server.dispatch import Dispatcher
from moldau_broker.server.dynamic import DynamicSettings, group_config
from moldau_broker.server.events import ChangeLog, log_recovery
from moldau_broker.server.exit_codes import ExitCode
from moldau_broker.server.fetch_sessions import FetchSessions
from moldau_broker.server.handlers import HANDLERS
from moldau_broker.server.handlers.spec import Handler, ListenerKind
from moldau_broker.server.http import HttpServer, Pages
from moldau_broker.server.lifecycle import Lifecycle, NodeState
from moldau_broker.server.listeners import Listeners
from moldau_broker.server.load_sampler import LoadSampler
from moldau_broker.server.membership import Membership
from moldau_broker.server.metrics.service import MetricsService
from moldau_broker.server.readers import Readers
from moldau_broker.server.turn import LoopTimers, Turn
from moldau_broker.server.upkeep import Upkeep
from moldau_broker.storage.errors import DirectoryInUse, StorageError
from moldau_broker.storage.group_commit import GroupCommit
from moldau_broker.storage.load_progress import LoadProgress
from moldau_broker.storage.logdir import LogDir
from moldau_broker.telemetry.loop_lag import LoopLag
from moldau_broker.telemetry.registry import Telemetry
from moldau_broker.telemetry.watchdog import Watchdog

if TYPE_CHECKING:
    from moldau_broker.server.admin_api.api import AdminApi
    from moldau_broker.storage.compact_cleaner import Cleaner

logger = logging.getLogger(__name__)

DRAIN_MS_MAX = 5_000
COLD_READ_THREADS = 2


class StartError(Exception):
    """The broker cannot start; one line for people, and what the process exits with."""

    def __init__(self, exit_code: ExitCode, text: str) -> None:
        super().__init__(text)
        self.exit_code = exit_code


class App:
    """One broker in this event loop.

    Attributes:
        broker, dispatcher: the parts, once `start` has built them.
        lifecycle: what the node is doing.
        ports: the bound port of each listener by name, and of `http`.
    """

    broker: Broker
    dispatcher: Dispatcher

    def __init__(
        self, config: BrokerConfig, clock: Clock | None = None, handlers: Sequence[Handler] = HANDLERS
    ) -> None:
        self._config = config
        self._handlers = handlers
        self._clock = clock or SystemClock()
        self._loop = asyncio.get_running_loop()
        self._rng = SystemRandom()
        self._stop = self._loop.create_future()
        self.lifecycle = Lifecycle()
        self.ports: dict[str, int] = {}
        self.turn = Turn(self._loop)
        self.timers = LoopTimers(self._loop)
        self.telemetry = Telemetry(self._clock.monotonic_ms)
        self._http = HttpServer(self._loop, Pages(self.lifecycle, self.telemetry), self._admin_api)
        self._admin: AdminApi | None = None
        self._loads: LoadSampler | None = None
        self._metrics: MetricsService | None = None
        self._watchdog = Watchdog(self._loop)
        self.telemetry.add(self._watchdog.emit)
        self._log_dir: LogDir | None = None
        self._member: Membership | None = None
        self._fetchers: ReplicaFetchers | None = None
        self._waits_for: str | None = None
        self._groups: GroupCoordinator | None = None
        self._upkeep: Upkeep | None = None
        self._cleaner: Cleaner | None = None
        self._commit = GroupCommit(self._loop.call_soon_threadsafe)
        self._readers = Readers(self._loop, COLD_READ_THREADS)
        self.listeners = self._make_listeners()

    # --- start ----------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Come up; serving when this returns.

        Raises:
            StartError: a stage failed; call `stop` to release what was taken.
        """
        for warning in self._config.warnings:
            logger.warning("config.warning", extra={"text": warning})
        self._watchdog.start()
        await self._bind()
        self._log_dir = log_dir = self._open_log_dir()
        node = local_node(self._config, self.ports)
        self._member = member = Membership(
            self._config, node, log_dir, self._commit, self._clock, self._rng, lambda: self.broker.settings
        )
        replicas = ReplicaManager(
            self._config.node.id,
            log_dir,
            self._commit,
            self._clock,
            self._config.explicit,
            flush_acks_all=self._config.log.flush_acks_all,
            controller=PartitionChanges(member.channel),
            broker_epoch=lambda: member.broker_epoch,
            settings=self._config.replication,
            is_forgotten=lambda: member.is_forgotten,
            later=self._loop.call_soon,
        )
        self._compose(log_dir, member, replicas)
        self.lifecycle.impediment = lambda: member.problem or self._waits_for or member.impediment
        await self.listeners.serve(ListenerKind.CONTROLLER)
        try:
            await member.begin(self._say)
            self._say("waiting for the metadata quorum")
            image = await member.start()
            self._say(None)
            await self._load_logs(log_dir, image, replicas)
        except (RaftError, MetadataError, StorageError) as error:
            raise StartError(ExitCode.DATA_UNUSABLE, str(error)) from error
        just_fenced, clock = self.broker.just_fenced, self._clock
        member.publisher.subscribe(lambda delta, _: just_fenced.note(delta, clock.monotonic_ms()))
        member.publisher.subscribe(DynamicSettings(self._config, self.broker, self.listeners).follow)
        self._fetchers = make_fetchers(self._config, member, replicas, self._clock)
        replicas.on_hosted = self._fetchers.look_again
        for follow in (replicas.apply, self._fetchers.follow):
            member.subscribe_registered(follow)
        member.publisher.subscribe(self._follow_deletions)
        member.publisher.subscribe(ChangeLog(lambda: member.runtime.is_active).follow)
        self._start_chores(log_dir, replicas)
        await self.listeners.serve()
        member.register(intact=not log_dir.offline)
        self.lifecycle.become(NodeState.SERVING)
        logger.info("broker.serving", extra={"node_id": self.broker.node_id, "ports": str(self.ports)})

    def _say(self, waits_for: str | None) -> None:
        self._waits_for = waits_for

    def _compose(self, log_dir: LogDir, member: Membership, replicas: ReplicaManager) -> None:
        """Put the parts together; they learn of the cluster from the images that follow."""
        self._groups = groups = self._make_groups(member.publisher, replicas)
        self.broker = broker = Broker(
            node_id=self._config.node.id,
            cluster_id=log_dir.cluster_id,
            settings=self._config,
            clock=self._clock,
            log_dir=log_dir,
            metadata=member.publisher,
            controller=member.channel,
            liveness=member.liveness,
            replicas=replicas,
            groups=groups,
            fetch_sessions=FetchSessions(self._config.network.fetch_session_slots, self._rng),
            readers=self._readers,
            turn=self.turn,
            timers=self.timers,
            served={
                kind: tuple(handler for handler in self._handlers if kind in handler.listeners)
                for kind in ListenerKind
            },
            supported_features={name: (levels.lowest, levels.highest) for name, levels in SUPPORTED.items()},
        )
        self.dispatcher = dispatcher = Dispatcher(broker, self._spawn)
        self.listeners.handler = dispatcher
        self.listeners.on_closing = dispatcher.stats.closed
        self._metrics = MetricsService(
            broker,
            member,
            self.lifecycle,
            self.listeners,
            dispatcher.stats,
            LoopLag(self._loop),
            self._commit,
            lambda: admin.node if (admin := self._admin_api()) is not None else None,
        )
        self._metrics.start()
        self.telemetry.more = self._metrics.emitters

    def _start_chores(self, log_dir: LogDir, replicas: ReplicaManager) -> None:
        """What goes on by the clock."""
        self._upkeep = Upkeep(self.broker, self._commit, self._rng)
        self.telemetry.add(self._upkeep.scrubber.emit)
        self._upkeep.start()
        self._loads = LoadSampler(replicas, self._clock, self.timers)
        self._loads.start()
        if self._config.log.cleaner_enable:
            self._cleaner = make_cleaner(self._config, log_dir, replicas, self._clock)
            self._cleaner.start()

    async def _bind(self) -> None:
        try:
            for listener in self._config.listeners:
                port = await self.listeners.bind(listener.name, listener.kind, listener.host, listener.port)
                self.ports[listener.name] = port
        except OSError as error:
            raise StartError(
                ExitCode.PORT_TAKEN,
                f"cannot listen on {listener.name}://{listener.host}:{listener.port}: {error.strerror or error}",
            ) from error
        http = self._config.http
        if http.port >= 0:
            try:
                self.ports["http"] = self._http.listen(http.host, http.port)
            except OSError as error:
                raise StartError(
                    ExitCode.PORT_TAKEN,
                    f"cannot serve HTTP on {http.host}:{http.port}: {error.strerror or error}",
                ) from error

    def _open_log_dir(self) -> LogDir:
        try:
            return open_log_dir(self._config, self._clock, self._rng)
        except DirectoryInUse as error:
            raise StartError(ExitCode.DATA_LOCKED, str(error)) from error
        except (StorageError, OSError) as error:
            raise StartError(ExitCode.DATA_UNUSABLE, str(error)) from error

    async def _load_logs(self, log_dir: LogDir, image: MetadataImage, replicas: ReplicaManager) -> None:
        """Open every log off the loop; `/readyz` shows how far it is."""
        self.lifecycle.become(NodeState.RECOVERING)
        began_ms = self._clock.monotonic_ms()

        def progress(state: LoadProgress) -> None:
            self.lifecycle.recovery = {
                "logs": state.logs,
                "logs_loaded": state.logs_loaded,
                "log": state.current,
                "bytes": state.to_scan,
                "bytes_scanned": state.scanned,
            }

        defaults: Mapping[str, str] = {**self._config.explicit, **image.broker_settings(self._config.node.id)}
        logs = await asyncio.to_thread(
            log_dir.load_logs,
            lambda topic: resolve_topic_config(image.config(ResourceType.TOPIC, topic), defaults),
            progress,
        )
        self.lifecycle.recovery = {}
        replicas.adopt(logs)  # those of deleted topics too: a namesake made later sets them aside
        log_recovery(log_dir, self._clock.monotonic_ms() - began_ms)

    def _make_groups(self, publisher: MetadataPublisher, replicas: ReplicaManager) -> GroupCoordinator:
        groups = GroupCoordinator(
            replicas,
            self._clock,
            group_config(self._config, publisher.image),
            lambda: publisher.image,
            soon=self.turn.soon,
            call_later=self.timers.call_later,
            default_partitions=self._config.groups.offsets_partitions,
        )

        def elected(partition: Partition) -> None:
            groups.on_elected(partition.index, partition.leader_epoch, partition.log)

        replicas.listen(
            LeadershipListener(
                CONSUMER_OFFSETS,
                elected,
                lambda partition: groups.on_resigned(partition.index, partition.leader_epoch),
            )
        )
        return groups

    def _follow_deletions(self, delta: MetadataDelta, image: MetadataImage) -> None:
        del image
        deleted = [(topic.name, topic.topic_id) for topic in delta.deleted_topics()]
        if deleted:
            self.broker.groups.on_topics_deleted(deleted)

    # --- parts ----------------------------------------------------------------------------------------

    def _make_listeners(self) -> Listeners:
        config = self._config
        return Listeners(
            self._loop,
            self._clock,
            self.turn,
            connection_limits(config),
            config.frame_bytes_max(),
            config.network.in_flight_bytes_max,
            config.network.listen_backlog,
        )

    def _admin_api(self) -> AdminApi | None:
        """The admin API while clients are served; imported with its first request, as the HTTP server is."""
        if self.lifecycle.state is not NodeState.SERVING or self._loads is None:
            return None
        if self._admin is None:
            from moldau_broker.server.admin_api.api import AdminApi

            self._admin = AdminApi(self.broker, self._loads)
        return self._admin

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return self._loop.create_task(coroutine)

    # --- stop -----------------------------------------------------------------------------------------

    def request_stop(self) -> None:
        """Ask the broker to stop (SIGTERM); asking twice changes nothing."""
        if not self._stop.done():
            self._stop.set_result(ExitCode.CLEAN)

    async def wait(self) -> int:
        """Until somebody asks to stop; gives the exit status."""
        return int(await self._stop)

    async def stop(self) -> None:
        """Stop in order; may be called after a failed start."""
        member = self._member
        if member is not None and self.lifecycle.state is NodeState.SERVING:
            self.lifecycle.become(NodeState.DRAINING)
            await member.leave()
        self.lifecycle.become(NodeState.DRAINING)
        self.listeners.stop_accepting()
        self.listeners.stop_reading()
        if self._groups is not None:
            self._groups.stop()
        if hasattr(self, "broker"):
            self.broker.finish_fetches()
            await self.listeners.drain(DRAIN_MS_MAX)
        self.listeners.close_all("shutdown")
        if self._fetchers is not None:
            await self._fetchers.close()
        if self._upkeep is not None:
            self._upkeep.stop()
        if self._loads is not None:
            self._loads.stop()
        if self._cleaner is not None:
            await self._cleaner.stop()
        epoch = member.broker_epoch if member is not None else -1
        if member is not None:
            await member.close()
        if self._metrics is not None:
            await self._metrics.stop()
        self._watchdog.stop()
        await self._http.close()
        if self._admin is not None:
            await self._admin.close()
        self._readers.close()
        self._commit.close()
        log_dir, self._log_dir = self._log_dir, None
        if log_dir is not None:
            known = epoch >= 0 or "broker" not in self._config.node.roles
            await asyncio.to_thread(log_dir.close, clean=known, broker_epoch=epoch)
        logger.info("broker.stopped")
