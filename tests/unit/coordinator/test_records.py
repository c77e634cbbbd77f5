"""The records of the offsets topic. Reference: Kafka 4.3 GroupCoordinatorRecordHelpers and its record schemas."""

import pytest

from moldau_broker.coordinator.group_state import GroupState
from moldau_broker.coordinator.offsets import CommittedOffset
from moldau_broker.coordinator.records import (
    GroupRecord,
    committed_offset,
    decode_record,
    encode_record,
    group_tombstone,
    offset_record,
    offset_tombstone,
    restored_group,
)
from moldau_broker.testing.groups import GroupBench
from moldau_broker.wire.errors import WireError
from moldau_broker.wire.messages.group_records import GroupMetadataValue, MemberMetadata, OffsetCommitValue


def test_offset_record_bytes_are_those_of_kafka_4_3() -> None:
    """Key type 1, value version 4 with the topic id as tagged field 0."""
    committed = CommittedOffset(300, 2, "note", 1_700_000_000_000, topic_id=bytes(range(16)))
    key, value = encode_record(offset_record("grp", "top", 5, committed))
    assert key == bytes.fromhex("000100036772700003746f7000000005")
    assert value == bytes.fromhex("0004000000000000012c00000002056e6f74650000018bcfe56800010010") + bytes(
        range(16)
    )


def test_offset_record_of_an_old_clients_own_retention_is_version_1() -> None:
    """The only version with an expiry; it has neither leader epoch nor topic id."""
    committed = CommittedOffset(300, 2, "", 1_000, expires_ms=5_000)
    key, value = encode_record(offset_record("g", "t", 0, committed))
    assert value == bytes.fromhex("0001000000000000012c000000000000000003e80000000000001388")
    record = decode_record(key, value)
    assert record is not None
    assert isinstance(record.value, OffsetCommitValue)
    assert committed_offset(record.value) == CommittedOffset(300, -1, "", 1_000, 5_000)


def test_group_record_is_version_3() -> None:
    """What a 4.3 broker writes, whatever newer versions it reads."""
    bench = GroupBench()
    bench.stable_group(1)
    key, value = bench.log[-1]
    assert key == bytes.fromhex("0002000167")
    assert value is not None
    assert value[:2] == b"\x00\x03"


@pytest.mark.parametrize("record", [offset_tombstone("g", "t", 1), group_tombstone("g")])
def test_tombstones_have_no_value(record: GroupRecord) -> None:
    """That is how compaction knows them."""
    key, value = encode_record(record)
    assert value is None
    assert decode_record(key, None) == record


def test_records_of_brokers_before_0_9_are_read() -> None:
    """Key type 0 with value version 0: offset, metadata, time."""
    record = decode_record(
        bytes.fromhex("000000016700017400000003"),
        bytes.fromhex("000000000000000000070002686900000000000003e8"),
    )
    assert record is not None
    assert isinstance(record.value, OffsetCommitValue)
    assert committed_offset(record.value) == CommittedOffset(7, -1, "hi", 1_000)


def test_records_of_kinds_this_broker_does_not_keep_are_passed_over() -> None:
    """KIP-848 and share groups: written by another broker, perhaps."""
    assert decode_record(bytes.fromhex("0003000167"), b"\x00\x00whatever") is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"", None),
        (b"\x00", None),
        (b"\x00\x01\x00", None),
        (bytes.fromhex("0002000167"), b""),
        (bytes.fromhex("0002000167"), b"\x00\x63"),
        (bytes.fromhex("0002000167"), b"\x00\x03\x00"),
    ],
)
def test_records_that_are_none_are_a_wire_error(key: bytes, value: bytes | None) -> None:
    """Too short, or of a version from the future."""
    with pytest.raises(WireError):
        decode_record(key, value)


def test_group_record_of_old_brokers_lacks_what_came_later() -> None:
    """No rebalance timeout: the session timeout counts. No time of emptying: None."""
    group = restored_group(
        "g",
        GroupMetadataValue(
            protocol_type="consumer",
            generation=3,
            protocol="range",
            leader="m",
            members=[MemberMetadata(member_id="m", session_timeout=9_000, subscription=b"", assignment=b"a")],
        ),
    )
    assert group.state is GroupState.STABLE
    assert group.state_timestamp_ms is None
    assert group.members["m"].rebalance_timeout_ms == 9_000
