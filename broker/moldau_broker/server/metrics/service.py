"""The metrics of a running broker: what watches all the time, and what is made with the first scrape."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import TYPE_CHECKING

from moldau_broker.server.metrics.filters import Filters
from moldau_broker.server.metrics.release import release
from moldau_broker.server.metrics.watching import Watching

if TYPE_CHECKING:
    from moldau_broker.server.admin_api.node import AdminNode
    from moldau_broker.server.broker import Broker
    from moldau_broker.server.lifecycle import Lifecycle
    from moldau_broker.server.listeners import Listeners
    from moldau_broker.server.membership import Membership
    from moldau_broker.server.metrics.lag_watch import LagWatch
    from moldau_broker.server.request_stats import RequestStats
    from moldau_broker.storage.group_commit import GroupCommit
    from moldau_broker.telemetry.loop_lag import LoopLag
    from moldau_broker.telemetry.registry import Emitter


class MetricsService:
    """Owned by the event loop."""

    def __init__(
        self,
        broker: Broker,
        member: Membership,
        lifecycle: Lifecycle,
        listeners: Listeners,
        stats: RequestStats,
        loop_lag: LoopLag,
        commit: GroupCommit,
        admin_node: Callable[[], AdminNode | None],
    ) -> None:
        """`admin_node`: what the admin API works with, None while clients are not served."""
        self._broker = broker
        self._member = member
        self._lifecycle = lifecycle
        self._listeners = listeners
        self._stats = stats
        self._loop_lag = loop_lag
        self._commit = commit
        self._admin_node = admin_node
        self._watching = Watching(broker, member)
        self._lag: LagWatch | None = None

    def start(self) -> None:
        """Begin to watch; on the event loop's thread."""
        self._loop_lag.start()
        self._watching.start()

    async def stop(self) -> None:
        """Watch no more."""
        self._loop_lag.stop()
        self._watching.stop()
        if self._lag is not None:
            await self._lag.stop()

    async def emitters(self) -> Iterable[Emitter]:
        """Every emitter. Imported here: what nobody scrapes need not carry them, and the loop does not wait for it."""
        await asyncio.to_thread(_get_ready)
        from moldau_broker.server.metrics.emitters import Parts, emitters
        from moldau_broker.server.metrics.lag_watch import LagWatch

        filters = Filters(lambda: self._broker.settings.telemetry)
        self._lag = LagWatch(self._broker.groups, self._broker.clock, self._admin_node, filters)
        return emitters(
            Parts(
                broker=self._broker,
                member=self._member,
                lifecycle=self._lifecycle,
                listeners=self._listeners,
                stats=self._stats,
                loop_lag=self._loop_lag,
                commit=self._commit,
                watching=self._watching,
                filters=filters,
                lag=self._lag,
            )
        )


def _get_ready() -> None:
    """What the first scrape needs: half a second of a slow core, by a thread that the event loop is not."""
    import_module("moldau_broker.server.metrics.emitters")
    import_module("moldau_broker.server.metrics.lag_watch")
    import_module("moldau_broker.server.admin_api.api")
    release()
