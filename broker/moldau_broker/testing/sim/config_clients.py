"""Clients of the bare controller: each sets one setting of a topic to ever new values, and remembers the last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from moldau_broker.base.errors import ErrorCode
from moldau_broker.metadata.image import ResourceType
from moldau_broker.testing.sim.client import no_requests
from moldau_broker.testing.sim.network import Broken
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.incremental_alter_configs import (
    AlterableConfig,
    AlterConfigsResource,
    IncrementalAlterConfigsRequest,
)

if TYPE_CHECKING:
    from moldau_broker.testing.sim.controller_cluster import ControllerCluster

_SETTINGS = ("retention.ms", "segment.bytes", "max.message.bytes")
_FIRST = 2_000_000


class ConfigClient:
    """One client.

    Attributes:
        setting: the topic setting it changes; nobody else does.
        acked_value: the last value it was told is in force.
        busy, finishing: a change is under way; nothing new is begun.
    """

    def __init__(self, cluster: ControllerCluster, host_id: int) -> None:
        self._cluster = cluster
        self._kernel = cluster.kernel
        self._rng = cluster.kernel.stream(f"client {host_id}")
        self.host = cluster.network.host(host_id)
        self.host.handler = no_requests
        self.setting = _SETTINGS[host_id % len(_SETTINGS)]
        self.acked_value: str | None = None
        self.busy = False
        self.finishing = False
        self._value = _FIRST
        self._controller = 1
        self._next()

    def _next(self) -> None:
        self.busy = not self.finishing
        if self.busy:
            self._value += 1
            self._send()

    def _send(self) -> None:
        change = AlterableConfig(name=self.setting, config_operation=0, value=str(self._value))
        resource = AlterConfigsResource(
            resource_type=ResourceType.TOPIC, resource_name=self._cluster.keys[0][0], configs=[change]
        )
        request = IncrementalAlterConfigsRequest(resources=[resource])
        self._cluster.network.call(
            self.host,
            self._controller,
            ("controller", ApiKey.INCREMENTAL_ALTER_CONFIGS, request),
            self._answered,
        )

    def _answered(self, answer: Any) -> None:
        if isinstance(answer, Broken) or answer.responses[0].error_code != ErrorCode.NONE:
            self._controller = self._rng.choice(self._cluster.node_ids())
            self._kernel.after(30 + self._rng.randrange(60), self._send)
            return
        self.acked_value = str(self._value)
        self._cluster.acked += 1
        self._kernel.after(self._rng.randrange(400), self._next)
