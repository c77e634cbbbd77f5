"""Other brokers' admin APIs, found by the endpoint in their registration."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.limits import ADMIN_PARTITIONS_MAX, ADMIN_PEER_TIMEOUT_MS
from moldau_broker.client.admin_api import PREFIX, AdminApi, RawAnswer
from moldau_broker.client.errors import BrokerUnreachable, ClientError, RequestTimedOut
from moldau_broker.server.admin_api.answers import Answer, Refused
from moldau_broker.server.admin_api.lag import Position
from moldau_broker.server.assembly import ADMIN_LISTENER

if TYPE_CHECKING:
    from collections.abc import Callable

    from moldau_broker.metadata.image import Endpoint, MetadataImage
    from moldau_broker.server.admin_api.positions import Ask, Found

_OK = 200


class Peers:
    """Connections to other brokers, made when needed; owned by the event loop."""

    def __init__(self, image: Callable[[], MetadataImage], timeout_ms: int = ADMIN_PEER_TIMEOUT_MS) -> None:
        """`timeout_ms`: how long another broker has for an answer."""
        self._image = image
        self._timeout_ms = timeout_ms
        self._clients: dict[int, tuple[Endpoint, AdminApi]] = {}

    async def close(self) -> None:
        """Close every connection."""
        clients, self._clients = self._clients, {}
        for _, client in clients.values():
            await client.close()

    async def pass_on(self, broker_id: int, method: str, path: str, body: bytes | None) -> Answer:
        """Let another broker answer.

        Raises:
            Refused: it cannot be reached; NETWORK_EXCEPTION or REQUEST_TIMED_OUT, or it has no such port.
        """
        return Answer(*await self._send(broker_id, method, path, body))

    async def get(self, broker_id: int, path: str) -> Any:
        """The document at a path below the API's root.

        Raises:
            Refused: it cannot be reached, or answers with an error.
        """
        return _document(await self._send(broker_id, "GET", PREFIX + path, None))

    async def positions(self, broker_id: int, asks: Sequence[Ask]) -> dict[Ask, Found]:
        """What that leader says of its partitions.

        Raises:
            Refused: it cannot be reached, or answers with an error.
        """
        found: dict[Ask, Found] = {}
        for first in range(0, len(asks), ADMIN_PARTITIONS_MAX):
            part = asks[first : first + ADMIN_PARTITIONS_MAX]
            body = json.dumps({"partitions": list(map(_to_json, part))}, separators=(",", ":")).encode()
            raw = await self._send(broker_id, "POST", f"{PREFIX}partitions/positions", body)
            try:
                items = _document(raw)["partitions"]
                found.update(zip(part, map(_position, items), strict=True))
            except (KeyError, TypeError, ValueError) as error:
                raise Refused(ErrorCode.NETWORK_EXCEPTION, f"broker {broker_id}: {error!r}") from error
        return found

    async def _send(self, broker_id: int, method: str, target: str, body: bytes | None) -> RawAnswer:
        broker = self._image().brokers.get(broker_id)
        endpoint = None if broker is None else broker.endpoints.get(ADMIN_LISTENER)
        if endpoint is None:
            raise Refused(ErrorCode.BROKER_NOT_AVAILABLE, f"broker {broker_id} serves no admin API")
        known = self._clients.get(broker_id)
        if known is None or known[0] != endpoint:
            if known is not None:
                await known[1].close()
            address = endpoint.host, endpoint.port
            known = endpoint, AdminApi(address, timeout_ms=self._timeout_ms, forwarded=True)
            self._clients[broker_id] = known
        try:
            return await known[1].send(method, target, body)
        except RequestTimedOut as error:
            raise Refused(ErrorCode.REQUEST_TIMED_OUT, f"broker {broker_id}: {error}") from error
        except BrokerUnreachable as error:
            raise Refused(ErrorCode.NETWORK_EXCEPTION, f"broker {broker_id}: {error.reason}") from error
        except ClientError as error:
            raise Refused(ErrorCode.NETWORK_EXCEPTION, f"broker {broker_id}: {error}") from error


def _document(raw: RawAnswer) -> Any:
    try:
        document = json.loads(raw.body)
    except ValueError as error:
        raise Refused(ErrorCode.NETWORK_EXCEPTION, f"a broker does not answer with JSON: {error}") from error
    if raw.status != _OK:
        name = document.get("error") if isinstance(document, dict) else None
        code = ErrorCode.__members__.get(str(name), ErrorCode.UNKNOWN_SERVER_ERROR)
        raise Refused(code, str(document.get("message", "")) if isinstance(document, dict) else "")
    return document


def _to_json(ask: Ask) -> dict[str, Any]:
    item: dict[str, Any] = {"topic": ask.topic, "partition": ask.partition}
    if ask.offset is not None:
        item["offset"] = ask.offset
    if ask.timestamp_ms is not None:
        item["timestampMs"] = ask.timestamp_ms
    return item


def _position(item: Mapping[str, Any]) -> Found:
    if "error" in item:
        return ErrorCode.__members__.get(item["error"], ErrorCode.UNKNOWN_SERVER_ERROR)
    return Position(
        int(item["logStartOffset"]),
        int(item["highWatermark"]),
        item.get("timestampMs"),
        item.get("offsetAtTimestamp"),
    )
