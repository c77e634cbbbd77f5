"""Metadata records as values of log records: a frame version, the record's type and version, its body. Pure.

Source: Kafka 4.3 `MetadataRecordSerde` (KIP-631): three unsigned varints, then the flexible-encoded body.
"""

from __future__ import annotations

from typing import Final

from moldau_broker.wire.codec import Buffer, decode, encode
from moldau_broker.wire.errors import WireError
from moldau_broker.wire.messages import metadata_records
from moldau_broker.wire.primitives import read_uvarint, uvarint
from moldau_broker.wire.schema import Struct

FRAME_VERSION: Final = 1


def _by_type() -> dict[int, type[Struct]]:
    classes = {}
    for value in vars(metadata_records).values():
        if isinstance(value, type) and issubclass(value, Struct) and value is not Struct:
            key = value.__schema__.key
            if key is not None:
                classes[key] = value
    return classes


RECORD_CLASSES: Final = _by_type()
"""Every metadata record's class by its type."""


def encode_record(message: Struct, version: int) -> bytes:
    """The value of a record of the metadata log.

    Raises:
        WireError: the message has no bytes in this version.
    """
    key = message.__schema__.key
    assert key is not None, f"{type(message).__name__} is no metadata record"
    return b"".join((uvarint(FRAME_VERSION), uvarint(key), uvarint(version), encode(message, version)))


def decode_record(value: Buffer) -> tuple[Struct, int]:
    """The metadata record in `value`, and its version.

    Raises:
        WireError: an unknown frame version, type or version, or a body that is none.
    """
    frame, offset = read_uvarint(value, 0)
    if frame != FRAME_VERSION:
        raise WireError(f"metadata record: frame version {frame} is unknown")
    key, offset = read_uvarint(value, offset)
    version, offset = read_uvarint(value, offset)
    cls = RECORD_CLASSES.get(key)
    if cls is None:
        raise WireError(f"metadata record: type {key} is unknown")
    message, end = decode(cls, version, value, offset)
    if end != len(value):
        raise WireError(f"{cls.__name__} v{version}: {len(value) - end} bytes after its end")
    return message, version
