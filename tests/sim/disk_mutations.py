"""Deliberate bugs in how full disks and flipped bits are borne; `mutations` has all others."""

from __future__ import annotations

import contextlib
from typing import Any

from tests.sim.mutations import Mutation, replaced

from moldau_broker.base.errors import ErrorCode
from moldau_broker.metadata import directories_control
from moldau_broker.metadata.elections import PartitionChange
from moldau_broker.raft.driver import RaftDriver
from moldau_broker.replication import damage, leader
from moldau_broker.replication.partition import Partition
from moldau_broker.storage.errors import DiskFull
from moldau_broker.testing.sim.partition_log import SimLog
from moldau_broker.testing.sim.swarm import DISK_FAULTS, Swarm, TopicPlan


def _rotting(swarm: Swarm) -> Swarm:
    """A network in order, so that bits may flip, and topics of which two copies are always kept."""
    network = swarm.network._replace(duplicate=0.0, slow=0.0)
    topics = tuple(topic._replace(replication_factor=3, min_insync=2) for topic in swarm.topics)
    return swarm._replace(nodes=3, network=network, topics=topics)


def _rotting_late(swarm: Swarm) -> Swarm:
    """The same, but of many partitions, quiet and fetched batch by batch: an empty replica stays behind for long."""
    swarm = _rotting(swarm)
    topics = tuple(TopicPlan(f"topic{at}", 4, 3, 2) for at in range(2))
    return swarm._replace(topics=topics, faults={"reset": 1.0}, fetch_bytes=100, lag_ms=6_000)


def _damage_is_served() -> contextlib.AbstractContextManager[None]:
    return replaced(Partition, _check=lambda self, records, offset, limit: None)


class _SameEpoch(PartitionChange):
    """No change makes a leader that stays begin a new epoch."""

    __slots__ = ()
    new_epoch = property(lambda self: False, lambda self, wanted: None)  # type: ignore[assignment]


def _begins_anew_in_the_same_epoch() -> contextlib.AbstractContextManager[None]:
    stack = contextlib.ExitStack()
    stack.enter_context(replaced(directories_control, PartitionChange=_SameEpoch))
    stack.enter_context(replaced(damage, may_be_heard=lambda wanted, hosted: False))
    return stack


def _refused_counts_as_written() -> contextlib.AbstractContextManager[None]:
    return replaced(RaftDriver, _log_stopped_short=lambda self, error: None)


def _half_an_answer_is_never_flushed() -> contextlib.AbstractContextManager[None]:
    original = RaftDriver._log_stopped_short

    def stopped_short(self: RaftDriver, error: Any) -> None:
        flushing, self._flushing = self._flushing, True
        original(self, error)
        self._flushing = flushing

    return replaced(RaftDriver, _log_stopped_short=stopped_short)


def _refused_isr_is_left() -> contextlib.AbstractContextManager[None]:
    return replaced(leader, _RETRY=leader._RETRY - {ErrorCode.KAFKA_STORAGE_ERROR})


def _acknowledged_though_full() -> contextlib.AbstractContextManager[None]:
    original = SimLog.append

    def append(self: SimLog, batch: Any, header: Any, leader_epoch: int, now_ms: int) -> int:
        try:
            return original(self, batch, header, leader_epoch, now_ms)
        except DiskFull:
            self.mark_durable(self.log_end_offset)
            return self.log_end_offset - header.last_offset_delta - 1

    return replaced(SimLog, append=append)


DISKS = [
    Mutation("damage is served, checksum or not", "broker", _damage_is_served, 40, _rotting),
    Mutation("what the disk refused counts as written", "quorum", _refused_counts_as_written),
    Mutation("half an answer is never flushed", "quorum", _half_an_answer_is_never_flushed),
    Mutation(
        "a damaged replica begins anew in the same epoch",
        "broker",
        _begins_anew_in_the_same_epoch,
        60,
        _rotting_late,
    ),
    Mutation(
        "a refused ISR is not asked for again",
        "broker",
        _refused_isr_is_left,
        extras=frozenset({DISK_FAULTS}),
    ),
    Mutation("a full disk acknowledges", "broker", _acknowledged_though_full),
]
