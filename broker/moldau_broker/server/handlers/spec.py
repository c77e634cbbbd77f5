"""What a handler module declares: its API, the versions it serves, where it may be called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from moldau_broker.wire.apis import ApiKey

if TYPE_CHECKING:
    from moldau_broker.server.connection import Connection


class ListenerKind(Enum):
    """Who connects to a listener; decides the legal API keys (KIP-500 splits them the same way)."""

    CLIENT = "client"
    INTERNAL = "internal"
    CONTROLLER = "controller"


BROKER_LISTENERS = frozenset({ListenerKind.CLIENT, ListenerKind.INTERNAL})
ALL_LISTENERS = frozenset(ListenerKind)


@dataclass(slots=True)
class RequestContext:
    """Who asks, in which version: all a handler may know of the connection."""

    api_version: int
    client_id: str | None
    correlation_id: int
    listener: str
    listener_kind: ListenerKind
    peer_host: str
    now_ms: int
    connection: Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    """One API as this broker serves it.

    `handle(broker, context, request)` gives the response, a `Deferred` of it, a coroutine for it, or
    None where the protocol has no answer (Produce with acks=0). `advertised` differs from `versions`
    only where Kafka advertises what it does not serve.
    """

    api: ApiKey
    versions: tuple[int, int]
    handle: Callable[..., Any]
    advertised: tuple[int, int] | None = None
    listeners: frozenset[ListenerKind] = BROKER_LISTENERS
