"""Deliberate bugs: each drops one check of the real cores. The simulator must find every one of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from moldau_broker.raft.driver import RaftDriver
from moldau_broker.raft.messages import Ready
from moldau_broker.raft.node import RaftNode
from moldau_broker.raft.progress import Progress
from moldau_broker.testing.sim.swarm import Swarm
from moldau_broker.wire.schema import replace


@contextlib.contextmanager
def replaced(owner: type, **members: Any) -> Iterator[None]:
    """Class members replaced for a while."""
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
    """

    name: str
    layer: str
    apply: Callable[[], contextlib.AbstractContextManager[None]]
    seeds_max: int = 40
    world: Callable[[Swarm], Swarm] | None = None


def _stormy(swarm: Swarm) -> Swarm:
    """Leaders come and go all the time, often in the middle of something."""
    faults = {"crash leader": 1.0, "isolate leader": 1.0, "split": 0.5, "crash all": 0.3, "one-way cut": 0.5}
    return swarm._replace(nodes=3, fault_gap_ms=700, faults=faults, dies_halfway=0.3)


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
    Mutation("a voter votes twice in an epoch", "quorum", _votes_twice, world=_stormy),
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

MUTATIONS = QUORUM
