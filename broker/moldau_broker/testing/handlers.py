"""Handlers as a client meets them: requests and responses go through the wire in the version asked for."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

from moldau_broker.metadata.just_fenced import JustFenced
from moldau_broker.metadata.operation import ControllerSettings
from moldau_broker.server.config import BrokerConfig, load_config
from moldau_broker.server.handlers.spec import Handler, ListenerKind
from moldau_broker.testing.controller import ControllerBench
from moldau_broker.wire.apis import API_SCHEMAS
from moldau_broker.wire.codec import decode, encode


async def call(
    handler: Handler, broker: Any, request: Any, version: int | None = None, *, listener: str = "CLIENT"
) -> Any:
    """What a client gets from `handler`: encoded, decoded, handled, encoded, decoded; in the newest version."""
    low, high = handler.versions
    version = high if version is None else version
    assert low <= version <= high, f"{handler.api.name} is not served in version {version}"
    schema = API_SCHEMAS[handler.api]
    asked, _ = decode(schema.request, version, encode(request, version))
    context = SimpleNamespace(api_version=version, listener=listener, listener_kind=ListenerKind.CLIENT)
    answer = handler.handle(broker, context, asked)
    if inspect.iscoroutine(answer):
        answer = await answer
    assert isinstance(answer, schema.response)
    return decode(schema.response, version, encode(answer, version))[0]


def versions(handler: Handler) -> range:
    """Every version it serves."""
    low, high = handler.versions
    return range(low, high + 1)


class NodeBench:
    """A broker without sockets and logs: its configuration, its controller, its metadata.

    Attributes:
        bench: the controller's.
        broker: what handlers get; has the parts that metadata handlers use.
    """

    def __init__(self, *settings: str) -> None:
        self.config: BrokerConfig = load_config(sets=settings)
        self.bench = ControllerBench(
            settings=ControllerSettings(1, self.config.topics, self.config.groups, self.config.explicit),
            rack=self.config.node.rack,
        )
        self.broker = SimpleNamespace(
            node_id=1,
            cluster_id=self.bench.cluster_id,
            settings=self.config,
            clock=self.bench.clock,
            just_fenced=JustFenced(),
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[NodeBench]:
        """With a started controller."""
        async with self.bench.running() as controller:
            self.broker.controller = controller
            self.broker.metadata = self.bench.publisher
            yield self
