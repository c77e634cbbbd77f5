"""Control records: how the quorum writes about itself into its own log. Pure.

Key = version i16, type i16; value = the record's own encoding (Kafka's `ControlRecordType`, KIP-595,
KIP-630, KIP-853).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import Any, Final

from moldau_broker.raft.errors import RaftError
from moldau_broker.raft.quorum import VoterKey, VoterSet
from moldau_broker.wire.codec import decode, encode
from moldau_broker.wire.errors import WireError
from moldau_broker.wire.messages.raft_records import (
    KRaftVersionRecord,
    LeaderChangeMessage,
    LeaderChangeVoter,
    SnapshotFooterRecord,
    SnapshotHeaderRecord,
    VotersRecord,
)

_KEY: Final = struct.Struct(">hh")


class ControlType(IntEnum):
    """Types of control records that may stand in the metadata log or a snapshot."""

    LEADER_CHANGE = 2
    SNAPSHOT_HEADER = 3
    SNAPSHOT_FOOTER = 4
    KRAFT_VERSION = 5
    VOTERS = 6


_CLASSES: Final[dict[ControlType, type]] = {
    ControlType.LEADER_CHANGE: LeaderChangeMessage,
    ControlType.SNAPSHOT_HEADER: SnapshotHeaderRecord,
    ControlType.SNAPSHOT_FOOTER: SnapshotFooterRecord,
    ControlType.KRAFT_VERSION: KRaftVersionRecord,
    ControlType.VOTERS: VotersRecord,
}
_TYPES: Final = {cls: kind for kind, cls in _CLASSES.items()}


def encode_control(record: Any) -> tuple[bytes, bytes]:
    """The (key, value) of a control record; the value's version is the record's own `version` field."""
    return _KEY.pack(0, _TYPES[type(record)]), encode(record, record.version)


def decode_control(key: bytes | memoryview | None, value: bytes | memoryview | None) -> Any:
    """The control record behind a (key, value).

    Raises:
        RaftError: unknown type or version, or bytes that are not one.
    """
    if key is None or value is None or len(key) < _KEY.size or len(value) < 2:
        raise RaftError("a control record without its key or value")
    _, kind = _KEY.unpack_from(key)
    try:
        cls = _CLASSES[ControlType(kind)]
        version = int.from_bytes(bytes(value[:2]), "big", signed=True)
        record: Any = decode(cls, version, value)[0]
    except (ValueError, WireError) as error:
        raise RaftError(f"a control record of type {kind} this version cannot read: {error}") from error
    return record


def leader_change(leader_id: int, voters: VoterSet, granting: Sequence[VoterKey]) -> LeaderChangeMessage:
    """The first entry of an epoch. Version 0, as Apache Kafka 4.3 writes it: ids without directories."""
    return LeaderChangeMessage(
        version=0,
        leader_id=leader_id,
        voters=[LeaderChangeVoter(voter_id=key.node_id) for key in voters.keys],
        granting_voters=[LeaderChangeVoter(voter_id=key.node_id) for key in granting],
    )
