"""Who may lead, by what the metadata says of brokers. Pure."""

from __future__ import annotations

from moldau_broker.base.ids import NULL_UUID, Uuid
from moldau_broker.metadata.image import NO_LEADER, MetadataImage


class LiveBrokers:
    """Who may lead: active brokers, what lies in a directory they have; and who had better not: cordoned ones."""

    __slots__ = ("_cordoned", "_directories")

    def __init__(self, image: MetadataImage, *, coming: int = NO_LEADER, leaving: int = NO_LEADER) -> None:
        """`coming` is a broker that this very change makes active, `leaving` one that it takes away."""
        self._directories = {
            broker.id: broker.directories
            for broker in image.brokers.values()
            if broker.id != leaving and (broker.active or broker.id == coming)
        }

        self._cordoned = frozenset(broker for broker in self._directories if image.is_cordoned(broker))

    def is_reluctant(self, broker_id: int) -> bool:
        """Whether that broker leads only what nobody else can: it is to be emptied."""
        return broker_id in self._cordoned

    def can_lead(self, broker_id: int, directory: Uuid) -> bool:
        """Whether that broker can lead a replica that lies in that directory."""
        directories = self._directories.get(broker_id)
        if directories is None:
            return False
        return directory == NULL_UUID or not directories or directory in directories

    def home(self, broker_id: int) -> Uuid:
        """Where a replica of that broker must lie, null if that is not known."""
        directories = self._directories.get(broker_id, ())
        return directories[0] if len(directories) == 1 else NULL_UUID
