"""The simulated quorum store's log, as `raft.driver` wants to see it: `storage.log.Log`, as far as it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moldau_broker.storage.errors import StorageError

if TYPE_CHECKING:
    from moldau_broker.testing.sim.quorum_store import QuorumStore


class LogFace:
    """See the module."""

    __slots__ = ("_store", "failure", "high_watermark")

    def __init__(self, store: QuorumStore) -> None:
        self._store = store
        self.failure: StorageError | None = None
        self.high_watermark = 0

    @property
    def log_start_offset(self) -> int:
        """Where it begins."""
        return self._store.log_start_offset

    @property
    def log_end_offset(self) -> int:
        """Where it ends."""
        return self._store.log_end_offset

    @property
    def durable_offset(self) -> int:
        """What is on disk."""
        return self._store.durable_offset

    @property
    def generation(self) -> int:
        """Changes when it is cut."""
        return self._store.generation

    def mark_durable(self, offset: int, generation: int | None = None) -> None:
        """A flush has ended."""
        self._store.mark_durable(offset, generation)

    def fail(self, error: StorageError) -> None:
        """It is out of service."""
        self.failure = self.failure or error

    def truncate_to(self, offset: int) -> None:
        """Cut, durably."""
        self._store.truncate_to(offset)

    def read(self, offset: int, max_bytes: int, *, up_to: int | None = None) -> bytes:
        """Whole batches."""
        return self._store.read_bytes(
            offset, self._store.log_end_offset if up_to is None else up_to, max_bytes
        )
