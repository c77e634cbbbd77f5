"""A node as a member of its cluster: founding, registering, what keeps it from its part, leaving."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from random import Random

import pytest
import pytest_asyncio

from moldau_broker.base.clock import SystemClock
from moldau_broker.metadata.broker_session import BrokerState
from moldau_broker.metadata.image import Endpoint
from moldau_broker.metadata.local_node import LocalNode
from moldau_broker.raft.opening import knows_quorum
from moldau_broker.raft.quorum import VoterEndpoint
from moldau_broker.server.config import load_config
from moldau_broker.server.membership import Membership, controller_settings, raft_timing
from moldau_broker.storage.logdir import LogDir
from moldau_broker.testing.controller import TurnCommitter
from moldau_broker.testing.disk import SimDisk

CLUSTER_ID = "AAAAAAAAAAAAAAAAAAAAAQ"
PORT = 19093


class Node:
    """A member without sockets of its own: whoever asks it finds nobody."""

    def __init__(self, *flags: str, roles: str = "broker,controller", disk: SimDisk | None = None) -> None:
        self.disk = disk or SimDisk()
        self.config = load_config(None, ["node.id=1", "log.dirs=/nowhere", f"process.roles={roles}", *flags])
        self.log_dir = LogDir.open(self.disk, cluster_id=CLUSTER_ID, node_id=1, clock=SystemClock())
        controllers = (VoterEndpoint("CONTROLLER", "127.0.0.1", PORT),) if "controller" in roles else ()
        node = LocalNode(
            endpoints={"CLIENT": Endpoint("127.0.0.1", 9092)},
            controller_endpoints=controllers,
            is_broker="broker" in roles,
        )
        self.committer = TurnCommitter()
        self.member = Membership(
            self.config,
            node,
            self.log_dir,
            self.committer,
            SystemClock(),
            Random(1),
            lambda: self.config,
        )
        self.said: list[str | None] = []

    async def close(self) -> None:
        await self.member.leave()
        await self.member.close()
        self.log_dir.close(clean=True, broker_epoch=self.member.broker_epoch)


@pytest_asyncio.fixture
async def nodes() -> AsyncIterator[Callable[..., Node]]:
    """Makes nodes; all are closed after the test."""
    made: list[Node] = []

    def make(*flags: str, roles: str = "broker,controller", disk: SimDisk | None = None) -> Node:
        made.append(Node(*flags, roles=roles, disk=disk))
        return made[-1]

    yield make
    for node in made:
        await node.close()


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - timers of the node's own
            await asyncio.sleep(0.001)


async def test_member_alone_founds_registers_and_is_let_in(nodes: Callable[..., Node]) -> None:
    """A quorum of one needs nobody: it leads, has an epoch at once, and nothing keeps it from its part."""
    node = nodes()
    member = node.member
    assert member.impediment == "no leader of the metadata quorum is known"
    await member.begin(node.said.append)
    image = await member.start()
    assert image.brokers[1].active
    assert member.broker_epoch == image.brokers[1].epoch
    assert member.impediment == "the logs are being opened"
    member.register(intact=True)
    await eventually(lambda: member.impediment is None)
    assert member.broker_epoch == member.publisher.image.brokers[1].epoch
    assert member.problem is None


async def test_member_with_damaged_logs_registers_as_after_a_crash(nodes: Callable[..., Node]) -> None:
    """A clean stop is not claimed where some log could not be opened: the controller must not count on it."""
    disk = SimDisk()
    first = Node(disk=disk)
    await first.member.begin(first.said.append)
    await first.member.start()
    first.member.register(intact=True)
    await eventually(lambda: first.member.impediment is None)
    await first.close()
    second = nodes(disk=disk)
    assert second.log_dir.was_clean
    await second.member.begin(second.said.append)
    await second.member.start()
    second.member.register(intact=False)
    assert second.member.life is not None
    assert second.member.life.session._registration.previous_broker_epoch == -1


async def test_member_that_leads_nobody_leaves_at_once(nodes: Callable[..., Node]) -> None:
    """Alone there is nobody to hand over to: no controlled shutdown is waited for."""
    node = nodes()
    await node.member.begin(node.said.append)
    await node.member.start()
    node.member.register(intact=True)
    assert node.member.life is not None
    await node.member.leave()
    assert node.member.life.session.state not in (BrokerState.LEAVING, BrokerState.SHUTTING_DOWN)


async def test_member_waits_for_who_might_know_a_quorum(nodes: Callable[..., Node]) -> None:
    """The first of the listed controllers founds nothing while another one refuses; it can be stopped meanwhile."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        other = closed.getsockname()[1]
        node = nodes(f"controller.quorum.bootstrap.servers=127.0.0.1:{PORT},127.0.0.1:{other}")
        beginning = asyncio.ensure_future(node.member.begin(node.said.append))
        await eventually(lambda: bool(node.said))
        assert f"127.0.0.1:{other} must say first" in str(node.said[-1])
        assert not knows_quorum(node.log_dir)
        beginning.cancel()
        with pytest.raises(asyncio.CancelledError):
            await beginning


async def test_member_without_the_controller_role_never_founds(nodes: Callable[..., Node]) -> None:
    """A dedicated broker waits for a quorum, says that it knows of no leader, and can be stopped while it waits."""
    node = nodes("controller.quorum.bootstrap.servers=127.0.0.1:1", roles="broker")
    await node.member.begin(node.said.append)
    waiting = asyncio.ensure_future(node.member.start())
    await asyncio.sleep(0.05)
    assert not waiting.done()
    assert node.member.impediment == "no leader of the metadata quorum is known"
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_dedicated_controller_has_no_broker_life(nodes: Callable[..., Node]) -> None:
    """It leads the quorum, registers nothing, and has no epoch."""
    node = nodes(roles="controller")
    await node.member.begin(node.said.append)
    image = await node.member.start()
    node.member.register(intact=True)
    assert (node.member.life, node.member.broker_epoch, dict(image.brokers)) == (None, -1, {})
    assert node.member.impediment is None


def test_settings_reach_the_quorum_and_the_controller() -> None:
    """Each configured time arrives where it acts; waiting fetches stay far below a follower's patience."""
    config = load_config(
        None,
        [
            "controller.quorum.election.timeout.ms=700",
            "controller.quorum.fetch.timeout.ms=900",
            "broker.session.timeout.ms=4000",
            "broker.heartbeat.interval.ms=300",
            "auto.leader.rebalance.enable=false",
            "leader.imbalance.check.interval.seconds=7",
        ],
    )
    timing = raft_timing(config)
    assert (timing.election_ms, timing.fetch_ms, timing.fetch_wait_ms) == (700, 900, 300)
    settings = controller_settings(config).cluster
    assert settings.session_timeout_ms == 4_000
    assert (settings.leader_rebalance, settings.imbalance_check_ms) == (False, 7_000)
