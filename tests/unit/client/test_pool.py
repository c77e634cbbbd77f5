"""Addresses as people write them, and one connection for each."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from moldau_broker.client.config import ClientConfig
from moldau_broker.client.errors import BrokerUnreachable
from moldau_broker.client.pool import ConnectionPool, parse_bootstrap


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("localhost:9092", [("localhost", 9092)]),
        (" a:1 , b ", [("a", 1), ("b", 9092)]),
        ("[::1]:9093,[fe80::2]", [("::1", 9093), ("fe80::2", 9092)]),
        (["a:1", "b:2"], [("a", 1), ("b", 2)]),
    ],
)
def test_parse_bootstrap_reads_hosts_and_ports(
    text: str | list[str], addresses: list[tuple[str, int]]
) -> None:
    """Lists, default ports and IPv6 are understood."""
    assert parse_bootstrap(text) == addresses


@pytest.mark.parametrize("text", ["", " , ", ":9092", "a:b", "a:0", "a:65536", "::1", "[::1:9092", "a:1:2"])
def test_parse_bootstrap_refuses_what_is_no_address(text: str) -> None:
    """A typing error is told before anything is connected."""
    with pytest.raises(ValueError):
        parse_bootstrap(text)


async def test_pool_shares_one_connection_per_address(scripted: Any, config: ClientConfig) -> None:
    """Callers at the same time do not open a connection each."""
    pool = ConnectionPool(config)
    address = ("127.0.0.1", scripted.port)
    opened = await asyncio.gather(*(pool.open(address) for _ in range(5)))
    await pool.close()
    assert len(set(map(id, opened))) == 1
    assert scripted.connections == 1


async def test_pool_replaces_a_lost_connection(scripted: Any, config: ClientConfig) -> None:
    """A connection that ended is not handed out again."""
    pool = ConnectionPool(config)
    address = ("127.0.0.1", scripted.port)
    first = await pool.open(address)
    first.close()
    assert await pool.open(address) is not first
    await pool.close()


async def test_pool_names_every_address_that_failed(config: ClientConfig) -> None:
    """When nobody answers, the error says who was tried."""
    pool = ConnectionPool(config)
    with pytest.raises(BrokerUnreachable, match=r"127\.0\.0\.1:1, 127\.0\.0\.1:2"):
        await pool.any_of([("127.0.0.1", 1), ("127.0.0.1", 2)])
