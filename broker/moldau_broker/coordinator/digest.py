"""What is left of an offsets log once every key has met its last value. Pure.

Replaying a log record by record builds groups and offsets only to replace them; the offsets topic is compacted, so
replay must not depend on anything but each key's last value anyway. This keeps the bytes until the end of the log
is known, at a fraction of the cost, and settles transactions on the way (KIP-447): their commits count from their
end marker on, but lose against a later commit of the same key.
"""

from __future__ import annotations

from collections.abc import Iterator


class LogDigest:
    """Key -> last value of the records added, oldest first."""

    __slots__ = ("_latest", "_open")

    def __init__(self) -> None:
        self._latest: dict[bytes, tuple[int, bytes | None]] = {}
        self._open: dict[int, dict[bytes, tuple[int, bytes | None]]] = {}

    def add(self, offset: int, key: bytes, value: bytes | None) -> None:
        """A record outside transactions. A deletion also ends what open transactions hold for the key."""
        self._latest[key] = (offset, value)
        if value is None:
            for held in self._open.values():
                held.pop(key, None)

    def add_transactional(self, producer_id: int, offset: int, key: bytes, value: bytes | None) -> None:
        """A record of the producer's open transaction."""
        self._open.setdefault(producer_id, {})[key] = (offset, value)

    def end_transaction(self, producer_id: int, *, committed: bool) -> None:
        """The producer's transaction is over."""
        held = self._open.pop(producer_id, {})
        if committed:
            for key, (offset, value) in held.items():
                if key not in self._latest or self._latest[key][0] < offset:
                    self._latest[key] = (offset, value)

    def drain(self) -> Iterator[tuple[bytes, bytes]]:
        """Take out key and value of everything that is not deleted."""
        while self._latest:
            key, (_, value) = self._latest.popitem()
            if value is not None:
                yield key, value

    def held(self) -> Iterator[tuple[int, bytes]]:
        """(producer id, key) of what transactions without an end hold."""
        for producer_id, records in self._open.items():
            for key in records:
                yield producer_id, key
