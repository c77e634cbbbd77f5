"""The scripted broker's address: its own for as long as it lives, also while it is down."""

from __future__ import annotations

import asyncio
import gc
import socket
import sys

import pytest

from moldau_broker.testing.scripted import HOST, ScriptedBroker


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody may listen beside a bound socket")
async def test_scripted_broker_that_is_down_refuses_and_keeps_its_port() -> None:
    """Nobody else may have it, by chance or on purpose; it listens there again, and gives it back with its end."""
    broker = ScriptedBroker()
    await broker.start()
    port = broker.port
    for _ in range(2):
        await broker.stop()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(HOST, port)
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind((HOST, port))
        await broker.start()
        _, writer = await asyncio.open_connection(HOST, port)
        writer.close()
        await writer.wait_closed()
    await broker.stop()
    await asyncio.sleep(0)
    del broker
    gc.collect()
