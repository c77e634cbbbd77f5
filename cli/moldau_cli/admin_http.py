"""Where a cluster's brokers answer HTTP: Kafka's protocol does not say, but their settings do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeVar

from moldau_broker.client.admin.configs import Resource, ResourceType, describe_configs
from moldau_broker.client.admin_api import AdminApi
from moldau_broker.client.cluster import Cluster
from moldau_broker.client.errors import BrokerUnreachable, ClientError

T = TypeVar("T")
Address = tuple[str, int]

PORT_SETTING: Final = "http.port"
TIMEOUT_MS: Final = 5_000


async def http_addresses(cluster: Cluster) -> dict[int, Address]:
    """Host and HTTP port by broker, of those that answer and have one. The cluster must be connected."""
    nodes = dict(cluster.metadata.nodes)

    async def ask(node_id: int) -> Address | None:
        resource = Resource(ResourceType.BROKER, str(node_id))
        try:
            found = (await describe_configs(cluster, [resource]))[resource]
        except ClientError:
            return None  # a broker that is down has nothing to show either
        setting = None if isinstance(found, ClientError) else found.get(PORT_SETTING)
        text = setting.value if setting is not None else None
        port = int(text) if text is not None and text.isdigit() else 0
        return (nodes[node_id].host, port) if port > 0 else None

    ids = sorted(nodes)
    answers = await asyncio.gather(*map(ask, ids))
    return {node_id: at for node_id, at in zip(ids, answers, strict=True) if at is not None}


async def ask_or_none(address: Address, call: Callable[[AdminApi], Awaitable[T]]) -> T | None:
    """What the broker at that address says; None where it does not answer, or is too old to know."""
    try:
        async with AdminApi(address, timeout_ms=TIMEOUT_MS) as api:
            return await call(api)
    except ClientError:
        return None


async def ask_any(addresses: Mapping[int, Address], call: Callable[[AdminApi], Awaitable[T]]) -> T:
    """What the first broker says that answers; any broker can speak for the cluster.

    Raises:
        ClientError: none does; the last one's error.
    """
    last: ClientError = BrokerUnreachable("any broker's HTTP port", f"no broker has one ({PORT_SETTING})")
    for address in addresses.values():
        try:
            async with AdminApi(address, timeout_ms=TIMEOUT_MS) as api:
                return await call(api)
        except ClientError as error:
            last = error
    raise last
