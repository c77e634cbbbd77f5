"""Bad input, below the requests: sizes, headers, bodies, tags, and connections that do not behave.

Rows of the catalogue that are not here because what they speak of is not served yet: plaintext on a TLS port,
everything before, during and after SASL authentication (frame limit, order, mechanisms, re-authentication).
After every test a good client is still served.
"""

from __future__ import annotations

import logging
import selectors
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import cast

import pytest
from _pytest.mark import ParameterSet
from tests.compat.hostile import (
    FETCH_VERSION,
    PRODUCE_VERSION,
    Target,
    computed_within,
    head,
    produce,
    produce_request,
    records,
    uvarint,
)

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.limits import WRITE_STALL_MS_MAX
from moldau_broker.server.handlers import HANDLERS
from moldau_broker.server.handlers.spec import Handler, ListenerKind
from moldau_broker.testing.broker import EmbeddedBroker, SkewedClock
from moldau_broker.wire.apis import API_SCHEMAS, ApiKey
from moldau_broker.wire.codec import encode
from moldau_broker.wire.framing import is_flexible
from moldau_broker.wire.messages.api_versions import ApiVersionsRequest
from moldau_broker.wire.messages.fetch import FetchPartition, FetchRequest, FetchTopic
from moldau_broker.wire.messages.metadata import MetadataRequest

METADATA = ApiKey.METADATA
INT32_MAX = 2**31 - 1
FRAME_BYTES_MAX = 16 * 1024 * 1024


@pytest.fixture(scope="module")
def shared() -> Iterator[Target]:
    with EmbeddedBroker() as broker:
        target = Target(broker)
        yield target
        target.close()


@pytest.fixture
def target(shared: Target) -> Iterator[Target]:
    """A target that must still serve the good client afterwards."""
    yield shared
    shared.still_serves()


# --- sizes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [-1, -(2**31), FRAME_BYTES_MAX + 1, INT32_MAX])
def test_a_frame_of_impossible_size_closes(target: Target, size: int) -> None:
    """Negative or above socket.request.max.bytes: nothing is allocated, nothing is answered."""
    assert target.refuses(size.to_bytes(4, "big", signed=True), framed=False) == "frame_size"


@pytest.mark.parametrize(
    ("hello", "words"),
    [
        (b"GET /metrics HTTP/1.1\r\nHost: broker\r\n\r\n", "HTTP on a Kafka port"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), "TLS on a plaintext port"),
    ],
    ids=["http", "tls"],
)
def test_another_protocol_closes_and_is_named_once_per_address(
    hello: bytes, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A browser, a probe or a TLS client at the wrong port: the log says so, but not a thousand times."""
    with EmbeddedBroker() as broker, caplog.at_level(logging.WARNING):
        target = Target(broker)
        assert target.refuses(hello, hello, hello, framed=False) == "frame_size"
        with socket.create_connection(
            ("127.0.0.1", broker.ports["CLIENT"]), 5, source_address=("127.0.0.2", 0)
        ) as other:
            other.sendall(hello)
            assert other.recv(1) == b""
        target.still_serves()
        target.close()
    said = [record for record in caplog.records if record.msg == "connection.closed"]
    assert [(record.peer, record.detail) for record in said] == [  # type: ignore[attr-defined]
        ("127.0.0.1", words),
        ("127.0.0.2", words),
    ]


def test_an_empty_or_cut_header_closes(target: Target) -> None:
    """Size 0, and every length too short for key, version and correlation id."""
    whole = head(METADATA, 9, flexible=True)
    assert target.refuses(*(whole[:size] for size in range(8))) == "short_header"
    assert target.refuses(*(whole[:size] for size in range(8, len(whole)))) == "bad_request"


# --- keys and versions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [-1, 4, 17, 24, 51, 69, 999, 32767])
def test_an_unknown_or_unserved_key_closes(target: Target, key: int) -> None:
    """Also the SASL, transaction and next-generation group APIs, and those that only ZooKeeper's time knew."""
    assert target.refuses(head(key, 0, flexible=False) + bytes(50)) == "unknown_api"
    assert target.refuses(head(key, 0, flexible=False) + bytes(50), listener="CONTROLLER") == "unknown_api"


@pytest.mark.parametrize(("kind", "other"), [("CONTROLLER", "CLIENT"), ("CLIENT", "CONTROLLER")])
def test_an_api_of_the_other_listener_closes(target: Target, kind: str, other: str) -> None:
    """A client cannot vote, register brokers or shrink ISRs; the controller's port takes no records."""
    here = {handler.api for handler in HANDLERS if ListenerKind[kind] in handler.listeners}
    there = {handler.api for handler in HANDLERS if ListenerKind[other] in handler.listeners}
    frames = [head(api, 0, flexible=False) + bytes(50) for api in sorted(here - there)]
    assert len(frames) > 5
    assert target.refuses(*frames, listener=other) == "unknown_api"


def every_handler() -> list[ParameterSet]:
    """Each, with a listener that serves it."""
    cases = []
    for handler in HANDLERS:
        listener = "CLIENT" if ListenerKind.CLIENT in handler.listeners else "CONTROLLER"
        cases.append(pytest.param(handler, listener, id=f"{handler.api.name}-{listener.lower()}"))
    return cases


@pytest.mark.parametrize(("handler", "listener"), every_handler())
def test_a_version_that_is_not_served_closes(target: Target, handler: Handler, listener: str) -> None:
    """Below the first and above the last; ApiVersions has an answer of its own."""
    api, (low, high) = handler.api, handler.versions
    if api is ApiKey.API_VERSIONS:
        return
    frames = [head(api, version, flexible=False) + bytes(50) for version in (-1, low - 1, high + 1, 32767)]
    assert target.refuses(*frames, listener=listener) == "unsupported_version"


@pytest.mark.parametrize("version", [-1, 5, 99, 32767])
def test_api_versions_of_an_unknown_version_is_answered_in_version_0(target: Target, version: int) -> None:
    """KIP-511: error 35 and our range, so that a newer client can step down on the same connection."""
    with target.broker.connect() as client:
        client.send_frame(head(ApiKey.API_VERSIONS, version, flexible=False) + b"whatever")
        correlation_id, response = client.receive(ApiKey.API_VERSIONS, 0)
        assert (correlation_id, response.error_code) == (7, ErrorCode.UNSUPPORTED_VERSION)
        ranges = [(one.api_key, one.min_version, one.max_version) for one in response.api_keys]
        assert ranges == [(ApiKey.API_VERSIONS, 0, 4)]
        again = ApiVersionsRequest(client_software_name="raw", client_software_version="1")
        assert client.call(ApiKey.API_VERSIONS, 4, again).error_code == ErrorCode.NONE


@pytest.mark.parametrize("name", ["", "-dash", "dot.", "sp ace", "new\nline", "x" * 1000 + "!", "ünï"])
def test_api_versions_with_an_illegal_software_name_is_refused(target: Target, name: str) -> None:
    """It would end up in metrics and logs (KIP-511)."""
    with target.broker.connect() as client:
        request = ApiVersionsRequest(client_software_name=name, client_software_version="1")
        assert client.call(ApiKey.API_VERSIONS, 3, request).error_code == ErrorCode.INVALID_REQUEST


# --- bodies -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("handler", "listener"), every_handler())
def test_a_body_that_ends_early_closes(target: Target, handler: Handler, listener: str) -> None:
    """One byte short, half, or nothing at all, in the first and the last version."""
    api, versions = handler.api, handler.versions
    frames = []
    for version in versions:
        body = encode(API_SCHEMAS[api].request(), version)
        start = head(api, version, flexible=is_flexible(api, version))
        frames += [
            start + body[:size]
            for size in sorted({len(body) - 1, len(body) // 2, 0})
            if 0 <= size < len(body)
        ]
    if frames:
        assert target.refuses(*frames, listener=listener) == "bad_request"


def test_null_where_there_is_no_null_closes(target: Target) -> None:
    """A topic name, a list of topics, a group id, a client id's length: in old and in compact encoding."""
    frames = [
        head(ApiKey.CREATE_TOPICS, 5, flexible=True) + b"\x02\x00" + bytes(30),  # name
        head(ApiKey.CREATE_TOPICS, 5, flexible=True) + b"\x00" + bytes(30),  # topics
        head(ApiKey.CREATE_TOPICS, 2, flexible=False) + b"\xff\xff\xff\xff" + bytes(30),
        head(ApiKey.CREATE_TOPICS, 2, flexible=False) + b"\0\0\0\1\xff\xff" + bytes(30),
        head(ApiKey.PRODUCE, 9, flexible=True) + b"\x00\xff\xff\0\0\0\0\x00" + bytes(30),
        head(ApiKey.HEARTBEAT, 4, flexible=True) + b"\x00" + bytes(30),
        head(ApiKey.FIND_COORDINATOR, 2, flexible=False) + b"\xff\xff" + bytes(30),
    ]
    assert target.refuses(*frames) == "bad_request"


def test_negative_lengths_close(target: Target) -> None:
    """-2 is neither a length nor null, for strings, arrays, bytes and the client id."""
    frames = [
        head(METADATA, 9, flexible=True, client_id=b"\xff\xfe"),
        head(METADATA, 9, flexible=True, client_id=b"\x80\x00"),
        head(METADATA, 4, flexible=False) + b"\xff\xff\xff\xfe" + bytes(30),
        head(METADATA, 4, flexible=False) + b"\0\0\0\1\xff\xfe" + bytes(30),
        head(ApiKey.JOIN_GROUP, 5, flexible=False)
        + b"\0\1g\0\0\x27\x10\0\0\x27\x10\0\1m\xff\xff\0\1p\0\0\0\1\0\1r\xff\xff\xff\xfe"
        + bytes(9),
        head(ApiKey.PRODUCE, 8, flexible=False)
        + b"\xff\xff\xff\xff\0\0\0\0\0\0\0\1\0\1t\0\0\0\1\0\0\0\0\xff\xff\xff\xfe",
    ]
    assert target.refuses(*frames) == "bad_request"


@pytest.mark.parametrize("count", [INT32_MAX, 2**31, 10**6, 41])
def test_an_array_longer_than_its_bytes_closes_before_it_is_built(target: Target, count: int) -> None:
    """KAFKA-14063: a count of 2^31-1 in a 40-byte body must not allocate; in every API that has an array first."""
    wide, compact = min(count, INT32_MAX).to_bytes(4, "big"), uvarint(min(count + 1, 2**32 - 1))
    frames = [
        head(METADATA, 4, flexible=False) + wide + bytes(36),
        head(METADATA, 9, flexible=True) + compact + bytes(36),
        head(ApiKey.CREATE_TOPICS, 2, flexible=False) + wide + bytes(36),
        head(ApiKey.DELETE_TOPICS, 6, flexible=True) + compact + bytes(36),
        head(ApiKey.LIST_GROUPS, 4, flexible=True) + compact + bytes(36),
        head(ApiKey.DESCRIBE_GROUPS, 5, flexible=True) + compact + bytes(36),
        head(ApiKey.OFFSET_FETCH, 8, flexible=True) + compact + bytes(36),
        head(ApiKey.PRODUCE, 3, flexible=False) + b"\xff\xff\0\1\0\0\0\0" + wide + bytes(36),
    ]
    with computed_within(2):
        assert target.refuses(*frames) == "bad_request"


def test_text_that_is_no_text_closes(target: Target) -> None:
    """Broken UTF-8 in the client id or in a topic's name."""
    frames = [
        head(METADATA, 9, flexible=True, client_id=b"\0\x02\xc3\x28"),
        head(METADATA, 4, flexible=False) + b"\0\0\0\1\0\x02\xff\xfe\1",
    ]
    assert target.refuses(*frames) == "bad_request"


def test_tags_beyond_reason_close(target: Target) -> None:
    """A tag that claims more than there is, a million tags, tags twice or out of order, more than 128 KiB of them."""
    start, body = head(METADATA, 9, flexible=False), b"\x01\x01\x00\x00"  # header and body without their tags
    empty_tags = b"".join(uvarint(tag) + b"\x00" for tag in range(10**6))
    bad_tags = [
        b"\x01\x05" + uvarint(2**31),
        b"\x01\x05" + uvarint(2**32 - 1) + bytes(100),
        uvarint(2**32 - 1) + bytes(10),
        uvarint(10**6) + empty_tags,
        b"\x02\x05\x01\x00\x05\x01\x00",
        b"\x02\x06\x01\x00\x05\x01\x00",
        b"\x01\x05" + uvarint(129 * 1024) + bytes(129 * 1024),
        b"\x03\x05"
        + (uvarint(60 * 1024) + bytes(60 * 1024) + b"\x06") * 2
        + uvarint(60 * 1024)
        + bytes(60 * 1024),
    ]
    in_header = [start + tags + body + b"\x00" for tags in bad_tags]
    in_body = [start + b"\x00" + body + tags for tags in bad_tags]
    assert target.refuses(*in_header, *in_body) == "bad_request"


def test_unknown_tags_are_skipped(target: Target) -> None:
    """A newer client may say more than we know (KIP-482)."""
    tags = b"\x02\x05\x03abc\x63" + uvarint(1000) + bytes(1000)
    with target.broker.connect() as client:
        client.send_frame(head(METADATA, 9, flexible=False) + tags + b"\x01\x01\x00\x00" + tags)
        assert client.receive(METADATA, 9)[1].brokers


def test_a_varint_too_long_closes_and_a_wasteful_one_does_not(target: Target) -> None:
    """More than 5 bytes or 32 bits is no varint; 0 in five bytes is one, as in Kafka."""
    start = head(METADATA, 9, flexible=True)
    too_long = [b"\x81\x80\x80\x80\x80\x00", b"\xff" * 10, b"\x81\x80\x80\x80\x10", b"\x80" * 40]
    assert target.refuses(*(start + count + bytes(20) for count in too_long)) == "bad_request"
    with target.broker.connect() as client:
        client.send_frame(start + b"\x81\x80\x80\x80\x00" + b"\x01\x00\x00" + b"\x80\x80\x80\x80\x00")
        assert client.receive(METADATA, 9)[1].brokers


def test_bytes_behind_the_body_are_ignored_and_counted() -> None:
    """Kafka ignores them too; whoever sends them can be seen in the metrics."""
    with EmbeddedBroker() as broker, broker.connect() as client:
        client.send_frame(client.frame(METADATA, 9, MetadataRequest())[4:] + b"left over")
        assert client.receive(METADATA, 9)[1].brokers
        assert broker.app.dispatcher.stats.with_trailing_bytes == 1


def test_one_bad_frame_does_not_void_the_answers_before_it(target: Target) -> None:
    """What was asked in order is answered in order, then the connection ends."""
    with target.broker.connect() as client:
        good = client.frame(METADATA, 9, MetadataRequest(), 1)
        client.send(good + good + b"\xff\xff\xff\xff")
        client.receive_frame()
        client.receive_frame()
        assert client.closed_by_peer()


# --- connections ------------------------------------------------------------------------------------------


def waiting_fetch(topic: str, max_bytes: int = 1 << 20) -> FetchRequest:
    """A fetch from the start that waits ten minutes for its first byte."""
    partition = FetchPartition(partition=0, fetch_offset=0, partition_max_bytes=max_bytes)
    return FetchRequest(
        max_wait_ms=600_000,
        min_bytes=1,
        max_bytes=max_bytes,
        topics=[FetchTopic(topic=topic, partitions=[partition])],
    )


def wait_until(condition: Callable[[], bool], within: float = 30) -> None:
    """Look again and again until it holds."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.01)


def test_slow_and_silent_peers_are_ended() -> None:
    """A frame must be complete in 30 s, and silence lasts connections.max.idle.ms; waiting for data is neither."""
    clock = SkewedClock()
    with EmbeddedBroker({"connections.max.idle.ms": "120000"}, clock=clock) as broker:
        topic = broker.create_topic()
        with broker.connect() as drip, broker.connect() as silent, broker.connect() as reader:
            reader.post(ApiKey.FETCH, FETCH_VERSION, waiting_fetch(topic))
            drip.send(b"\0\0\0\x40\0")
            wait_until(lambda: broker.app.listeners.in_flight.held > 0)
            for _ in range(3):  # well below the 30 s: the machine's own time passes as well
                clock.ahead_ms += 6_000
                drip.send(b"\0")
            assert not drip.closed_by_peer(within=1.2)
            clock.ahead_ms += 13_000
            assert drip.closed_by_peer()
            assert not silent.closed_by_peer(within=0)
            clock.ahead_ms += 95_000
            assert silent.closed_by_peer()
            assert not reader.closed_by_peer(within=0)
            assert broker.close_reasons() == {"frame_timeout": 1, "idle": 1}
        with broker.connect() as client:
            assert produce(client, topic, records()).error_code == ErrorCode.NONE


def is_stalled(broker: EmbeddedBroker, clock: SkewedClock) -> bool:
    """Whether some peer takes no answers, and has taken none for half a second: no room is left on the way either."""
    waits_ms = 500

    def look(_: object) -> bool:
        later = clock.monotonic_ms() + WRITE_STALL_MS_MAX + 1 - waits_ms
        return any(one.sweep(later, -1) == "write_stalled" for one in broker.app.listeners.connections())

    return broker.ask(look)


def test_a_peer_that_takes_no_answers_is_ended() -> None:
    """Handling stops at the first answer that does not leave, and after 60 s so does the connection."""
    clock = SkewedClock()
    with EmbeddedBroker(clock=clock) as broker:
        topic = broker.create_topic()
        target = Target(broker)

        def handled() -> int:
            return broker.app.dispatcher.stats.apis[ApiKey.FETCH].count

        with broker.connect() as client:
            for _ in range(20):
                assert produce(client, topic, records(bytes(900_000))).error_code == ErrorCode.NONE
            fetches = b"".join(
                client.frame(ApiKey.FETCH, FETCH_VERSION, waiting_fetch(topic)) for _ in range(1_000)
            )
            client.send(fetches)
            wait_until(lambda: is_stalled(broker, clock))
            target.still_serves()
            before = handled() - 2
            assert 1 <= before < 20, "each answer is a megabyte; two went to the good client"
            clock.ahead_ms += 61_000
            wait_until(lambda: broker.close_reasons().get("write_stalled") == 1)
            assert handled() == before + 2
            wait_until(lambda: broker.app.listeners.in_flight.held == 0)
        target.close()


def test_connections_are_bounded_in_total() -> None:
    """max.connections: the one too many is closed; when one goes, another may come."""
    with EmbeddedBroker({"max.connections": "5"}) as broker, ExitStack() as stack:
        clients = [stack.enter_context(broker.connect()) for _ in range(5)]
        for client in clients:
            client.call(METADATA, 9, MetadataRequest())
        with broker.connect() as one_too_many:
            assert one_too_many.closed_by_peer()
        assert broker.close_reasons() == {"max_connections": 1}
        clients.pop().close()
        wait_until(lambda: broker.ask(lambda _: len(broker.app.listeners.connections())) == 4)
        clients.append(stack.enter_context(broker.connect()))
        for client in clients:
            client.call(METADATA, 9, MetadataRequest())


def test_connections_are_bounded_per_address_with_exceptions() -> None:
    """max.connections.per.ip and its overrides; other addresses are not affected."""
    settings = {"max.connections.per.ip": "2", "max.connections.per.ip.overrides": "127.0.0.3:4"}
    with EmbeddedBroker(settings) as broker:
        for address, allowed in (("127.0.0.1", 2), ("127.0.0.2", 2), ("127.0.0.3", 4)):
            with ExitStack() as stack:
                connect = partial(broker.connect, source_host=address)
                clients = [stack.enter_context(connect()) for _ in range(allowed + 2)]
                assert all(client.closed_by_peer() for client in clients[allowed:])
                for client in clients[:allowed]:
                    client.call(METADATA, 9, MetadataRequest())
        assert broker.close_reasons() == {"max_connections_per_ip": 6}


def test_connections_that_come_too_fast_wait_their_turn() -> None:
    """max.connection.creation.rate slows newcomers down instead of turning them away (KIP-612)."""
    with EmbeddedBroker({"max.connection.creation.rate": "20"}) as broker, ExitStack() as stack:
        began = time.monotonic()
        for client in [stack.enter_context(broker.connect()) for _ in range(30)]:
            client.call(METADATA, 9, MetadataRequest())
        assert time.monotonic() - began > 0.4, "10 of 30 come too early, the last by half a second"
        assert broker.close_reasons() == {}


def test_many_large_frames_at_once_share_a_budget() -> None:
    """queued.max.request.bytes bounds what incomplete frames hold together; all are served in the end."""
    budget = 8 << 20
    with EmbeddedBroker({"queued.max.request.bytes": str(budget)}) as broker, ExitStack() as stack:
        topic = broker.create_topic()
        held = broker.app.listeners.in_flight
        clients = [stack.enter_context(broker.connect()) for _ in range(100)]
        request = produce_request(topic, records(bytes(1_000_000)))
        frame = clients[0].frame(ApiKey.PRODUCE, PRODUCE_VERSION, request)
        unsent = {client.socket: memoryview(frame) for client in clients}
        # Not by select: it knows no descriptor above 1,023, and a test process may hold more.
        waiting = stack.enter_context(selectors.DefaultSelector())
        for client in clients:
            client.socket.setblocking(False)
            waiting.register(client.socket, selectors.EVENT_READ | selectors.EVENT_WRITE)
        most = 0
        deadline = time.monotonic() + 60
        while waiting.get_map():
            assert time.monotonic() < deadline, f"{len(waiting.get_map())} are not answered"
            for key, events in waiting.select(1):
                one = cast("socket.socket", key.fileobj)
                if events & selectors.EVENT_WRITE:
                    sent = one.send(unsent[one][: 1 << 16])
                    unsent[one] = unsent[one][sent:]
                    if not unsent[one]:
                        waiting.modify(one, selectors.EVENT_READ)
                if events & selectors.EVENT_READ:
                    assert one.recv(4096), "closed instead of served"
                    waiting.unregister(one)
            most = max(most, held.held)
        assert budget // 2 < most <= budget
        assert broker.end_offset(topic) == len(clients)
        wait_until(lambda: held.held == 0)
