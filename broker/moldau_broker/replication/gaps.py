"""Why a sequence is missing before a producer's batch, when that is no loss. Pure.

A producer that is told of a gap (OUT_OF_ORDER_SEQUENCE_NUMBER) begins a new epoch, in which it sends again whatever has
not been acknowledged to it: what other partitions had stored already is there twice then. Two things that pass look
like a gap. A batch was refused, and others were right behind it. Or leadership moved while batches were under way to a
leader that does not answer: librdkafka sends the next ones to the new leader before those have timed out. Whoever is
told an error that passes waits for all that is under way, and sends again in order.
"""

from __future__ import annotations

from typing import Final

from moldau_broker.base.errors import ErrorCode
from moldau_broker.storage.producers import BATCHES_KEPT

PRODUCERS_MAX: Final = 10_000
"""Producers of one partition that are remembered; when there are more, all are forgotten."""
GAPS_EXPLAINED: Final = BATCHES_KEPT - 1
"""An idempotent producer has five requests under way at most, so no more than four came right behind a refused one.
Who lacks something after that has lost it, and is told so."""


class Gaps:
    """Those of one partition's producers."""

    __slots__ = ("_elections", "_reasons")

    def __init__(self) -> None:
        self._reasons: dict[int, tuple[ErrorCode, int]] = {}
        self._elections: dict[int, int] = {}

    def refused(self, producer_id: int, error: ErrorCode) -> None:
        """A batch was not stored for a reason that passes: what was right behind it is to be refused likewise."""
        self._remember(producer_id, error, GAPS_EXPLAINED)

    def stored(self, producer_id: int) -> None:
        """Its sequence goes on."""
        if self._reasons:
            self._reasons.pop(producer_id, None)

    def reason(self, producer_id: int, election: int | None) -> ErrorCode:
        """What to tell of a gap.

        Args:
            producer_id: whose.
            election: the leader epoch, where the producer's newest batch here is older than that and this one goes on
                behind it: what is missing may be under way to the leader before.
        """
        if election is not None and self._elections.get(producer_id) != election:
            if len(self._elections) >= PRODUCERS_MAX:
                self._elections.clear()
            self._elections[producer_id] = election
            self._remember(producer_id, ErrorCode.NOT_LEADER_OR_FOLLOWER, GAPS_EXPLAINED + 1)
        error, left = self._reasons.pop(producer_id, (ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER, 0))
        if left > 1:
            self._reasons[producer_id] = error, left - 1
        return error

    def _remember(self, producer_id: int, error: ErrorCode, gaps: int) -> None:
        if len(self._reasons) >= PRODUCERS_MAX:
            self._reasons.clear()
        self._reasons[producer_id] = error, gaps
