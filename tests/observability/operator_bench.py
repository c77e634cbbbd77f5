"""A whole operator beside the tests: the real one, on an API server in memory, with its metrics served over HTTP."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from typing import Any, Self

from moldau_broker.base.clock import SystemClock
from moldau_broker.telemetry.logs import emit_lines
from moldau_broker.telemetry.loop_lag import LoopLag
from moldau_broker.telemetry.process import emit_process
from moldau_broker.telemetry.registry import Telemetry
from moldau_broker.telemetry.watchdog import Watchdog
from moldau_operator.__main__ import _serve
from moldau_operator.handlers.fence import FencedApi
from moldau_operator.handlers.lease import Lease
from moldau_operator.handlers.operator import Operator
from moldau_operator.handlers.passes import Passes
from moldau_operator.handlers.watches import WATCHED
from moldau_operator.seams.api_server import Object, Resource
from moldau_operator.settings import OperatorSettings
from moldau_operator.telemetry.counted_api import CountedApi
from moldau_operator.telemetry.metrics import OperatorMetrics
from moldau_operator.telemetry.table import METRICS
from moldau_operator.testing.kube_world import NAMESPACE, KubeWorld

SETTLE_S = 0.2


class _Watches:
    """Tells of every change, as kopf does; the plurals in `deaf` are kept silent about."""

    def __init__(self, world: KubeWorld, wake: Callable[[str], None], now_ms: Callable[[], int]) -> None:
        self._world = world
        self._wake = wake
        self._now_ms = now_ms
        self.heard_ms: dict[str, int] = {}
        self.deaf: set[str] = set()
        self._seen: dict[tuple[str, str], str] = {}

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            self._world.settle()
            for plural, kind in zip(WATCHED, ("Cluster", "Topic", "ConsumerGroup"), strict=True):
                for name, one in list(self._world.api.of(kind).items()):
                    version = str(one["metadata"].get("resourceVersion", ""))
                    if plural not in self.deaf and self._seen.get((plural, name)) != version:
                        self._seen[plural, name] = version
                        self.heard_ms[plural] = self._now_ms()
                        self._wake(plural)
            await asyncio.sleep(SETTLE_S)

    def is_behind(self, plural: str, name: str, version: str) -> bool:
        return plural in self.deaf and self._seen.get((plural, name)) != version


class _Api(CountedApi):
    """Lists never come while it hangs; single objects, such as the Lease, do."""

    hangs = False

    async def select(self, resource: Resource, namespace: str, labels: Mapping[str, str]) -> list[Object]:
        while self.hangs:  # noqa: ASYNC110 (another thread ends it)
            await asyncio.sleep(0.1)
        return await super().select(resource, namespace, labels)


class OperatorBench:
    """Runs while entered, in a thread with a loop of its own.

    Attributes:
        world: what it works on; change it from any thread through `do`.
        watches: which of them are deaf.
        api: whether its lists hang.
        port: of its HTTP server.
    """

    watches: _Watches
    api: _Api

    def __init__(self) -> None:
        self.world = KubeWorld()
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._main, name="operator", daemon=True)
        self._operator: Operator | None = None
        self._ended: asyncio.Event | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(20), "the operator has not started"
        return self

    def __exit__(self, *error: object) -> None:
        def stop() -> None:
            assert self._ended is not None
            self._ended.set()
            if self._operator is not None:
                self._operator.request_stop()

        self._loop.call_soon_threadsafe(stop)
        self._thread.join(20)

    def do(self, act: Callable[[KubeWorld], Any]) -> Any:
        """Let `act(world)` run where the operator runs; gives what it gives."""

        async def run() -> Any:
            return act(self.world)

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(10)

    def put(self, kind: str, name: str, **spec: Any) -> Object:
        """Apply a resource, as a person would."""
        found: Object = self.do(lambda world: world.put(kind, name, **spec))
        return found

    def _main(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._run())
        finally:
            self._loop.close()

    async def _run(self) -> None:
        clock, world = SystemClock(), self.world
        metrics = OperatorMetrics(NAMESPACE, clock)
        self.api = api = _Api(world.api, metrics)
        telemetry = Telemetry(clock.monotonic_ms, METRICS)
        lag, watchdog = LoopLag(self._loop), Watchdog(self._loop)
        for emitter in (emit_process, emit_lines, lag.emit, watchdog.emit, metrics.emit):
            telemetry.add(emitter)
        lag.start()
        watchdog.start()
        settings = OperatorSettings(
            namespace=NAMESPACE, broker_image=world.image, identity="bench", resync_s=1.0
        )

        def make() -> Operator:
            lease = Lease(api, NAMESPACE, settings.identity, clock)
            passes = Passes(
                FencedApi(api, lambda: lease.is_held),
                NAMESPACE,
                world.image,
                clock,
                make_admin=lambda _kafka, _http: world.brokers,
                mint=lambda: "cluster-1",
                metrics=metrics,
            )

            def watches(_namespace: str, wake: Callable[[str], None], now_ms: Callable[[], int]) -> Any:
                self.watches = _Watches(world, wake, now_ms)
                return self.watches

            return Operator(api, lease, passes, settings, clock, make_watches=watches, metrics=metrics)

        self._ended = asyncio.Event()
        self._operator = make()
        runner = await _serve(self._operator, telemetry, 0)
        self.port = next(address[1] for address in runner.addresses if len(address) == 2)
        self._ready.set()
        while not self._ended.is_set():  # Kubernetes starts it anew whenever it ends
            await self._operator.run()
            self._operator = make()
        watchdog.stop()
        lag.stop()
        await runner.cleanup()
