"""The codec's edges: nulls, tags, lengths, buffers, versions."""

from __future__ import annotations

import pytest

from moldau_broker.base.limits import TAGGED_FIELD_BYTES_MAX
from moldau_broker.wire.codec import CHUNK_BYTES_MIN, decode, encode, encode_chunks
from moldau_broker.wire.errors import WireError
from moldau_broker.wire.messages.api_versions import (
    ApiVersionsRequest,
    ApiVersionsResponse,
    FinalizedFeatureKey,
)
from moldau_broker.wire.messages.fetch import FetchableTopicResponse, FetchResponse, PartitionData
from moldau_broker.wire.messages.heartbeat import HeartbeatRequest
from moldau_broker.wire.messages.metadata import MetadataRequest, MetadataRequestTopic
from moldau_broker.wire.messages.produce import PartitionProduceData, ProduceRequest, TopicProduceData
from moldau_broker.wire.primitives import uvarint


def tagged(*tags: tuple[int, bytes]) -> bytes:
    """A tag section."""
    return uvarint(len(tags)) + b"".join(uvarint(tag) + uvarint(len(data)) + data for tag, data in tags)


def produce(records: bytes | None) -> ProduceRequest:
    """A request with one partition."""
    data = PartitionProduceData(index=1, records=None if records is None else memoryview(records))
    return ProduceRequest(acks=1, topic_data=[TopicProduceData(name="t", partition_data=[data])])


@pytest.mark.parametrize("version", [3, 9])
def test_records_are_slices_of_the_buffer(version: int) -> None:
    """Decoding does not copy records: writing through the slice writes into the buffer."""
    raw = bytearray(encode(produce(b"0123456789"), version))
    request, _ = decode(ProduceRequest, version, raw)
    records = request.topic_data[0].partition_data[0].records
    assert records is not None
    records[0:1] = b"X"
    assert b"X123456789" in raw


@pytest.mark.parametrize("version", [3, 9])
def test_records_may_be_null_or_empty(version: int) -> None:
    """Null and empty stay two things."""
    for records in (None, b""):
        request, _ = decode(ProduceRequest, version, encode(produce(records), version))
        assert request.topic_data[0].partition_data[0].records == records


def test_chunks_do_not_copy_big_records() -> None:
    """A big buffer is handed on as it is; what is small around it is joined."""
    data = memoryview(bytes(CHUNK_BYTES_MIN))
    partitions = [PartitionData(partition_index=index, records=data) for index in range(2)]
    response = FetchResponse(responses=[FetchableTopicResponse(topic="t", partitions=partitions)])
    chunks = encode_chunks(response, 12)
    assert [chunk is data for chunk in chunks] == [False, True, False, True, False]
    assert b"".join(chunks) == encode(response, 12)


def test_decode_begins_at_the_offset_and_tells_where_it_ended() -> None:
    """Bytes before and after a message are not its own."""
    body = encode(HeartbeatRequest(group_id="g", member_id="m"), 4)
    for buffer in (bytes, bytearray, memoryview):
        framed = buffer(b"##" + body + b"##")
        assert decode(HeartbeatRequest, 4, framed, 2) == (
            HeartbeatRequest(group_id="g", member_id="m"),
            2 + len(body),
        )


def test_unknown_tags_are_ignored() -> None:
    """A newer peer's tagged fields do not disturb us."""
    body = encode(HeartbeatRequest(group_id="g"), 4)
    assert body.endswith(b"\0")
    longer = body[:-1] + tagged((0, b"abc"), (7, b""), (200, bytes(300)))
    assert decode(HeartbeatRequest, 4, longer) == (HeartbeatRequest(group_id="g"), len(longer))


def test_unknown_tags_beside_known_ones_are_ignored() -> None:
    """In a struct with tagged fields of its own, foreign tags are stepped over."""
    body = ApiVersionsResponse(finalized_features_epoch=5)
    raw = encode(body, 4)
    assert raw.endswith(tagged((1, (5).to_bytes(8))))
    longer = raw[:-11] + tagged((1, (5).to_bytes(8)), (77, b"new"))
    assert decode(ApiVersionsResponse, 4, longer) == (body, len(longer))


def test_tags_at_their_defaults_are_not_written() -> None:
    """A default costs one zero byte for the whole section, and any other value is written."""
    assert encode(ApiVersionsResponse(), 3) == bytes(2) + b"\x01" + bytes(4) + b"\0"
    features = [FinalizedFeatureKey(name="f", max_version_level=1)]
    response = ApiVersionsResponse(finalized_features=features, zk_migration_ready=True)
    assert decode(ApiVersionsResponse, 3, encode(response, 3))[0] == response


@pytest.mark.parametrize(
    "section",
    [
        tagged((3, b""), (3, b"")),
        tagged((3, b""), (2, b"")),
        tagged((1, b"123")),
        uvarint(1) + uvarint(9) + uvarint(2**31),
        uvarint(1) + uvarint(9) + b"\xff\xff\xff\xff\xff\x01",
        uvarint(5),
    ],
    ids=["twice", "not ascending", "known tag of another size", "past the end", "varint too long", "missing"],
)
def test_malformed_tags_are_refused(section: bytes) -> None:
    """Duplicate, unsorted, oversized or cut tag sections are the typed error, known tags or not."""
    with pytest.raises(WireError):
        decode(ApiVersionsResponse, 3, bytes(2) + b"\x01" + bytes(4) + section)
    if section != tagged((1, b"123")):
        with pytest.raises(WireError):
            decode(HeartbeatRequest, 4, encode(HeartbeatRequest(), 4)[:-1] + section)


def test_tag_sections_have_a_limit() -> None:
    """A section may fill the limit and not a byte more, although the bytes are there."""
    start = encode(HeartbeatRequest(), 4)[:-1]
    section = tagged((0, bytes(TAGGED_FIELD_BYTES_MAX)))
    largest = tagged((0, bytes(TAGGED_FIELD_BYTES_MAX - 4)))
    assert decode(HeartbeatRequest, 4, start + largest)[1] == len(start + largest)
    with pytest.raises(WireError, match="too long"):
        decode(HeartbeatRequest, 4, start + section)


@pytest.mark.parametrize("count", [2**31 - 1, 2**20, 9])
@pytest.mark.parametrize("version", [8, 9])
def test_counts_are_held_against_the_bytes_left(count: int, version: int) -> None:
    """An array that cannot be there is refused before anything is built for it."""
    claim = uvarint(count + 1) if version == 9 else count.to_bytes(4)
    with pytest.raises(WireError, match=f"{count} of them"):
        decode(MetadataRequest, version, claim + bytes(8))


@pytest.mark.parametrize("version", [1, 9])
def test_negative_lengths_are_refused(version: int) -> None:
    """Only -1 is null, and only where null is legal."""
    if version == 1:
        assert decode(MetadataRequest, 1, b"\xff\xff\xff\xff")[0].topics is None
        with pytest.raises(WireError, match="negative"):
            decode(MetadataRequest, 1, b"\xff\xff\xff\xfe")
        with pytest.raises(WireError, match="null"):
            decode(MetadataRequest, 0, b"\xff\xff\xff\xff")
    else:
        with pytest.raises(WireError, match="null"):
            decode(HeartbeatRequest, 4, b"\0")


def test_strings_must_be_utf8_and_short_enough() -> None:
    """Kafka bounds every protocol string at 32,767 bytes, compact lengths too."""
    with pytest.raises(WireError, match="UTF-8"):
        decode(HeartbeatRequest, 0, b"\0\2\xff\xfe" + bytes(6))
    longest = HeartbeatRequest(group_id="x" * 32767)
    assert decode(HeartbeatRequest, 4, encode(longest, 4))[0] == longest
    with pytest.raises(WireError, match="too long"):
        decode(HeartbeatRequest, 4, uvarint(32769) + b"x" * 32768 + bytes(20))


def test_varints_may_be_longer_than_needed() -> None:
    """Non-minimal varints are accepted, as Kafka accepts them."""
    assert decode(ApiVersionsRequest, 3, b"\x82\x00a\x82\x80\x00b\x80\x00")[0] == ApiVersionsRequest(
        client_software_name="a", client_software_version="b"
    )


@pytest.mark.parametrize(
    "message",
    [
        HeartbeatRequest(group_id=None),  # type: ignore[arg-type]
        HeartbeatRequest(group_id="\ud800"),
        HeartbeatRequest(generation_id=2**31),
        HeartbeatRequest(generation_id="x"),  # type: ignore[arg-type]
    ],
    ids=["null", "no UTF-8", "too large", "other type"],
)
def test_values_without_bytes_are_refused(message: HeartbeatRequest) -> None:
    """Encoding fails with the typed error as decoding does, and names the message."""
    for version in (0, 4):
        with pytest.raises(WireError, match=f"HeartbeatRequest v{version}"):
            encode(message, version)


def test_null_is_refused_where_the_version_has_none() -> None:
    """A topic may lack its name only in versions that know topic ids."""
    request = MetadataRequest(topics=[MetadataRequestTopic(name=None)])
    assert decode(MetadataRequest, 10, encode(request, 10))[0].topics == request.topics
    with pytest.raises(WireError):
        encode(request, 9)


@pytest.mark.parametrize("version", [-1, 5, 32767])
def test_versions_without_a_schema_are_refused(version: int) -> None:
    """There is no silent nearest version."""
    with pytest.raises(WireError, match="versions 0 to 4"):
        decode(HeartbeatRequest, version, bytes(20))
    with pytest.raises(WireError, match="versions 0 to 4"):
        encode(HeartbeatRequest(), version)


@pytest.mark.parametrize("version", range(5))
def test_messages_cut_at_every_byte_are_refused(version: int) -> None:
    """No prefix of a message passes for the message."""
    raw = encode(HeartbeatRequest(group_id="group", member_id="me", group_instance_id="it"), version)
    for end in range(len(raw)):
        with pytest.raises(WireError):
            decode(HeartbeatRequest, version, raw[:end])
