"""A network of its own for each broker: a namespace, a cable to a bridge, and cuts in one direction at a time.

A cut is a neighbour entry with a hardware address that nobody has: what is sent there leaves and never arrives, and
nobody is told. That needs no packet filter, works on open connections, and is undone by deleting the entry.
Namespaces and bridges carry the pid of the process that made them, so that what a killed run left is found and removed.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, Self

PREFIX: Final = "mch"
NOBODY: Final = "02:de:ad:00:be:ef"
HOST_NUMBER: Final = 254
"""The host's own end: clients are there."""


def ip(*arguments: str, check: bool = True) -> str:
    """Run `ip`; gives what it printed."""
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False, timeout=20)
    if check and done.returncode:
        raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def why_not() -> str | None:
    """Why this machine can have no such network; None when it can."""
    if os.geteuid() != 0:
        return "needs root to make network namespaces"
    name = f"{PREFIX}{os.getpid()}-probe"
    try:
        ip("netns", "add", name)
        ip("-n", name, "link", "add", "probe", "type", "veth", "peer", "name", "peer")
        ip("-n", name, "link", "add", "bridge", "type", "bridge")
    except (OSError, subprocess.TimeoutExpired):
        return "this machine has no network namespaces, veth pairs and bridges"
    finally:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            ip("netns", "del", name, check=False)
    return None


def _owner(name: str) -> int | None:
    """The pid in the name of something we made."""
    match = re.fullmatch(rf"{PREFIX}(\d+)(?:-.*)?", name)
    return int(match[1]) if match else None


def sweep() -> None:
    """Remove what processes that are gone have left."""
    namespaces = [line.split()[0] for line in ip("netns", "list").splitlines() if line.strip()]
    links = [link["ifname"] for link in json.loads(ip("-json", "link", "show", "type", "bridge") or "[]")]
    for names, remove in ((namespaces, ("netns", "del")), (links, ("link", "del"))):
        for name in names:
            owner = _owner(name)
            if owner is not None and not Path(f"/proc/{owner}").exists():
                ip(*remove, name, check=False)


class Network:
    """A bridge on the host and a namespace for each node; use as a context."""

    def __init__(self, nodes: Iterable[int]) -> None:
        self.nodes = tuple(nodes)
        self.bridge = f"{PREFIX}{os.getpid()}"
        self._cut: set[tuple[int, int]] = set()
        self._subnet = f"10.{64 + os.getpid() % 64}.{os.getpid() // 64 % 256}"

    def namespace(self, node: int) -> str:
        return f"{self.bridge}-{node}"

    def address(self, node: int) -> str:
        return f"{self._subnet}.{node}"

    def command(self, node: int) -> Sequence[str]:
        """What to put in front of a command that shall run there; it keeps its pid."""
        return ("ip", "netns", "exec", self.namespace(node))

    def __enter__(self) -> Self:
        sweep()
        try:
            ip("link", "add", self.bridge, "type", "bridge")
            ip("addr", "add", f"{self.address(HOST_NUMBER)}/24", "dev", self.bridge)
            ip("link", "set", self.bridge, "up")
            for node in self.nodes:
                self._connect(node)
        except BaseException:
            self.__exit__()
            raise
        return self

    def _connect(self, node: int) -> None:
        name, outside = self.namespace(node), self._outside(node)
        ip("netns", "add", name)
        ip("link", "add", outside, "type", "veth", "peer", "name", "eth0", "netns", name)
        ip("link", "set", outside, "master", self.bridge, "up")
        ip("-n", name, "addr", "add", f"{self.address(node)}/24", "dev", "eth0")
        ip("-n", name, "link", "set", "eth0", "up")
        ip("-n", name, "link", "set", "lo", "up")

    def _outside(self, node: int) -> str:
        return f"{PREFIX}v{os.getpid() % 100_000}-{node}"

    def __exit__(self, *error: object) -> None:
        for node in self.nodes:
            # A namespace is taken down some time after its name, and its links with it: the next network of this
            # process may be there before.
            ip("link", "del", self._outside(node), check=False)
            ip("netns", "del", self.namespace(node), check=False)
        ip("link", "del", self.bridge, check=False)

    def _neighbour(self, verb: str, source: int, target: int, *more: str) -> None:
        where = ("-n", self.namespace(source)) if source != HOST_NUMBER else ()
        device = "eth0" if source != HOST_NUMBER else self.bridge
        ip(*where, "neigh", verb, self.address(target), *more, "dev", device, check=verb == "replace")

    def cut_way(self, source: int, target: int) -> None:
        """Nothing that `source` sends reaches `target` any more."""
        if (source, target) not in self._cut:
            self._neighbour("replace", source, target, "lladdr", NOBODY, "nud", "permanent")
            self._cut.add((source, target))

    def cut(self, one: int, other: int) -> None:
        """Neither hears the other."""
        self.cut_way(one, other)
        self.cut_way(other, one)

    def heal(self) -> None:
        """Everybody hears everybody."""
        for source, target in list(self._cut):
            self._neighbour("del", source, target)
            self._cut.discard((source, target))
