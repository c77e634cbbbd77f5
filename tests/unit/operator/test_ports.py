"""Ports of local nodes: the wished one, the next free one, the same ones again."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from moldau_operator.adapters.ports import (
    HOST,
    NodePorts,
    choose_ports,
    port_is_free,
    read_ports,
    write_ports,
)
from moldau_operator.errors import PlatformError


def test_a_node_gets_the_wished_port_and_its_neighbours() -> None:
    """Recognisable at a glance."""
    choice = choose_ports(9092, HOST, set(), lambda _host, _port: True)
    assert choice.ports == NodePorts(kafka=9092, internal=9192, controller=9292, http=8092)
    assert choice.skipped == ()


def test_taken_ports_are_skipped_and_named() -> None:
    """Only client ports: the others nobody types."""
    choice = choose_ports(9092, HOST, set(), lambda _host, port: port not in {9092, 9093, 8094})
    assert (choice.ports.kafka, choice.ports.http, choice.skipped) == (9094, 8095, (9092, 9093))


def test_nodes_count_on_from_the_first_port() -> None:
    """Ports of the instance's other nodes are passed over without a word."""
    first = choose_ports(9092, HOST, set(), lambda _host, _port: True).ports
    second = choose_ports(9092, HOST, set(first.all), lambda _host, _port: True)
    assert (second.ports.kafka, second.ports.internal, second.skipped) == (9093, 9193, ())


@pytest.mark.parametrize("first", [1024, 2000, 65_500, 65_535])
def test_every_legal_first_port_works(first: int) -> None:
    """At the edges the other ports are looked for elsewhere."""
    ports = choose_ports(first, HOST, set(), lambda _host, _port: True).ports
    assert ports.kafka == first
    assert len(set(ports.all)) == 4
    assert all(1024 <= port <= 65_535 for port in ports.all)


def test_no_free_port_is_said() -> None:
    """With what to do."""
    with pytest.raises(PlatformError, match="no free TCP port"):
        choose_ports(65_000, HOST, set(), lambda _host, _port: False)


def test_a_port_that_is_listened_on_is_not_free() -> None:
    """On this address or on every address."""
    for address in (HOST, "0.0.0.0"):
        with socket.create_server((address, 0)) as server:
            port = server.getsockname()[1]
            assert not port_is_free(HOST, port)
        assert port_is_free(HOST, port)


def test_kept_ports_are_read_only_for_the_same_wish(tmp_path: Path) -> None:
    """Another --port is another choice; a damaged file is none."""
    path, ports = tmp_path / "ports.json", NodePorts(kafka=1, internal=2, controller=3, http=4)
    write_ports(path, 9092, ports)
    assert read_ports(path, 9092) == read_ports(path) == ports
    assert read_ports(path, 9500) is None
    path.write_text("{")
    assert read_ports(path) is None
    assert read_ports(tmp_path / "nothing") is None
