"""What a leader knows of its followers in one leader epoch, and what follows from it. Pure.

Theory of operation: a follower's fetch names the end that it has *fsynced*. The high watermark is the lowest such end
over the maximal ISR, which is the committed one and, while an AlterPartition is under way, the proposed one as well
(KIP-497): whoever may be elected counts. It rests while the committed ISR is smaller than min.insync.replicas
(KIP-966), so that whoever left the ISR last still has everything that was committed.

A proposal ends with the controller's answer or with the image, which is the final word. As long as nobody knows what
became of one, it goes on counting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from typing import Final, NamedTuple, TypeAlias

from moldau_broker.base.errors import ErrorCode
from moldau_broker.metadata.image import PartitionImage
from moldau_broker.replication.absences import Absences, OutOfSync
from moldau_broker.replication.end_times import EndTimes

UNKNOWN: Final = -1

BrokerEpochs: TypeAlias = Callable[[int], int | None]
"""The epoch of a broker that may be in sync: registered, not fenced, not leaving; None for any other."""


class Follower:
    """What one follower last said.

    Attributes:
        end: its fsynced end, `UNKNOWN` before its first fetch in this epoch.
        log_start: its first offset.
        broker_epoch: of the incarnation that said so.
        caught_up_ms: when it last had all that the leader had, monotonic.
        asked_ms: when it last asked.
    """

    __slots__ = ("_leader_end_then", "asked_ms", "broker_epoch", "caught_up_ms", "end", "log_start")

    def __init__(self, now_ms: int) -> None:
        self.end = UNKNOWN
        self.log_start = UNKNOWN
        self.broker_epoch = UNKNOWN
        self.caught_up_ms = now_ms
        self.asked_ms = now_ms
        self._leader_end_then = UNKNOWN

    def fetched(
        self, end: int, log_start: int, broker_epoch: int, leader_end: int, now_ms: int, ends: EndTimes
    ) -> None:
        """It asks for what follows `end`; the leader's log ends at `leader_end`, and at `ends` before."""
        if end >= leader_end:
            if now_ms > self.caught_up_ms:
                self.caught_up_ms = now_ms
        else:
            if end >= self._leader_end_then >= 0:
                self.caught_up_ms = max(self.caught_up_ms, self.asked_ms)
            elif (then := ends.reached(end)) is not None:
                self.caught_up_ms = max(self.caught_up_ms, then)
            ends.note(leader_end, now_ms)
        self.end = end
        self.log_start = log_start
        self.broker_epoch = broker_epoch
        self.asked_ms = now_ms
        self._leader_end_then = leader_end


class Proposal(NamedTuple):
    """An ISR that the controller is asked for, as (broker id, broker epoch); compare-and-set on both epochs."""

    members: tuple[tuple[int, int], ...]
    leader_epoch: int
    partition_epoch: int
    recovery_state: int = 0

    @property
    def isr(self) -> tuple[int, ...]:
        """The ids alone."""
        return tuple(broker_id for broker_id, _ in self.members)


class Outcome(Enum):
    """What became of a proposal."""

    DONE = "committed, or refused for certain"
    RETRY = "the controller could not say; ask again"
    WAIT = "something else was first; the image will tell"


_RETRY: Final = frozenset(
    {
        ErrorCode.NOT_CONTROLLER,
        ErrorCode.REQUEST_TIMED_OUT,
        ErrorCode.NETWORK_EXCEPTION,
        ErrorCode.UNKNOWN_SERVER_ERROR,
        ErrorCode.BROKER_NOT_AVAILABLE,
        ErrorCode.STALE_BROKER_EPOCH,
        ErrorCode.KAFKA_STORAGE_ERROR,  # the controller's disk is full: it hands over
    }
)
_REFUSED: Final = frozenset({ErrorCode.INELIGIBLE_REPLICA, ErrorCode.INVALID_REQUEST})
"""Nothing was written, and both epochs were right: what was committed before still is."""


class LeaderState:
    """A leader's knowledge in one leader epoch.

    Attributes:
        absences: who is out of sync since when.
        epoch, epoch_start: the leader epoch, and the end of the log when it began.
        isr, partition_epoch: as committed, as far as this leader knows.
        replicas: all of them, this one included.
        pending: the proposal whose end is not known.
        ready: the high watermark has reached the epoch's start: what this leader serves is what was committed.
    """

    __slots__ = (
        "_ends",
        "_followers",
        "_node_id",
        "_recovery",
        "absences",
        "epoch",
        "epoch_start",
        "isr",
        "partition_epoch",
        "pending",
        "ready",
        "replicas",
    )

    def __init__(
        self,
        node_id: int,
        image: PartitionImage,
        epoch_start: int,
        now_ms: int,
        before: LeaderState | None = None,
    ) -> None:
        """`before` is this broker's knowledge of the epoch it led last, if it led before."""
        self._ends = EndTimes()
        self._node_id = node_id
        self.epoch = image.leader_epoch
        self.epoch_start = epoch_start
        self.isr = image.isr
        self.partition_epoch = image.partition_epoch
        self.replicas = image.replicas
        self.pending: Proposal | None = None
        self.ready = False
        self._recovery = image.leader_recovery_state
        self._followers = {replica: Follower(now_ms) for replica in image.replicas if replica != node_id}
        if before is not None and before.epoch + 1 == image.leader_epoch:
            self.absences: Absences = before.absences
            self.absences.see(image.replicas, image.isr, before._followers)
            self._see_isr()
        else:
            self.absences = Absences(set(image.replicas).difference(image.isr), now_ms, UNKNOWN)

    def adopt(self, image: PartitionImage, now_ms: int) -> None:
        """The image says something new in the same leader epoch."""
        if image.partition_epoch < self.partition_epoch:
            return
        self.replicas = image.replicas
        for replica in image.replicas:
            if replica != self._node_id and replica not in self._followers:
                self._followers[replica] = Follower(now_ms)
        for replica in self._followers.keys() - set(image.replicas):
            del self._followers[replica]
        if self.pending is None:
            self.isr = image.isr
        if image.partition_epoch > self.partition_epoch:
            self.isr = image.isr
            self._recovery = image.leader_recovery_state
            self.partition_epoch = image.partition_epoch
            self.pending = None
        self._see_isr()

    def _see_isr(self) -> None:
        self.absences.see(self.replicas, self.isr, self._followers)

    # -- followers --------------------------------------------------------------------------------------------

    def follower(self, replica: int) -> Follower | None:
        """What that replica said, None if it is none."""
        return self._followers.get(replica)

    def fetched(
        self,
        follower: Follower,
        end: int,
        log_start: int,
        broker_epoch: int,
        leader_end: int,
        now_ms: int,
    ) -> None:
        """A follower asks for what follows `end`, as this leader's log ends at `leader_end`."""
        follower.fetched(end, log_start, broker_epoch, leader_end, now_ms, self._ends)
        if self._ends:
            in_sync = (one.end for replica, one in self._followers.items() if replica in self.isr)
            self._ends.passed(min(in_sync, default=leader_end), leader_end)

    def out_of_sync(self) -> OutOfSync:
        """The replicas that are not in the committed ISR."""
        found = {}
        for replica, absence in self.absences.replicas.items():
            follower = self._followers.get(replica)
            end = absence.end if follower is None or follower.end == UNKNOWN else follower.end
            found[replica] = absence._replace(end=end)
        return OutOfSync(self.absences.term_began_ms, found)

    @property
    def maximal_isr(self) -> frozenset[int]:
        """Whoever may be in sync by now."""
        members = frozenset(self.isr)
        return members if self.pending is None else members.union(self.pending.isr)

    def high_watermark(self, own_end: int, min_insync: int) -> int:
        """What all of the maximal ISR have fsynced, `UNKNOWN` while that is not known or must not move.

        `own_end` is this replica's own fsynced end.
        """
        if len(self.isr) < min_insync and len(self.isr) < self.enough(min_insync):
            return UNKNOWN
        lowest = own_end
        members = self.isr if self.pending is None else self.maximal_isr
        for replica in members:
            if replica != self._node_id:
                follower = self._followers.get(replica)
                if follower is None:
                    return UNKNOWN
                if follower.end < lowest:
                    lowest = follower.end
        return lowest

    def enough(self, min_insync: int) -> int:
        """The in-sync replicas that a write needs; a topic that asks for more than it has asks for all."""
        return min(min_insync, len(self.replicas))

    def low_watermark(self, own_start: int, alive: BrokerEpochs) -> int:
        """The lowest first offset of the replicas on live brokers (DeleteRecords waits for it)."""
        return min(
            [own_start]
            + [
                follower.log_start
                for replica, follower in self._followers.items()
                if alive(replica) is not None
            ]
        )

    def is_alone(self, now_ms: int, silence_ms: int) -> bool:
        """Whether others are in sync, and none of them has asked for anything for that long."""
        others = [self._followers.get(replica) for replica in self.isr if replica != self._node_id]
        return bool(others) and all(
            follower is None or now_ms - follower.asked_ms > silence_ms for follower in others
        )

    # -- the ISR ----------------------------------------------------------------------------------------------

    def expansion(self, replica: int, high_watermark: int, epochs: BrokerEpochs) -> Proposal | None:
        """The ISR with `replica`, if it has caught up with this epoch and its broker may be in sync.

        It has on disk whatever this leader had at the epoch's start, so it lacks nothing that was committed before,
        whether or not this leader is ready. To wait for that would be to wait for ever where the ISR is below
        min.insync.replicas: the high watermark rests until it has grown.
        """
        follower = self._followers.get(replica)
        if (
            self.pending is not None
            or follower is None
            or replica in self.isr
            or follower.end < max(high_watermark, self.epoch_start)
        ):
            return None
        epoch = epochs(replica)
        if epoch is None or follower.broker_epoch not in {epoch, UNKNOWN}:
            return None
        return self._propose((*self.isr, replica), epochs)

    def shrink(self, leader_end: int, now_ms: int, lag_ms_max: int, epochs: BrokerEpochs) -> Proposal | None:
        """The ISR without those that have been behind for too long."""
        if self.pending is not None:
            return None
        behind = [replica for replica in self.isr if self._is_behind(replica, leader_end, now_ms, lag_ms_max)]
        return self._without(behind, epochs) if behind else None

    def expulsion(self, replica: int, high_watermark: int, epochs: BrokerEpochs) -> Proposal | None:
        """The ISR without a member that no longer has what it had acknowledged: its disk was lost."""
        follower = self._followers.get(replica)
        if self.pending is not None or follower is None or replica not in self.isr:
            return None
        return self._without([replica], epochs) if 0 <= follower.end < high_watermark else None

    def _is_behind(self, replica: int, leader_end: int, now_ms: int, lag_ms_max: int) -> bool:
        follower = self._followers.get(replica)
        if follower is None:
            return replica != self._node_id
        return follower.end != leader_end and now_ms - follower.caught_up_ms > lag_ms_max

    def _without(self, replicas: Iterable[int], epochs: BrokerEpochs) -> Proposal | None:
        gone = set(replicas)
        return self._propose(tuple(member for member in self.isr if member not in gone), epochs)

    def _propose(self, isr: tuple[int, ...], epochs: BrokerEpochs) -> Proposal | None:
        members = []
        for member in isr:
            epoch = epochs(member)
            members.append((member, UNKNOWN if epoch is None else epoch))
        self.pending = Proposal(tuple(members), self.epoch, self.partition_epoch, self._recovery)
        return self.pending

    def recovered(self, epochs: BrokerEpochs) -> Proposal | None:
        """After an unclean election: say that this leader has recovered, which is all there is to do (KIP-704)."""
        if self.pending is not None or not self._recovery:
            return None
        self._recovery = 0
        return self._propose(self.isr, epochs)

    def answered(self, proposal: Proposal, error: int, isr: tuple[int, ...], partition_epoch: int) -> Outcome:
        """The controller's answer to `proposal`; `isr` and `partition_epoch` are what it says is so now."""
        if proposal is not self.pending:
            return Outcome.DONE
        if error == ErrorCode.NONE:
            if partition_epoch > self.partition_epoch:
                self.isr = isr
                self.partition_epoch = partition_epoch
                self._see_isr()
            self.pending = None
            return Outcome.DONE
        if error in _RETRY:
            return Outcome.RETRY
        if error in _REFUSED:
            self.pending = None
            return Outcome.DONE
        return Outcome.WAIT
