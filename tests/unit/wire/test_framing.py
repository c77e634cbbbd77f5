"""Sizes and headers around bodies."""

from __future__ import annotations

import pytest

from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.codec import decode, encode
from moldau_broker.wire.errors import WireError
from moldau_broker.wire.framing import (
    decode_request_header,
    decode_response_header,
    encode_request,
    encode_response,
    is_flexible,
)
from moldau_broker.wire.messages.api_versions import ApiVersionsResponse
from moldau_broker.wire.messages.fetch import FetchableTopicResponse, FetchResponse, PartitionData
from moldau_broker.wire.messages.headers import RequestHeader
from moldau_broker.wire.messages.heartbeat import HeartbeatRequest, HeartbeatResponse


@pytest.mark.parametrize("version", range(5))
@pytest.mark.parametrize("client_id", [None, "", "client", "klient-\u010desk\u00fd"])
def test_request_survives_the_frame(version: int, client_id: str | None) -> None:
    """Size, header and body of a request come back as they went, in old and flexible versions."""
    body = HeartbeatRequest(group_id="g", generation_id=3)
    frame = encode_request(ApiKey.HEARTBEAT, version, 77, client_id, body)
    assert int.from_bytes(frame[:4]) == len(frame) - 4
    header = decode_request_header(memoryview(frame), 4)
    assert header[:4] == (ApiKey.HEARTBEAT, version, 77, client_id)
    assert decode(HeartbeatRequest, version, frame, header.end) == (body, len(frame))


def test_request_header_agrees_with_kafkas_schema() -> None:
    """The quick reader reads what the header's own schema writes."""
    message = RequestHeader(request_api_key=3, request_api_version=9, correlation_id=-5, client_id="me")
    raw = encode(message, 2)
    assert decode_request_header(raw) == (3, 9, -5, "me", len(raw))
    assert decode(RequestHeader, 2, raw) == (message, len(raw))


def test_request_header_of_an_unknown_api_is_still_read() -> None:
    """The server decides what to do about keys it does not know; reading them is no failure."""
    raw = encode(RequestHeader(request_api_key=999, request_api_version=3, correlation_id=1), 1)
    assert decode_request_header(raw) == (999, 3, 1, "", len(raw))


def test_request_header_ignores_tags() -> None:
    """Tagged fields in a request header are stepped over."""
    raw = encode(RequestHeader(request_api_key=3, request_api_version=9), 2)
    assert decode_request_header(raw[:-1] + b"\x01\x05\x02ab").end == len(raw) + 4


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "0003",
        "00030009000000",
        "000300090000000100",
        "000300090000000100056162",
        "00030009000000010002fffe00",
        "0003000900000001fffe00",
        "0003000900000001ffff",
        "0003000900000001ffff01",
    ],
)
def test_malformed_request_headers_are_refused(raw: str) -> None:
    """Cut short anywhere, a client id that is no string, tags that are none: the typed error."""
    with pytest.raises(WireError):
        decode_request_header(bytes.fromhex(raw))


@pytest.mark.parametrize("version", range(5))
def test_response_survives_the_frame(version: int) -> None:
    """Size, correlation id and body of a response come back; flexible versions have a tag section between."""
    body = HeartbeatResponse(error_code=27)
    frame = b"".join(encode_response(9, ApiKey.HEARTBEAT, version, body))
    assert int.from_bytes(frame[:4]) == len(frame) - 4
    correlation_id, start = decode_response_header(ApiKey.HEARTBEAT, version, frame, 4)
    assert (correlation_id, start) == (9, 9 if version == 4 else 8)
    assert decode(HeartbeatResponse, version, frame, start) == (body, len(frame))


@pytest.mark.parametrize("version", range(5))
def test_api_versions_response_header_never_has_tags(version: int) -> None:
    """Reference: KIP-511. A client must read the answer to a version the broker does not know."""
    body = ApiVersionsResponse(error_code=35)
    frame = b"".join(encode_response(9, ApiKey.API_VERSIONS, version, body))
    assert decode_response_header(ApiKey.API_VERSIONS, version, frame, 4) == (9, 8)
    assert decode(ApiVersionsResponse, version, frame, 8) == (body, len(frame))


def test_response_does_not_copy_records() -> None:
    """A fetch answer hands its data on untouched, behind one chunk with everything before it."""
    data = memoryview(bytes(100_000))
    partition = PartitionData(partition_index=0, records=data)
    body = FetchResponse(responses=[FetchableTopicResponse(topic="t", partitions=[partition])])
    chunks = encode_response(1, ApiKey.FETCH, 12, body)
    assert chunks[1] is data
    assert len(chunks) == 3
    assert int.from_bytes(chunks[0][:4]) == sum(map(len, chunks)) - 4


@pytest.mark.parametrize("raw", ["", "000000", "00000001", "0000000101"])
def test_malformed_response_headers_are_refused(raw: str) -> None:
    """Cut short: the typed error."""
    with pytest.raises(WireError):
        decode_response_header(ApiKey.HEARTBEAT, 4, bytes.fromhex(raw))


def test_flexibility_follows_the_schema() -> None:
    """The first flexible version is where headers change; unknown keys have none."""
    assert [is_flexible(ApiKey.PRODUCE, version) for version in (8, 9)] == [False, True]
    assert not is_flexible(ApiKey.OFFSET_DELETE, 0)
    assert not is_flexible(12345, 30)
