"""Metadata records and their bytes: which version of each this broker writes. Pure.

The versions are those of `METADATA_VERSION`; readers accept every version their class has.
"""

from __future__ import annotations

from typing import Final

from moldau_broker.metadata.errors import InvalidMetadataRecord
from moldau_broker.wire.errors import WireError
from moldau_broker.wire.messages import metadata_records as records
from moldau_broker.wire.metadata_framing import decode_record, encode_record
from moldau_broker.wire.schema import Struct

METADATA_VERSION_FEATURE: Final = "metadata.version"
METADATA_VERSION: Final = 30
"""4.3-IV0, the newest level of Apache Kafka 4.3: it decides the record versions below."""

_VERSIONS: Final[dict[type[Struct], int]] = {
    records.RegisterBrokerRecord: 4,
    records.PartitionRecord: 2,
    records.PartitionChangeRecord: 2,
    # Kafka writes the lowest version that holds the fields set; we set no log directories here.
    records.BrokerRegistrationChangeRecord: 1,
}
"""Kinds not listed have only version 0."""


def encode(record: Struct) -> bytes:
    """The value of a record in the metadata log."""
    return encode_record(record, _VERSIONS.get(type(record), 0))


def decode(value: bytes | memoryview | None) -> Struct:
    """The metadata record in a log record's value.

    Raises:
        InvalidMetadataRecord: the bytes are not one this version can read.
    """
    if value is None:
        raise InvalidMetadataRecord("the metadata log holds a record without value")
    try:
        return decode_record(value)[0]
    except WireError as error:
        raise InvalidMetadataRecord(
            f"the metadata log holds a record that cannot be read: {error}"
        ) from error
