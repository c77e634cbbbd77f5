"""Coordinator records as keys and values of log records: an int16, then the body. Pure.

In a key of `__consumer_offsets` the int16 is the record's type (0 and 1 offset commit, 2 group metadata);
in a value it is the version of the value's own schema. Source: Kafka 4.3 `CoordinatorRecordSerde`.
"""

from __future__ import annotations

from struct import Struct as Packed
from typing import Final, TypeVar

from moldau_broker.wire.codec import Buffer, decode, encode
from moldau_broker.wire.errors import WireError
from moldau_broker.wire.messages.group_records import (
    GroupMetadataKey,
    GroupMetadataValue,
    LegacyOffsetCommitKey,
    LegacyOffsetCommitValue,
    OffsetCommitKey,
    OffsetCommitValue,
)
from moldau_broker.wire.schema import Struct

S = TypeVar("S", bound=Struct)
_INT16 = Packed(">h")

RECORD_CLASSES: Final[dict[int, tuple[type[Struct], type[Struct]]]] = {
    0: (LegacyOffsetCommitKey, LegacyOffsetCommitValue),
    1: (OffsetCommitKey, OffsetCommitValue),
    2: (GroupMetadataKey, GroupMetadataValue),
}
"""Key and value class of each record type of `__consumer_offsets`."""
_KEY_BODY_VERSION: Final = 0


def encode_key(key: Struct) -> bytes:
    """The key of a coordinator record.

    Raises:
        WireError: a value does not fit.
    """
    kind = key.__schema__.key
    assert kind is not None, f"{type(key).__name__} is no coordinator key"
    return _INT16.pack(kind) + encode(key, _KEY_BODY_VERSION)


def decode_key(data: Buffer) -> Struct | None:
    """The key in `data`, or None for a record type we do not know (a newer broker wrote it; skip it).

    Raises:
        WireError: the bytes are no key.
    """
    kind = _read_int16(data, "coordinator key")
    classes = RECORD_CLASSES.get(kind)
    if classes is None:
        return None
    return decode(classes[0], _KEY_BODY_VERSION, data, _INT16.size)[0]


def encode_versioned(message: Struct, version: int) -> bytes:
    """`message` behind its int16 version: coordinator values, consumer protocol, control records, snapshots.

    Raises:
        WireError: the message has no bytes in this version.
    """
    return _INT16.pack(version) + encode(message, version)


def decode_versioned(cls: type[S], data: Buffer) -> tuple[S, int]:
    """The `cls` that follows its int16 version in `data`, and that version.

    Raises:
        WireError: an unknown version, or bytes that are no `cls` of it.
    """
    version = _read_int16(data, cls.__name__)
    return decode(cls, version, data, _INT16.size)[0], version


def _read_int16(data: Buffer, what: str) -> int:
    if len(data) < _INT16.size:
        raise WireError(f"{what}: the bytes end inside its version")
    (value,) = _INT16.unpack_from(data)
    assert isinstance(value, int)
    return value
