"""How much one fetch answer may hold, and when it has enough. Pure.

Every answer is made, and by a follower taken, on an event loop that others are waiting for. A consumer's is
sent once it is worth sending, so that it works while the next is read. A follower flushes once for each answer, so
for it more is better: it gets what it asked for (`replica.fetch.response.max.bytes`, within the leader's
`fetch.max.bytes`, as in Kafka) as long as that is quick to make. Large batches are: 10 MiB of them take a few
milliseconds. 10 MiB of the smallest would hold both loops for a tenth of a second.
"""

from __future__ import annotations

from typing import Final

from moldau_broker.base.limits import FETCH_ANSWER_BYTES_ENOUGH

REPLICA_ANSWER_MS: Final = 4
"""Of the leader's event loop; what the follower's has to do with the same batches is of the same order."""


class FetchBudget:
    """What is left for the partitions whose turn is still to come.

    Attributes:
        left: bytes; 0 once the answer has enough.
    """

    __slots__ = ("_began_ms", "_enough", "left")

    def __init__(self, bytes_max: int, bytes_min: int, *, for_replica: bool, now_ms: int) -> None:
        """Begin an answer.

        Args:
            bytes_max: the lesser of what the reader takes and the broker gives.
            bytes_min: what the reader waits for: less is never enough.
            for_replica: whether the reader is a follower.
            now_ms: monotonic.
        """
        self._enough = max(FETCH_ANSWER_BYTES_ENOUGH, bytes_min)
        self._began_ms = now_ms
        self.left = max(0, bytes_max if for_replica else min(bytes_max, self._enough))

    def take(self, size: int, now_ms: int) -> None:
        """A partition has put `size` bytes into the answer; it is `now_ms` by then."""
        self._enough -= size
        self.left = max(0, self.left - size)
        if self._enough <= 0 and now_ms - self._began_ms >= REPLICA_ANSWER_MS:
            self.left = 0
