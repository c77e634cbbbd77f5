"""What the replica manager asks of its surroundings, and whom it tells. No behaviour here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from moldau_broker.base.ids import Uuid
from moldau_broker.base.topic_config import TopicConfig
from moldau_broker.replication.partition import Partition
from moldau_broker.storage.errors import StorageError
from moldau_broker.storage.log import Log


class LogDirectory(Protocol):
    """The part of `storage.logdir.LogDir` that the manager uses.

    Attributes:
        offline: partitions whose folder could not be opened, or whose log has failed since, and why.
    """

    offline: dict[tuple[str, int], StorageError]

    def create_log(self, topic: str, partition: int, topic_id: Uuid, config: TopicConfig) -> Log:
        """A new, empty log in its own folder."""
        ...

    def delete_log(self, log: Log) -> None:
        """Rename the folder out of the way now and remove it later."""
        ...

    def remove_offline(self, topic: str, partition: int) -> None:
        """Set the folder of a partition aside that could not be opened."""
        ...

    def stray_log(self, log: Log) -> None:
        """Set a folder aside that belongs to nobody we know; nothing is deleted."""
        ...

    def note_epoch(self, broker_epoch: int) -> bool:
        """Write down that the broker was registered with it; whether that is newer than any it had here before."""
        ...

    def drop_strays(self, is_gone: Callable[[Uuid, int], bool]) -> int:
        """Delete, after a delay, what was set aside of partitions that are gone, by topic id and index; how many."""
        ...


@dataclass(frozen=True, slots=True)
class LeadershipListener:
    """Who wants to know when partitions of `topic` begin or cease to be led here."""

    topic: str
    elected: Callable[[Partition], None]
    resigned: Callable[[Partition], None]
