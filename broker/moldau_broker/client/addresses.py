"""Names to addresses, also while the name service does not answer.

In Kubernetes half of all lookups hang for half a minute once the machine with one of two DNS servers has lost its
power, which is when brokers need new connections to elect a leader. So a name is looked up anew each time, and where
the answer does not come at once the last one is taken: a peer that was not restarted is still there.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from ipaddress import ip_address
from typing import Final, TypeAlias
from weakref import WeakKeyDictionary

logger = logging.getLogger(__name__)

Lookup: TypeAlias = "Callable[[str], Awaitable[tuple[str, ...]]]"
"""Host name to addresses, in the order in which they are to be tried; OSError where there are none."""

PATIENCE_S: Final = 0.2
"""A name service in the same network answers in a millisecond; a lost question is asked again after 5 s
(resolv.conf(5))."""

HOSTS_MAX: Final = 1_000
"""Names that are remembered; the one asked for longest ago goes."""


class Addresses:
    """The names that one event loop has looked up.

    A lookup that hangs holds a thread of the loop's few: there is one for each name at most.
    """

    def __init__(self, lookup: Lookup, patience_s: float = PATIENCE_S) -> None:
        self._lookup = lookup
        self._patience_s = patience_s
        self._last: dict[str, tuple[str, ...]] = {}
        self._asking: dict[str, asyncio.Task[tuple[str, ...]]] = {}

    async def of(self, host: str) -> tuple[str, ...]:
        """Addresses of a host, at least one.

        Raises:
            OSError: the name service says that there is none, or nothing while no earlier answer is known.
        """
        if _is_address(host):
            return (host,)
        task = self._asking.get(host)
        if task is None:
            task = self._asking[host] = asyncio.get_running_loop().create_task(self._ask(host))
        last = self._last.get(host)
        if last is None:
            return await asyncio.shield(task)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._patience_s):
                return await asyncio.shield(task)
        logger.warning("dns.slow", extra={"host": host, "address": last[0]})
        return last

    async def _ask(self, host: str) -> tuple[str, ...]:
        try:
            found = await self._lookup(host)
        except socket.gaierror as error:
            if error.errno == socket.EAI_AGAIN and host in self._last:
                return self._last[host]
            raise
        finally:
            task = self._asking.pop(host)
            task.add_done_callback(_heard)
        self._last.pop(host, None)
        self._last[host] = found
        if len(self._last) > HOSTS_MAX:
            del self._last[next(iter(self._last))]
        return found


def addresses() -> Addresses:
    """Those of the running loop."""
    loop = asyncio.get_running_loop()
    found = _OF_LOOPS.get(loop)
    if found is None:
        found = _OF_LOOPS[loop] = Addresses(_look_up)
    return found


async def _look_up(host: str) -> tuple[str, ...]:
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(address[0]) for *_, address in found))


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _heard(task: asyncio.Task[tuple[str, ...]]) -> None:
    """An answer that came too late for everybody is no error."""
    if not task.cancelled():
        task.exception()


_OF_LOOPS: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, Addresses]] = WeakKeyDictionary()
