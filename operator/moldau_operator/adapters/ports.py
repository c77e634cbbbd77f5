"""Which TCP ports a local node gets: the first free ones from a wished-for number on, the same ones next time."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from moldau_operator.adapters.files import read_json, write_json
from moldau_operator.errors import PlatformError

HOST: Final = "127.0.0.1"
"""Nothing here is encrypted or authenticated, so nothing listens beyond this machine."""

PORT_MIN: Final = 1024
"""Below it a port needs privileges."""

PORT_MAX: Final = 65_535

INTERNAL_FROM_CLIENT: Final = 100
CONTROLLER_FROM_CLIENT: Final = 200
HTTP_FROM_CLIENT: Final = 1_000
"""How far from a node's client port its other ports are looked for: near enough to recognise, below the
ephemeral range (32768 and up on Linux) for the usual 9092, and apart enough for a hundred nodes."""

_TAKEN: Final = frozenset({errno.EADDRINUSE, errno.EACCES})


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePorts:
    """A node's four ports."""

    kafka: int
    internal: int
    controller: int
    http: int

    @property
    def all(self) -> tuple[int, ...]:
        """All four."""
        return (self.kafka, self.internal, self.controller, self.http)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Chosen ports, and the client ports that were passed over because something else has them."""

    ports: NodePorts
    skipped: tuple[int, ...] = ()


def choose_ports(
    first: int, host: str, reserved: Collection[int], is_free: Callable[[str, int], bool] | None = None
) -> Choice:
    """Ports for one node, the client port from `first` on.

    Args:
        reserved: ports already given to other nodes of the same instance.

    Raises:
        PlatformError: no port is free.
    """
    free = is_free or port_is_free
    taken = set(reserved)
    skipped: list[int] = []

    def take(start: int, note: list[int] | None = None) -> int:
        for port in _from(start):
            if port in taken:
                continue
            if free(host, port):
                taken.add(port)
                return port
            if note is not None:
                note.append(port)
        raise PlatformError(f"no free TCP port on {host}; stop something, or choose another --port")

    kafka = take(first, skipped)
    http = kafka - HTTP_FROM_CLIENT
    return Choice(
        ports=NodePorts(
            kafka=kafka,
            internal=take(kafka + INTERNAL_FROM_CLIENT),
            controller=take(kafka + CONTROLLER_FROM_CLIENT),
            http=take(http if http >= PORT_MIN else kafka + HTTP_FROM_CLIENT),
        ),
        skipped=tuple(skipped),
    )


def _from(start: int) -> range:
    return range(start, PORT_MAX + 1) if PORT_MIN <= start <= PORT_MAX else range(PORT_MIN, PORT_MAX + 1)


def port_is_free(host: str, port: int) -> bool:
    """Whether this port can be listened on now.

    Bound the way brokers bind: with SO_REUSEADDR a port in TIME_WAIT counts as free, one that is listened
    on does not. Something that listens on every interface is noticed too.
    """
    for address in (host, "0.0.0.0"):  # noqa: S104 - tried for a moment, nothing listens
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError as error:
                if error.errno in _TAKEN:
                    return False
                raise PlatformError(f"cannot use {address}:{port}: {error.strerror}") from error
    return True


def write_ports(path: Path, wished: int, ports: NodePorts) -> None:
    """Keep a node's ports, and the wish they came from."""
    write_json(path, {"wished": wished, **asdict(ports)})


def read_ports(path: Path, wished: int | None = None) -> NodePorts | None:
    """The ports kept there; with `wished`, only if they were chosen for the same wish."""
    try:
        data = read_json(path)
        if not isinstance(data, dict) or (wished is not None and data.get("wished") != wished):
            return None
        return NodePorts(**{name: int(data[name]) for name in ("kafka", "internal", "controller", "http")})
    except (OSError, ValueError, KeyError, TypeError):
        return None
