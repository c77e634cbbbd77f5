"""The codecs of record batches, and decompression that cannot be made to build a bomb. Pure.

Every decompressor here writes into a buffer that is never larger than the limit; none asks the data how large
it wants to be and believes it. What clients send and what Java can read:

- gzip: RFC 1952, several members allowed.
- snappy: Java and librdkafka wrap raw blocks in the stream of snappy-java ("xerial"), others send one raw block.
- lz4: the frame format; Java reads independent blocks only, so those are what we write.
- zstd: frames, with or without their content size.

`cramjam` is imported when a codec is first needed (8 ms, 3 MB): a broker that keeps batches opaque never does.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from enum import IntEnum
from struct import Struct as Packed
from typing import TYPE_CHECKING, Final, TypeAlias

from moldau_broker.base.limits import (
    DECOMPRESSED_BYTES_MAX,
    DECOMPRESSED_FREE_BYTES,
    DECOMPRESSED_RATIO_MAX,
)
from moldau_broker.wire.errors import WireError

if TYPE_CHECKING:
    from types import ModuleType

Buffer: TypeAlias = bytes | bytearray | memoryview


class Codec(IntEnum):
    """The three low bits of a batch's attributes."""

    NONE = 0
    GZIP = 1
    SNAPPY = 2
    LZ4 = 3
    ZSTD = 4


class CompressionError(WireError):
    """Compressed bytes that are not what their codec says, or a codec nobody knows."""


class DecompressedTooLarge(CompressionError):
    """The data would decompress to more than the limit; it was not built."""


def compress(codec: int, data: Buffer, level: int | None = None) -> bytes:
    """`data` under `codec`; `level` is the codec's own, for gzip and zstd.

    Raises:
        CompressionError: the codec is unknown.
    """
    match codec:
        case Codec.NONE:
            return bytes(data)
        case Codec.GZIP:
            return zlib.compress(data, -1 if level is None else level, wbits=_GZIP_WBITS)
        case Codec.SNAPPY:
            return _compress_xerial(data)
        case Codec.LZ4:
            return _compress_lz4(data)
        case Codec.ZSTD:
            return bytes(_cramjam().zstd.compress(data, level))
    raise CompressionError(f"compression codec {codec} is unknown")


def decompress(
    codec: int,
    data: Buffer,
    max_bytes: int = DECOMPRESSED_BYTES_MAX,
    max_ratio: int = DECOMPRESSED_RATIO_MAX,
) -> Buffer:
    """The bytes behind `data`, at most `max_bytes` of them.

    Below `DECOMPRESSED_FREE_BYTES` the ratio is not looked at. Memory used is the result's and a copy's at most.

    Raises:
        DecompressedTooLarge: more than `max_bytes`, or more than `max_ratio` for each compressed byte.
        CompressionError: garbage, or an unknown codec.
    """
    limit = min(max_bytes, max(DECOMPRESSED_FREE_BYTES, len(data) * max_ratio))
    match codec:
        case Codec.NONE:
            if len(data) > max_bytes:
                raise DecompressedTooLarge(f"{len(data)} bytes, more than the limit of {max_bytes}")
            return data
        case Codec.GZIP:
            return _decompress_growing("gzip", _cramjam().gzip.decompress_into, data, limit)
        case Codec.SNAPPY:
            return _decompress_snappy(data, limit)
        case Codec.LZ4:
            return _decompress_growing("lz4", _cramjam().lz4.decompress_into, data, limit)
        case Codec.ZSTD:
            return _decompress_growing("zstd", _cramjam().zstd.decompress_into, data, limit)
    raise CompressionError(f"compression codec {codec} is unknown")


def _cramjam() -> ModuleType:
    import cramjam

    return cramjam


def _too_large(codec: str, limit: int) -> DecompressedTooLarge:
    return DecompressedTooLarge(f"{codec}: decompresses to more than the limit of {limit} bytes")


# --- gzip, lz4 and zstd -----------------------------------------------------------------------------------

_GZIP_WBITS: Final = 31  # the largest window, gzip's wrapping

_FIRST_GUESS_RATIO: Final = 4
_FIRST_GUESS_BYTES_MIN: Final = 16 * 1024
_GROWTH: Final = 4
_BUFFER_FULL: Final = "failed to write whole buffer"


def _decompress_growing(
    name: str, decompress_into: Callable[[Buffer, bytearray], int], data: Buffer, limit: int
) -> Buffer:
    """Decompress into a buffer that grows until the result fits or the limit is reached.

    Frames seldom say how large they are, and a hostile one lies. Starting at four times the input and growing
    fourfold, an honest batch costs one attempt, the worst one a third more than the last.
    """
    size = min(limit, max(_FIRST_GUESS_BYTES_MIN, _FIRST_GUESS_RATIO * len(data)))
    while True:
        out = bytearray(size)
        try:
            written = decompress_into(data, out)
        except _cramjam().DecompressionError as error:
            if _BUFFER_FULL not in str(error):
                raise CompressionError(f"{name}: {error}") from error
            if size == limit:
                raise _too_large(name, limit) from None
            size = min(limit, size * _GROWTH)
        else:
            return memoryview(out)[:written]


_LZ4_START: Final = bytes.fromhex("04224d18604082")
"""Magic, version 1 with independent blocks, blocks of 64 KiB, and the xxHash byte of those two."""
_LZ4_END: Final = bytes(4)
_LZ4_BLOCK_BYTES: Final = 64 * 1024
_LZ4_STORED: Final = 0x80000000


def _compress_lz4(data: Buffer) -> bytes:
    compress_block = _cramjam().lz4.compress_block
    view = memoryview(data)
    out = [_LZ4_START]
    for start in range(0, len(view), _LZ4_BLOCK_BYTES):
        block = view[start : start + _LZ4_BLOCK_BYTES]
        packed = bytes(compress_block(block, store_size=False))
        if len(packed) < len(block):
            out += (len(packed).to_bytes(4, "little"), packed)
        else:
            out += ((len(block) | _LZ4_STORED).to_bytes(4, "little"), bytes(block))
    out.append(_LZ4_END)
    return b"".join(out)


# --- snappy -----------------------------------------------------------------------------------------------

_XERIAL_MAGIC: Final = b"\x82SNAPPY\x00"
_XERIAL_START: Final = _XERIAL_MAGIC + bytes.fromhex("0000000100000001")
_XERIAL_BLOCK_BYTES: Final = 32 * 1024
_INT32 = Packed(">i")


def _compress_xerial(data: Buffer) -> bytes:
    compress_raw = _cramjam().snappy.compress_raw
    view = memoryview(data)
    out = [_XERIAL_START]
    for start in range(0, len(view), _XERIAL_BLOCK_BYTES):
        packed = bytes(compress_raw(view[start : start + _XERIAL_BLOCK_BYTES]))
        out += (_INT32.pack(len(packed)), packed)
    return b"".join(out)


def _decompress_snappy(data: Buffer, limit: int) -> Buffer:
    view = memoryview(data)
    blocks = _xerial_blocks(view) if bytes(view[: len(_XERIAL_MAGIC)]) == _XERIAL_MAGIC else [view]
    snappy = _cramjam().snappy
    try:
        sizes = [snappy.decompress_raw_len(block) for block in blocks]
        if sum(sizes) > limit:
            raise _too_large("snappy", limit)
        out = memoryview(bytearray(sum(sizes)))
        start = 0
        for block, size in zip(blocks, sizes, strict=True):
            written = snappy.decompress_raw_into(block, out[start : start + size])
            if written != size:
                raise CompressionError(f"snappy: a block of {size} bytes has {written}")
            start += size
    except _cramjam().DecompressionError as error:
        raise CompressionError(f"snappy: {error}") from error
    return out


def _xerial_blocks(view: memoryview) -> list[memoryview]:
    blocks = []
    start = len(_XERIAL_START)
    end = len(view)
    if end < start:
        raise CompressionError("snappy: the bytes end inside the stream header")
    while start < end:
        if end - start < _INT32.size:
            raise CompressionError("snappy: the bytes end inside a block's size")
        (size,) = _INT32.unpack_from(view, start)
        start += _INT32.size
        if not 0 < size <= end - start:
            raise CompressionError(f"snappy: a block of {size} bytes cannot be in the {end - start} left")
        blocks.append(view[start : start + size])
        start += size
    return blocks
