"""Kafka UUIDs as plain 16-byte strings: hashable, comparable, free to decode.

Printed form: 22 characters of URL-safe base64 without padding (Kafka's `org.apache.kafka.common.Uuid`).
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Final, NewType

if TYPE_CHECKING:
    from random import Random


Uuid = NewType("Uuid", bytes)

NULL_UUID: Final = Uuid(bytes(16))
METADATA_TOPIC_ID: Final = Uuid(bytes(15) + b"\x01")


LOST_DIRECTORY: Final = Uuid(bytes(15) + b"\x01")
"""The reserved directory of replicas whose disk or data failed (`DirectoryId.LOST`, KIP-858)."""


def format_uuid(value: bytes) -> str:
    """The 22-character text form of a 16-byte uuid."""
    return base64.urlsafe_b64encode(value)[:22].decode("ascii")


def parse_uuid(text: str) -> Uuid:
    """The 16 bytes of a 22-character uuid.

    Raises:
        ValueError: the text is not 22 characters of URL-safe base64.
    """
    if len(text) != 22:
        raise ValueError(f"a Kafka uuid has 22 characters, not {len(text)}: {text!r}")
    try:
        return Uuid(base64.b64decode(text + "==", altchars=b"-_", validate=True))
    except binascii.Error as error:
        raise ValueError(f"not URL-safe base64: {text!r}") from error


def random_uuid(rng: Random) -> Uuid:
    """A version-4 uuid from `rng` whose text form does not begin with a dash (as Kafka's own)."""
    while True:
        raw = bytearray(rng.getrandbits(128).to_bytes(16, "big"))
        raw[6] = (raw[6] & 0x0F) | 0x40
        raw[8] = (raw[8] & 0x3F) | 0x80
        uuid = Uuid(bytes(raw))
        if not format_uuid(uuid).startswith("-"):
            return uuid
