"""Codecs both ways, hostile data, and limits that hold before memory is spent."""

from __future__ import annotations

import contextlib
import gzip
import random
import tracemalloc
import zlib

import cramjam
import pytest

from moldau_broker.base.limits import DECOMPRESSED_FREE_BYTES
from moldau_broker.wire.compression import Codec, CompressionError, DecompressedTooLarge, compress, decompress

CODECS = [Codec.GZIP, Codec.SNAPPY, Codec.LZ4, Codec.ZSTD]
TEXT = b"".join(b"record %d of many, " % number for number in range(20_000))
NOISE = random.Random(1).randbytes(200_000)


@pytest.mark.parametrize("codec", list(Codec))
@pytest.mark.parametrize("data", [b"", b"x", TEXT, NOISE], ids=["empty", "one byte", "text", "noise"])
def test_codec_survives_both_ways(codec: Codec, data: bytes) -> None:
    """What is compressed decompresses to itself, from any kind of buffer."""
    for buffer in (bytes, bytearray, memoryview):
        packed = compress(codec, buffer(data))
        assert bytes(decompress(codec, buffer(packed))) == data


@pytest.mark.parametrize("codec", CODECS)
def test_codec_makes_text_smaller(codec: Codec) -> None:
    """Compression compresses."""
    assert len(compress(codec, TEXT)) < len(TEXT) / 2


@pytest.mark.parametrize("codec", [Codec.GZIP, Codec.ZSTD])
def test_levels_are_passed_on(codec: Codec) -> None:
    """A higher level makes less of the same text."""
    assert len(compress(codec, TEXT, 9)) < len(compress(codec, TEXT, 1))


def test_lz4_is_what_java_reads() -> None:
    """Independent blocks of 64 KiB and the header checksum of those flags: Kafka's reader takes nothing else."""
    packed = compress(Codec.LZ4, TEXT)
    assert packed[:7].hex() == "04224d18604082"
    assert packed.endswith(bytes(4))
    assert bytes(cramjam.lz4.decompress(packed)) == TEXT


def test_lz4_header_checksum_is_checked() -> None:
    """Reference: KIP-57. A wrong header checksum is garbage."""
    packed = bytearray(compress(Codec.LZ4, TEXT))
    packed[6] ^= 1
    with pytest.raises(CompressionError):
        decompress(Codec.LZ4, packed)


def test_snappy_is_written_as_java_writes_it() -> None:
    """The stream of snappy-java: magic, version 1, compatible with 1, then sized raw blocks."""
    packed = compress(Codec.SNAPPY, b"hello")
    assert packed[:16].hex() == "82534e41505059000000000100000001"
    assert int.from_bytes(packed[16:20]) == len(packed) - 20


def test_snappy_is_read_raw_too() -> None:
    """Some clients send one raw block."""
    assert bytes(decompress(Codec.SNAPPY, bytes(cramjam.snappy.compress_raw(TEXT)))) == TEXT


def test_gzip_is_read_member_after_member() -> None:
    """A gzip file may be several; RFC 1952, 2.2."""
    assert bytes(decompress(Codec.GZIP, gzip.compress(b"one") + gzip.compress(b"two"))) == b"onetwo"


@pytest.mark.parametrize("with_size", [True, False])
def test_zstd_is_read_with_and_without_content_size(with_size: bool) -> None:
    """librdkafka writes the size into the frame, Java streams without."""
    if with_size:
        packed = bytes(cramjam.zstd.compress(TEXT))
    else:
        stream = cramjam.zstd.Compressor()
        stream.compress(TEXT)
        packed = bytes(stream.finish())
    assert bytes(decompress(Codec.ZSTD, packed)) == TEXT


@pytest.mark.parametrize("codec", CODECS)
def test_garbage_is_the_typed_error(codec: Codec) -> None:
    """Noise, nothing, cut data and flipped bytes: an answer or the typed error, never another."""
    packed = compress(codec, TEXT[:5000])
    with pytest.raises(CompressionError):
        decompress(codec, NOISE[:1000])
    if codec != Codec.SNAPPY:  # an empty or cut xerial stream is a shorter stream
        with pytest.raises(CompressionError):
            decompress(codec, packed[:-5])
    rng = random.Random(2)
    for _ in range(300):
        mutated = bytearray(packed)
        for _ in range(rng.randrange(1, 4)):
            mutated[rng.randrange(len(mutated))] = rng.randrange(256)
        with contextlib.suppress(CompressionError):
            decompress(codec, mutated[: rng.randrange(len(mutated))], 100_000)


@pytest.mark.parametrize("raw", ["", "82", "82534e4150505900", "82534e41505059000000000100000001" + "0000"])
@pytest.mark.parametrize("size", ["ffffffff", "00000000", "00000009"])
def test_malformed_snappy_streams_are_refused(raw: str, size: str) -> None:
    """Headers cut short and block sizes that cannot be."""
    with pytest.raises(CompressionError):
        decompress(Codec.SNAPPY, bytes.fromhex(raw))
    with pytest.raises(CompressionError):
        decompress(Codec.SNAPPY, bytes.fromhex("82534e41505059000000000100000001" + size + "0161"))


@pytest.mark.parametrize("codec", [5, 6, 7, -1])
def test_unknown_codecs_are_refused(codec: int) -> None:
    """Three bits have eight values; three of them mean nothing."""
    with pytest.raises(CompressionError, match="unknown"):
        compress(codec, b"")
    with pytest.raises(CompressionError, match="unknown"):
        decompress(codec, b"")


@pytest.mark.parametrize("codec", list(Codec))
def test_size_limit_is_exact(codec: Codec) -> None:
    """As many bytes as the limit are fine, one more is not."""
    packed = compress(codec, TEXT)
    assert len(decompress(codec, packed, len(TEXT))) == len(TEXT)
    with pytest.raises(DecompressedTooLarge):
        decompress(codec, packed, len(TEXT) - 1)


@pytest.mark.parametrize("codec", CODECS)
def test_ratio_limit_spares_small_batches(codec: Codec) -> None:
    """A megabyte of zeros is honest whatever its ratio; much more from as few bytes is not."""
    assert len(decompress(codec, compress(codec, bytes(DECOMPRESSED_FREE_BYTES)), max_ratio=1)) > 0
    with pytest.raises(DecompressedTooLarge):
        decompress(codec, compress(codec, bytes(4 * DECOMPRESSED_FREE_BYTES)), max_ratio=1)


@pytest.mark.parametrize("codec", CODECS)
def test_bomb_is_not_built(codec: Codec) -> None:
    """256 MiB of zeros are refused while no more memory is used than the limit allows."""
    limit = 2 * DECOMPRESSED_FREE_BYTES
    megabyte = bytes(1 << 20)
    match codec:
        case Codec.GZIP:
            stream = zlib.compressobj(9, wbits=31)
            bomb = b"".join(stream.compress(megabyte) for _ in range(256)) + stream.flush()
        case Codec.LZ4:
            one = compress(codec, megabyte)
            bomb = one[:7] + one[7:-4] * 256 + one[-4:]
        case Codec.SNAPPY:
            one = compress(codec, megabyte)
            bomb = one[:16] + one[16:] * 256
        case _:
            bomb = compress(codec, megabyte) * 256
    tracemalloc.start()
    try:
        with pytest.raises(DecompressedTooLarge):
            decompress(codec, bomb, limit)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < limit + DECOMPRESSED_FREE_BYTES


def test_snappy_claims_are_not_believed() -> None:
    """A raw block that claims 4 GiB is refused by its claim."""
    with pytest.raises(DecompressedTooLarge):
        decompress(Codec.SNAPPY, bytes.fromhex("ffffffff0f") + b"abc")
