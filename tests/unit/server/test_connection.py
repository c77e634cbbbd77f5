"""A connection's framing, order of answers and bounds, with a transport made of lists."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from moldau_broker.base.deferred import Deferred
from moldau_broker.base.limits import CONNECTION_REQUESTS_IN_FLIGHT_MAX
from moldau_broker.server.buffers import InFlightBytes, ReceiveBuffers
from moldau_broker.server.connection import Connection
from moldau_broker.server.exchange import CloseConnection, describe_bad_size
from moldau_broker.server.handlers.spec import ListenerKind


class ListTransport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.reading = True
        self.closed = False
        self.aborted = False
        self.on_write: Callable[[], None] | None = None

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("192.0.2.7", 4711) if name == "peername" else default

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))
        if self.on_write is not None:
            self.on_write()

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(bytes(chunk) for chunk in list_of_data))

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True


class Owner:
    """Hands every frame to `answer`, which the test sets."""

    def __init__(self, budget: int = 10_000_000) -> None:
        self.frame_bytes_max = 1_000_000
        self.buffers = ReceiveBuffers()
        self.in_flight = InFlightBytes(budget)
        self.handler = self
        self.frames: list[bytes] = []
        self.clock_ms = 0
        self.closings: list[str] = []
        self.answer: Callable[[bytes], Any] = lambda frame: [frame]
        self.planned: list[Callable[[], None]] = []

    def handle(self, connection: Connection, buffer: bytearray, start: int, end: int) -> Any:
        frame = bytes(buffer[start:end])
        self.frames.append(frame)
        return self.answer(frame)

    def opened(self, connection: Connection) -> str | None:
        return None

    def closed(self, connection: Connection, reason: str) -> None:
        pass

    def closing(self, connection: Connection, reason: str, detail: str) -> None:
        self.closings.append(reason)

    def mark_dirty(self, connection: Connection) -> None:
        connection.flush()

    def now_ms(self) -> int:
        return self.clock_ms

    def call_later(self, delay_ms: float, callback: Callable[[], None]) -> None:
        self.planned.append(callback)

    def next_turn(self) -> None:
        """Run what was asked for in the next turn of the loop."""
        planned, self.planned = self.planned, []
        for callback in planned:
            callback()


def connect(owner: Owner) -> tuple[Connection, ListTransport]:
    transport = ListTransport()
    connection = Connection(owner, 1, "client", ListenerKind.CLIENT)
    connection.connection_made(transport)
    return connection, transport


def feed(connection: Connection, data: bytes) -> None:
    """Deliver `data` as an event loop would: as much as each offered buffer takes."""
    while data:
        view = connection.get_buffer(-1)
        count = min(len(view), len(data))
        assert count > 0
        view[:count] = data[:count]
        connection.buffer_updated(count)
        data = data[count:]


def frame(payload: bytes) -> bytes:
    return len(payload).to_bytes(4, "big") + payload


@pytest.mark.parametrize("piece", [1, 2, 3, 5, 7, 64, 1000])
def test_frames_arrive_whole_however_the_bytes_are_cut(piece: int) -> None:
    """Any split of the byte stream gives the same requests in the same order."""
    owner = Owner()
    connection, _ = connect(owner)
    payloads = [b"a", b"", b"bb" * 50, b"c" * 300, b"dd"]
    stream = b"".join(map(frame, payloads))
    for at in range(0, len(stream), piece):
        feed(connection, stream[at : at + piece])
    assert owner.frames == payloads


def test_frame_larger_than_the_shared_buffer_is_put_together() -> None:
    """A frame that does not fit the shared buffer moves to one of its own and is handled once."""
    owner = Owner()
    connection, _ = connect(owner)
    payload = bytes(range(256)) * 3000
    feed(connection, frame(payload) + frame(b"next"))
    assert owner.frames == [payload, b"next"]
    assert owner.in_flight.held == 0


def test_answers_of_one_read_leave_in_one_write() -> None:
    """Pipelined requests cost one system call for all their answers."""
    owner = Owner()
    connection, transport = connect(owner)
    feed(connection, frame(b"1") + frame(b"2") + frame(b"3"))
    assert transport.writes == [b"123"]


def test_answers_keep_the_order_of_their_requests() -> None:
    """An answer that is ready early waits for the ones before it."""
    owner = Owner()
    connection, transport = connect(owner)
    slow: Deferred[Any] = Deferred()
    owner.answer = lambda payload: slow if payload == b"slow" else [payload]
    feed(connection, frame(b"slow") + frame(b"quick"))
    assert transport.writes == []
    slow.complete([b"slow"])
    assert transport.writes == [b"slowquick"]


def test_no_answer_leaves_no_gap() -> None:
    """A produce with acks=0 has no answer, and the next one is not held up."""
    owner = Owner()
    connection, transport = connect(owner)
    owner.answer = lambda payload: None if payload == b"silent" else [payload]
    feed(connection, frame(b"silent") + frame(b"heard"))
    assert transport.writes == [b"heard"]


def test_oversized_frame_closes_the_connection_after_earlier_answers() -> None:
    """What was asked before the bad frame is still answered; nothing is allocated for it."""
    owner = Owner()
    connection, transport = connect(owner)
    feed(connection, frame(b"fine") + (1_000_001).to_bytes(4, "big"))
    assert transport.writes == [b"fine"]
    assert transport.closed
    assert owner.closings == ["frame_size"]


def test_handler_that_closes_ends_the_connection() -> None:
    """A request without a possible answer closes, with the reason counted."""
    owner = Owner()
    connection, transport = connect(owner)

    def refuse(payload: bytes) -> Any:
        raise CloseConnection("unknown_api")

    owner.answer = refuse
    feed(connection, frame(b"x"))
    assert transport.closed
    assert owner.closings == ["unknown_api"]


def test_too_many_requests_in_flight_stop_the_reading() -> None:
    """A connection may have a bounded number of unanswered requests; reading goes on after some answers."""
    owner = Owner()
    connection, transport = connect(owner)
    waiting: list[Deferred[Any]] = []

    def later(payload: bytes) -> Any:
        waiting.append(Deferred())
        return waiting[-1]

    owner.answer = later
    for _ in range(CONNECTION_REQUESTS_IN_FLIGHT_MAX):
        feed(connection, frame(b"x"))
    assert not transport.reading
    waiting[0].complete([b"y"])
    assert transport.reading


def test_requests_beyond_the_bound_wait_even_if_they_arrived_together() -> None:
    """One read event may bring more requests than may be in flight; they are kept, and handled in order later."""
    owner = Owner()
    connection, transport = connect(owner)
    waiting: list[Deferred[Any]] = []

    def later(payload: bytes) -> Any:
        waiting.append(Deferred())
        return waiting[-1]

    owner.answer = later
    payloads = [b"%d" % at for at in range(CONNECTION_REQUESTS_IN_FLIGHT_MAX + 3)]
    feed(connection, b"".join(map(frame, payloads)))
    assert owner.frames == payloads[:-3]
    assert not transport.reading
    waiting[0].complete([b"first"])
    owner.next_turn()
    assert owner.frames == payloads[:-2]
    assert not transport.reading
    for one in waiting[1:3]:
        one.complete([b"x"])
    owner.next_turn()
    assert owner.frames == payloads
    for one in waiting[3:]:
        one.complete([b"x"])
    assert transport.reading


def test_large_answers_nobody_takes_stop_what_has_arrived_already() -> None:
    """Thousands of requests in one read do not become thousands of answers in memory."""
    owner = Owner()
    connection, transport = connect(owner)
    answer = bytes(400_000)
    owner.answer = lambda payload: [answer]
    transport.on_write = connection.pause_writing
    payloads = [b"%d" % at for at in range(100)]
    feed(connection, b"".join(map(frame, payloads)))
    assert owner.frames == payloads[:3]
    assert sum(map(len, transport.writes)) == 1_200_000
    assert not transport.reading
    transport.on_write = None
    connection.resume_writing()
    owner.next_turn()
    assert owner.frames == payloads
    assert sum(map(len, transport.writes)) == 40_000_000
    assert transport.reading
    assert owner.in_flight.held == 0


def test_a_request_that_is_waited_for_holds_back_those_behind_it() -> None:
    """`wait_for` keeps later requests unhandled until its answer is there, as Kafka does with every request."""
    owner = Owner()
    connection, transport = connect(owner)
    slow: Deferred[Any] = Deferred()

    def answer(payload: bytes) -> Any:
        if payload == b"slow":
            connection.wait_for(slow)
            return slow
        return [payload]

    owner.answer = answer
    feed(connection, frame(b"slow"))
    assert transport.reading, "only what follows is held back, which costs an honest client nothing"
    feed(connection, frame(b"1") + frame(b"2"))
    assert owner.frames == [b"slow"]
    assert not transport.reading
    slow.complete([b"slow"])
    owner.next_turn()
    assert transport.writes == [b"slow", b"12"]
    assert transport.reading


def test_a_held_back_request_that_is_bad_closes_all_the_same() -> None:
    """What ends a connection ends it also in the turn in which it is looked at late."""
    owner = Owner()
    connection, transport = connect(owner)
    slow: Deferred[Any] = Deferred()

    def answer(payload: bytes) -> Any:
        if payload == b"slow":
            connection.wait_for(slow)
            return slow
        raise CloseConnection("unknown_api")

    owner.answer = answer
    feed(connection, frame(b"slow") + frame(b"bad"))
    slow.complete([b"slow"])
    owner.next_turn()
    assert transport.writes == [b"slow"]
    assert owner.closings == ["unknown_api"]
    assert not transport.reading


def test_peer_that_takes_no_answers_is_not_read_and_then_dropped() -> None:
    """Unsent answers stop the reading; a stall that lasts ends the connection."""
    owner = Owner()
    connection, transport = connect(owner)
    owner.clock_ms = 1
    connection.pause_writing()
    assert not transport.reading
    assert connection.sweep(owner.clock_ms + 1_000, 600_000) is None
    assert connection.sweep(owner.clock_ms + 60_001, 600_000) == "write_stalled"
    connection.resume_writing()
    assert transport.reading


def test_frame_that_never_completes_times_out() -> None:
    """A byte now and then (slowloris) does not keep a frame alive."""
    owner = Owner()
    connection, _ = connect(owner)
    feed(connection, frame(b"abcdef")[:5])
    owner.clock_ms = 29_000
    feed(connection, b"b")
    assert connection.sweep(29_500, 600_000) is None
    assert connection.sweep(31_000, 600_000) == "frame_timeout"


def test_every_frame_has_its_own_time() -> None:
    """A connection that always has a begun frame behind a finished one is busy, not slow."""
    owner = Owner()
    connection, _ = connect(owner)
    stream = frame(b"abcdef")
    for _ in range(10):
        owner.clock_ms += 20_000
        feed(connection, stream[-3:] + stream[:-3] if connection.requests else stream + stream[:-3])
        assert connection.sweep(owner.clock_ms, 600_000) is None
    assert len(owner.frames) == 10


def test_a_frame_that_waits_for_us_does_not_time_out() -> None:
    """While the budget or the number of requests keeps us from reading, the peer cannot finish its frame."""
    owner = Owner(budget=300_000)
    first, _ = connect(owner)
    second, _ = connect(owner)
    feed(first, frame(bytes(250_000))[:300])
    feed(second, frame(bytes(250_000))[:300])
    assert second.sweep(40_000, 600_000) is None
    assert first.sweep(40_000, 600_000) == "frame_timeout"
    owner.clock_ms = 40_000
    first.connection_lost(None)
    assert second.sweep(69_000, 600_000) is None
    assert second.sweep(71_000, 600_000) == "frame_timeout"


def test_idle_connection_is_ended_by_the_sweep() -> None:
    """connections.max.idle.ms counts from the last bytes received."""
    connection, _ = connect(Owner())
    assert connection.sweep(600_000, 600_000) is None
    assert connection.sweep(600_001, 600_000) == "idle"


def test_frame_beyond_the_budget_waits_for_room() -> None:
    """While the in-flight budget is used up, the connection is not read and holds only what had arrived."""
    owner = Owner(budget=300_000)
    first, _ = connect(owner)
    second, transport = connect(owner)
    feed(first, frame(bytes(250_000))[:300])
    feed(second, frame(bytes(250_000))[:300])
    assert not transport.reading
    feed(first, frame(bytes(250_000))[300:])
    assert transport.reading
    feed(second, frame(bytes(250_000))[300:])
    assert [len(payload) for payload in owner.frames] == [250_000, 250_000]
    assert owner.in_flight.held == 0


def test_lost_connection_gives_its_bytes_back_and_tells_who_waits() -> None:
    """A closed connection leaves nothing behind: no budget, no waiting fetch."""
    owner = Owner()
    connection, _ = connect(owner)
    told: list[str] = []
    connection.on_close["fetch"] = lambda: told.append("gone")
    feed(connection, frame(bytes(500_000))[:100_000])
    assert owner.in_flight.held > 0
    connection.connection_lost(None)
    assert owner.in_flight.held == 0
    assert told == ["gone"]


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"GET ", "HTTP"),
        (b"\x16\x03\x01\x02", "TLS"),
        (b"\xff\xff\xff\xff", "negative"),
        (b"\x7f\x00\x00\x00", "limit of 16777216"),
    ],
)
def test_bad_frame_size_is_explained(head: bytes, words: str) -> None:
    """The log says what a nonsense size most likely is."""
    assert words in describe_bad_size(int.from_bytes(head, "big"), 16 * 1024 * 1024)


def test_a_stopping_broker_answers_what_it_has_taken_and_takes_no_more() -> None:
    """Before a stop every request taken gets its answer, in order; later ones stay unread in the kernel."""
    owner = Owner()
    later: Deferred[Any] = Deferred()
    owner.answer = lambda frame: later if frame == b"slow" else [frame]
    connection, transport = connect(owner)
    feed(connection, frame(b"slow") + frame(b"next"))
    assert not connection.drained()

    connection.stop_reading()
    assert not transport.reading
    later.complete([b"done"])
    owner.next_turn()
    assert transport.writes == [b"donenext"]
    assert connection.drained()
    assert not transport.reading
