"""/livez, /readyz and /metrics over HTTP, and the admin API under /admin.

The port is open from the start, but aiohttp is imported, on a helper thread, only when the first visitor knocks:
it costs 17 MiB and 0.15 s, which a node that nobody probes need not pay and no start has to wait for.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Protocol

from moldau_broker.base.limits import ADMIN_BODY_BYTES_MAX, FRAME_COMPLETION_MS_MAX
from moldau_broker.telemetry.registry import CONTENT_TYPE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from aiohttp import web

    from moldau_broker.server.admin_api.answers import Answer
    from moldau_broker.server.lifecycle import Lifecycle
    from moldau_broker.telemetry.registry import Telemetry

logger = logging.getLogger(__name__)

_JSON: Final = "application/json; charset=utf-8"
_BACKLOG: Final = 64
_KEEPALIVE_SECONDS: Final = 30.0
_PIECES_JOINED_MAX: Final = 4
_OK, _BAD_REQUEST, _TOO_LARGE, _UNAVAILABLE = 200, 400, 413, 503


@dataclass(frozen=True, slots=True)
class Page:
    """An answer before it is put on the wire."""

    status: int
    content_type: str
    pieces: tuple[bytes, ...]
    encoding: str | None = None


class Pages:
    """What each path shows. No I/O."""

    def __init__(self, lifecycle: Lifecycle, telemetry: Telemetry) -> None:
        self._lifecycle = lifecycle
        self._telemetry = telemetry

    async def livez(self, _: str) -> Page:
        """200 as long as the event loop turns: a node that recovers for minutes must not be restarted."""
        return _json(_OK, {"state": self._lifecycle.state.value})

    async def readyz(self, _: str) -> Page:
        """200 while clients are served, 503 otherwise; the body says what the node does instead."""
        return _json(_OK if self._lifecycle.ready else _UNAVAILABLE, self._lifecycle.health())

    async def metrics(self, accept_encoding: str) -> Page:
        """Prometheus' text format, plain unless gzip is asked for."""
        page = await self._telemetry.page()
        if not _wants_gzip(accept_encoding):
            return Page(_OK, CONTENT_TYPE, page.pieces)
        return Page(_OK, CONTENT_TYPE, await page.gzipped(), "gzip")


def _json(status: int, value: object) -> Page:
    return Page(status, _JSON, (json.dumps(value).encode("utf-8") + b"\n",))


def _wants_gzip(accept_encoding: str) -> bool:
    """Whether gzip is among the accepted codings, and not with a weight of zero (RFC 9110, 12.5.3)."""
    for item in accept_encoding.lower().split(","):
        coding, _, weight = item.partition(";")
        if coding.strip() == "gzip":
            return weight.replace(" ", "").rstrip("0.") != "q="
    return False


class Admin(Protocol):
    """The admin API, see `admin_api.api`."""

    async def answer(
        self,
        method: str,
        path: str,
        query: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        content_type: str = "",
        *,
        forwarded: bool = False,
    ) -> Answer:
        """The answer to one request."""
        ...


class HttpServer:
    """The HTTP port of a node; owned by one event loop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        pages: Pages,
        admin: Callable[[], Admin | None] = lambda: None,
    ) -> None:
        """`admin` gives the admin API, None while the node does not serve clients."""
        self._loop = loop
        self._pages = pages
        self._admin = admin
        self._socket: socket.socket | None = None
        self._serving: asyncio.Task[None] | None = None
        self._runner: web.AppRunner | None = None

    def listen(self, host: str, port: int) -> int:
        """Open the port; gives its number (a free one where `port` is 0). Answers follow with the first visitor.

        Raises:
            OSError: the address is taken or not ours.
        """
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family, backlog=_BACKLOG)
        self._socket.setblocking(False)
        self._loop.add_reader(self._socket.fileno(), self._first_visitor)
        return int(self._socket.getsockname()[1])

    def _first_visitor(self) -> None:
        assert self._socket is not None, "called by the open socket"
        self._loop.remove_reader(self._socket.fileno())
        self._serving = self._loop.create_task(self._serve(self._socket))

    async def _serve(self, opened: socket.socket) -> None:
        try:
            aiohttp_web = await asyncio.to_thread(import_module, "aiohttp.web")
            app = aiohttp_web.Application(client_max_size=ADMIN_BODY_BYTES_MAX)
            for path in ("livez", "readyz", "metrics"):
                app.router.add_get(f"/{path}", _responder(aiohttp_web, getattr(self._pages, path)))
            app.router.add_route("*", "/admin/{rest:.*}", _admin_responder(aiohttp_web, self._admin))
            self._runner = aiohttp_web.AppRunner(
                app, access_log=None, handle_signals=False, keepalive_timeout=_KEEPALIVE_SECONDS
            )
            await self._runner.setup()
            await aiohttp_web.SockSite(self._runner, opened, backlog=_BACKLOG).start()
        except Exception as error:
            logger.exception("http.failed", extra={"reason": str(error)})

    async def close(self) -> None:
        """Close the port and every connection; may be called when it was never opened."""
        if self._serving is not None:
            await self._serving
        elif self._socket is not None:
            self._loop.remove_reader(self._socket.fileno())
        if self._runner is not None:
            await self._runner.cleanup()
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _responder(
    aiohttp_web: Any, page_of: Callable[[str], Awaitable[Page]]
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def respond(request: web.Request) -> web.StreamResponse:
        return await _send(aiohttp_web, request, await page_of(request.headers.get("Accept-Encoding", "")))

    return respond


async def _send(aiohttp_web: Any, request: web.Request, page: Page) -> web.StreamResponse:
    """A page of many pieces leaves as fast as it is taken; joined it would be held in memory twice."""
    headers = {"Content-Type": page.content_type, "Cache-Control": "no-store"}
    if page.encoding is not None:
        headers["Content-Encoding"] = page.encoding
    if len(page.pieces) <= _PIECES_JOINED_MAX:
        body = b"".join(page.pieces)
        whole: web.Response = aiohttp_web.Response(status=page.status, body=body, headers=headers)
        return whole
    response: web.StreamResponse = aiohttp_web.StreamResponse(status=page.status, headers=headers)
    response.content_length = sum(map(len, page.pieces))
    await response.prepare(request)
    for piece in page.pieces:
        await response.write(piece)
    await response.write_eof()
    return response


def _admin_responder(
    aiohttp_web: Any, admin: Callable[[], Admin | None]
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def respond(request: web.Request) -> web.StreamResponse:
        return await _send(aiohttp_web, request, await _admin_page(aiohttp_web, admin(), request))

    return respond


async def _admin_page(aiohttp_web: Any, admin: Admin | None, request: web.Request) -> Page:
    """A bounded body in, JSON out, whatever happens."""
    if admin is None:
        return _error(_UNAVAILABLE, "NETWORK_EXCEPTION", "this node does not serve clients now")
    try:
        async with asyncio.timeout(FRAME_COMPLETION_MS_MAX / 1000):
            body = await request.read()
    except aiohttp_web.HTTPRequestEntityTooLarge:
        return _error(_TOO_LARGE, "MESSAGE_TOO_LARGE", f"a body has at most {ADMIN_BODY_BYTES_MAX} bytes")
    except TimeoutError:
        return _error(_BAD_REQUEST, "INVALID_REQUEST", "the body did not arrive in time")
    from moldau_broker.client.admin_api import FORWARDED_HEADER  # not needed before, as aiohttp is not

    answer = await admin.answer(
        request.method,
        request.raw_path.partition("?")[0],
        tuple(request.query.items()),
        body,
        request.headers.get("Content-Type", ""),
        forwarded=FORWARDED_HEADER in request.headers,
    )
    return Page(answer.status, _JSON, (answer.body,))


def _error(status: int, error: str, message: str) -> Page:
    return _json(status, {"error": error, "message": message})
