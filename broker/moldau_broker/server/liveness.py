"""Looks at once whether a broker that went silent is dead, instead of waiting for its session to end.

A process that was killed refuses connections at its port; one that is paused, cut off or overloaded does not, and has
its whole session. Only the active controller asks.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final

from moldau_broker.metadata.controller_work import ControllerWork
from moldau_broker.metadata.image import BrokerImage, Endpoint, MetadataImage
from moldau_broker.server.connection import Connection

logger = logging.getLogger(__name__)

PROBE_DELAYS_S: Final = (0.0, 0.02, 0.1, 0.4)
"""A process that was killed closes its sockets one by one: its heartbeats' connection may end some milliseconds before
its port refuses (seen in three of five kills on a busy machine, and each cost a whole session). So one look is not
enough."""

CONNECT_TIMEOUT_S: Final = 1.0
"""A peer that does not answer by then is not known to be dead."""


class LivenessProber:
    """Probes the port that brokers reach each other by."""

    def __init__(
        self, node_id: int, listener: str | None, work: ControllerWork, image: Callable[[], MetadataImage]
    ) -> None:
        """`listener`: the name of the inter-broker listener."""
        self._node_id = node_id
        self._listener = listener
        self._work = work
        self._image = image
        self._tasks: set[asyncio.Task[None]] = set()
        work.on_active = self._on_active

    def heard(self, broker_id: int, broker_epoch: int, connection: Connection) -> None:
        """A heartbeat came over this connection: should it end, the broker is looked into."""
        if self._work.core.active:
            connection.on_close[self, broker_id] = lambda: self._look(broker_id, broker_epoch)

    def close(self) -> None:
        """Look no more."""
        for task in self._tasks:
            task.cancel()

    def _on_active(self) -> None:
        """A new controller has heard of nobody yet."""
        for broker in self._image().brokers.values():
            if not broker.fenced:
                self._look(broker.id, broker.epoch)

    def _look(self, broker_id: int, broker_epoch: int) -> None:
        broker = self._image().brokers.get(broker_id)
        if broker is None or broker.epoch != broker_epoch or broker.fenced or broker_id == self._node_id:
            return
        endpoint = self._endpoint(broker)
        if endpoint is None or not self._work.core.active:
            return
        task = asyncio.get_running_loop().create_task(self._probe(broker, endpoint))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _endpoint(self, broker: BrokerImage) -> Endpoint | None:
        endpoints: Mapping[str, Endpoint] = broker.endpoints
        if self._listener is not None and self._listener in endpoints:
            return endpoints[self._listener]
        return next(iter(endpoints.values()), None)

    async def _probe(self, broker: BrokerImage, endpoint: Endpoint) -> None:
        for delay_s in PROBE_DELAYS_S:
            await asyncio.sleep(delay_s)
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    _, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
            except ConnectionRefusedError:
                self._work.report_dead(broker.id, broker.epoch)
                return
            except (OSError, TimeoutError) as error:
                logger.info("broker.probe_unclear", extra={"broker": broker.id, "reason": str(error)})
                continue
            writer.close()
