"""What must always hold for one partition's replicas, seen from above.

The ghost keeps the one true log: batches that a leader has called replicated (and has on its own disk). From then
on they stay: no replica cuts them, every later leader has them, every in-sync replica has them, no consumer sees
anything else at their offsets, and no producer's batch is among them twice.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from typing import NamedTuple

from moldau_broker.base.ids import Uuid
from moldau_broker.metadata.image import NO_LEADER, PartitionImage
from moldau_broker.testing.sim.coverage import Coverage
from moldau_broker.testing.sim.kernel import InvariantViolated
from moldau_broker.testing.sim.partition_log import SimLog, Stored


class Truth(NamedTuple):
    """One batch of the true log."""

    base: int
    next: int
    epoch: int
    data: bytes


class PartitionGhost:
    """Ghost state of a partition.

    Attributes:
        truth: the true log.
        end: the true high watermark.
        image: as last committed by the controller.
        strict: consumers see nothing that could be lost (min.insync.replicas is at least 2).
        log_of: a replica's log by its node.
    """

    def __init__(
        self, name: str, coverage: Coverage, log_of: Callable[[int], SimLog | None], *, strict: bool
    ) -> None:
        self.name = name
        self.truth: list[Truth] = []
        self.end = 0
        self.image: PartitionImage | None = None
        self.strict = strict
        self._coverage = coverage
        self.log_of = log_of
        self._bases: list[int] = []
        self._batches: dict[tuple[int, int], bytes] = {}
        self._sequences: dict[tuple[int, int, int], int] = {}
        self._consumed: dict[int, bytes] = {}
        self._highest = 0
        self.wiped: dict[int, Uuid] = {}
        """Replicas whose disk is gone, and the directory the controller knew it by."""

    # -- logs ---------------------------------------------------------------------------------------------

    def entered(self, node_id: int, log: SimLog, stored: Stored) -> None:
        """A batch stands in a replica: the same epoch and offset mean the same batch."""
        known = self._batches.setdefault((stored.epoch, stored.base), stored.data)
        if known != stored.data and not stored.damaged:
            raise InvariantViolated(
                f"{self.name}: node {node_id} holds another batch of epoch {stored.epoch} at offset "
                f"{stored.base} than was written there"
            )
        if stored.base < self.end:
            truth = self._at(stored.base)
            if truth is None or truth.epoch != stored.epoch:
                self._coverage.hit("divergent batches copied")

    def truncating(self, node_id: int, log: SimLog, offset: int) -> None:
        """A replica is about to be cut: nothing of the true log goes."""
        if offset >= self.end:
            return
        for stored in reversed(log.batches):
            if stored.next <= offset:
                break
            truth = self._at(stored.base)
            if truth is not None and truth.epoch == stored.epoch and not log.failure:
                raise InvariantViolated(
                    f"{self.name}: node {node_id} cuts its log to {offset}, below the replicated batch at "
                    f"{stored.base} (epoch {stored.epoch})"
                )

    def _at(self, base: int) -> Truth | None:
        at = bisect_right(self._bases, base) - 1
        return self.truth[at] if at >= 0 and self._bases[at] == base else None

    # -- leaders ------------------------------------------------------------------------------------------

    def leads_with(
        self, node_id: int, log: SimLog, high_watermark: int, leader_epoch: int, isr: tuple[int, ...]
    ) -> None:
        """A leader says everything below `high_watermark` is replicated."""
        if high_watermark > log.log_end_offset:
            raise InvariantViolated(
                f"{self.name}: leader {node_id} has high watermark {high_watermark} above its log end "
                f"{log.log_end_offset}"
            )
        self._highest = max(self._highest, high_watermark)
        end = min(high_watermark, log.durable_offset)
        if end <= self.end:
            return
        self._compare(node_id, log, self.end)
        start = bisect_right(log._bases, self.end - 1)
        for stored in log.batches[start:]:
            if stored.next > end:
                break
            if stored.base < self.end:
                raise InvariantViolated(
                    f"{self.name}: leader {node_id} has a batch across the true high watermark {self.end}"
                )
            self._becomes_true(stored)
        self._holders(node_id, leader_epoch, isr)

    def _becomes_true(self, stored: Stored) -> None:
        self.truth.append(Truth(stored.base, stored.next, stored.epoch, stored.data))
        self._bases.append(stored.base)
        self.end = stored.next
        header = stored.header
        if header.producer_id >= 0:
            key = (header.producer_id, header.producer_epoch, header.base_sequence)
            other = self._sequences.setdefault(key, stored.base)
            if other != stored.base:
                raise InvariantViolated(
                    f"{self.name}: producer {key[0]} epoch {key[1]} sequence {key[2]} is in the log twice, "
                    f"at {other} and {stored.base}"
                )
        if self.strict:
            seen = self._consumed.get(stored.base)
            if seen is not None and seen != stored.data:
                raise InvariantViolated(
                    f"{self.name}: a consumer saw another batch at offset {stored.base} than was replicated"
                )

    def _holders(self, node_id: int, leader_epoch: int, isr: tuple[int, ...]) -> None:
        """Everybody in the controller's ISR has the true log on disk, and so has the leader's own ISR."""
        members = set(isr)
        if self.image is not None and self.image.leader_epoch == leader_epoch:
            members = {*self.image.isr, *self.image.elr}
        elif self.image is not None:  # a leader of the past, whose word still counts where its ISR lives on
            members &= {*self.image.isr}
        for member in sorted(members - self.wiped.keys() - {node_id}):
            missing = self._missing(member)
            if missing is not None:
                raise InvariantViolated(
                    f"{self.name}: leader {node_id} (epoch {leader_epoch}) calls {self.end} replicated, but "
                    f"in-sync replica {member} {missing}"
                )

    def _missing(self, node_id: int) -> str | None:
        """What the replica lacks of the true log on its disk, in words; None if nothing."""
        log = self.log_of(node_id)
        if log is None:
            return None if self.end == 0 else "has no log"
        if log.durable_offset < self.end:
            return f"has only {log.durable_offset} on disk"
        return self._differs(log, self.end)

    def holds(self, node_id: int) -> bool:
        """Whether a replica has the whole true log on its disk, undamaged."""
        log = self.log_of(node_id)
        if log is None or log.failure is not None or log.is_damaged:
            return False
        return self._missing(node_id) is None

    def _differs(self, log: SimLog, end: int) -> str | None:
        at = bisect_right(self._bases, end - 1) - 1
        if at < 0:
            return None
        truth = self.truth[at]
        held = bisect_right(log._bases, truth.base) - 1
        if held < 0 or log._bases[held] != truth.base:
            return None if truth.base < log.log_start_offset else f"lacks the batch at {truth.base}"
        epoch = log.batches[held].epoch
        return None if epoch == truth.epoch else f"has epoch {epoch} at {truth.base} instead of {truth.epoch}"

    def _compare(self, node_id: int, log: SimLog, end: int) -> None:
        differs = self._differs(log, end)
        if differs is not None:
            raise InvariantViolated(f"{self.name}: leader {node_id} {differs}")

    def follower(self, node_id: int, high_watermark: int, log: SimLog) -> None:
        """A follower's high watermark is one that a leader had."""
        if high_watermark > max(self._highest, log.log_start_offset):
            raise InvariantViolated(
                f"{self.name}: follower {node_id} has high watermark {high_watermark}, no leader had more than "
                f"{self._highest}"
            )

    # -- the controller -----------------------------------------------------------------------------------

    def changed(self, image: PartitionImage) -> None:
        """The controller has committed a change."""
        before, self.image = self.image, image
        self.wiped = {node: lost for node, lost in self.wiped.items() if self._counts_on(node, lost, image)}
        if before is None or image == before:
            return
        come = set(image.isr) - set(before.isr)
        elected = {image.leader} if image.leader != before.leader and image.leader != NO_LEADER else set()
        for member in sorted((come | elected) - self.wiped.keys()):
            missing = self._missing(member)
            if missing is not None:
                what = "elected leader" if member in elected else "taken into the ISR"
                raise InvariantViolated(
                    f"{self.name}: node {member} was {what}, but {missing}; {self.end} is the true high "
                    f"watermark; {before} became {image}"
                )

    def lost_disk(self, node_id: int) -> None:
        """A replica's disk was replaced: until nobody counts on the old one, it cannot be blamed for what it lacks.

        Nor where nobody does yet: a fetch of before may be on its way to the ISR.
        """
        if self.image is not None and node_id in self.image.replicas:
            self.wiped[node_id] = self.image.directories[self.image.replicas.index(node_id)]

    @staticmethod
    def _counts_on(node_id: int, lost: Uuid, image: PartitionImage) -> bool:
        """Whether a replaced disk is in the ISR, or may get there again by what the dead node said before: a heartbeat
        and a fetch that were under way unfence it and bring it back until its new directory is registered.
        """
        known = image.directories[image.replicas.index(node_id)] if node_id in image.replicas else None
        return node_id in image.isr or known == lost

    # -- clients ------------------------------------------------------------------------------------------

    def acknowledged(self, base_offset: int, producer_id: int, epoch: int, sequence: int) -> None:
        """A producer was told that its batch is safe: it is part of the true log."""
        truth = self._at(base_offset)
        if truth is None or self._sequences.get((producer_id, epoch, sequence)) != base_offset:
            raise InvariantViolated(
                f"{self.name}: producer {producer_id} sequence {sequence} was told offset {base_offset}, but the "
                f"true log ends at {self.end} and holds {truth} there"
            )

    def consumed(self, base_offset: int, data: bytes) -> None:
        """A consumer read a batch."""
        truth = self._at(base_offset)
        if truth is not None:
            if truth.data != data:
                raise InvariantViolated(
                    f"{self.name}: a consumer sees another batch at offset {base_offset} than was replicated"
                )
            return
        if base_offset < self.end:
            raise InvariantViolated(
                f"{self.name}: a consumer sees a batch at {base_offset} that is not there"
            )
        if self.strict and self._consumed.setdefault(base_offset, data) != data:
            raise InvariantViolated(f"{self.name}: what a consumer saw at {base_offset} has changed")

    # -- at the end ---------------------------------------------------------------------------------------

    def settled(self, node_id: int, log: SimLog) -> None:
        """At the end every replica has exactly the true log."""
        mine = [(stored.base, stored.epoch, stored.data) for stored in log.batches]
        truth = [
            (batch.base, batch.epoch, batch.data) for batch in self.truth if batch.next > log.log_start_offset
        ]
        if mine != truth:
            at = next(
                (n for n, pair in enumerate(zip(mine, truth, strict=False)) if pair[0] != pair[1]),
                min(len(mine), len(truth)),
            )
            raise InvariantViolated(
                f"{self.name}: at the end node {node_id} ends at {log.log_end_offset} and the true log at "
                f"{self.end}; they differ from batch {at} of {len(mine)} and {len(truth)} on"
            )
