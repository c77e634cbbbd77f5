"""Deliberate bugs in how a member whose disk lost something gets its voice back; `mutations` has all others."""

from __future__ import annotations

import contextlib
from typing import Any

from tests.sim.mutations import Mutation, replaced

from moldau_broker.raft.node import RaftNode
from moldau_broker.testing.sim.quorum_store import RECOVERING, QuorumStore
from moldau_broker.testing.sim.swarm import EXTRAS, Swarm


def _rotting(swarm: Swarm) -> Swarm:
    """Leaders come and go, and somebody's disk loses something all the time."""
    faults = {"crash leader": 1.0, "isolate leader": 1.5, "isolate": 1.0, "split": 0.5, "one-way cut": 0.5}
    return swarm._replace(nodes=3, fault_gap_ms=700, faults=faults, dies_halfway=0.3, rot_gap_ms=1_500)


def _rotting_and_crashing(swarm: Swarm) -> Swarm:
    """And who recovers is seldom left alone."""
    faults = {"crash": 3.0, "crash leader": 1.0, "isolate leader": 1.5, "isolate": 1.5}
    return _rotting(swarm)._replace(fault_gap_ms=400, faults=faults, rot_gap_ms=700)


def _rotting_founders(swarm: Swarm) -> Swarm:
    """The newest snapshot is the one that the quorum was founded with."""
    return _rotting(swarm)._replace(snapshot_records=1_000_000)


def _votes_all_the_same() -> contextlib.AbstractContextManager[None]:
    """And stands for election; its fetches are an observer's all the same."""
    original = RaftNode._on_vote

    def on_vote(self: RaftNode, event: Any) -> None:
        kept, self.recovering = self.recovering, False
        try:
            original(self, event)
        finally:
            self.recovering = kept

    stack = contextlib.ExitStack()
    stack.enter_context(replaced(RaftNode, _on_vote=on_vote))
    stack.enter_context(
        replaced(RaftNode, is_voter=property(lambda self: self.me.key in self.history.newest))
    )
    return stack


def _mark_is_not_durable() -> contextlib.AbstractContextManager[None]:
    original = QuorumStore.reopened

    def reopened(self: QuorumStore, *args: Any, **kwargs: Any) -> Any:
        self.disk.files.pop(RECOVERING, None)
        return original(self, *args, **kwargs)

    return replaced(QuorumStore, reopened=reopened)


def _elects_itself_alone() -> contextlib.AbstractContextManager[None]:
    def is_voter(self: RaftNode) -> bool:
        return self.me.key in self.voters and (not self.recovering or self.voters.majority == 1)

    return replaced(RaftNode, is_voter=property(is_voter))


RECOVERY = [
    Mutation("a recovering member votes", "quorum", _votes_all_the_same, 40, _rotting, EXTRAS),
    Mutation(
        "the mark of a recovering member is not durable",
        "quorum",
        _mark_is_not_durable,
        60,
        _rotting_and_crashing,
        EXTRAS,
    ),
    Mutation(
        "a founder that recovers elects itself, as it did at first",
        "quorum",
        _elects_itself_alone,
        60,
        _rotting_founders,
        EXTRAS,
    ),
]
