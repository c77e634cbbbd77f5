"""A real broker inside a test's process: real sockets and files, a thread and an event loop of its own.

    with EmbeddedBroker() as broker:
        topic = broker.create_topic(partitions=3)
        producer = Producer({"bootstrap.servers": broker.bootstrap})
        with broker.control(ApiKey.PRODUCE, lambda context, request: Close(after_handling=True), times=1):
            ...  # the first batch is written, and its answer is lost
        broker.restart()

Ready in some 20 ms. See docs/testing.md; the pytest fixtures are in `pytest_plugin`.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from moldau_broker.base.clock import Clock, SystemClock
from moldau_broker.base.errors import ErrorCode
from moldau_broker.server.app import App, StartError
from moldau_broker.server.broker import Broker
from moldau_broker.server.config import load_config
from moldau_broker.server.handlers import HANDLERS
from moldau_broker.testing.faults import Close, Control, ControlFunction, Controls, Delay, Silence
from moldau_broker.testing.raw import RawClient
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.create_topics import (
    CreatableTopic,
    CreatableTopicConfig,
    CreateTopicsRequest,
)

__all__ = [
    "ApiKey",
    "Close",
    "Control",
    "Delay",
    "EmbeddedBroker",
    "ErrorCode",
    "RawClient",
    "Silence",
    "SkewedClock",
    "StartError",
]

T = TypeVar("T")

HOST: Final = "127.0.0.1"
START_S_MAX: Final = 30.0
STOP_S_MAX: Final = 30.0
_LISTENERS: Final = ("CLIENT", "INTERNAL", "CONTROLLER")
FAST_SETTINGS: Final[Mapping[str, str]] = {
    "group.initial.rebalance.delay.ms": "0",
    "offsets.topic.num.partitions": "1",
    "http.port": "-1",
}
"""What differs from a broker in production: groups form at once, and there are fewer files."""


class SkewedClock(SystemClock):
    """The machine's clocks, some time ahead. Timers of the event loop do not notice; what is swept by the clock does.

    Attributes:
        ahead_ms: how far; only ever increase it.
    """

    def __init__(self) -> None:
        self.ahead_ms = 0

    def wall_ms(self) -> int:
        """Milliseconds since the Unix epoch."""
        return super().wall_ms() + self.ahead_ms

    def monotonic_ms(self) -> int:
        """Milliseconds of the monotonic clock."""
        return super().monotonic_ms() + self.ahead_ms


class EmbeddedBroker:
    """One broker for tests. A context manager; `start` and `close` are its two halves.

    Every method may be called from any thread but the broker's own.

    Attributes:
        ports: the bound port of each listener by name, and of `http` where asked for.
        data_dir: where its files are.
    """

    def __init__(
        self,
        settings: Mapping[str, str] | None = None,
        *,
        data_dir: Path | str | None = None,
        http: bool = False,
        clock: Clock | None = None,
    ) -> None:
        """Prepare a broker; nothing happens before `start`.

        Args:
            settings: Kafka's setting names and values, over the fast ones.
            data_dir: kept after `close`; a temporary folder that is removed where it is None.
            http: whether `/livez`, `/readyz` and `/metrics` are served, on `ports["http"]`.
            clock: the broker's; a `SkewedClock` lets a test run ahead of time.
        """
        self._settings = {**FAST_SETTINGS, **({"http.port": "0"} if http else {}), **(settings or {})}
        self._keeps_data = data_dir is not None
        self.data_dir = Path(data_dir) if data_dir is not None else Path()
        self.ports: dict[str, int] = {}
        self._clock = clock
        self._held: list[int] = []
        self._controls = Controls()
        self._controls.on_change = self._controls_changed
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._app: App | None = None

    # --- life -----------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Come up; clients are served when this returns.

        Raises:
            StartError: as the broker's own process would end.
            ConfigError: a setting cannot be used.
        """
        assert self._thread is None, "this broker runs already"
        if not self._keeps_data and self.data_dir == Path():
            self.data_dir = Path(tempfile.mkdtemp(prefix="moldau-test-"))
        if not self.ports and "listeners" not in self._settings and sys.platform == "linux":
            self._hold_ports()
        config = load_config(None, self._flags())
        started: Future[None] = Future()
        self._thread = threading.Thread(
            target=self._run, args=(config, started), name="moldau-broker", daemon=True
        )
        self._thread.start()
        try:
            started.result(START_S_MAX)
        except BaseException:
            self.close()
            raise
        return self

    def _hold_ports(self) -> None:
        """Choose the listeners' ports, and keep them until `close`: the kernel gives them to nobody else meanwhile.

        A socket that is bound and never listens is enough; on Linux the broker may listen beside it.
        """
        for name in _LISTENERS:
            holder = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.bind((HOST, 0))
            self.ports[name] = holder.getsockname()[1]
            self._held.append(holder.detach())

    def _flags(self) -> list[str]:
        settings = dict(self._settings)
        settings.setdefault(
            "listeners", ",".join(f"{name}://{HOST}:{self.ports.get(name, 0)}" for name in _LISTENERS)
        )
        if "http" in self.ports:
            settings["http.port"] = str(self.ports["http"])
        settings["log.dirs"] = str(self.data_dir)
        return [f"{name}={value}" for name, value in settings.items()]

    def _run(self, config: Any, started: Future[None]) -> None:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(self._serve(config, started))

    async def _serve(self, config: Any, started: Future[None]) -> None:
        app = App(config, self._clock, handlers=[self._controls.wrap(handler) for handler in HANDLERS])
        try:
            await app.start()
        except Exception as error:  # noqa: BLE001 - whatever it is, the thread that waits is told
            await app.stop()
            started.set_exception(error)
            return
        self._loop, self._app = asyncio.get_running_loop(), app
        app.dispatcher.learns_produces = not self._controls.has(ApiKey.PRODUCE)
        self.ports = dict(app.ports)
        started.set_result(None)
        await app.wait()
        await app.stop()
        self._app = None

    def stop(self) -> None:
        """Shut down in order and keep the data: what SIGTERM does. Harmless when it does not run."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        app, loop = self._app, self._loop
        if app is not None and loop is not None:
            with suppress(RuntimeError):  # the loop has ended on its own
                loop.call_soon_threadsafe(app.request_stop)
        thread.join(STOP_S_MAX)
        assert not thread.is_alive(), f"the broker did not stop within {STOP_S_MAX} s"

    def restart(self) -> None:
        """Stop, and start again on the same ports with the same data; control functions stay."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Stop, and remove the data where the folder is ours. Harmless when repeated."""
        self.stop()
        while self._held:
            os.close(self._held.pop())
        if not self._keeps_data and self.data_dir != Path():
            shutil.rmtree(self.data_dir, ignore_errors=True)
            self.data_dir = Path()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- what tests ask -------------------------------------------------------------------------------

    @property
    def bootstrap(self) -> str:
        """`host:port` for `bootstrap.servers`."""
        return f"{HOST}:{self.ports['CLIENT']}"

    @property
    def cluster_id(self) -> str:
        """The id that Metadata and DescribeCluster tell."""
        return self.ask(lambda broker: broker.cluster_id)

    def create_topic(
        self, name: str | None = None, *, partitions: int = 1, settings: Mapping[str, str] | None = None
    ) -> str:
        """Create a topic, under a name of its own where none is given; it can be used when this returns.

        Raises:
            ValueError: the broker refuses; the text says why.
        """
        name = name or f"topic-{uuid.uuid4().hex[:12]}"
        configs = [CreatableTopicConfig(name=key, value=value) for key, value in (settings or {}).items()]
        request = CreateTopicsRequest(
            topics=[
                CreatableTopic(name=name, num_partitions=partitions, replication_factor=1, configs=configs)
            ]
        )
        response = self.run(lambda broker: broker.controller.create_topics(request))
        (result,) = response.topics
        if result.error_code:
            raise ValueError(f"{name}: {result.error_message or ErrorCode(result.error_code).name}")
        return name

    def end_offset(self, topic: str, partition: int = 0) -> int:
        """The offset the next record of that partition will get.

        Raises:
            LookupError: there is no such partition.
        """

        def look(broker: Broker) -> int:
            found = broker.replicas.partition(topic, partition)
            if found is None:
                raise LookupError(f"{topic}-{partition} is not here")
            return found.log_end_offset

        return self.ask(look)

    @property
    def app(self) -> App:
        """The composed broker, for looking inside; what is not just a number belongs into `ask`."""
        assert self._app is not None, "this broker does not run"
        return self._app

    def close_reasons(self) -> dict[str, int]:
        """Why the broker has ended connections so far, and how often."""
        return self.ask(lambda _: dict(self.app.dispatcher.stats.close_reasons))

    def connect(self, *, listener: str = "CLIENT", **options: Any) -> RawClient:
        """A connection that sends what it is told (see `raw`)."""
        return RawClient(HOST, self.ports[listener], **options)

    def control(self, api: ApiKey, decide: ControlFunction, *, times: int | None = None) -> Control:
        """Show every request of `api` to `decide(context, request)` before it is handled.

        It says None to leave the request alone, an `ErrorCode` to fail all it asks for, a response to send, or
        `Close`, `Delay`, `Silence`. It runs on the broker's thread and must not block; an exception in it ends
        the connection. Later ones are asked first; after `times` decisions it falls silent.

        The `Control` counts, and ends with `remove()` or as a context manager.
        """
        return self._controls.add(api, decide, times)

    def fail(self, api: ApiKey, error: ErrorCode, *, times: int | None = None) -> Control:
        """Fail requests of `api` with `error`."""
        return self.control(api, lambda context, request: error, times=times)

    def clear_controls(self) -> None:
        """Remove every control function."""
        self._controls.clear()

    def _controls_changed(self, api: ApiKey) -> None:
        """Repeated Produce requests go past their handler; not while somebody wants to see them."""
        if api is not ApiKey.PRODUCE or self._app is None:
            return

        def switch(broker: Broker) -> None:
            assert self._app is not None
            self._app.dispatcher.learns_produces = not self._controls.has(api)
            broker.replicas.generation += 1  # what connections remember is void

        if threading.current_thread() is self._thread:
            switch(self._app.broker)
        else:
            self.ask(switch)

    # --- inside ---------------------------------------------------------------------------------------

    def ask(self, question: Callable[[Broker], T]) -> T:
        """Run `question(broker)` on the broker's thread, between requests; gives its result or raises its error."""

        async def answer(broker: Broker) -> T:
            return question(broker)

        return self.run(answer)

    def run(self, action: Callable[[Broker], Coroutine[Any, Any, T]]) -> T:
        """Run the coroutine `action(broker)` in the broker's event loop."""
        app, loop = self._app, self._loop
        assert app is not None, "this broker does not run"
        assert loop is not None, "set together with the app"
        return asyncio.run_coroutine_threadsafe(action(app.broker), loop).result(STOP_S_MAX)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """As the broker's own process chooses it."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop
