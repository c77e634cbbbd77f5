"""This node as a member of the cluster: its part of the quorum, its session with the controller, and leaving both.

member = Membership(...)
await member.begin(say)          # peers are answered from here on; may wait for the quorum's founding
image = await member.start()     # the first metadata
...                              # logs are opened
await member.join()              # registered and let in
...
await member.leave()
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from random import Random

from moldau_broker.base.clock import Clock
from moldau_broker.metadata.image import MetadataImage
from moldau_broker.metadata.local_node import LocalNode, QuorumOptions
from moldau_broker.metadata.operation import ClusterSettings, ControllerSettings
from moldau_broker.metadata.publisher import MetadataPublisher
from moldau_broker.metadata.runtime import ControllerRuntime
from moldau_broker.metadata.since_registration import SinceRegistration, Subscriber
from moldau_broker.metadata.snapshotter import SnapshotPolicy
from moldau_broker.raft.opening import knows_quorum
from moldau_broker.raft.ports import Committer
from moldau_broker.raft.timing import RaftTiming
from moldau_broker.raft.transport import AsyncTransport
from moldau_broker.server.broker_life import BrokerLife, registration_request
from moldau_broker.server.config import BrokerConfig
from moldau_broker.server.controller_channel import ControllerChannel
from moldau_broker.server.founding import is_founder
from moldau_broker.server.handlers.spec import ListenerKind
from moldau_broker.server.liveness import LivenessProber
from moldau_broker.storage.logdir import LogDir

logger = logging.getLogger(__name__)

HAND_OVER_MS_MAX = 1_000
"""How long the quorum's leader waits at most, when it stops, for its successors to hear of it."""


class Membership:
    """See the module.

    Attributes:
        publisher: the metadata this node acts on.
        runtime: its part of the quorum.
        channel: to the active controller.
        life: the broker's session, once `register` has begun it; a node without the role broker has none.
        liveness: looks into silent brokers, while this node is the controller.
    """

    def __init__(
        self,
        config: BrokerConfig,
        node: LocalNode,
        log_dir: LogDir,
        committer: Committer,
        clock: Clock,
        rng: Random,
        settings: Callable[[], BrokerConfig],
    ) -> None:
        """`settings`: those in force, dynamic ones included."""
        self._config = config
        self._node = node
        self._log_dir = log_dir
        self._rng = rng
        self._clock = clock
        timing = raft_timing(config)
        self._transport = AsyncTransport(timing, f"raft-{config.node.id}")
        self.publisher = MetadataPublisher(log_dir.cluster_id)
        self._options = QuorumOptions(
            transport=self._transport,
            timing=timing,
            servers=config.quorum_servers,
            auto_join=config.quorum.auto_join and "controller" in config.node.roles,
        )
        self.runtime = ControllerRuntime(
            log_dir,
            node,
            controller_settings(config),
            self.publisher,
            committer,
            clock,
            rng,
            SnapshotPolicy(
                bytes_between=config.metadata.snapshot_bytes, interval_ms=config.metadata.snapshot_interval_ms
            ),
        )
        self.channel = ControllerChannel(
            self.runtime, config.node.id, clock, lambda: settings().groups, lambda: self.broker_epoch
        )
        self.life: BrokerLife | None = None
        internal = next((one.name for one in config.listeners if one.kind is ListenerKind.INTERNAL), None)
        self.liveness = LivenessProber(
            config.node.id, internal, self.runtime.work, lambda: self.publisher.image
        )
        self.runtime.on_leader_change = self._leader_changed

    @property
    def transport(self) -> AsyncTransport:
        """To the other nodes of the quorum."""
        return self._transport

    @property
    def is_forgotten(self) -> bool:
        """Whether the controller may believe that this broker is dead."""
        return self.life is not None and self.life.is_forgotten

    @property
    def broker_epoch(self) -> int:
        """Of this broker's registration, -1 while there is none."""
        if self.life is not None and self.life.epoch >= 0:
            return self.life.epoch
        return self.runtime.broker_epoch

    @property
    def problem(self) -> str | None:
        """What somebody has to put right before this node can take part, in words; None when nothing."""
        driver = self.runtime.driver
        if driver is not None and driver.in_other_cluster:
            return f"a controller says that it belongs to another cluster; this is {self._log_dir.cluster_id}"
        lost = driver.node.lost_votes if driver is not None else None
        return str(lost) if lost is not None else None

    @property
    def impediment(self) -> str | None:
        """Why this node does not do its part, in words; None when it does."""
        driver = self.runtime.driver
        if driver is not None and driver.store.log.failure is not None:
            return "the metadata log has failed"
        if self.problem is not None:
            return self.problem
        if self.channel.leader is None:
            return "no leader of the metadata quorum is known"
        if self.life is None:
            return "the logs are being opened" if self._node.is_broker else None
        return self.life.impediment

    async def begin(self, say: Callable[[str | None], None]) -> None:
        """Open the quorum's folder, founding the quorum where that is this node's part; `say` is told what is awaited.

        Raises:
            RaftError, MetadataError, StorageError: the folder cannot be used; the text says why.
        """
        founds = False
        if not knows_quorum(self._log_dir) and "controller" in self._config.node.roles:
            own = [(at.host, at.port) for at in self._node.controller_endpoints]
            founds = await is_founder(self._config.quorum_servers, own, say)
        self.runtime.begin(self._options._replace(founds=founds))

    async def start(self) -> MetadataImage:
        """The first metadata, as soon as there is a quorum that has some."""
        return await self.runtime.start()

    def subscribe_registered(self, subscriber: Subscriber) -> None:
        """Call `subscriber` for images from this process's own registration on; older ones tell of a former life."""
        self.publisher.subscribe(
            SinceRegistration(
                self._config.node.id, self.runtime.incarnation_id, self._log_dir.cluster_id, subscriber
            )
        )

    def register(self, *, intact: bool) -> None:
        """Begin to tell the controller of this broker: its logs are open.

        `intact` False: some could not be opened. The controller then treats the start as an unclean one, and takes the
        broker out of every ISR until it has caught up.
        """
        if not self._node.is_broker:
            return
        log_dir = self._log_dir
        self.life = BrokerLife(
            registration_request(
                node_id=self._config.node.id,
                cluster_id=log_dir.cluster_id,
                incarnation_id=self.runtime.incarnation_id,
                endpoints=self._node.endpoints,
                directory_id=log_dir.directory_id,
                rack=self._node.rack,
                previous_epoch=log_dir.previous_broker_epoch if log_dir.was_clean and intact else -1,
            ),
            self._config.session,
            self.channel,
            self.publisher,
            self._clock,
            self._rng,
        )
        self.life.start()

    async def leave(self) -> None:
        """Hand over what this broker leads, while it still serves; alone it has nobody to hand it to."""
        others = any(
            not broker.fenced and broker.id != self._config.node.id
            for broker in self.publisher.image.brokers.values()
        )
        if self.life is not None and others and self._config.session.controlled_shutdown:
            limit_ms = self._config.session.controlled_shutdown_ms_max
            if not await self.life.leave(limit_ms):
                logger.warning("broker.not_let_go", extra={"waited_ms": limit_ms})

    async def close(self) -> None:
        """Hand over the quorum, and end."""
        if self.life is not None:
            self.life.close()
        self.liveness.close()
        await self.channel.close()
        await self.runtime.hand_over(HAND_OVER_MS_MAX)
        await self.runtime.close()
        await self._transport.close()

    def _leader_changed(self) -> None:
        self.channel.leader_changed()
        if self.life is not None:
            asyncio.get_running_loop().call_soon(self.life.controller_changed)


def raft_timing(config: BrokerConfig) -> RaftTiming:
    """The quorum's times, as configured."""
    quorum = config.quorum
    return RaftTiming(
        election_ms=quorum.election_timeout_ms,
        fetch_ms=quorum.fetch_timeout_ms,
        backoff_max_ms=quorum.election_backoff_ms_max,
        request_ms=quorum.request_timeout_ms,
        retry_ms=quorum.retry_backoff_ms,
        fetch_wait_ms=min(500, quorum.fetch_timeout_ms // 3),
    )


def controller_settings(config: BrokerConfig) -> ControllerSettings:
    """What the configuration says to the controller."""
    return ControllerSettings(
        config.node.id,
        config.topics,
        config.groups,
        config.explicit,
        ClusterSettings(
            session_timeout_ms=config.session.timeout_ms,
            leader_rebalance=config.replication.leader_rebalance,
            imbalance_check_ms=config.replication.imbalance_check_seconds * 1000,
        ),
    )
