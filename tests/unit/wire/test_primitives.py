"""Variable-length integers at their bounds."""

from __future__ import annotations

import pytest

from moldau_broker.wire.errors import WireError
from moldau_broker.wire.primitives import (
    read_uvarint,
    read_varint,
    read_varlong,
    uvarint,
    varint,
    varlong,
)


@pytest.mark.parametrize(
    ("value", "raw"),
    [
        (0, "00"),
        (127, "7f"),
        (128, "8001"),
        (300, "ac02"),
        (2**31 - 1, "ffffffff07"),
        (2**32 - 1, "ffffffff0f"),
    ],
)
def test_uvarint_has_the_protocols_bytes(value: int, raw: str) -> None:
    """Reference: protocol guide, "UNSIGNED_VARINT": groups of seven bits, the lowest first."""
    assert uvarint(value).hex() == raw
    assert read_uvarint(bytes.fromhex(raw), 0) == (value, len(raw) // 2)


@pytest.mark.parametrize(
    ("value", "raw"),
    [(0, "00"), (-1, "01"), (1, "02"), (-64, "7f"), (2**31 - 1, "feffffff0f"), (-(2**31), "ffffffff0f")],
)
def test_varint_is_zigzag(value: int, raw: str) -> None:
    """Reference: protocol guide, "VARINT": small negatives are small."""
    assert varint(value).hex() == raw
    assert read_varint(bytes.fromhex(raw), 0) == (value, len(raw) // 2)


@pytest.mark.parametrize("value", [0, -1, 1, 2**31, -(2**31) - 1, 2**63 - 1, -(2**63)])
def test_varlong_holds_64_bits(value: int) -> None:
    """Both ends of the range survive, in at most ten bytes."""
    raw = b"#" + varlong(value)
    assert len(raw) <= 11
    assert read_varlong(raw, 1) == (value, len(raw))


def test_varints_longer_than_needed_are_accepted() -> None:
    """Kafka accepts non-minimal encodings, and so do we."""
    assert read_uvarint(b"\x81\x80\x00", 0) == (1, 3)
    assert read_varlong(b"\x82" + b"\x80" * 8 + b"\x00", 0) == (1, 10)


@pytest.mark.parametrize("raw", ["", "80", "808080", "808080808001", "ffffffff10"])
def test_malformed_varints_are_refused(raw: str) -> None:
    """Cut short, six bytes, more than 32 bits: the typed error."""
    for read in (read_uvarint, read_varint):
        with pytest.raises(WireError):
            read(bytes.fromhex(raw), 0)


@pytest.mark.parametrize("raw", ["", "ff", "80" * 10 + "01", "ff" * 9 + "02"])
def test_malformed_varlongs_are_refused(raw: str) -> None:
    """Cut short, eleven bytes, more than 64 bits: the typed error."""
    with pytest.raises(WireError):
        read_varlong(bytes.fromhex(raw), 0)
