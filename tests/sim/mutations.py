"""Deliberate bugs: each drops one check of the real cores. The simulator must find every one of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from moldau_broker.base.errors import ErrorCode
from moldau_broker.metadata import fencing, isr_control
from moldau_broker.metadata.elections import PartitionChange
from moldau_broker.metadata.since_registration import SinceRegistration
from moldau_broker.raft.driver import RaftDriver
from moldau_broker.raft.messages import Ready
from moldau_broker.raft.node import RaftNode
from moldau_broker.raft.progress import Progress
from moldau_broker.replication import follower, partition_follower
from moldau_broker.replication.follower import Advice, Step
from moldau_broker.replication.leader import LeaderState
from moldau_broker.replication.partition import Partition
from moldau_broker.replication.partition_base import PartitionBase
from moldau_broker.replication.partition_follower import FollowingPartition
from moldau_broker.storage.producers import ACCEPTED, ProducerState
from moldau_broker.testing.sim.swarm import EXTRAS, METADATA_ROT, Swarm
from moldau_broker.wire.schema import replace


@contextlib.contextmanager
def replaced(owner: Any, **members: Any) -> Iterator[None]:
    """Members of a class or module replaced for a while."""
    before = {name: owner.__dict__.get(name) for name in members}
    for name, member in members.items():
        setattr(owner, name, member)
    try:
        yield
    finally:
        for name, member in before.items():
            if member is None:
                delattr(owner, name)
            else:
                setattr(owner, name, member)


class Mutation(NamedTuple):
    """A deliberate bug.

    Attributes:
        name: in words.
        layer: of the simulator that shall find it.
        apply: makes the bug for as long as the context lasts.
        seeds_max: within how many seeds it must be found.
        world: where it is looked for; None: where every seed is.
        extras: what that world may have of `swarm.EXTRAS`; a bug older than one of them is looked for without it.
    """

    name: str
    layer: str
    apply: Callable[[], contextlib.AbstractContextManager[None]]
    seeds_max: int = 40
    world: Callable[[Swarm], Swarm] | None = None
    extras: frozenset[str] = EXTRAS - {METADATA_ROT}


def _stormy(swarm: Swarm) -> Swarm:
    """Leaders come and go all the time, often in the middle of something."""
    faults = {"crash leader": 1.0, "isolate leader": 1.0, "split": 0.5, "crash all": 0.3, "one-way cut": 0.5}
    return swarm._replace(nodes=3, fault_gap_ms=700, faults=faults, dies_halfway=0.3)


def _contested(swarm: Swarm) -> Swarm:
    """Elections with several candidates: votes take long, and leaders are lost all the time."""
    network = swarm.network._replace(slow=0.5, slow_ms=300, loss=0.02)
    return _stormy(swarm)._replace(network=network)


def _wiping(swarm: Swarm) -> Swarm:
    """Disks are replaced while the others cannot reach each other."""
    faults = {"wipe": 2.0, "isolate leader": 1.0, "split": 1.0, "crash leader": 0.5}
    return swarm._replace(nodes=3, fault_gap_ms=700, faults=faults)


# -- quorum ---------------------------------------------------------------------------------------------------


def _votes_twice() -> contextlib.AbstractContextManager[None]:
    original = RaftNode._grants

    def grants(self: RaftNode, candidate: Any, asked: Any) -> bool:
        kept, self._election = self._election, self._election._replace(voted=None)
        try:
            return original(self, candidate, asked)
        finally:
            self._election = kept

    return replaced(RaftNode, _grants=grants)


def _any_log_will_do() -> contextlib.AbstractContextManager[None]:
    original = RaftNode._grants

    def grants(self: RaftNode, candidate: Any, asked: Any) -> bool:
        return original(self, candidate, replace(asked, last_offset_epoch=2**30, last_offset=2**30))

    return replaced(RaftNode, _grants=grants)


def _counts_old_epochs() -> contextlib.AbstractContextManager[None]:
    def advance(self: Progress) -> bool:
        self.epoch_start = -1
        return original(self)

    original = Progress._advance
    return replaced(Progress, _advance=advance)


def _fetches_before_fsync() -> contextlib.AbstractContextManager[None]:
    original = RaftNode._pump

    def pump(self: RaftNode) -> None:
        if self._leading is None:
            self.durable_end = self.log_end
        original(self)

    return replaced(RaftNode, _pump=pump)


def _leader_counts_before_fsync() -> contextlib.AbstractContextManager[None]:
    original = RaftNode._pump

    def pump(self: RaftNode) -> None:
        if self._leading is not None and self._leading.progress.record(self.me.key, self.log_end):
            self._advance(self._leading)
        original(self)

    return replaced(RaftNode, _pump=pump)


def _minority_commits() -> contextlib.AbstractContextManager[None]:
    def advance(self: Progress) -> bool:
        committed = max((self.durable.get(key, -1) for key in self._voters.keys), default=-1)
        if committed <= self.epoch_start or committed <= (self._high_watermark or 0):
            return False
        self._high_watermark = committed
        return True

    return replaced(Progress, _advance=advance)


def _never_diverges() -> contextlib.AbstractContextManager[None]:
    original = RaftNode._parting

    def parting(self: RaftNode, offset: int, epoch: int) -> Any:
        found = original(self, offset, epoch)
        return (
            None
            if found is not None and found.diverging_epoch.epoch >= 0 and offset <= self.log_end
            else found
        )

    return replaced(RaftNode, _parting=parting)


def _saves_after_answering() -> contextlib.AbstractContextManager[None]:
    original = RaftDriver._carry_out_one

    def carry_out_one(self: RaftDriver, ready: Ready) -> Any:
        failure = original(self, ready)
        if ready.election is not None:
            self.store.save_election(ready.election)
        return failure

    def save(self: RaftDriver, ready: Ready, failure: Any) -> Any:
        return True, failure

    return replaced(RaftDriver, _carry_out_one=carry_out_one, _save=save)


def _forgets_its_vote() -> contextlib.AbstractContextManager[None]:
    original = RaftDriver._save

    def save(self: RaftDriver, ready: Ready, failure: Any) -> Any:
        assert ready.election is not None
        return original(self, ready._replace(election=ready.election._replace(voted=None)), failure)

    return replaced(RaftDriver, _save=save)


def _new_disk_old_voice() -> contextlib.AbstractContextManager[None]:
    def is_me(self: RaftNode, node_id: int, directory_id: bytes) -> bool:
        return node_id < 0 or node_id == self.me.key.node_id

    return replaced(RaftNode, _is_me=is_me)


QUORUM = (
    Mutation("a voter votes twice in an epoch", "quorum", _votes_twice, world=_contested),
    Mutation("a voter elects whoever asks, however short the log", "quorum", _any_log_will_do, world=_stormy),
    Mutation(
        "a leader commits entries of old epochs by counting", "quorum", _counts_old_epochs, world=_stormy
    ),
    Mutation("a follower states offsets that are not on its disk", "quorum", _fetches_before_fsync),
    Mutation("a leader counts what is not on its own disk", "quorum", _leader_counts_before_fsync),
    Mutation("one voter is enough to commit", "quorum", _minority_commits),
    Mutation("a leader never tells followers that their logs diverge", "quorum", _never_diverges),
    Mutation("votes are answered before quorum-state is saved", "quorum", _saves_after_answering),
    Mutation("quorum-state does not hold the vote", "quorum", _forgets_its_vote),
    Mutation("a wiped voter votes with its old voice", "quorum", _new_disk_old_voice, world=_wiping),
)


# -- controller and replication -------------------------------------------------------------------------------


def _acks_what_one_disk_has() -> contextlib.AbstractContextManager[None]:
    def when_committed(self: Partition, next_offset: int, callback: Any) -> None:
        self.when_durable(lambda: callback(ErrorCode.NONE))

    return replaced(Partition, when_committed=when_committed)


def _never_cuts() -> contextlib.AbstractContextManager[None]:
    original = partition_follower.advise

    def advise(*args: Any) -> Advice:
        advice = original(*args)
        return Advice(Step.APPEND) if advice.step is Step.TRUNCATE else advice

    return replaced(partition_follower, advise=advise)


def _one_in_sync_is_enough() -> contextlib.AbstractContextManager[None]:
    return replaced(LeaderState, enough=lambda self, min_insync: 1)


def _joins_without_catching_up() -> contextlib.AbstractContextManager[None]:
    original = LeaderState.expansion

    def expansion(self: LeaderState, replica: int, high_watermark: int, epochs: Any) -> Any:
        start, self.epoch_start = self.epoch_start, -1
        try:
            return original(self, replica, -1, epochs)
        finally:
            self.epoch_start = start

    return replaced(LeaderState, expansion=expansion)


def _forgets_proposals() -> contextlib.AbstractContextManager[None]:
    return replaced(LeaderState, maximal_isr=property(lambda self: frozenset(self.isr)))


def _takes_duplicates() -> contextlib.AbstractContextManager[None]:
    return replaced(ProducerState, check=lambda self, header: ACCEPTED)


def _asks_before_fsync() -> contextlib.AbstractContextManager[None]:
    def ask(self: FollowingPartition, *, ahead_of: Any = None) -> Any:
        del ahead_of
        if self.is_leader or self.leader_id < 0 or self.offline_reason is not None:
            return None
        log = self.log
        return follower.ask(self.leader_epoch, log.log_end_offset, log.log_start_offset, log.epochs)

    def when_durable(self: PartitionBase, callback: Any) -> None:
        self.request_commit()
        callback()

    stack = contextlib.ExitStack()
    stack.enter_context(replaced(FollowingPartition, ask=ask))
    stack.enter_context(replaced(PartitionBase, when_durable=when_durable))
    return stack


def _reading_ahead_says_it_is_on_disk() -> contextlib.AbstractContextManager[None]:
    original = partition_follower.ask

    def ask(leader_epoch: int, end: int, log_start: int, epochs: Any, read_from: int = -1) -> Any:
        return original(leader_epoch, max(end, read_from), log_start, epochs)

    return replaced(partition_follower, ask=ask)


def _appends_as_a_follower() -> contextlib.AbstractContextManager[None]:
    original = PartitionBase.leadership_error

    def leadership_error(self: PartitionBase, current_leader_epoch: int, **which: bool) -> ErrorCode:
        if current_leader_epoch < 0 and self.leader_id >= 0:
            return ErrorCode.NONE
        return original(self, current_leader_epoch, **which)

    return replaced(PartitionBase, leadership_error=leadership_error)


def _any_leader_epoch() -> contextlib.AbstractContextManager[None]:
    original = PartitionBase.leadership_error

    def leadership_error(self: PartitionBase, current_leader_epoch: int, **which: bool) -> ErrorCode:
        del current_leader_epoch
        return original(self, -1, **which)

    return replaced(PartitionBase, leadership_error=leadership_error)


def _any_partition_epoch() -> contextlib.AbstractContextManager[None]:
    original = isr_control._problem

    def problem(image: Any, broker_id: int, partition: Any, wanted: Any, members: Any) -> Any:
        wanted = replace(wanted, partition_epoch=partition.partition_epoch)
        return original(image, broker_id, partition, wanted, members)

    return replaced(isr_control, _problem=problem)


def _acts_on_old_images() -> contextlib.AbstractContextManager[None]:
    def call(self: SinceRegistration, delta: Any, image: Any) -> None:
        self._subscriber(delta, image)

    return replaced(SinceRegistration, __call__=call)


def _fenced_stay_in_sync() -> contextlib.AbstractContextManager[None]:
    return replaced(fencing, _leaving=lambda view, broker_id: [])


def _elects_anybody() -> contextlib.AbstractContextManager[None]:
    return replaced(PartitionChange, _eligible=lambda self, replica: self._can_lead(replica))


def _any_broker_epoch() -> contextlib.AbstractContextManager[None]:
    """Every check of a broker epoch, at the leader and at the controller."""
    stack = contextlib.ExitStack()
    stack.enter_context(
        replaced(isr_control, _may_be_in_sync=lambda image, member: member.broker_id in image.brokers)
    )
    stack.enter_context(replaced(LeaderState, expansion=_expansion_of_any_incarnation))
    return stack


def _expansion_of_any_incarnation(self: LeaderState, replica: int, high_watermark: int, epochs: Any) -> Any:
    member = self.follower(replica)
    if self.pending is not None or member is None or replica in self.isr:
        return None
    if member.end < max(high_watermark, self.epoch_start):
        return None
    return self._propose((*self.isr, replica), epochs)


def _waits_to_be_ready() -> contextlib.AbstractContextManager[None]:
    original = LeaderState.expansion

    def expansion(self: LeaderState, replica: int, high_watermark: int, epochs: Any) -> Any:
        return original(self, replica, high_watermark, epochs) if self.ready else None

    return replaced(LeaderState, expansion=expansion)


def _wiped_is_as_good_as_new() -> contextlib.AbstractContextManager[None]:
    """Neither a lost disk nor an unclean stop is noticed at registration."""
    stack = contextlib.ExitStack()
    stack.enter_context(replaced(fencing, _is_lost=lambda partition, registration: False))
    stack.enter_context(replaced(fencing, _is_only_choice=lambda partition, broker_id: True))
    return stack


BROKER = (
    Mutation("acks=all is answered when one disk has it", "broker", _acks_what_one_disk_has),
    Mutation("a follower never cuts what diverges", "broker", _never_cuts),
    Mutation("the high watermark moves below min.insync.replicas", "broker", _one_in_sync_is_enough),
    Mutation("a replica joins the ISR without having caught up", "broker", _joins_without_catching_up),
    Mutation("a proposed ISR does not count before it is committed", "broker", _forgets_proposals),
    Mutation("sequence numbers are not looked at", "broker", _takes_duplicates),
    Mutation("a replica asks with what is not on its disk", "broker", _asks_before_fsync),
    Mutation(
        "a replica that reads ahead asks with what is not on its disk",
        "broker",
        _reading_ahead_says_it_is_on_disk,
    ),
    Mutation("a follower takes writes", "broker", _appends_as_a_follower),
    Mutation("leader epochs of requests are not compared", "broker", _any_leader_epoch),
    Mutation("partition epochs of proposals are not compared", "broker", _any_partition_epoch),
    Mutation(
        "a restarted broker acts on images of its former life", "broker", _acts_on_old_images, world=_stormy
    ),
    Mutation("a fenced broker stays in the ISR", "controller", _fenced_stay_in_sync),
    Mutation("any live replica may be elected", "broker", _elects_anybody),
    Mutation("broker epochs are not compared", "broker", _any_broker_epoch),
    Mutation("a leader that is not ready lets nobody in", "broker", _waits_to_be_ready),
    Mutation("a lost disk is not noticed", "broker", _wiped_is_as_good_as_new),
)

MUTATIONS = QUORUM + BROKER
