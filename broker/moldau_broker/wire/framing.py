"""Requests and responses as they travel: a size, a header, a body. Pure.

The header's version follows from the API's key and version: requests have header 2 in flexible versions and
1 before; responses 1 and 0, but for ApiVersions, whose response header is always 0 so that a client can read
the answer to a version the broker does not know (KIP-511).
"""

from __future__ import annotations

from struct import Struct as Packed
from struct import error as StructError  # noqa: N812 - it is a class
from typing import Final, NamedTuple

from moldau_broker.wire.apis import API_SCHEMAS, ApiKey
from moldau_broker.wire.codec import Buffer, Piece, encode, gather, pieces
from moldau_broker.wire.compile_decode import skip_tags
from moldau_broker.wire.errors import WireError
from moldau_broker.wire.messages.headers import RequestHeader as RequestHeaderMessage
from moldau_broker.wire.schema import Struct

SIZE_BYTES: Final = 4
"""The size before every frame, which does not count itself."""

_REQUEST_START = Packed(">hhih")
_RESPONSE_START = Packed(">ii")
_RESPONSE_START_TAGGED = Packed(">iix")
_SIZE = Packed(">i")


class RequestHeader(NamedTuple):
    """What a request says before its body; `end` is the offset of the body."""

    api_key: int
    api_version: int
    correlation_id: int
    client_id: str | None
    end: int


def is_flexible(api_key: int, api_version: int) -> bool:
    """Whether the version has tagged fields. False for keys we do not know, whose headers we still read."""
    first = _flexible_from.get(api_key)
    if first is None:
        first = _flexible_from[api_key] = _look_up(api_key)
    return api_version >= first


def _look_up(api_key: int) -> int:
    try:
        first = API_SCHEMAS[ApiKey(api_key)].flexible_from
    except ValueError:
        return _NEVER
    return _NEVER if first is None else first


_NEVER: Final = 1 << 15
_flexible_from: dict[int, int] = {}


def decode_request_header(buf: Buffer, offset: int = 0) -> RequestHeader:
    """Read the header of the request that begins at `offset`, after its size.

    Raises:
        WireError: the bytes end early, or the client id is no string.
    """
    try:
        api_key, api_version, correlation_id, length = _REQUEST_START.unpack_from(buf, offset)
        offset += _REQUEST_START.size
        client_id = None
        if length >= 0:
            end = offset + length
            if end > len(buf):
                raise WireError("request header: the bytes end inside the client id")
            client_id = str(buf[offset:end], "utf-8")
            offset = end
        elif length != -1:
            raise WireError("request header: the client id has a negative length")
        if is_flexible(api_key, api_version):
            count = buf[offset]
            offset += 1
            if count:
                offset = skip_tags(buf, offset, len(buf), count)
    except (StructError, IndexError):
        raise WireError("request header: the bytes end early") from None
    except UnicodeDecodeError:
        raise WireError("request header: the client id is not UTF-8") from None
    return RequestHeader(api_key, api_version, correlation_id, client_id, offset)


def encode_request(
    api_key: int, api_version: int, correlation_id: int, client_id: str | None, body: Struct
) -> bytes:
    """A whole request, size first.

    Raises:
        WireError: `body` has no bytes in this version.
    """
    header = RequestHeaderMessage(
        request_api_key=api_key,
        request_api_version=api_version,
        correlation_id=correlation_id,
        client_id=client_id,
    )
    start = encode(header, 2 if is_flexible(api_key, api_version) else 1)
    parts = pieces(body, api_version)
    size = len(start) + sum(map(len, parts))
    return b"".join((_SIZE.pack(size), start, *parts))


def encode_response(correlation_id: int, api_key: int, api_version: int, body: Struct) -> list[Piece]:
    """A whole response in chunks, size first; big `records` are chunks of their own, not copied.

    Raises:
        WireError: `body` has no bytes in this version.
    """
    parts = pieces(body, api_version)
    size = sum(map(len, parts))
    if is_flexible(api_key, api_version) and api_key != ApiKey.API_VERSIONS:
        parts.insert(0, _RESPONSE_START_TAGGED.pack(size + 5, correlation_id))
    else:
        parts.insert(0, _RESPONSE_START.pack(size + 4, correlation_id))
    return gather(parts)


def decode_response_header(api_key: int, api_version: int, buf: Buffer, offset: int = 0) -> tuple[int, int]:
    """The correlation id of the response that begins at `offset`, after its size, and the offset of its body.

    Raises:
        WireError: the bytes end early.
    """
    try:
        (correlation_id,) = _SIZE.unpack_from(buf, offset)
        offset += 4
        if is_flexible(api_key, api_version) and api_key != ApiKey.API_VERSIONS:
            count = buf[offset]
            offset += 1
            if count:
                offset = skip_tags(buf, offset, len(buf), count)
    except (StructError, IndexError):
        raise WireError("response header: the bytes end early") from None
    return correlation_id, offset
