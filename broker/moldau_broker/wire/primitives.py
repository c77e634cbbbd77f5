"""Variable-length integers (protocol guide, "Protocol Primitive Types"). Pure.

Readers take `(buf, offset)` and give `(value, next offset)`; all failure is `WireError`. Encodings longer
than needed are accepted, as Kafka accepts them; encodings of more bytes than the type can need are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from moldau_broker.wire.errors import WireError

_UINT32_MAX: Final = 0xFFFFFFFF
_ONE_BYTE: Final = tuple(bytes((value,)) for value in range(128))


def read_uvarint(buf: Sequence[int], offset: int) -> tuple[int, int]:
    """An unsigned varint of at most 32 bits in at most 5 bytes."""
    value = shift = 0
    try:
        while True:
            byte = buf[offset]
            offset += 1
            value |= (byte & 0x7F) << shift
            if byte < 128:
                break
            shift += 7
            if shift > 28:
                raise WireError("a varint has more than 5 bytes")
    except IndexError:
        raise WireError("the bytes end inside a varint") from None
    if value > _UINT32_MAX:
        raise WireError("a varint has more than 32 bits")
    return value, offset


def read_varint(buf: Sequence[int], offset: int) -> tuple[int, int]:
    """A zigzag varint: a signed integer of at most 32 bits."""
    value, offset = read_uvarint(buf, offset)
    return (value >> 1) ^ -(value & 1), offset


def read_varlong(buf: Sequence[int], offset: int) -> tuple[int, int]:
    """A zigzag varlong: a signed integer of at most 64 bits in at most 10 bytes."""
    value = shift = 0
    try:
        while True:
            byte = buf[offset]
            offset += 1
            value |= (byte & 0x7F) << shift
            if byte < 128:
                break
            shift += 7
            if shift > 63:
                raise WireError("a varlong has more than 10 bytes")
    except IndexError:
        raise WireError("the bytes end inside a varlong") from None
    if value >> 64:
        raise WireError("a varlong has more than 64 bits")
    return (value >> 1) ^ -(value & 1), offset


def uvarint(value: int) -> bytes:
    """The unsigned varint of `value` (0 or more)."""
    if value < 128:
        return _ONE_BYTE[value]
    out = bytearray()
    while value > 127:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def varint(value: int) -> bytes:
    """The zigzag varint of a signed 32-bit `value`."""
    if 0 <= value < len(_SMALL_VARINTS):
        return _SMALL_VARINTS[value]
    return uvarint((value << 1) ^ (value >> 31))


def varlong(value: int) -> bytes:
    """The zigzag varlong of a signed 64-bit `value`."""
    return uvarint((value << 1) ^ (value >> 63))


_SMALL_VARINTS: Final = tuple(uvarint(value << 1) for value in range(512))
