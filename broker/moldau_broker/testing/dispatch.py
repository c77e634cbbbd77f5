"""Requests as bytes into a real dispatcher and answers as bytes out of it, without sockets, loop or waiting.

bench = DispatchBench()
bench.create_topic("t")
answer = bench.send(ApiKey.PRODUCE, 9, request)
bench.committer.flush()
response = answer.response()
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, cast

from moldau_broker.base.deferred import Deferred
from moldau_broker.base.ids import Uuid
from moldau_broker.metadata.image import BrokerImage, Endpoint
from moldau_broker.metadata.views import ListenerView
from moldau_broker.server.broker import Broker
from moldau_broker.server.config import load_config
from moldau_broker.server.connection import Connection
from moldau_broker.server.dispatch import Dispatcher
from moldau_broker.server.exchange import Answer, CloseConnection
from moldau_broker.server.fast_produce import KnownProduce
from moldau_broker.server.fetch_sessions import FetchSessions
from moldau_broker.server.handlers import HANDLERS
from moldau_broker.server.handlers.spec import Handler, ListenerKind
from moldau_broker.testing.disk import SimDisk
from moldau_broker.testing.replicas import NODE_ID, ReplicaBench
from moldau_broker.wire.apis import API_SCHEMAS, ApiKey
from moldau_broker.wire.codec import decode
from moldau_broker.wire.framing import decode_response_header, encode_request
from moldau_broker.wire.schema import Struct


class _Timer:
    def __init__(self, due: float, callback: Callable[[], None]) -> None:
        self.due = due
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class ManualTimers:
    """Timers that run when time is moved on."""

    def __init__(self) -> None:
        self.now_ms = 0.0
        self._timers: list[_Timer] = []

    @property
    def pending(self) -> int:
        """Timers that are neither due nor cancelled."""
        return sum(not timer.cancelled for timer in self._timers)

    def call_later(self, delay_ms: float, callback: Callable[[], None]) -> _Timer:
        """See `server.turn.LoopTimers`."""
        timer = _Timer(self.now_ms + max(0.0, delay_ms), callback)
        self._timers.append(timer)
        return timer

    def advance(self, ms: float) -> None:
        """Run what becomes due."""
        self.now_ms += ms
        for timer in sorted(self._timers, key=lambda one: one.due):
            if timer.due <= self.now_ms and not timer.cancelled:
                timer.cancel()
                timer.callback()
        self._timers = [timer for timer in self._timers if not timer.cancelled]


class ImmediateTurn:
    """Ends every turn at once."""

    def soon(self, callback: Callable[[], None]) -> None:
        """See `server.turn.Turn`."""
        callback()


class ManualReaders:
    """Cold reads that are done when told to.

    Attributes:
        asked: how many reads were handed over.
    """

    def __init__(self) -> None:
        self.asked = 0
        self._waiting: list[tuple[Callable[[], object], Callable[[], None]]] = []

    def warm(self, read: Callable[[], object], done: Callable[[], None]) -> None:
        """See `server.readers.Readers`."""
        self.asked += 1
        self._waiting.append((read, done))

    def run(self) -> None:
        """Do the reads, and tell."""
        waiting, self._waiting = self._waiting, []
        for read, done in waiting:
            read()
            done()


@dataclass
class Peer:
    """The part of `server.connection.Connection` that the dispatcher and handlers use."""

    listener: str = "CLIENT"
    listener_kind: ListenerKind = ListenerKind.CLIENT
    peer_host: str = "192.0.2.1"
    client_software: tuple[str, str] | None = None
    known_produces: list[KnownProduce] = field(default_factory=list)
    on_close: dict[object, Callable[[], None]] = field(default_factory=dict)
    awaited: Deferred[Any] | None = None

    def wait_for(self, answer: Deferred[Any]) -> None:
        """See `Connection.wait_for`; here only noted."""
        self.awaited = answer

    def close(self) -> None:
        """The connection is gone."""
        callbacks, self.on_close = self.on_close, {}
        for callback in callbacks.values():
            callback()


class _DoneTask:
    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """It is not called: there is nothing left to do."""


class Reply:
    """What became of one request.

    Attributes:
        closed: why the connection has to end, or None.
    """

    def __init__(self, api: ApiKey, version: int, answer: Answer, closed: str | None = None) -> None:
        self._api = api
        self._version = version
        self._answer = answer
        self.closed = closed

    @property
    def done(self) -> bool:
        """Whether it is known by now."""
        return not isinstance(self._answer, Deferred) or self._answer.done

    @property
    def data(self) -> bytes | None:
        """The answer's bytes, size first; None where there is none (yet)."""
        chunks = self._answer
        if isinstance(chunks, Deferred):
            chunks = chunks.value if chunks.done else None
        return None if chunks is None else b"".join(chunks)

    def response(self) -> Any:
        """The answer decoded; it must be there."""
        data = self.data
        assert data is not None, f"no answer: {self.closed or 'it is still waited for'}"
        assert int.from_bytes(data[:4], "big") == len(data) - 4
        _, at = decode_response_header(self._api, self._version, data, 4)
        response, end = decode(API_SCHEMAS[self._api].response, self._version, data, at)
        assert end == len(data)
        return response


class DispatchBench(ReplicaBench):
    """A dispatcher over real replicas; controller and groups are not there.

    Attributes:
        timers, readers: what a test turns.
        broker, dispatcher: the parts under test.
        handled: how often a handler was called, by API.
    """

    def __init__(
        self,
        *settings: str,
        disk: SimDisk | None = None,
        seed: int = 1,
        handlers: Sequence[Handler] = HANDLERS,
    ) -> None:
        config = load_config(None, [f"node.id={NODE_ID}", *settings])
        super().__init__(disk, seed=seed, flush_acks_all=config.log.flush_acks_all)
        self.timers = ManualTimers()
        self.readers = ManualReaders()
        self.handled: dict[ApiKey, int] = {}
        counted = [self._counted(handler) for handler in handlers]
        self.broker = Broker(
            node_id=NODE_ID,
            cluster_id="cluster",
            settings=config,
            clock=self.clock,
            log_dir=self.log_dir,
            metadata=cast("Any", self),  # it has an `image` and a `view`, which is all that is asked of it
            controller=cast("Any", None),
            liveness=cast("Any", None),
            replicas=self.replicas,
            groups=cast("Any", None),
            fetch_sessions=FetchSessions(100, Random(seed)),  # noqa: S311 - a test is to be repeatable
            readers=cast("Any", self.readers),
            turn=cast("Any", ImmediateTurn()),
            timers=cast("Any", self.timers),
            served={kind: tuple(one for one in counted if kind in one.listeners) for kind in ListenerKind},
            supported_features={},
        )
        self.dispatcher = Dispatcher(self.broker, self._schedule)
        self.peer = Peer()

    def view(self, listener: str) -> ListenerView:
        """The newest image as clients of that listener see it; see `metadata.publisher`."""
        return ListenerView(self.image, listener)

    def meet_broker(self, broker_id: int, port: int, rack: str | None = None) -> None:
        """From now on the image has a live broker of that id, at 192.0.2.`id`."""
        at = {self.peer.listener: Endpoint(f"192.0.2.{broker_id}", port)}
        broker = BrokerImage(broker_id, broker_id, Uuid(bytes(16)), False, False, rack, at)
        image = self.image
        self.follow(image._replace(offset=image.offset + 1, brokers={**image.brokers, broker_id: broker}))

    def _counted(self, handler: Handler) -> Handler:
        def handle(*arguments: Any) -> Any:
            self.handled[handler.api] = self.handled.get(handler.api, 0) + 1
            return handler.handle(*arguments)

        return replace(handler, handle=handle)

    def _schedule(self, coroutine: Coroutine[Any, Any, None]) -> Any:
        """Run a coroutine that never really waits, to its end."""
        try:
            coroutine.send(None)
        except StopIteration:
            pass
        else:
            raise AssertionError("this coroutine needs an event loop")
        return _DoneTask()

    def send(
        self,
        api: ApiKey,
        version: int,
        body: Struct,
        *,
        correlation_id: int = 7,
        client_id: str | None = "test",
        peer: Peer | None = None,
    ) -> Reply:
        """Handle one request."""
        frame = encode_request(api, version, correlation_id, client_id, body)
        return self.send_bytes(api, version, frame[4:], peer=peer)

    def send_bytes(self, api: ApiKey, version: int, payload: bytes, *, peer: Peer | None = None) -> Reply:
        """Handle one frame, given without its size; it stands in a buffer with junk around it."""
        buffer = bytearray(b"\xaa" * 16 + payload + b"\xbb" * 16)
        connection = cast("Connection", peer or self.peer)
        try:
            answer = self.dispatcher.handle(connection, buffer, 16, 16 + len(payload))
        except CloseConnection as close:
            return Reply(api, version, None, close.reason)
        finally:
            buffer[:] = b"\xcc" * len(buffer)  # valid only during the call: whoever kept a view would see
        return Reply(api, version, answer)
