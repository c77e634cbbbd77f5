"""Deliberate bugs in how committed offsets survive their coordinator; `mutations` has all others."""

from __future__ import annotations

import contextlib
from typing import Any

from tests.sim.mutations import Mutation, replaced

from moldau_broker.base.deferred import Deferred
from moldau_broker.base.errors import ErrorCode
from moldau_broker.coordinator.hosted_shard import HostedShard
from moldau_broker.coordinator.runtime import GroupCoordinator
from moldau_broker.coordinator.shard_writer import ShardWriter
from moldau_broker.metadata.image import PartitionImage
from moldau_broker.replication.outcome import AppendOutcome
from moldau_broker.replication.partition import Partition
from moldau_broker.testing.sim.swarm import Swarm


def _moving(swarm: Swarm) -> Swarm:
    """Coordinators move all the time, often in the middle of something."""
    faults = {"crash leader": 1.0, "isolate leader": 1.0, "split": 0.5, "crash all": 0.3, "elect": 1.0}
    return swarm._replace(nodes=3, fault_gap_ms=1_000, faults=faults, dies_halfway=0.3, groups=2)


def _answers_what_was_appended() -> contextlib.AbstractContextManager[None]:
    original = ShardWriter.__init__

    def init(self: ShardWriter, append: Any, *others: Any) -> None:
        def append_and_answer(batch: bytearray) -> Deferred[AppendOutcome]:
            outcome = append(batch)
            if not outcome.done:
                outcome = Deferred()
                outcome.complete(AppendOutcome(ErrorCode.NONE))
            return outcome

        original(self, append_and_answer, *others)

    return replaced(ShardWriter, __init__=init)


def _reads_what_is_not_committed() -> contextlib.AbstractContextManager[None]:
    """Two checks are dropped: coordinators are told before the leader is ready, and do not look themselves."""
    original = Partition._lead

    def lead(self: Partition, image: PartitionImage) -> None:
        original(self, image)
        self._around.became_ready(self)

    def load(self: HostedShard) -> None:
        self._look_again_ms = None
        self._around.load_soon(self)

    stack = contextlib.ExitStack()
    stack.enter_context(replaced(Partition, _lead=lead))
    stack.enter_context(replaced(HostedShard, _load_when_committed=load))
    return stack


def _goes_on_with_what_it_had() -> contextlib.AbstractContextManager[None]:
    original = GroupCoordinator.on_elected

    def on_elected(self: GroupCoordinator, index: int, leader_epoch: int, log: Any) -> None:
        known = self._shards.get(index)
        if known is None:
            original(self, index, leader_epoch, log)
        else:
            known.leader_epoch = leader_epoch

    stack = contextlib.ExitStack()
    stack.enter_context(replaced(GroupCoordinator, on_elected=on_elected))
    stack.enter_context(replaced(GroupCoordinator, on_resigned=lambda self, index, leader_epoch: None))
    return stack


GROUPS = [
    Mutation("a commit is answered when it is appended", "broker", _answers_what_was_appended, 20, _moving),
    Mutation(
        "a coordinator reads what is not committed", "broker", _reads_what_is_not_committed, 40, _moving
    ),
    Mutation(
        "a coordinator goes on with what it had before", "broker", _goes_on_with_what_it_had, 20, _moving
    ),
]
