"""One HTTP GET of a node's `/readyz`, small enough not to need an HTTP library in the supervisor."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Final

from moldau_operator.seams.platform import NodeState

ANSWER_BYTES_MAX: Final = 64 * 1024
"""An answer is a few hundred bytes; a stranger on the port may send anything."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a node says of itself; `detail` is its own words, if it has some."""

    state: NodeState
    detail: str = ""


async def ask_ready(host: str, port: int, timeout_s: float) -> Answer | None:
    """The node's answer, or None if it gave none that makes sense in time."""
    try:
        async with asyncio.timeout(timeout_s):
            return _read(await _get(host, port))
    except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError):
        return None


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


def _read(answer: bytes) -> Answer:
    """The answer's body as a state. Both 200 and 503 carry one; anything else is not a node."""
    head, _, body = answer.partition(b"\r\n\r\n")
    if head.split(b" ", 2)[1:2] not in ([b"200"], [b"503"]):
        raise ValueError("not a node's answer")
    if b"transfer-encoding: chunked" in head.lower():
        body = _unchunk(body)
    data = json.loads(body)
    if not isinstance(data, dict):
        raise ValueError("not a node's answer")  # noqa: TRY004 - bad input, not a bad argument
    detail = data.get("detail") or data.get("message") or ""
    return Answer(NodeState(str(data.get("state"))), str(detail))


def _unchunk(body: bytes) -> bytes:
    whole = bytearray()
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size.split(b";")[0], 16)
        if length == 0:
            break
        whole += body[:length]
        body = body[length + 2 :]
    return bytes(whole)
