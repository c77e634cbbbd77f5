"""How a node is, asked over the wire: by the Kafka protocol first, by `/readyz` when that stays silent.

A broker imports its HTTP library when the first visitor knocks, which costs it 17 MiB; a laptop's broker that
serves should not pay that once a second for being asked whether it serves. So a probe is an ApiVersions
request on one standing connection, answered only by a node that serves clients. Only if there is no answer,
and the node is no longer young, is `/readyz` asked what it does instead.
"""

from __future__ import annotations

import asyncio
import json
import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from moldau_operator.seams.platform import NodeState

ANSWER_BYTES_MAX: Final = 64 * 1024
"""An answer is a few hundred bytes; a stranger on the port may send anything."""

_API_VERSIONS: Final = 18
_CLIENT_ID: Final = b"moldau-supervisor"
_BODY: Final = struct.pack(">hhih", _API_VERSIONS, 0, 0, len(_CLIENT_ID)) + _CLIENT_ID
_REQUEST: Final = struct.pack(">i", len(_BODY)) + _BODY

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a node says of itself; `detail` is what it is busy with, if it says so."""

    state: NodeState
    detail: str = ""


class Probe:
    """Asks one node. Not for concurrent use."""

    def __init__(self, kafka: Address, http: Address) -> None:
        self._kafka = kafka
        self._http = http
        self._connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, timeout_s: float, *, over_http: bool) -> Answer | None:
        """The node's answer, or None if it gave none in time.

        Args:
            timeout_s: half of it for the Kafka request, half for `/readyz`.
            over_http: whether a node that does not answer Kafka requests is asked for its `/readyz`.
        """
        try:
            async with asyncio.timeout(timeout_s / 2):
                await self._ask_kafka()
            return Answer(NodeState.SERVING)
        except (OSError, TimeoutError, EOFError, ValueError):
            self.close()
        if not over_http:
            return None
        try:
            async with asyncio.timeout(timeout_s / 2):
                return _read(await _get(*self._http))
        except (OSError, TimeoutError, ValueError):
            return None

    def close(self) -> None:
        """End the standing connection; the next question makes a new one."""
        if self._connection is not None:
            self._connection[1].close()
            self._connection = None

    async def _ask_kafka(self) -> None:
        if self._connection is None:
            self._connection = await asyncio.open_connection(*self._kafka, limit=ANSWER_BYTES_MAX)
        reader, writer = self._connection
        writer.write(_REQUEST)
        (size,) = struct.unpack(">i", await reader.readexactly(4))
        if not 4 <= size <= ANSWER_BYTES_MAX:
            raise ValueError("not a Kafka answer")
        await reader.readexactly(size)


async def _get(host: str, port: int) -> bytes:
    reader, writer = await asyncio.open_connection(host, port, limit=ANSWER_BYTES_MAX)
    try:
        writer.write(f"GET /readyz HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
        answer = bytearray()
        while chunk := await reader.read(ANSWER_BYTES_MAX):
            answer += chunk
            if len(answer) > ANSWER_BYTES_MAX:
                raise ValueError("the answer is too large to be a node's")
        return bytes(answer)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


def _read(answer: bytes) -> Answer:
    """The answer's body as a state. Both 200 and 503 carry one; anything else is not a node."""
    head, _, body = answer.partition(b"\r\n\r\n")
    if head.split(b" ", 2)[1:2] not in ([b"200"], [b"503"]):
        raise ValueError("not a node's answer")
    data = json.loads(body)
    if not isinstance(data, dict):
        raise ValueError("not a node's answer")  # noqa: TRY004 - bad input, not a bad argument
    recovery = data.get("recovery")
    detail = (
        ", ".join(f"{name} {value}" for name, value in recovery.items()) if isinstance(recovery, dict) else ""
    )
    return Answer(NodeState(str(data.get("state"))), detail)
