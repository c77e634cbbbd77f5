"""From a frame to its handler and back: which handler, which failure, which bytes."""

from __future__ import annotations

from typing import Any

import pytest

from moldau_broker.base.deferred import Deferred
from moldau_broker.base.errors import ErrorCode
from moldau_broker.server.exchange import CloseConnection
from moldau_broker.server.handlers import HANDLERS
from moldau_broker.server.handlers.spec import ALL_LISTENERS, Handler, ListenerKind, RequestContext
from moldau_broker.testing.dispatch import DispatchBench, Peer
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.api_versions import ApiVersionsRequest
from moldau_broker.wire.messages.heartbeat import HeartbeatRequest, HeartbeatResponse
from moldau_broker.wire.messages.list_groups import ListGroupsRequest

BEAT = HeartbeatRequest(group_id="g", member_id="m", generation_id=3)


def bench_with(answer: Any, **fields: Any) -> DispatchBench:
    """A bench whose Heartbeat handler is `answer(broker, context, request)`."""
    handler = Handler(api=ApiKey.HEARTBEAT, versions=(0, 4), handle=answer, **fields)
    return DispatchBench(handlers=[handler])


def test_a_handler_learns_who_asks_in_which_version() -> None:
    """The context is the connection's and the header's; the request is decoded in its version."""
    seen: list[tuple[RequestContext, HeartbeatRequest]] = []

    def answer(_: object, context: RequestContext, request: HeartbeatRequest) -> HeartbeatResponse:
        seen.append((context, request))
        return HeartbeatResponse(error_code=ErrorCode.NONE)

    bench = bench_with(answer)
    reply = bench.send(ApiKey.HEARTBEAT, 2, BEAT, correlation_id=99, client_id=None)
    assert reply.data is not None
    assert reply.data[4:8] == (99).to_bytes(4, "big")
    ((context, request),) = seen
    assert request == BEAT
    assert (context.api_version, context.correlation_id, context.client_id) == (2, 99, None)
    assert (context.listener, context.peer_host) == ("CLIENT", "192.0.2.1")
    assert context.now_ms == bench.clock.wall_ms()


def test_an_answer_may_come_later() -> None:
    """A Deferred is encoded when it is completed."""
    later: Deferred[HeartbeatResponse] = Deferred()
    bench = bench_with(lambda *_: later)
    reply = bench.send(ApiKey.HEARTBEAT, 4, BEAT)
    assert not reply.done
    later.complete(HeartbeatResponse(error_code=ErrorCode.REBALANCE_IN_PROGRESS))
    assert reply.response().error_code == ErrorCode.REBALANCE_IN_PROGRESS


def test_an_answer_may_be_a_coroutine() -> None:
    """For what is cold."""

    async def answer(*_: object) -> HeartbeatResponse:
        return HeartbeatResponse(error_code=ErrorCode.NOT_COORDINATOR)

    assert (
        bench_with(answer).send(ApiKey.HEARTBEAT, 4, BEAT).response().error_code == ErrorCode.NOT_COORDINATOR
    )


def test_no_answer_is_none() -> None:
    """Nothing is sent, and the request counts as served."""
    bench = bench_with(lambda *_: None)
    reply = bench.send(ApiKey.HEARTBEAT, 4, BEAT)
    assert (reply.data, reply.closed) == (None, None)
    assert bench.dispatcher.stats.apis[ApiKey.HEARTBEAT].count == 1


def fail(*_: object) -> HeartbeatResponse:
    raise RuntimeError("a bug")


async def fail_later(*_: object) -> HeartbeatResponse:
    raise RuntimeError("a bug")


def no_bytes(*_: object) -> HeartbeatResponse:
    return HeartbeatResponse(error_code=1 << 20)


def no_bytes_later(*_: object) -> Deferred[HeartbeatResponse]:
    later: Deferred[HeartbeatResponse] = Deferred()
    later.complete(no_bytes())
    return later


@pytest.mark.parametrize("broken", [fail, fail_later, no_bytes, no_bytes_later])
def test_a_broken_handler_closes_its_connection_and_is_logged(
    broken: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """There is no body that fits every API. An answer without bytes does not disturb whoever completed it."""
    bench = bench_with(broken)
    reply = bench.send(ApiKey.HEARTBEAT, 4, BEAT)
    assert reply.closed == "handler_error" or (reply.done and reply.data is None)
    (record,) = [record for record in caplog.records if record.msg == "request.failed"]
    assert record.exc_info


def test_a_handler_may_close() -> None:
    """With a reason of its own, which is no bug."""

    def answer(*_: object) -> HeartbeatResponse:
        raise CloseConnection("because")

    assert bench_with(answer).send(ApiKey.HEARTBEAT, 4, BEAT).closed == "because"


def test_a_listener_serves_its_own_keys_only() -> None:
    """Anything else is as unknown as a key that does not exist."""

    def answer(*_: object) -> HeartbeatResponse:
        return HeartbeatResponse()

    bench = bench_with(answer, listeners=frozenset({ListenerKind.INTERNAL}))
    assert bench.send(ApiKey.HEARTBEAT, 4, BEAT).closed == "unknown_api"
    inside = Peer(listener="INTERNAL", listener_kind=ListenerKind.INTERNAL)
    assert bench.send(ApiKey.HEARTBEAT, 4, BEAT, peer=inside).closed is None
    bench = bench_with(answer, listeners=ALL_LISTENERS)
    assert bench.send(ApiKey.HEARTBEAT, 4, BEAT).closed is None


def test_a_version_out_of_range_closes_but_for_api_versions() -> None:
    """KIP-511."""
    bench = DispatchBench()
    low = bench.send_bytes(ApiKey.LIST_GROUPS, 0, b"\0\x10\0\x63\0\0\0\1\xff\xff")
    assert low.closed == "unsupported_version"
    answered = bench.send_bytes(ApiKey.API_VERSIONS, 0, b"\0\x12\0\x63\0\0\0\x2a")
    assert answered.response().error_code == ErrorCode.UNSUPPORTED_VERSION
    assert (answered.data or b"")[4:8] == (0x2A).to_bytes(4, "big")


def test_a_body_that_is_no_request_closes() -> None:
    """Short, or with a header that is none."""
    bench = DispatchBench()
    good = b"\0\x10\0\4\0\0\0\1\xff\xff\0\1\0"
    assert bench.send_bytes(ApiKey.LIST_GROUPS, 4, good[:-1]).closed == "bad_request"
    assert bench.send_bytes(ApiKey.LIST_GROUPS, 4, good[:9]).closed == "bad_request"
    assert bench.send_bytes(ApiKey.LIST_GROUPS, 4, good[:7]).closed == "short_header"
    assert bench.dispatcher.stats.with_trailing_bytes == 0


def test_bytes_behind_a_body_are_counted() -> None:
    """And ignored, as Kafka does."""
    bench = bench_with(lambda *_: HeartbeatResponse())
    from moldau_broker.wire.framing import encode_request

    frame = encode_request(ApiKey.HEARTBEAT, 4, 1, "c", BEAT)[4:] + b"more"
    assert bench.send_bytes(ApiKey.HEARTBEAT, 4, frame).response() == HeartbeatResponse()
    assert bench.dispatcher.stats.with_trailing_bytes == 1


def test_what_is_advertised_is_what_is_served() -> None:
    """ApiVersions lists the keys of its listener, in order, with the ranges that handlers declare."""
    bench = DispatchBench()
    for kind in ListenerKind:
        request = ApiVersionsRequest(client_software_name="c", client_software_version="1")
        response = bench.send(
            ApiKey.API_VERSIONS, 4, request, peer=Peer(listener=kind.name, listener_kind=kind)
        ).response()
        expected = [
            (handler.api, *(handler.advertised or handler.versions))
            for handler in HANDLERS
            if kind in handler.listeners
        ]
        assert [(one.api_key, one.min_version, one.max_version) for one in response.api_keys] == expected


def test_requests_are_counted_by_api() -> None:
    """Also those of the short way."""
    bench = bench_with(lambda *_: HeartbeatResponse())
    for _ in range(3):
        bench.send(ApiKey.HEARTBEAT, 4, BEAT)
    assert bench.dispatcher.stats.apis[ApiKey.HEARTBEAT].count == 3
    assert sum(bench.dispatcher.stats.apis[ApiKey.HEARTBEAT].buckets) == 3
    bench.send(ApiKey.LIST_GROUPS, 4, ListGroupsRequest())
    assert bench.dispatcher.stats.apis[ApiKey.LIST_GROUPS].count == 0
