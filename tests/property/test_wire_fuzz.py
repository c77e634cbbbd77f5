"""Hostile bytes: every decoder gives a value or the one typed error, quickly and in bounded memory.

For inputs up to 64 KiB the bounds are 50 ms of CPU and 64 KiB + 128 times the input at the peak.
"""

from __future__ import annotations

import contextlib
import gc
import gzip
import json
import os
import random
import time
import tracemalloc
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from moldau_broker.wire.catalog import message_classes
from moldau_broker.wire.codec import decode, decoder, encode
from moldau_broker.wire.errors import WireError
from moldau_broker.wire.framing import decode_request_header, decode_response_header
from moldau_broker.wire.messages.heartbeat import HeartbeatRequest
from moldau_broker.wire.metadata_framing import decode_record
from moldau_broker.wire.primitives import uvarint
from moldau_broker.wire.records import Record, build_batch, iter_batches, read_records
from moldau_broker.wire.schema import Field, Struct, fields_of, replace

INPUT_BYTES_MAX = 64 * 1024
SECONDS_MAX = 0.05
PEAK_BYTES_MAX_PER_BYTE = 128
PEAK_BYTES_FREE = 64 * 1024

NIGHTLY = "MOLDAU_NIGHTLY" in os.environ
ROUNDS = 1000 if NIGHTLY else 100
"""Mutations of each vector."""
SEED = int(os.environ.get("MOLDAU_FUZZ_SEED", time.time_ns() if NIGHTLY else 0))
"""The same on every run but the nightly one, whose failures show the bytes."""

CLASSES = message_classes()
VECTORS = Path(__file__).parents[1] / "data" / "kafka" / "vectors.jsonl.gz"


def vectors_by_name() -> dict[str, list[tuple[int, bytes]]]:
    """Version and bytes of every vector, by message name."""
    found: dict[str, list[tuple[int, bytes]]] = defaultdict(list)
    with gzip.open(VECTORS, "rt", encoding="utf-8") as lines:
        for line in lines:
            vector = json.loads(line)
            found[vector["name"]].append((vector["version"], bytes.fromhex(vector["hex"])))
    return found


BY_NAME = vectors_by_name()
EDGES = [
    b"\x00",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\xff\x0f",
]
EDGES += [uvarint(2**31), b"\x80" * 6, b"\x00\x00\xff\xff", b"\x80\x80\x80\x80\x01"]


def mutations(raw: bytes, rng: random.Random, rounds: int) -> Iterator[bytes]:
    """Bytes near `raw`: flipped, cut, doubled, with the values at which length checks fail, or just noise."""
    for _ in range(rounds):
        buf = bytearray(raw)
        for _ in range(rng.choice((1, 1, 2, 5))):
            at = rng.randrange(len(buf) + 1)
            match rng.randrange(6):
                case 0 if at < len(buf):
                    buf[at] = rng.randrange(256)
                case 1:
                    edge = rng.choice(EDGES)
                    buf[at : at + len(edge)] = edge
                case 2:
                    buf[at:at] = rng.choice(EDGES)
                case 3:
                    del buf[at:]
                case 4:
                    buf[at:at] = buf[at : at + rng.randrange(64)]
                case _:
                    buf[at : at + 8] = rng.randbytes(rng.randrange(12))
        yield bytes(buf)
    yield rng.randbytes(rng.randrange(200))


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_mutated_bytes_decode_or_raise_the_typed_error(name: str) -> None:
    """No mutation of a real message makes its decoder raise anything else, or read past the end."""
    rng = random.Random(f"{SEED} {name}")
    cls = CLASSES[name]
    for version, raw in BY_NAME[name]:
        decode_version = decoder(cls, version)
        for mutated in mutations(raw, rng, ROUNDS):
            try:
                value, end = decode_version(mutated, 0)
            except WireError:
                continue
            assert end <= len(mutated), (version, mutated.hex())
            # What decodes is a value like any other: it has bytes, and those decode to it.
            again = encode(value, version)
            assert encode(decode(cls, version, again)[0], version) == again, (version, mutated.hex())


def test_mutated_headers_and_records_raise_the_typed_error() -> None:
    """The readers around messages are as safe as the messages."""
    rng = random.Random(SEED)
    requests = [bytes.fromhex("0003000900000001000261620000"), bytes.fromhex("00000001000000010002616200")]
    metadata = [bytes.fromhex("010c001154657374466561747572654c6576656c001d00")]
    records = [Record(index, index, b"key", b"value", [("h", b"v")]) for index in range(5)]
    batches = [bytes(build_batch(records, codec=codec)) for codec in range(5)]
    for raw in requests:
        for mutated in mutations(raw, rng, 50 * ROUNDS):
            with contextlib.suppress(WireError):
                decode_request_header(mutated)
            with contextlib.suppress(WireError):
                decode_response_header(3, 9, mutated)
    for raw in metadata:
        for mutated in mutations(raw, rng, 50 * ROUNDS):
            with contextlib.suppress(WireError):
                decode_record(mutated)
    for raw in batches:
        for mutated in mutations(raw, rng, 50 * ROUNDS):
            with contextlib.suppress(WireError):
                read_records(mutated)
            with contextlib.suppress(WireError):
                list(iter_batches(mutated))


# --- the worst inputs there are ---------------------------------------------------------------------------


def minimal(cls: type[Struct], version: int) -> Struct:
    """A value with the fewest bytes: empty arrays and strings, nothing tagged."""
    changes: dict[str, Any] = {}
    for field in fields_of(cls):
        if field.array:
            changes[field.name] = ()
        elif field.type in {"String", "LegacyString"}:
            changes[field.name] = ""
        elif field.struct is not None and not (field.tag is not None and cls.__schema__.is_flexible(version)):
            changes[field.name] = minimal(field.struct, version)
    return cls(**changes)


def stuffed(cls: type[Struct], version: int, path: tuple[str, ...], count: int) -> Struct:
    """A minimal value whose array at `path` has `count` minimal elements."""
    field = next(field for field in fields_of(cls) if field.name == path[0])
    value: Any
    if len(path) > 1:
        assert field.struct is not None
        inner = stuffed(field.struct, version, path[1:], count)
        value = [inner] if field.array else inner
    else:
        value = [element(field, version)] * count
    return replace(minimal(cls, version), **{path[0]: value})


def element(field: Field, version: int) -> Any:
    """One element of an array that costs much for the bytes it takes."""
    if field.struct is not None:
        return minimal(field.struct, version)
    return {"String": "", "Uuid": bytes(16)}.get(field.type, 100_000 if field.type != "Int8" else 1)


def array_paths(cls: type[Struct], version: int) -> Iterator[tuple[str, ...]]:
    """The way to every array of the message, through others."""
    for field in fields_of(cls):
        if not field.carried(version):
            continue
        if field.array:
            yield (field.name,)
        if field.struct is not None:
            for rest in array_paths(field.struct, version):
                yield (field.name, *rest)


def worst_inputs(cls: type[Struct], version: int, size: int) -> Iterator[tuple[str, bytes]]:
    """Inputs of `size` bytes, or as many as the message can take: one array stuffed full, floods of one byte."""
    for path in array_paths(cls, version):
        few, more = (len(encode(stuffed(cls, version, path, count), version)) for count in (8, 40))
        each = max(1, (more - few) // 32)
        count = (size - few) // each
        raw = encode(stuffed(cls, version, path, count), version)
        while len(raw) > size:
            count -= 1 + (len(raw) - size) // each
            raw = encode(stuffed(cls, version, path, count), version)
        yield ".".join(path), raw
    for byte in (0x00, 0x01, 0x02, 0x7F, 0x80, 0xFF):
        yield f"flood of {byte:#x}", bytes((byte,)) * size
    if has_tags(cls) or cls is HeartbeatRequest:
        yield "tags", (encode(minimal(cls, version), version)[:-1] + TAG_FLOOD)[:size]


TAG_FLOOD = uvarint(40_000) + b"".join(uvarint(tag) + b"\0" for tag in range(40_000))
"""More tags than fit into 64 KiB: as many are read as do, and then the section ends in nothing."""


def has_tags(cls: type[Struct]) -> bool:
    """Whether the message knows tags itself; all others step over the section with one function."""
    return any(field.tag is not None for field in fields_of(cls))


@pytest.fixture(scope="module")
def frozen_heap() -> None:
    """Keep what pytest has piled up out of the garbage collections that decoding sets off.

    It stays frozen: the tests after these count on it (`tests/conftest.py`).
    """
    gc.collect()
    gc.freeze()


def cpu_seconds(cls: type[Struct], version: int, raw: bytes) -> float:
    """The CPU time it takes to decode, whatever comes of it."""
    start = time.process_time()
    with contextlib.suppress(WireError):
        decode(cls, version, raw)
    return time.process_time() - start


@pytest.mark.usefixtures("frozen_heap")
@pytest.mark.parametrize("name", sorted(CLASSES))
def test_worst_inputs_stay_in_time(name: str) -> None:
    """64 KiB of the worst a peer could send cost 50 ms of CPU at most.

    CPU time of this process, the best of up to five attempts: the host may disturb one.
    """
    cls = CLASSES[name]
    for version in versions_to_try(cls):
        cpu_seconds(cls, version, b"")  # compiles
        for label, raw in worst_inputs(cls, version, INPUT_BYTES_MAX):
            assert len(raw) <= INPUT_BYTES_MAX
            seconds = 1.0
            for _ in range(5):
                if seconds > SECONDS_MAX:
                    seconds = min(seconds, cpu_seconds(cls, version, raw))
            assert seconds <= SECONDS_MAX, (version, label, seconds)


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_worst_inputs_stay_in_memory(name: str) -> None:
    """The worst a peer could send makes a decoder use 128 times its size at most, and 64 KiB.

    Measured by tracemalloc, which looks up a line for every allocation and makes 64 KiB slow; except at night
    the inputs are an eighth of that, without the 64 KiB to spare: what is built grows with the input.
    """
    cls = CLASSES[name]
    size, free = (INPUT_BYTES_MAX, PEAK_BYTES_FREE) if NIGHTLY else (INPUT_BYTES_MAX // 8, 0)
    for version in versions_to_try(cls):
        cpu_seconds(cls, version, b"")  # compiles
        for label, raw in worst_inputs(cls, version, size):
            tracemalloc.start()
            cpu_seconds(cls, version, raw)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak <= free + PEAK_BYTES_MAX_PER_BYTE * len(raw), (version, label, peak / len(raw))


def versions_to_try(cls: type[Struct]) -> Iterable[int]:
    """Every version at night, else the newest, which is the widest."""
    assert cls.__schema__.versions is not None
    first, last = cls.__schema__.versions
    return range(first, last + 1) if NIGHTLY else (last,)
