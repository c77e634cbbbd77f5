"""Which transactional batches and markers a cleaning pass may drop. No I/O here.

The rules are those of Kafka's cleaner: data of aborted transactions goes at once, whatever its keys; a
marker stays until no batch of its transaction was met any more, and then for `delete.retention.ms`.
Only offsets below the last stable offset are cleaned, so every transaction met has been decided and the
transaction indexes name all aborted ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from moldau_broker.storage.control import ABORT, COMMIT
from moldau_broker.storage.errors import CorruptLog

if TYPE_CHECKING:
    from moldau_broker.storage.txn_index import AbortedTxn


class TransactionTracker:
    """Follows the transactions of one log while a pass walks its batches in offset order."""

    __slots__ = ("_aborting", "_committing", "_pending", "_seen")

    def __init__(self, aborted: Iterable[AbortedTxn]) -> None:
        self._pending = sorted(aborted, key=lambda entry: entry.first_offset, reverse=True)
        self._aborting: dict[int, AbortedTxn] = {}
        self._seen: set[int] = set()  # producers in _aborting of which a data batch was met
        self._committing: set[int] = set()

    def on_data(self, producer_id: int, last_offset: int) -> bool:
        """Take note of a transactional data batch; return whether its transaction was aborted."""
        self._open_aborted(last_offset)
        if producer_id in self._aborting:
            self._seen.add(producer_id)
            return True
        self._committing.add(producer_id)
        return False

    def on_marker(self, producer_id: int, last_offset: int, kind: int) -> tuple[bool, AbortedTxn | None]:
        """Take note of a control batch of `kind` (the type in its record's key).

        Returns:
            Whether no batch of its transaction is left before it, so that it may go once its delete
            horizon has passed; and the aborted transaction whose index entry must be kept, if any.

        Raises:
            CorruptLog: data of this producer was taken for committed, yet here it is aborted: the
                transaction index misses an entry, and no decision based on it can be trusted.
        """
        self._open_aborted(last_offset)
        if kind == ABORT:
            aborted = self._aborting.pop(producer_id, None)
            if aborted is None:
                if producer_id in self._committing:
                    raise CorruptLog(
                        f"the transaction index misses the transaction of producer {producer_id} "
                        f"that is aborted at offset {last_offset}"
                    )
                return True, None
            if producer_id in self._seen:
                self._seen.discard(producer_id)
                return False, aborted
            return True, None
        if kind == COMMIT:
            if producer_id in self._committing:
                self._committing.discard(producer_id)
                return False, None
            return True, None
        return False, None

    def _open_aborted(self, offset: int) -> None:
        pending = self._pending
        while pending and pending[-1].first_offset <= offset:
            aborted = pending.pop()
            self._aborting.setdefault(aborted.producer_id, aborted)
