"""One client connection: frames in, answers out, in order. Decides nothing about requests.

Theory of operation: every connection of a process reads into one shared buffer, and whole frames are handled
in place, inside `buffer_updated`. Only a frame that is still incomplete moves to a buffer of its own. Answers
are collected during a read event and leave in one write. An answer that comes later keeps its place in line by
a `Deferred` in `_waiting`; what is ready behind it waits with it.

Bounds: a frame's size, the bytes of unhandled frames over all connections (`InFlightBytes`), requests in
flight per connection, unsent answer bytes, and the time a frame or a write may take (`sweep`). Where one of them
is reached, frames that are here already stay unhandled too: a read event can bring thousands of requests, and
each may ask for an answer of megabytes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from moldau_broker.base.deferred import Deferred
from moldau_broker.base.limits import (
    ANSWER_BYTES_GATHERED_MAX,
    CONNECTION_REQUESTS_IN_FLIGHT_MAX,
    FRAME_COMPLETION_MS_MAX,
    WRITE_STALL_MS_MAX,
)
from moldau_broker.server.exchange import (
    Chunks,
    CloseConnection,
    ConnectionOwner,
    describe_bad_size,
)

if TYPE_CHECKING:
    from moldau_broker.server.fast_produce import KnownProduce
    from moldau_broker.server.handlers.spec import ListenerKind

_SIZE_BYTES = 4


class Connection(asyncio.BufferedProtocol):
    """See the module's text. Attributes below the line are for handlers and metrics."""

    __slots__ = (
        "_awaited",
        "_buffer",
        "_filled",
        "_frame_since_ms",
        "_held_bytes",
        "_last_request_taken",
        "_muted",
        "_needed",
        "_out",
        "_out_bytes",
        "_own",
        "_owner",
        "_pump_planned",
        "_reading_paused",
        "_stalled_since_ms",
        "_transport",
        "_waiting",
        "bytes_in",
        "bytes_out",
        "client_software",
        "connection_id",
        "known_produces",
        "last_active_ms",
        "listener",
        "listener_kind",
        "on_close",
        "peer_host",
        "requests",
    )

    def __init__(self, owner: ConnectionOwner, connection_id: int, listener: str, kind: ListenerKind) -> None:
        self._owner = owner
        self._buffer = owner.buffers.shared
        self._own: bytearray | None = None
        self._filled = 0
        self._needed = 0
        self._held_bytes = 0
        self._out: Chunks = []
        self._out_bytes = 0
        self._waiting: deque[Deferred[Chunks | None] | Chunks] = deque()
        self._transport: asyncio.Transport | None = None
        self._reading_paused = False
        self._pump_planned = False
        self._awaited: Deferred[Any] | None = None
        self._frame_since_ms = 0
        self._stalled_since_ms = 0
        self._muted = False
        self._last_request_taken = False
        self.connection_id = connection_id
        self.listener = listener
        self.listener_kind = kind
        self.peer_host = ""
        self.client_software: tuple[str, str] | None = None
        self.known_produces: list[KnownProduce] = []
        self.on_close: dict[object, Callable[[], None]] = {}
        self.last_active_ms = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.requests = 0

    # --- asyncio's side -------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A peer has connected."""
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        self.peer_host = peer[0] if isinstance(peer, tuple) else ""
        self.last_active_ms = self._owner.now_ms()
        refusal = self._owner.opened(self)
        if refusal is not None:
            self.close(refusal)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go: the shared buffer, or this connection's own while a frame is incomplete."""
        if self._own is None:
            return self._owner.buffers.shared_view
        return memoryview(self._own)[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """`nbytes` have arrived: handle every whole frame, keep the rest, send what is ready."""
        self.bytes_in += nbytes
        self.last_active_ms = self._owner.now_ms()
        own = self._own
        if own is None:
            self._pump(self._buffer, nbytes)
        else:
            self._filled += nbytes
            if self._filled >= self._needed:
                self._pump(own, self._filled)

    def eof_received(self) -> bool:
        """The peer will send no more; asyncio closes the transport."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone: free its buffers and drop what was waiting for it."""
        self._transport = None
        self._waiting.clear()
        self._release_own()
        callbacks, self.on_close = self.on_close, {}
        for callback in callbacks.values():
            callback()
        self._owner.closed(self, "error" if exc is not None else "closed")

    def pause_writing(self) -> None:
        """The peer does not take its answers: stop reading more requests from it."""
        self._stalled_since_ms = self._owner.now_ms()
        self._pause_reading()

    def resume_writing(self) -> None:
        """The peer has caught up."""
        self._stalled_since_ms = 0
        self._maybe_resume_reading()

    # --- frames ---------------------------------------------------------------------------------------

    def _pump(self, buffer: bytearray, end: int) -> None:
        """Handle the whole frames of `buffer[:end]`, and send what is ready."""
        try:
            self._take_frames(buffer, end)
        except CloseConnection as close:
            self.flush()
            self.close(close.reason, str(close))
            return
        self.flush()

    def _take_frames(self, buffer: bytearray, end: int) -> None:
        """Handle the whole frames of `buffer[:end]` as far as bounds allow, and keep what is left over."""
        at = 0
        handle = self._owner.handler.handle
        frame_bytes_max = self._owner.frame_bytes_max
        while end - at >= _SIZE_BYTES:
            size = int.from_bytes(buffer[at : at + _SIZE_BYTES], "big")
            if size > frame_bytes_max:
                raise CloseConnection("frame_size", describe_bad_size(size, frame_bytes_max))
            frame_end = at + _SIZE_BYTES + size
            if frame_end > end:
                break
            if self._reading_paused or self._awaited is not None:
                self._pause_reading()
                break
            self.requests += 1
            answer = handle(self, buffer, at + _SIZE_BYTES, frame_end)
            if answer is not None:
                self._enqueue(answer)
            at = frame_end
            if self._out_bytes >= ANSWER_BYTES_GATHERED_MAX:
                self._send()
        self._keep(buffer, at, end)

    def _keep(self, buffer: bytearray, at: int, end: int) -> None:
        left = end - at
        if left == 0:
            if self._own is not None:
                self._release_own()
            return
        needed = _SIZE_BYTES
        if left >= _SIZE_BYTES:
            needed += int.from_bytes(buffer[at : at + _SIZE_BYTES], "big")
        own = self._own
        if own is None or at:
            self._frame_since_ms = self.last_active_ms
        if own is not None and len(own) >= needed:
            if at:
                own[:left] = own[at:end]
            self._filled = left
            self._needed = needed
            return
        rest = bytes(memoryview(buffer)[at:end])
        room = max(needed, left)
        self._release_own()
        self._filled = left
        self._needed = needed
        self._held_bytes = self._owner.buffers.size_for(room)
        if self._owner.in_flight.hold(self, self._held_bytes):
            self._own = self._owner.buffers.take(room)
            self._own[:left] = rest
        else:
            self._own = bytearray(rest)
            self._pause_reading()

    def _pump_held(self) -> None:
        """Handle the frames that were kept whole, in a turn of the loop of their own."""
        self._pump_planned = False
        if self._may_read() and self._own is not None:
            self._reading_paused = False
            self._pump(self._own, self._filled)
            transport = self._transport
            if transport is not None and not transport.is_closing() and not self._reading_paused:
                transport.resume_reading()

    def _release_own(self) -> None:
        if self._own is not None:
            own, self._own = self._own, None
            self._owner.buffers.give(own)
            self._owner.in_flight.release(self, self._held_bytes)
            self._held_bytes = 0
        self._filled = 0
        self._needed = 0

    # --- answers --------------------------------------------------------------------------------------

    def _enqueue(self, answer: Chunks | Deferred[Chunks | None]) -> None:
        if isinstance(answer, list):
            if self._waiting:
                self._waiting.append(answer)
            else:
                self._out += answer
                self._out_bytes += sum(map(len, answer))
            return
        if answer.done and not self._waiting:
            self._take_answer(answer.value)
            return
        self._waiting.append(answer)
        answer.on_complete(self._on_answer)
        if len(self._waiting) >= CONNECTION_REQUESTS_IN_FLIGHT_MAX:
            self._pause_reading()

    def _on_answer(self, _: Chunks | None) -> None:
        if self._transport is not None:
            self._owner.mark_dirty(self)

    def _take_answer(self, chunks: Chunks | None) -> None:
        if chunks is None:
            self.close("request_failed")
        else:
            self._out += chunks
            self._out_bytes += sum(map(len, chunks))

    def wait_for(self, answer: Deferred[Any]) -> None:
        """Handle no further request before this one is answered: for requests whose answers may be large."""
        if not answer.done:
            self._awaited = answer
            answer.on_complete(self._awaited_is_there)

    def _awaited_is_there(self, _: object) -> None:
        self._awaited = None

    def flush(self) -> None:
        """Send every answer that is ready and whose turn has come."""
        waiting = self._waiting
        while waiting:
            head = waiting[0]
            if isinstance(head, list):
                self._out += head
                self._out_bytes += sum(map(len, head))
            elif head.done:
                self._take_answer(head.value)
            else:
                break
            waiting.popleft()
        self._send()
        if self._reading_paused:
            self._maybe_resume_reading()

    def _send(self) -> None:
        out = self._out
        transport = self._transport
        if out and transport is not None:
            self._out = []
            self.bytes_out += self._out_bytes
            self._out_bytes = 0
            if len(out) == 1:
                transport.write(out[0])
            else:
                transport.writelines(out)

    # --- flow control and ends ------------------------------------------------------------------------

    def _pause_reading(self) -> None:
        if not self._reading_paused and self._transport is not None:
            self._reading_paused = True
            self._transport.pause_reading()

    def _may_read(self) -> bool:
        return (
            self._transport is not None
            and not self._transport.is_closing()
            and self._stalled_since_ms == 0
            and not self._muted
            and not self._last_request_taken
            and self._awaited is None
            and len(self._waiting) < CONNECTION_REQUESTS_IN_FLIGHT_MAX
            and self._owner.in_flight.granted(self)
        )

    def _maybe_resume_reading(self) -> None:
        if self._reading_paused and self._may_read():
            assert self._transport is not None, "checked by _may_read"
            self._frame_since_ms = self._owner.now_ms()
            if self._own is None or self._filled < self._needed:
                self._reading_paused = False
                self._transport.resume_reading()
            elif not self._pump_planned:
                self._pump_planned = True
                self._owner.call_later(0, self._pump_held)

    def mute(self, delay_ms: float) -> None:
        """Read nothing for `delay_ms` (max.connection.creation.rate, quotas: KIP-219)."""
        self._muted = True
        self._pause_reading()
        self._owner.call_later(delay_ms, self._unmute)

    def stop_reading(self) -> None:
        """Take no further request: the broker is stopping, and only answers what it has taken."""
        self._last_request_taken = True
        self._pause_reading()

    def _unmute(self) -> None:
        self._muted = False
        self._maybe_resume_reading()

    def bytes_granted(self) -> None:
        """The in-flight budget has room for this connection's frame now."""
        if self._own is not None and len(self._own) < self._needed:
            own = self._owner.buffers.take(self._needed)
            own[: self._filled] = self._own
            self._own = own
        self._maybe_resume_reading()

    def sweep(self, now_ms: int, idle_ms_max: int) -> str | None:
        """Why this connection has to end (a frame or a write that takes too long, idleness), or None."""
        if (
            self._own is not None
            and not self._reading_paused  # where we do not read, it is not the peer that is slow
            and now_ms - self._frame_since_ms > FRAME_COMPLETION_MS_MAX
        ):
            return "frame_timeout"
        if self._stalled_since_ms and now_ms - self._stalled_since_ms > WRITE_STALL_MS_MAX:
            return "write_stalled"
        if not self._waiting and now_ms - self.last_active_ms > idle_ms_max >= 0:
            return "idle"
        return None

    def close(self, reason: str, detail: str = "") -> None:
        """End the connection; answers already handed to the transport still leave, unless it is stalled."""
        transport = self._transport
        if transport is not None and not transport.is_closing():
            self._owner.closing(self, reason, detail)
            if self._stalled_since_ms:
                transport.abort()
            else:
                transport.close()

    def drained(self) -> bool:
        """No request is waiting for its answer."""
        return not self._waiting and not self._out
