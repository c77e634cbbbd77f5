"""Messages to bytes and back, by functions compiled for each (message, version) on first use. Pure.

Why compiled source and not an interpreter of the schema: docs/adr/0001-wire-codec.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias, TypeVar, cast

from moldau_broker.wire.compile_decode import decoder_source, holds_records
from moldau_broker.wire.compile_encode import encoder_source
from moldau_broker.wire.errors import WireError
from moldau_broker.wire.schema import Struct

S = TypeVar("S", bound=Struct)
Buffer: TypeAlias = bytes | bytearray | memoryview
Piece: TypeAlias = bytes | bytearray | memoryview

CHUNK_BYTES_MIN: Final = 4096
"""Smaller buffers are cheaper to copy into their neighbours than to hand to the socket on their own."""


def decode(cls: type[S], version: int, buf: Buffer, offset: int = 0) -> tuple[S, int]:
    """Read one message from `buf` at `offset`; gives it and the offset after it.

    `records` fields are slices of `buf`; everything else is copied out. Bytes after it are the caller's.

    Raises:
        WireError: the bytes are not a `cls` of this version, or there is no such version.
    """
    return decoder(cls, version)(buf, offset)


def encode(message: Struct, version: int) -> bytes:
    """The bytes of `message` in `version`. Fields the version does not carry are left out silently.

    Raises:
        WireError: a value does not fit its type, or is None where the version has no null.
    """
    return b"".join(pieces(message, version))


def encode_chunks(message: Struct, version: int) -> list[Piece]:
    """`encode` in chunks, so that big `records` are not copied. Raises WireError as `encode` does."""
    parts = pieces(message, version)
    if not holds_records(type(message)):
        return [b"".join(parts)]
    return gather(parts)


def decoder(cls: type[S], version: int) -> Callable[[Buffer, int], tuple[S, int]]:
    """The function behind `decode`, for callers that read many messages of one version."""
    found = cls.__schema__.decoders.get(version)
    if found is None:
        found = cls.__schema__.decoders[version] = _compile(cls, version, "decode", decoder_source)
    return found


def pieces(message: Struct, version: int) -> list[Piece]:
    """The bytes of `message` as the many small pieces the encoder makes; join or gather them."""
    cls = type(message)
    found = cls.__schema__.encoders.get(version)
    if found is None:
        found = cls.__schema__.encoders[version] = _compile(cls, version, "encode", encoder_source)
    return cast("list[Piece]", found(message))


def gather(parts: list[Piece]) -> list[Piece]:
    """Join neighbours, but leave every buffer of `CHUNK_BYTES_MIN` or more as it is."""
    chunks: list[Piece] = []
    run: list[Piece] = []
    for part in parts:
        if len(part) < CHUNK_BYTES_MIN:
            run.append(part)
            continue
        if run:
            chunks.append(b"".join(run))
            run.clear()
        chunks.append(part)
    if run:
        chunks.append(b"".join(run))
    return chunks


def _compile(
    cls: type[Struct],
    version: int,
    name: str,
    source: Callable[[type[Struct], int], tuple[str, dict[str, Any]]],
) -> Callable[..., Any]:
    versions = cls.__schema__.versions
    assert versions is not None, f"{cls.__name__} lives inside messages and has no versions of its own"
    if not versions[0] <= version <= versions[1]:
        raise WireError(f"{cls.__name__} has versions {versions[0]} to {versions[1]}, not {version}")
    text, namespace = source(cls, version)
    code = compile(text, f"<{name} {cls.__name__} v{version}>", "exec")
    exec(code, namespace)  # noqa: S102 - source we wrote above from our own classes, no input in it
    return cast("Callable[..., Any]", namespace[name])
