"""What a coordinator asks partitions' leaders for lag: small questions, all leaders at a time, none for long."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, TypeAlias

from moldau_broker.base.errors import ErrorCode
from moldau_broker.server.admin_api.answers import Refused
from moldau_broker.server.admin_api.lag import Position
from moldau_broker.server.admin_api.positions import Ask

if TYPE_CHECKING:
    from moldau_broker.metadata.image import MetadataImage
    from moldau_broker.server.admin_api.node import AdminNode

logger = logging.getLogger(__name__)

LEADER_SECONDS_MAX: Final = 1.0
"""A leader that takes longer is not waited for: a change elsewhere shall be seen within five seconds."""

_ASKS_AT_ONCE: Final = 500
"""A question of so many, or its answer, takes both sides' event loops a millisecond or two."""

Heard: TypeAlias = Callable[[Mapping[Ask, Position]], None]


class Questions:
    """Those of one look: gathered, asked, gathered again.

    Partitions without a leader are not asked about and have no answer. Who was silent once is not asked again.
    """

    __slots__ = ("_by_leader", "_image", "_node", "_silent")

    def __init__(self, node: AdminNode, image: MetadataImage) -> None:
        self._node = node
        self._image = image
        self._by_leader: dict[int, list[Ask]] = {}
        self._silent: set[int] = set()

    def add(self, ask: Ask) -> None:
        """One more."""
        partition = self._image.partition(ask.topic, ask.partition)
        if partition is not None and partition.leader >= 0:
            self._by_leader.setdefault(partition.leader, []).append(ask)

    async def ask(self, heard: Heard) -> None:
        """Ask what was added; `heard` gets what the leaders know, in parts, as it comes."""
        by_leader, self._by_leader = self._by_leader, {}
        await asyncio.gather(
            *(
                self._ask_in_time(leader, asks, heard)
                for leader, asks in by_leader.items()
                if leader not in self._silent
            )
        )

    async def _ask_in_time(self, leader: int, asks: list[Ask], heard: Heard) -> None:
        try:
            async with asyncio.timeout(LEADER_SECONDS_MAX):
                await self._ask_one(leader, asks, heard)
        except (Refused, TimeoutError) as error:
            self._silent.add(leader)
            logger.debug("metrics.leader_silent", extra={"broker": leader, "reason": str(error)})

    async def _ask_one(self, leader: int, asks: list[Ask], heard: Heard) -> None:
        node = self._node
        for first in range(0, len(asks), _ASKS_AT_ONCE):
            some = asks[first : first + _ASKS_AT_ONCE]
            if leader == node.broker.node_id:
                found = await node.positions.look_up(some)
            else:
                found = await node.peers.positions(leader, some)
            heard({ask: said for ask, said in found.items() if not isinstance(said, ErrorCode)})
            await asyncio.sleep(0)
