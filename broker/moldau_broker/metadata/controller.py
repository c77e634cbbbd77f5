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

from moldau_broker.metadata import (
    brokers_control,
    configs_control,
    directories_control,
    features_control,
    isr_control,
    leaders_control,
    producer_ids,
    reassignments,
    topics_control,
)
from moldau_broker.metadata.brokers_control import Call, fence_expired
from moldau_broker.metadata.drain import internal_factor_is_low, raise_internal_factor
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
    ApiKey.ASSIGN_REPLICAS_TO_DIRS: _on_view(directories_control.assign_replicas_to_dirs),
    ApiKey.ELECT_LEADERS: _on_view(leaders_control.elect_leaders),
    ApiKey.ALTER_PARTITION_REASSIGNMENTS: _on_view(reassignments.alter_partition_reassignments),
    ApiKey.LIST_PARTITION_REASSIGNMENTS: _on_view(reassignments.list_partition_reassignments),
    ApiKey.UPDATE_FEATURES: _on_view(features_control.update_features),
    ApiKey.ALLOCATE_PRODUCER_IDS: _on_view(producer_ids.allocate),
}
"""Every API whose answer comes from the active controller."""


INTERNAL_TOPICS_SETTLE_MS: Final = 3_000
"""How long the set of active brokers stays as it is before internal topics get more replicas: brokers of a new
cluster come one after the other, and each change would move them again."""

INTERNAL_TOPICS_PATIENCE_MS: Final = 30_000
"""The same where no broker came: replicas may be few because brokers are being emptied one by one, and a new
replica on the next of them would have to leave it again."""


class ControllerCore:
    """One node's controller, active or not.

    Attributes:
        sessions: soft state of the registered brokers; empty while this node is not active.
        active: whether this node is the controller.
    """

    __slots__ = ("_balance_ms", "_brokers", "_settled_ms", "active", "sessions")

    def __init__(self) -> None:
        self.active = False
        self.sessions = BrokerSessions()
        self._balance_ms = 0
        self._brokers: frozenset[int] = frozenset()
        self._settled_ms: int | None = None

    def activate(self, now_ms: int, view: View) -> None:
        """This node leads the quorum and has applied everything that was committed before."""
        self.active = True
        self.sessions.begin(now_ms, view.image, view.settings.cluster)
        self._balance_ms = now_ms + view.settings.cluster.imbalance_check_ms
        self._brokers = frozenset()
        self._settled_ms = now_ms + INTERNAL_TOPICS_SETTLE_MS

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
        if not self.active:
            return None
        due_ms = self._balance_ms
        for time_ms in (self.sessions.next_deadline_ms, self._settled_ms):
            if time_ms is not None and time_ms < due_ms:
                due_ms = time_ms
        return due_ms

    def report_dead(self, broker_id: int, broker_epoch: int) -> None:
        """That incarnation's process is gone (its port refuses connections): the next tick fences it."""
        self.sessions.end(broker_id, broker_epoch)

    def tick(self, now_ms: int, view: View) -> list[Operation[None]]:
        """What is due: operations to write one after the other, each on a view that contains the ones before.

        Also to be called whenever the image changed, so that new brokers are noticed.
        """
        if not self.active:
            return []
        over = self.sessions.take_expired(now_ms)
        self.sessions.adopt(now_ms, view.image, without=over)
        due: list[Operation[None]] = [fence_expired(self.sessions, expired, now_ms) for expired in over]
        if now_ms >= self._balance_ms:
            self._balance_ms = now_ms + view.settings.cluster.imbalance_check_ms
            if view.settings.cluster.leader_rebalance:
                due.append(leaders_control.balance_leaders)
        self._watch_brokers(now_ms, view)
        if self._settled_ms is not None and now_ms >= self._settled_ms:
            self._settled_ms = None
            if internal_factor_is_low(view):
                due.append(raise_internal_factor)
                # The new replicas are named first in turn: they should lead as soon as they are in sync.
                self._balance_ms = min(self._balance_ms, now_ms + INTERNAL_TOPICS_SETTLE_MS)
        return due

    def _watch_brokers(self, now_ms: int, view: View) -> None:
        brokers = frozenset(broker.id for broker in view.image.brokers.values() if broker.active)
        if brokers != self._brokers:
            came = bool(brokers - self._brokers)
            self._brokers = brokers
            self._settled_ms = now_ms + (INTERNAL_TOPICS_SETTLE_MS if came else INTERNAL_TOPICS_PATIENCE_MS)
        elif self._settled_ms is None and internal_factor_is_low(view):
            # A move ended, or the topic was made while brokers came.
            self._settled_ms = now_ms + INTERNAL_TOPICS_PATIENCE_MS
