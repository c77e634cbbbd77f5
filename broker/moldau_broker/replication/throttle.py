"""Bounds on the replication traffic of chosen replicas, so that moving them leaves room for clients. Pure.

Which replicas is said by topic settings ({leader,follower}.replication.throttled.replicas), how many bytes a second by
dynamic broker settings ({leader,follower}.replication.throttled.rate); kafka-reassign-partitions sets all four. As in
Kafka, all traffic of a throttled replica is counted, but only one that is out of the ISR is ever held back: to hold an
in-sync replica back would make it leave the ISR. Whoever is in the committed ISR counts as in sync on both sides.

Kafka averages over eleven seconds, so that a rate below one answer's size is not kept; here the bucket goes into debt.
The debt is bounded, because in-sync traffic may exceed the rate for hours, which is not to be paid for in hours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from moldau_broker.base.config_types import LONG_MAX

if TYPE_CHECKING:
    from moldau_broker.base.clock import Clock
    from moldau_broker.replication.partition import Partition

UNLIMITED: Final = LONG_MAX
"""The rate that stands for none; Kafka's default."""

_LONGEST_DELAY_MS: Final = 1_000
"""How long a delay is at most before one looks again; the rate may have been raised meanwhile."""


_DEBT_SECONDS_MAX: Final = 10
"""What is remembered of traffic above the rate, in seconds of it (Kafka forgets after eleven); one answer at least."""


class Throttle:
    """A bucket of bytes that fills with `rate` bytes a second, holds one second's worth, and may be overdrawn.

    Attributes:
        rate: bytes a second, or `UNLIMITED`.
        counted: bytes recorded while there was a limit, since start.
    """

    __slots__ = ("_filled_at_ms", "_left", "counted", "rate")

    def __init__(self) -> None:
        self.rate = UNLIMITED
        self.counted = 0
        self._left = 0.0
        self._filled_at_ms = 0

    def change(self, rate: int, now_ms: int) -> None:
        """From now on `rate` bytes a second; a debt stays, and is paid at the new rate."""
        if rate == self.rate:
            return
        if self.rate == UNLIMITED:
            self._left = float(rate)
        else:
            self._fill(now_ms)
        self._filled_at_ms = now_ms
        self.rate = rate
        self._left = min(self._left, float(rate))

    def record(self, count: int, now_ms: int) -> None:
        """`count` bytes have crossed the wire."""
        if self.rate != UNLIMITED:
            self._fill(now_ms)
            self.counted += count
            self._left = max(self._left - count, -float(max(self.rate * _DEBT_SECONDS_MAX, count)))

    def delay_ms(self, now_ms: int) -> int:
        """0 where more may be sent now; else how long to wait before looking again."""
        if self.rate == UNLIMITED:
            return 0
        self._fill(now_ms)
        if self._left > 0:
            return 0
        if self.rate == 0:
            return _LONGEST_DELAY_MS
        return min(_LONGEST_DELAY_MS, int(-self._left * 1000 / self.rate) + 1)

    def _fill(self, now_ms: int) -> None:
        if now_ms > self._filled_at_ms:
            self._left = min(float(self.rate), self._left + self.rate * (now_ms - self._filled_at_ms) / 1000)
            self._filled_at_ms = now_ms


class ReplicationThrottles:
    """Both directions of one broker.

    Attributes:
        leader: what this broker sends to throttled followers.
        follower: what it fetches for throttled replicas of its own.
    """

    __slots__ = ("_clock", "_node_id", "follower", "leader")

    def __init__(self, node_id: int, clock: Clock) -> None:
        self._node_id = node_id
        self._clock = clock
        self.leader = Throttle()
        self.follower = Throttle()

    def change(self, leader_rate: int, follower_rate: int) -> None:
        """The rates of the dynamic settings."""
        now = self._clock.monotonic_ms()
        self.leader.change(leader_rate, now)
        self.follower.change(follower_rate, now)

    def holds_back_answer(self, partition: Partition, replica: int) -> bool:
        """Whether a follower out of sync gets no records of `partition` for now."""
        return (
            self.leader.rate != UNLIMITED
            and replica not in partition.isr
            and self._is_named(partition.log.config.leader_replication_throttled_replicas, partition.index)
            and self.leader.delay_ms(self._clock.monotonic_ms()) > 0
        )

    def answered(self, partition: Partition, size: int) -> None:
        """A follower was sent `size` bytes of `partition`."""
        names = partition.log.config.leader_replication_throttled_replicas
        if self.leader.rate != UNLIMITED and self._is_named(names, partition.index):
            self.leader.record(size, self._clock.monotonic_ms())

    def fetch_delay_ms(self, partition: Partition) -> int:
        """How long our own replica of `partition` is not to be fetched for; 0: go on."""
        if (
            self.follower.rate == UNLIMITED
            or self._node_id in partition.isr
            or not self._is_named(
                partition.log.config.follower_replication_throttled_replicas, partition.index
            )
        ):
            return 0
        return self.follower.delay_ms(self._clock.monotonic_ms())

    def fetched(self, partition: Partition, size: int) -> None:
        """We were sent `size` bytes of `partition`."""
        names = partition.log.config.follower_replication_throttled_replicas
        if self.follower.rate != UNLIMITED and self._is_named(names, partition.index):
            self.follower.record(size, self._clock.monotonic_ms())

    def _is_named(self, names: frozenset[str], index: int) -> bool:
        return bool(names) and ("*" in names or f"{index}:{self._node_id}" in names)
