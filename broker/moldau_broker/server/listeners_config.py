"""Listener settings into the sockets to open: addresses, kinds and what clients are told. No I/O here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from moldau_broker.base.broker_config import ListenerSettings
from moldau_broker.base.config_types import clip, split_list
from moldau_broker.server.handlers.spec import ListenerKind

_ADDRESS: Final = re.compile(
    r"([A-Za-z0-9_-]+)://(?:\[([0-9A-Fa-f:.%]+)\]|([^\[\]:/]*)):([0-9]{1,5})", re.ASCII
)
_ANY_HOSTS: Final = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 (recognized, not bound)
_PROTOCOLS: Final = frozenset({"PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"})


class ListenerError(ValueError):
    """A listener setting that cannot be used; the text names the setting and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """One socket to open.

    Attributes:
        name: upper case, as Kafka normalizes it.
        kind: who may connect.
        host: address to bind; empty is every interface.
        port: 0 is any free port.
        advertised_host: what clients are told.
        advertised_port: 0 is the port that was bound.
    """

    name: str
    kind: ListenerKind
    host: str
    port: int
    advertised_host: str
    advertised_port: int


def build_listeners(settings: ListenerSettings, hostname: str) -> tuple[Listener, ...]:
    """The sockets to open, in the order of `listeners`.

    `hostname` is what a listener on every interface advertises when nothing else is said.

    Raises:
        ListenerError: malformed, contradictory, or a security protocol that is not served.
    """
    addresses = _parse("listeners", settings.listeners)
    if not addresses:
        raise ListenerError("listeners is empty: name at least one, for example CLIENT://127.0.0.1:9092")
    _refuse_shared_ports(addresses)
    advertised = _parse("advertised.listeners", settings.advertised or ())
    for name, (host, _) in advertised.items():
        if name not in addresses:
            raise ListenerError(
                f"advertised.listeners names {name}, which is not in listeners ({', '.join(addresses)})"
            )
        if host in _ANY_HOSTS:
            raise ListenerError(
                f"advertised.listeners={name}://{host}: clients cannot connect to it; name a host they can reach"
            )
    _refuse_security(addresses, settings.protocol_map)
    kinds = _kinds(addresses, settings)
    return tuple(
        _listener(name, kinds[name], address, advertised.get(name), hostname)
        for name, address in addresses.items()
    )


def client_listener(listeners: Sequence[Listener]) -> Listener:
    """The listener clients should bootstrap from: the first for clients, else the first brokers use."""
    for kind in (ListenerKind.CLIENT, ListenerKind.INTERNAL):
        for listener in listeners:
            if listener.kind is kind:
                return listener
    raise ListenerError("no listener serves clients: every name in listeners is in controller.listener.names")


_Address = tuple[str, int]


def _listener(
    name: str, kind: ListenerKind, address: _Address, advertised: _Address | None, hostname: str
) -> Listener:
    host, port = address
    if advertised is None:
        if host == "0.0.0.0" and kind is not ListenerKind.CONTROLLER:  # noqa: S104 (refused, not bound)
            raise ListenerError(
                f"listeners={name}://{host}:{port} listens everywhere, so advertised.listeners must say "
                f"what clients connect to, for example {name}://{hostname}:{port}"
            )
        advertised = (hostname if host in _ANY_HOSTS else host, port)
    return Listener(
        name=name,
        kind=kind,
        host="" if host in _ANY_HOSTS - {"0.0.0.0"} else host,  # noqa: S104 (passed on as written)
        port=port,
        advertised_host=advertised[0],
        advertised_port=advertised[1],
    )


def _parse(setting: str, texts: Sequence[str]) -> dict[str, _Address]:
    addresses: dict[str, _Address] = {}
    for text in texts:
        match = _ADDRESS.fullmatch(text)
        port = int(match[4]) if match else -1
        if match is None or not 0 <= port <= 65535:
            raise ListenerError(
                f"{setting}={clip(text)}: must look like NAME://HOST:PORT, an IPv6 host in brackets"
            )
        name = match[1].upper()
        if name in addresses:
            raise ListenerError(f"{setting} names {name} twice; every listener needs a name of its own")
        addresses[name] = (match[2] or match[3] or "", port)
    return addresses


def _refuse_shared_ports(addresses: Mapping[str, _Address]) -> None:
    seen: dict[int, tuple[str, str]] = {}
    for name, (host, port) in addresses.items():
        other = seen.get(port)
        if port and other and (other[1] == host or host in _ANY_HOSTS or other[1] in _ANY_HOSTS):
            raise ListenerError(
                f"listeners {other[0]} and {name} share port {port}; every listener needs its own"
            )
        seen[port] = (name, host)


def _refuse_security(addresses: Mapping[str, _Address], protocol_map: str) -> None:
    protocols: dict[str, str] = {}
    for item in split_list(protocol_map):
        name, colon, protocol = item.rpartition(":")
        if not colon or protocol.strip().upper() not in _PROTOCOLS:
            raise ListenerError(f"listener.security.protocol.map={clip(item)}: must look like NAME:PLAINTEXT")
        protocols[name.strip().upper()] = protocol.strip().upper()
    for name in addresses:
        protocol = protocols.get(name, "PLAINTEXT")
        if protocol != "PLAINTEXT":
            raise ListenerError(
                f"listener {name} asks for {protocol}, which is not served yet: map it to PLAINTEXT in "
                "listener.security.protocol.map and keep it on a trusted network"
            )


def _kinds(addresses: Mapping[str, _Address], settings: ListenerSettings) -> dict[str, ListenerKind]:
    controllers = {name.upper() for name in settings.controller}
    brokers = [name for name in addresses if name not in controllers]
    internal = _inter_broker(brokers, settings.inter_broker)
    return {
        name: ListenerKind.CONTROLLER
        if name in controllers
        else ListenerKind.INTERNAL
        if name == internal
        else ListenerKind.CLIENT
        for name in addresses
    }


def _inter_broker(names: Sequence[str], chosen: str | None) -> str | None:
    """Kafka's default is the PLAINTEXT listener; ours is INTERNAL where there is one of that name."""
    if chosen is not None:
        if chosen.upper() not in names:
            raise ListenerError(
                f"inter.broker.listener.name={clip(chosen)} is not one of the brokers' listeners "
                f"({', '.join(names) or 'there are none'})"
            )
        return chosen.upper()
    for name in ("INTERNAL", "PLAINTEXT"):
        if name in names:
            return name
    return None
