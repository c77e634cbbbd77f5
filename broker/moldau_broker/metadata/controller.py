"""The active controller: a table of operations, and what it knows without the log. Pure.

Every decision is a function of a `View`, and only replay changes state. Beside the log the core holds what may be
lost at any time: when each broker was last heard of (`sessions`), and when its own periodic work is due.

How a driver uses it:

    core.activate(now_ms, view)                # this node leads, and everything committed is applied
    result = core.handle(key, request, version, view, now_ms)
    for operation in core.tick(now_ms, view): result = operation(fresh view)   # at next_deadline_ms at the latest
    core.deactivate()                          # this node leads no more
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from moldau_broker.metadata import brokers_control, configs_control, isr_control, producer_ids, topics_control
from moldau_broker.metadata.brokers_control import Call, fence_expired
from moldau_broker.metadata.operation import Operation, Result, View
from moldau_broker.metadata.sessions import BrokerSessions
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.schema import Struct

Handler: TypeAlias = Callable[[Call, Any], Result[Any]]


def _on_view(operation: Callable[[View, Any], Result[Any]]) -> Handler:
    """An operation that needs the view only."""
    return lambda call, request: operation(call.view, request)


OPERATIONS: Final[Mapping[ApiKey, Handler]] = {
    ApiKey.CREATE_TOPICS: _on_view(topics_control.create_topics),
    ApiKey.DELETE_TOPICS: _on_view(topics_control.delete_topics),
    ApiKey.CREATE_PARTITIONS: _on_view(topics_control.create_partitions),
    ApiKey.ALTER_CONFIGS: _on_view(configs_control.alter_configs),
    ApiKey.INCREMENTAL_ALTER_CONFIGS: _on_view(configs_control.incremental_alter_configs),
    ApiKey.BROKER_REGISTRATION: brokers_control.register,
    ApiKey.BROKER_HEARTBEAT: brokers_control.heartbeat,
    ApiKey.UNREGISTER_BROKER: brokers_control.unregister,
    ApiKey.ALTER_PARTITION: _on_view(isr_control.alter_partition),
    ApiKey.ALLOCATE_PRODUCER_IDS: _on_view(producer_ids.allocate),
}
"""Every API whose answer comes from the active controller."""


class ControllerCore:
    """One node's controller, active or not.

    Attributes:
        sessions: soft state of the registered brokers; empty while this node is not active.
        active: whether this node is the controller.
    """

    __slots__ = ("active", "sessions")

    def __init__(self) -> None:
        self.active = False
        self.sessions = BrokerSessions()

    def activate(self, now_ms: int, view: View) -> None:
        """This node leads the quorum and has applied everything that was committed before."""
        self.active = True
        self.sessions.begin(now_ms, view.image, view.settings.cluster)

    def deactivate(self) -> None:
        """This node leads no more."""
        self.active = False
        self.sessions.clear()

    def handle(self, key: ApiKey, request: Struct, version: int, view: View, now_ms: int) -> Result[Any]:
        """The records and the answer of a request of one of `OPERATIONS`; nothing is changed but soft state."""
        assert self.active, (
            "a node that is not the controller answers NOT_CONTROLLER (`unavailable_response`)"
        )
        return OPERATIONS[key](Call(view, version, now_ms, self.sessions), request)

    @property
    def next_deadline_ms(self) -> int | None:
        """When `tick` has something to do at the latest, None when nothing is due."""
        return self.sessions.next_deadline_ms if self.active else None

    def report_dead(self, broker_id: int, broker_epoch: int) -> None:
        """That incarnation's process is gone (its port refuses connections): the next tick fences it."""
        self.sessions.end(broker_id, broker_epoch)

    def tick(self, now_ms: int, view: View) -> list[Operation[None]]:
        """What is due: operations to write one after the other, each on a view that contains the ones before."""
        if not self.active:
            return []
        over = self.sessions.take_expired(now_ms)
        self.sessions.adopt(now_ms, view.image, without=over)
        return [fence_expired(self.sessions, expired, now_ms) for expired in over]
