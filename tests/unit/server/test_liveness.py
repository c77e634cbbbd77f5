"""Whether a broker whose connection dropped is dead: its port says, if one looks more than once."""

from __future__ import annotations

import asyncio
import socket
from types import SimpleNamespace
from typing import Any

import pytest

from moldau_broker.base.ids import Uuid
from moldau_broker.metadata.image import BrokerImage, Endpoint, MetadataImage
from moldau_broker.server.liveness import PROBE_DELAYS_S, LivenessProber

LONG_ENOUGH_S = sum(PROBE_DELAYS_S) + 0.3


class Controller:
    """The controller's part that the prober looks at."""

    def __init__(self) -> None:
        self.core = SimpleNamespace(active=True)
        self.on_active: Any = None
        self.dead: list[tuple[int, int]] = []
        self.told = asyncio.Event()

    def report_dead(self, broker_id: int, broker_epoch: int) -> None:
        self.dead.append((broker_id, broker_epoch))
        self.told.set()


def _image(port: int) -> MetadataImage:
    broker = BrokerImage(
        2,
        7,
        Uuid(bytes(16)),
        fenced=False,
        in_controlled_shutdown=False,
        rack=None,
        endpoints={"INTERNAL": Endpoint("127.0.0.1", port)},
    )
    return MetadataImage("c", brokers={2: broker})


async def _port() -> asyncio.Server:
    return await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)


@pytest.fixture
async def port():
    """The broker's port, which answers."""
    server = await _port()
    yield server
    server.close()


def _drops(controller: Controller, server: asyncio.Server) -> LivenessProber:
    """The connection that carried the broker's heartbeats ends."""
    image = _image(server.sockets[0].getsockname()[1])
    prober = LivenessProber(1, "INTERNAL", controller, lambda: image)  # type: ignore[arg-type]
    connection = SimpleNamespace(on_close={})
    prober.heard(2, 7, connection)  # type: ignore[arg-type]
    (look,) = connection.on_close.values()
    look()
    return prober


async def test_broker_whose_port_refuses_is_dead():
    """At once."""
    controller = Controller()
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        _drops(controller, SimpleNamespace(sockets=[unused]))  # type: ignore[arg-type]
        async with asyncio.timeout(30):
            await controller.told.wait()
    assert controller.dead == [(2, 7)]


async def test_broker_whose_port_closes_a_little_later_is_dead(port):
    """The first look finds a process that is just ending."""
    controller = Controller()
    _drops(controller, port)
    await asyncio.sleep(PROBE_DELAYS_S[1] / 2)
    assert controller.dead == []
    port.close()
    async with asyncio.timeout(30):
        await controller.told.wait()
    assert controller.dead == [(2, 7)]


async def test_broker_whose_port_answers_keeps_its_session(port):
    """Cut off, paused or busy is not dead."""
    controller = Controller()
    _drops(controller, port)
    await asyncio.sleep(LONG_ENOUGH_S)
    assert controller.dead == []
