"""Bytes of metadata records, features, and an image as records."""

from __future__ import annotations

import pytest

from moldau_broker.metadata import features
from moldau_broker.metadata.errors import InvalidMetadataRecord
from moldau_broker.metadata.records import decode, encode
from moldau_broker.wire.messages import metadata_records as records
from moldau_broker.wire.metadata_framing import decode_record


def test_records_are_framed_as_apache_kafka_frames_them() -> None:
    """The bytes of bootstrap.checkpoint's first record as Apache Kafka 4.3.1 formats it."""
    value = encode(records.FeatureLevelRecord(name="metadata.version", feature_level=30))
    assert value == bytes.fromhex("010c00116d657461646174612e76657273696f6e001e00")
    assert decode(value) == records.FeatureLevelRecord(name="metadata.version", feature_level=30)


@pytest.mark.parametrize(
    ("record", "version"),
    [
        (records.RegisterBrokerRecord(), 4),
        (records.PartitionRecord(), 2),
        (records.PartitionChangeRecord(), 2),
        (records.BrokerRegistrationChangeRecord(), 1),
        (records.TopicRecord(), 0),
    ],
)
def test_records_are_written_in_the_versions_of_the_metadata_version(record: object, version: int) -> None:
    """Partition records list directories and ELR from day one, for the replicated version to read."""
    assert decode_record(encode(record))[1] == version  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "value", [None, b"", b"\x01", b"\x02\x0c\x00", b"\x01\x63\x00", b"\x01\x0c\x09\x00", b"\x01\x0c\x00\x7f"]
)
def test_records_that_cannot_be_read_are_an_error_in_words(value: bytes | None) -> None:
    """No value, unknown frame, type or version, cut short."""
    with pytest.raises(InvalidMetadataRecord, match="metadata log holds a record"):
        decode(value)


def test_features_only_list_what_is_served() -> None:
    """No transactions, new groups or share groups yet; the bootstrap level is one we support."""
    assert set(features.SUPPORTED) == {
        "metadata.version",
        "kraft.version",
        "eligible.leader.replicas.version",
    }
    finalized = {record.name: record.feature_level for record in features.bootstrap_records()}
    assert features.unsupported(finalized) is None


@pytest.mark.parametrize(
    ("name", "level"), [("metadata.version", 31), ("metadata.version", 7), ("transaction.version", 2)]
)
def test_features_of_another_version_are_refused_in_words(name: str, level: int) -> None:
    """A folder that runs at a level we do not write is not touched."""
    problem = features.unsupported({name: level})
    assert problem is not None
    assert f"{name} at level {level}" in problem
