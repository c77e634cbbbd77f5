"""Any value of any message survives its bytes, in every version; any records survive a batch."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moldau_broker.wire.catalog import message_classes
from moldau_broker.wire.codec import decode, encode, encode_chunks
from moldau_broker.wire.compression import Codec
from moldau_broker.wire.primitives import read_uvarint, read_varint, read_varlong, uvarint, varint, varlong
from moldau_broker.wire.records import Record, build_batch, crc_ok, read_records
from moldau_broker.wire.schema import Field, Struct, fields_of

CLASSES = message_classes()
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "Boolean": st.booleans(),
    "Int8": st.integers(-(2**7), 2**7 - 1),
    "Int16": st.integers(-(2**15), 2**15 - 1),
    "Int32": st.integers(-(2**31), 2**31 - 1),
    "Int64": st.integers(-(2**63), 2**63 - 1),
    "UInt16": st.integers(0, 2**16 - 1),
    "UInt32": st.integers(0, 2**32 - 1),
    "Float64": st.floats(allow_nan=False),
    "Uuid": st.binary(min_size=16, max_size=16),
    "String": TEXT,
    "LegacyString": TEXT,
    "Bytes": st.binary(max_size=20),
    "Records": st.binary(max_size=20),
}


def structs(cls: type[Struct], version: int) -> st.SearchStrategy[Struct]:
    """Any value of the struct that `version` can carry; fields it does not carry keep their defaults."""
    carried = {field.name: values(field, version) for field in fields_of(cls) if field.carried(version)}
    return st.builds(cls, **carried)


def values(field: Field, version: int) -> st.SearchStrategy[Any]:
    """Any value of the field."""
    one = structs(field.struct, version) if field.struct is not None else SCALARS[field.type]
    any_of_them = st.lists(one, max_size=3) if field.array else one
    return st.none() | any_of_them if field.nullable(version) else any_of_them


@pytest.mark.parametrize("name", sorted(CLASSES))
@given(data=st.data())
def test_message_survives_its_bytes(name: str, data: st.DataObject) -> None:
    """Decoding what was encoded gives the value back, and uses every byte."""
    cls = CLASSES[name]
    assert cls.__schema__.versions is not None
    version = data.draw(st.integers(*cls.__schema__.versions), label="version")
    message = data.draw(structs(cls, version), label="message")
    raw = encode(message, version)
    assert decode(cls, version, raw) == (message, len(raw))
    assert decode(cls, version, memoryview(b"##" + raw), 2) == (message, len(raw) + 2)
    assert b"".join(encode_chunks(message, version)) == raw


@given(st.integers(0, 2**32 - 1), st.integers(-(2**31), 2**31 - 1), st.integers(-(2**63), 2**63 - 1))
def test_varints_survive(unsigned: int, signed: int, long: int) -> None:
    """All three kinds, one behind the other."""
    raw = uvarint(unsigned) + varint(signed) + varlong(long)
    first, offset = read_uvarint(raw, 0)
    second, offset = read_varint(raw, offset)
    assert (first, second, read_varlong(raw, offset)) == (unsigned, signed, (long, len(raw)))


HEADERS = st.lists(st.tuples(TEXT, st.none() | st.binary(max_size=10)), max_size=3)
RECORDS = st.lists(
    st.tuples(
        st.integers(1, 1000),
        st.integers(-(2**40), 2**40),
        st.none() | st.binary(max_size=50),
        st.none() | st.binary(max_size=50),
        HEADERS,
    ),
    min_size=1,
    max_size=20,
)


@given(RECORDS, st.sampled_from(Codec), st.integers(0, 2**62))
def test_records_survive_a_batch(
    drawn: list[tuple[int, int, bytes | None, bytes | None, list[Any]]], codec: Codec, base_offset: int
) -> None:
    """Any records with rising offsets come back, through every codec, and the CRC is right."""
    offset = base_offset
    records = []
    for step, timestamp, key, value, headers in drawn:
        records.append(Record(offset, timestamp, key, value, headers or ()))
        offset += step
    batch = build_batch(records, base_offset=base_offset, codec=codec)
    assert crc_ok(batch, 0, len(batch))
    assert read_records(batch) == records
