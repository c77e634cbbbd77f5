"""Replicas whose log failed here, until the controller does not count on them any more. No event loop here.

A leader that cannot read or write its log would lead on, offline, for ever: its broker is alive, and nobody else would
know. So its broker assigns the replica to the LOST directory (KIP-858): another in-sync replica leads, and this one
may be fetched again, in a leader epoch newer than any it has asked in. The controller refuses where nobody could take
over; then it is asked again, as others may come back.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import LOST_DIRECTORY, Uuid
from moldau_broker.wire.messages.assign_replicas_to_dirs import (
    AssignReplicasToDirsRequest,
    AssignReplicasToDirsRequestDirectory,
    AssignReplicasToDirsRequestPartition,
    AssignReplicasToDirsRequestTopic,
)
from moldau_broker.wire.schema import Struct

logger = logging.getLogger(__name__)

AGAIN_MS: Final = 1_000
"""Between two questions about the same replicas: a new image ends the matter far sooner where it can be ended."""


class ControllerSender(Protocol):
    """Asks the active controller, whoever that is."""

    def ask_soon(self, request: Struct, on_answer: Callable[[Any | None], None]) -> None:
        """Send, and call back on the same thread; None means that nobody answered."""
        ...


class LostReplicas:
    """What is to be given up.

    Attributes:
        reported: replicas the controller was first told of, since start.
    """

    def __init__(self, node_id: int, sender: ControllerSender, broker_epoch: Callable[[], int]) -> None:
        self._node_id = node_id
        self._sender = sender
        self._broker_epoch = broker_epoch
        self._known: frozenset[tuple[Uuid, int]] = frozenset()
        self._due_ms = 0
        self._asking = False
        self.reported = 0

    def report(self, lost: Iterable[tuple[Uuid, int]], now_ms: int) -> None:
        """These (topic id, partition) are lost, though others may count on them; of new ones it tells at once."""
        all_lost = frozenset(lost)
        new = all_lost - self._known
        self._known = all_lost
        if not all_lost or self._asking or (now_ms < self._due_ms and not new):
            return
        epoch = self._broker_epoch()
        if epoch < 0:
            self._known -= new
            return
        self.reported += len(new)
        self._asking = True
        self._due_ms = now_ms + AGAIN_MS
        topics: dict[Uuid, list[AssignReplicasToDirsRequestPartition]] = {}
        for topic_id, index in sorted(all_lost):
            topics.setdefault(topic_id, []).append(
                AssignReplicasToDirsRequestPartition(partition_index=index)
            )
        directory = AssignReplicasToDirsRequestDirectory(
            id=LOST_DIRECTORY,
            topics=[
                AssignReplicasToDirsRequestTopic(topic_id=topic_id, partitions=partitions)
                for topic_id, partitions in topics.items()
            ],
        )
        request = AssignReplicasToDirsRequest(
            broker_id=self._node_id, broker_epoch=epoch, directories=[directory]
        )
        self._sender.ask_soon(request, self._answered)

    def _answered(self, response: Any | None) -> None:
        self._asking = False
        if response is None or response.error_code != ErrorCode.NONE:
            return
        kept = [
            partition.partition_index
            for directory in response.directories
            for topic in directory.topics
            for partition in topic.partitions
            if partition.error_code == ErrorCode.ELIGIBLE_LEADERS_NOT_AVAILABLE
        ]
        if kept:
            logger.warning("replica.nobody_takes_over", extra={"partitions": len(kept)})
