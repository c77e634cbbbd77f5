"""Networks of their own for brokers: cuts are silent, one-way, heal, and nothing is left behind."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from tests.chaos import network
from tests.chaos.network import HOST_NUMBER, Network

PORT = 9000
ECHO = """
import socket, sys, threading
def echo(one):
    while data := one.recv(100):
        one.sendall(data)
server = socket.create_server((sys.argv[1], int(sys.argv[2])))
while True:
    threading.Thread(target=echo, args=(server.accept()[0],), daemon=True).start()
"""
REASON = network.why_not()
pytestmark = [pytest.mark.skipif(REASON is not None, reason=REASON or ""), pytest.mark.xdist_group("network")]


@pytest.fixture
def echoing() -> Iterator[Network]:
    """Two nodes; node 1 echoes what it gets."""
    with Network((1, 2)) as made:
        command = [*made.command(1), sys.executable, "-c", ECHO, made.address(1), str(PORT)]
        process = subprocess.Popen(command)
        try:
            yield made
        finally:
            process.kill()
            process.wait()


def connect(made: Network) -> socket.socket:
    deadline = time.monotonic() + 30
    while True:
        try:
            connection = socket.create_connection((made.address(1), PORT), 1)
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            return connection


def from_node_2(made: Network) -> bool:
    """Whether node 2 can talk to node 1. A first packet that is lost is sent again after a second."""
    script = f"import socket; socket.create_connection(({made.address(1)!r}, {PORT}), 3.5)"
    command = [*made.command(2), sys.executable, "-c", script]
    return subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0


@pytest.mark.parametrize("way", [(HOST_NUMBER, 1), (1, HOST_NUMBER)])
def test_a_cut_is_silent_and_heals(echoing: Network, way: tuple[int, int]) -> None:
    """On an open connection nothing comes any more and no error either, whichever way is cut; then it comes late."""
    with connect(echoing) as connection:
        connection.sendall(b"1")
        assert connection.recv(1) == b"1"
        echoing.cut_way(*way)
        connection.sendall(b"2")
        connection.settimeout(0.5)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        echoing.heal()
        connection.settimeout(30)
        assert connection.recv(1) == b"2"


def test_a_cut_is_between_two(echoing: Network) -> None:
    """Brokers that do not hear each other are both heard by clients."""
    connect(echoing).close()
    assert from_node_2(echoing)
    echoing.cut(1, 2)
    assert not from_node_2(echoing)
    connect(echoing).close()
    echoing.heal()
    assert from_node_2(echoing)


def test_nothing_is_left_behind() -> None:
    """The end of the context removes namespaces and bridge; what a killed process left goes with the next network."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left = f"{network.PREFIX}{gone.pid}-1"
    network.ip("netns", "add", left)
    with Network((1,)):
        listed = network.ip("netns", "list")
        assert left not in listed
        assert f"{network.PREFIX}{os.getpid()}-1" in listed
    assert f"{network.PREFIX}{os.getpid()}" not in network.ip("netns", "list")
    assert f"{network.PREFIX}{os.getpid()}" not in network.ip("link", "show")
