"""From a frame to its handler and back to bytes. Synchronous; a task is made only for handlers that are coroutines."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Coroutine
from time import perf_counter_ns
from typing import Any, Literal

from moldau_broker.base.deferred import Deferred
from moldau_broker.server import fast_produce
from moldau_broker.server.broker import Broker
from moldau_broker.server.connection import Connection
from moldau_broker.server.exchange import Answer, Chunks, CloseConnection
from moldau_broker.server.handlers import produce as produce_api
from moldau_broker.server.handlers.api_versions import unsupported_version
from moldau_broker.server.handlers.spec import Handler, ListenerKind, RequestContext
from moldau_broker.server.request_stats import RequestStats
from moldau_broker.wire.apis import API_SCHEMAS, ApiKey
from moldau_broker.wire.codec import decode
from moldau_broker.wire.errors import WireError
from moldau_broker.wire.framing import decode_request_header, encode_response
from moldau_broker.wire.messages.produce import ProduceRequest, ProduceResponse

logger = logging.getLogger(__name__)

_KEY_VERSION_CORRELATION_BYTES = 8


class Dispatcher:
    """Finds the handler of a request and turns what it gives into an answer.

    A handler's unexpected exception closes the connection, as there is no body that fits every API; it is
    logged with its stack and counted.

    Attributes:
        stats: what was served.
        learns_produces: whether repeated Produce requests may take the short way (`fast_produce`), past their
            handler; tests that put something before handlers switch it off.
    """

    def __init__(
        self, broker: Broker, schedule: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]
    ) -> None:
        self._broker = broker
        self._schedule = schedule
        self._handlers: dict[ListenerKind, dict[int, Handler]] = {
            kind: {handler.api: handler for handler in served} for kind, served in broker.served.items()
        }
        self.learns_produces = True
        self.stats = RequestStats()
        self._tasks: set[asyncio.Task[None]] = set()

    def handle(self, connection: Connection, buffer: bytearray, start: int, end: int) -> Answer:
        """See `exchange.RequestHandler.handle`."""
        if end - start < _KEY_VERSION_CORRELATION_BYTES:
            raise CloseConnection("short_header")
        started = perf_counter_ns()
        key = int.from_bytes(buffer[start : start + 2], "big", signed=True)
        version = int.from_bytes(buffer[start + 2 : start + 4], "big", signed=True)
        handler = self._handlers[connection.listener_kind].get(key)
        if handler is None:
            raise CloseConnection(
                "unknown_api", f"api key {key} is not served on listener {connection.listener}"
            )
        if key == ApiKey.PRODUCE and connection.known_produces:
            answer = self._produce_again(connection, buffer, start, end, version)
            if answer is not False:
                if isinstance(answer, Deferred):
                    answer.on_complete(lambda _: self.stats.record(key, perf_counter_ns() - started))
                else:
                    self.stats.record(key, perf_counter_ns() - started)
                return answer
        low, high = handler.versions
        if not low <= version <= high:
            return self._wrong_version(handler, version, buffer, start, end)
        with memoryview(buffer)[:end] as frame:
            try:
                header = decode_request_header(frame, start)
                request, body_end = decode(API_SCHEMAS[handler.api].request, version, frame, header.end)
            except WireError as error:
                raise CloseConnection("bad_request", f"{handler.api.name} v{version}: {error}") from error
            if body_end != end:
                self.stats.with_trailing_bytes += 1
            context = RequestContext(
                api_version=version,
                client_id=header.client_id,
                correlation_id=header.correlation_id,
                listener=connection.listener,
                listener_kind=connection.listener_kind,
                peer_host=connection.peer_host,
                now_ms=self._broker.clock.wall_ms(),
                connection=connection,
            )
            outcome = self._call(handler, context, request)
            if isinstance(request, ProduceRequest):
                self._learn(connection, buffer, start, header.end, end, version, request, outcome)
        return self._answer(handler, context, outcome, started)

    def _produce_again(
        self, connection: Connection, buffer: bytearray, start: int, end: int, version: int
    ) -> Answer | Literal[False]:
        """The short way for a request like one this connection has sent before (see `fast_produce`)."""
        known = connection.known_produces
        entry = fast_produce.find(known, buffer, start, version)
        if entry is None:
            return False
        if entry.generation != self._broker.replicas.generation:
            known.clear()
            return False
        return fast_produce.produce(self._broker, entry, buffer, start, end)

    def _learn(
        self,
        connection: Connection,
        buffer: bytearray,
        start: int,
        body: int,
        end: int,
        version: int,
        request: ProduceRequest,
        outcome: Any,
    ) -> None:
        """Remember a request whose one batch was appended, so that the next one like it goes the short way."""
        if len(request.topic_data) != 1 or len(request.topic_data[0].partition_data) != 1:
            return
        if not self.learns_produces:
            return
        if isinstance(outcome, ProduceResponse) and outcome.responses[0].partition_responses[0].error_code:
            return  # anything else means appended: no answer (acks=0), or one that waits for the commit
        topic = request.topic_data[0]
        index = topic.partition_data[0].index
        partition = produce_api.find_partition(self._broker, version, topic, index)
        if partition is not None and produce_api.may_write(partition.topic, None):
            generation = self._broker.replicas.generation
            fast_produce.learn(
                connection.known_produces,
                buffer,
                start,
                body,
                end,
                request,
                partition,
                generation,
                version,
                connection.listener,
            )

    def _call(self, handler: Handler, context: RequestContext, request: Any) -> Any:
        try:
            return handler.handle(self._broker, context, request)
        except CloseConnection:
            raise
        except Exception as error:
            logger.exception(
                "request.failed", extra={"api": handler.api.name, "client_id": context.client_id}
            )
            raise CloseConnection("handler_error", f"{handler.api.name}: {error!r}") from error

    def _answer(self, handler: Handler, context: RequestContext, outcome: Any, started: int) -> Answer:
        if outcome is None:
            self._count(handler, context, started)
            return None
        if isinstance(outcome, Deferred):
            later: Deferred[Chunks | None] = Deferred()

            def complete(response: Any) -> None:
                self._count(handler, context, started)
                later.complete(None if response is None else self._encode(handler, context, response))

            outcome.on_complete(complete)
            return later
        if inspect.iscoroutine(outcome):
            return self._run(handler, context, outcome, started)
        self._count(handler, context, started)
        chunks = self._encode(handler, context, outcome)
        if chunks is None:
            raise CloseConnection("handler_error", f"{handler.api.name}: the answer has no bytes")
        return chunks

    def _count(self, handler: Handler, context: RequestContext, started: int) -> None:
        elapsed_ns = perf_counter_ns() - started
        self.stats.record(handler.api, elapsed_ns)
        if handler.api is ApiKey.FETCH and context.listener_kind is not ListenerKind.CLIENT:
            self.stats.replica_fetches.record(elapsed_ns)

    def _encode(self, handler: Handler, context: RequestContext, response: Any) -> Chunks | None:
        """The answer's bytes; None where it has none, which must not disturb whoever completed it."""
        try:
            return encode_response(context.correlation_id, handler.api, context.api_version, response)
        except WireError:
            logger.exception(
                "request.failed", extra={"api": handler.api.name, "client_id": context.client_id}
            )
            return None

    def _run(
        self, handler: Handler, context: RequestContext, coroutine: Coroutine[Any, Any, Any], started: int
    ) -> Deferred[Chunks | None]:
        later: Deferred[Chunks | None] = Deferred()

        async def run() -> None:
            chunks: Chunks | None = None
            try:
                chunks = self._encode(handler, context, await coroutine)
            except asyncio.CancelledError:
                raise
            except Exception:
                logger.exception(
                    "request.failed", extra={"api": handler.api.name, "client_id": context.client_id}
                )
            finally:
                self._count(handler, context, started)
                later.complete(chunks)

        task = self._schedule(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return later

    def _wrong_version(
        self, handler: Handler, version: int, buffer: bytearray, start: int, end: int
    ) -> Answer:
        """ApiVersions answers error 35 in a v0 body (KIP-511); every other API has no answer for it."""
        if handler.api is not ApiKey.API_VERSIONS:
            raise CloseConnection("unsupported_version", f"{handler.api.name} v{version} is not served")
        correlation_id = int.from_bytes(buffer[start + 4 : start + 8], "big", signed=True)
        return encode_response(correlation_id, handler.api, 0, unsupported_version())
