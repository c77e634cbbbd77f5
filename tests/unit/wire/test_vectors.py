"""Our codec against the bytes Apache Kafka's own codec wrote: decode to the value, encode back to the bytes."""

from __future__ import annotations

import base64
import gzip
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from moldau_broker.base.ids import parse_uuid
from moldau_broker.wire.catalog import message_classes
from moldau_broker.wire.codec import decode, encode, encode_chunks
from moldau_broker.wire.messages.producer_snapshot import ProducerEntry, ProducerSnapshot
from moldau_broker.wire.messages.raft_records import KRaftVersionRecord
from moldau_broker.wire.messages.update_raft_voter import (
    KRaftVersionFeature,
    Listener,
    UpdateRaftVoterRequest,
)
from moldau_broker.wire.schema import Field, Struct, fields_of

VECTORS = Path(__file__).parents[2] / "data" / "kafka" / "vectors.jsonl.gz"
CLASSES = message_classes()


def vectors_by_name() -> dict[str, list[dict[str, Any]]]:
    """The vectors of every message we have, by message name."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    with gzip.open(VECTORS, "rt", encoding="utf-8") as lines:
        for line in lines:
            vector = json.loads(line)
            if vector["name"] in CLASSES:
                found[vector["name"]].append(vector)
    return found


BY_NAME = vectors_by_name()


def plain(name: str) -> str:
    """A name without its spelling: Kafka's JSON is camel case, our fields are snake case."""
    return name.replace("_", "").lower()


def from_json(cls: type[Struct], document: dict[str, Any]) -> Struct:
    """The value behind the form of Kafka's JSON converters; what is absent has its default."""
    fields = {plain(field.name): field for field in fields_of(cls)}
    named = {fields[plain(key)]: value for key, value in document.items()}
    return cls(**{field.name: convert(field, value) for field, value in named.items()})


def convert(field: Field, value: Any) -> Any:
    """One JSON value as the field's type."""
    if value is None:
        return None
    if field.array:
        return [convert(field._replace(array=False), item) for item in value]
    if field.struct is not None:
        return from_json(field.struct, value)
    if field.type == "Uuid":
        return parse_uuid(value)
    if field.type in {"Bytes", "Records"}:
        return base64.b64decode(value)
    return value


def blank_records(value: Any) -> Any:
    """The value with its records emptied: the converter that made the vectors writes them as ""."""
    if isinstance(value, (list, tuple)):
        return [blank_records(item) for item in value]
    if isinstance(value, memoryview):
        return b""
    if isinstance(value, Struct):
        changed = {field.name: blank_records(getattr(value, field.name)) for field in fields_of(type(value))}
        return type(value)(**changed)
    return value


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_vector_decodes_to_its_value(name: str) -> None:
    """Every vector of this message decodes, to its last byte, to the value it was made from."""
    cls = CLASSES[name]
    for vector in BY_NAME[name]:
        raw = bytes.fromhex(vector["hex"])
        value, end = decode(cls, vector["version"], raw)
        assert end == len(raw), vector
        assert blank_records(value) == from_json(cls, vector["json"]), vector


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_vector_encodes_back_to_its_bytes(name: str) -> None:
    """What a vector decodes to encodes to exactly Kafka's bytes again, in one piece and in chunks."""
    cls = CLASSES[name]
    for vector in BY_NAME[name]:
        raw = bytes.fromhex(vector["hex"])
        value, _ = decode(cls, vector["version"], raw)
        assert encode(value, vector["version"]) == raw, vector
        assert b"".join(encode_chunks(value, vector["version"])) == raw, vector


@pytest.mark.parametrize(
    "name", sorted(set(CLASSES) - {"FetchResponse", "FetchSnapshotResponse", "ProduceRequest"})
)
def test_vector_value_encodes_to_its_bytes(name: str) -> None:
    """The value as written down, not as we decoded it, encodes to Kafka's bytes (but for records, see above)."""
    for vector in BY_NAME[name]:
        value = from_json(CLASSES[name], vector["json"])
        assert encode(value, vector["version"]).hex() == vector["hex"], vector


# The three messages whose JSON form the generator of the vectors cannot read. The bytes are those that the jars'
# own classes write for these values, set by hand.
_UPDATE_VOTER = (
    "08636c7573746572000000070000000100000000000000010000000000000002"
    "020b434f4e54524f4c4c4552076e6f64652d3198b500000000010000"
)
BY_HAND = [
    (KRaftVersionRecord(version=0, kraft_version=1), 0, "0000000100"),
    (
        UpdateRaftVoterRequest(
            cluster_id="cluster",
            current_leader_epoch=7,
            voter_id=1,
            voter_directory_id=bytes(7) + b"\x01" + bytes(7) + b"\x02",
            listeners=[Listener(name="CONTROLLER", host="node-1", port=39093)],
            kraft_version_feature=KRaftVersionFeature(min_supported_version=0, max_supported_version=1),
        ),
        0,
        _UPDATE_VOTER,
    ),
    (
        ProducerSnapshot(
            crc=0xDEADBEEF,
            producer_entries=[
                ProducerEntry(
                    producer_id=4001,
                    epoch=3,
                    last_sequence=17,
                    last_offset=99,
                    offset_delta=4,
                    timestamp=1_700_000_000_000,
                    coordinator_epoch=-1,
                    current_txn_first_offset=-1,
                )
            ],
        ),
        1,
        "deadbeef000000010000000000000fa10003000000110000000000000063000000040000018bcfe56800ffffffffffffffffffffffff",
    ),
]


@pytest.mark.parametrize(("value", "version", "text"), BY_HAND, ids=lambda item: type(item).__name__)
def test_vector_by_hand_encodes_and_decodes(value: Struct, version: int, text: str) -> None:
    """The messages without vectors in the file agree with Kafka's classes too."""
    assert encode(value, version).hex() == text
    assert decode(type(value), version, bytes.fromhex(text)) == (value, len(text) // 2)


def test_vectors_cover_every_version() -> None:
    """No version of a message goes unproved."""
    ranges = {name: cls.__schema__.versions or (0, -1) for name, cls in CLASSES.items()}
    every = {(name, version) for name, (first, last) in ranges.items() for version in range(first, last + 1)}
    missing = every - {(name, vector["version"]) for name in CLASSES for vector in BY_NAME[name]}
    assert missing == {(type(value).__name__, version) for value, version, _ in BY_HAND}
