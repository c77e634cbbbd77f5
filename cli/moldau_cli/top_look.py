"""One look at a cluster for `moldau top`: what every broker's HTTP port says at about the same moment."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from moldau_broker.client.admin_api import AdminApi
from moldau_broker.client.admin_api_answers import BrokerLoad, GroupReports
from moldau_broker.client.admin_api_cluster import ClusterReport
from moldau_broker.client.errors import BrokerUnreachable, ClientError
from moldau_cli.admin_http import PORT_SETTING, TIMEOUT_MS, Address
from moldau_cli.metrics_page import read_totals

ADMIN_LISTENER: Final = "ADMIN"
"""Under this name brokers tell each other where their HTTP port is."""

BYTES_IN: Final = "kafka_server_brokertopicmetrics_bytesin_total"
BYTES_OUT: Final = "kafka_server_brokertopicmetrics_bytesout_total"
CPU: Final = "process_cpu_seconds_total"
MEMORY: Final = "process_resident_memory_bytes"
_GZIP: Final = b"\x1f\x8b"
"""How a compressed page begins; aiohttp asks for one and leaves it as it is."""
_READ: Final = frozenset({BYTES_IN, BYTES_OUT, CPU, MEMORY})


@dataclass(frozen=True, slots=True)
class BrokerLook:
    """What one broker said; `totals` are counters and gauges off its metrics page, read at `at_s` (monotonic)."""

    load: BrokerLoad
    totals: Mapping[str, float]
    at_s: float


@dataclass(frozen=True, slots=True)
class Look:
    """The cluster at one moment. Brokers that did not answer are in `silent`, with the reason."""

    cluster: ClusterReport
    groups: GroupReports
    brokers: Mapping[int, BrokerLook]
    silent: Mapping[int, str] = field(default_factory=dict)


class Looker:
    """Keeps a connection to each broker between looks.

    Args:
        addresses: HTTP ports known from the start; those of brokers that come later are learned from the cluster.
        now_s: the monotonic clock.
    """

    def __init__(self, addresses: Mapping[int, Address], now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._apis = {node: AdminApi(at, timeout_ms=TIMEOUT_MS) for node, at in addresses.items()}
        self._addresses = dict(addresses)

    async def close(self) -> None:
        """Close all connections."""
        for api in self._apis.values():
            await api.close()

    async def look(self) -> Look:
        """Ask everybody, side by side.

        Raises:
            ClientError: no broker speaks for the cluster.
        """
        cluster = await self._cluster()
        await self._learn(cluster)
        known = [broker.id for broker in cluster.brokers if broker.id in self._apis]
        groups, answers = await asyncio.gather(
            self._groups(), asyncio.gather(*(self._broker(node) for node in known))
        )
        brokers: dict[int, BrokerLook] = {}
        silent: dict[int, str] = {}
        for node, answer in zip(known, answers, strict=True):
            if isinstance(answer, BrokerLook):
                brokers[node] = answer
            else:
                silent[node] = answer
        for broker in cluster.brokers:
            if broker.id not in self._apis:
                silent[broker.id] = f"no {PORT_SETTING}"
        return Look(cluster, groups, brokers, silent)

    async def _cluster(self) -> ClusterReport:
        """As the broker with the newest metadata that knows a leader says; one that is cut off may be old."""
        last: ClientError = BrokerUnreachable("any broker's HTTP port", f"no broker has one ({PORT_SETTING})")
        best: ClusterReport | None = None
        for answer in await asyncio.gather(*(self._try_cluster(api) for api in self._apis.values())):
            if isinstance(answer, ClientError):
                last = answer
            elif best is None or (answer.leader_epoch or -1) > (best.leader_epoch or -1):
                best = answer
        if best is None:
            raise last
        return best

    @staticmethod
    async def _try_cluster(api: AdminApi) -> ClusterReport | ClientError:
        try:
            return await api.cluster()
        except ClientError as error:
            return error

    async def _learn(self, cluster: ClusterReport) -> None:
        for broker in cluster.brokers:
            host, _, port = broker.listeners.get(ADMIN_LISTENER, "").rpartition(":")
            address = (host.strip("[]"), int(port)) if port.isdigit() else None
            if address is not None and self._addresses.get(broker.id) != address and not broker.fenced:
                old = self._apis.pop(broker.id, None)
                if old is not None:
                    await old.close()
                self._addresses[broker.id] = address
                self._apis[broker.id] = AdminApi(address, timeout_ms=TIMEOUT_MS)

    async def _groups(self) -> GroupReports:
        empty = GroupReports((), {})
        for api in self._apis.values():
            try:
                return await api.groups()
            except ClientError as error:
                empty = replace(empty, incomplete={-1: str(error)})
        return empty

    async def _broker(self, node: int) -> BrokerLook | str:
        api = self._apis[node]
        try:
            load = await api.load()
            page = await api.send("GET", "/metrics")
        except ClientError as error:
            return str(error)
        text = gzip.decompress(page.body) if page.body.startswith(_GZIP) else page.body
        return BrokerLook(load, read_totals(text.decode("utf-8", "replace"), _READ), self._now_s())
