"""Metadata and coordinator records as keys and values of log records."""

from __future__ import annotations

import pytest

from moldau_broker.wire.coordinator_framing import decode_key, decode_versioned, encode_key, encode_versioned
from moldau_broker.wire.errors import WireError
from moldau_broker.wire.messages.consumer_protocol import ConsumerProtocolSubscription
from moldau_broker.wire.messages.group_records import (
    GroupMetadataKey,
    LegacyOffsetCommitKey,
    OffsetCommitKey,
    OffsetCommitValue,
)
from moldau_broker.wire.messages.metadata_records import FeatureLevelRecord, NoOpRecord, PartitionChangeRecord
from moldau_broker.wire.metadata_framing import RECORD_CLASSES, decode_record, encode_record


def test_metadata_record_has_kafkas_frame() -> None:
    """Frame version 1, type 12, version 0, then the flexible body. Reference: KIP-631, MetadataRecordSerde."""
    raw = encode_record(FeatureLevelRecord(name="metadata.version", feature_level=29), 0)
    assert raw.hex() == "010c00" + "11" + b"metadata.version".hex() + "001d" + "00"
    assert decode_record(raw) == (FeatureLevelRecord(name="metadata.version", feature_level=29), 0)


@pytest.mark.parametrize("version", [0, 1, 2])
def test_metadata_record_survives_in_every_version(version: int) -> None:
    """The version travels with the record."""
    change = PartitionChangeRecord(topic_id=bytes(range(16)), partition_id=2, isr=[1, 2], leader=1)
    assert decode_record(memoryview(encode_record(change, version))) == (change, version)


def test_metadata_record_types_are_all_there() -> None:
    """Every type of Kafka's enumeration has a class; 6, 13 and 16 were never used."""
    assert sorted(RECORD_CLASSES) == [*range(6), 7, 8, 9, 10, 11, 12, 14, 15, *range(17, 29)]


@pytest.mark.parametrize(
    "raw",
    ["", "01", "0114", "021400", "017f0000", "01140100", "01140000" + "00", "0114ffffffff0f00"],
    ids=["empty", "no type", "no version", "frame 2", "type 127", "version 1", "bytes after", "huge version"],
)
def test_malformed_metadata_records_are_refused(raw: str) -> None:
    """An unknown frame, type or version, and bytes too many, are the typed error."""
    assert decode_record(encode_record(NoOpRecord(), 0)) == (NoOpRecord(), 0)
    with pytest.raises(WireError):
        decode_record(bytes.fromhex(raw))


def test_coordinator_key_has_kafkas_frame() -> None:
    """The type as int16, then the key's body. Reference: what `kafka-dump-log --offsets-decoder` reads."""
    key = OffsetCommitKey(group="g", topic="t", partition=3)
    assert encode_key(key).hex() == "0001" + "000167" + "000174" + "00000003"
    assert decode_key(encode_key(key)) == key
    assert encode_key(GroupMetadataKey(group="g")).hex() == "0002" + "000167"
    assert decode_key(encode_key(GroupMetadataKey(group="g"))) == GroupMetadataKey(group="g")


def test_coordinator_key_of_an_old_broker_is_read() -> None:
    """Type 0 is the offset commit key of brokers long gone; old logs may still hold some."""
    key = decode_key(bytes.fromhex("0000" + "000167" + "000174" + "00000003"))
    assert key == LegacyOffsetCommitKey(group="g", topic="t", partition=3)


def test_coordinator_key_of_an_unknown_type_is_none() -> None:
    """Records of newer brokers are for the reader to skip, not a failure."""
    assert decode_key(bytes.fromhex("00630102")) is None


@pytest.mark.parametrize("version", range(5))
def test_coordinator_value_carries_its_version(version: int) -> None:
    """A value is an int16 version and the body of that version."""
    value = OffsetCommitValue(offset=7, metadata="m", commit_timestamp=1)
    raw = encode_versioned(value, version)
    assert int.from_bytes(raw[:2]) == version
    assert decode_versioned(OffsetCommitValue, raw) == (value, version)


def test_consumer_protocol_has_the_same_frame() -> None:
    """Subscriptions and assignments are behind an int16 version too."""
    subscription = ConsumerProtocolSubscription(topics=["a", "b"], user_data=None)
    raw = encode_versioned(subscription, 1)
    assert decode_versioned(ConsumerProtocolSubscription, raw) == (subscription, 1)


@pytest.mark.parametrize("raw", ["", "00", "0009", "ffff", "000100"])
def test_malformed_coordinator_values_are_refused(raw: str) -> None:
    """Cut short or of an unknown version: the typed error."""
    with pytest.raises(WireError):
        decode_versioned(OffsetCommitValue, bytes.fromhex(raw))
    if len(raw) < 4:
        with pytest.raises(WireError):
            decode_key(bytes.fromhex(raw))
