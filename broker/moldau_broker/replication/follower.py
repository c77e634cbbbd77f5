"""How a follower brings its log in line with its leader's: what it asks for, what it makes of the answer. Pure.

The fetch offset is the *fsynced* end of the log, so that the leader counts nothing a power cut could take. With it goes
the epoch of the last record before it; a leader whose log parted from ours answers where (KIP-595), and the follower
cuts its log there. A log that lies wholly outside the leader's begins anew at the leader's start.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

from moldau_broker.base.errors import ErrorCode
from moldau_broker.storage.epochs import UNDEFINED_EPOCH, LeaderEpochs

NO_EPOCH: Final = -1


class Ask(NamedTuple):
    """What a follower asks for in one partition; two that are equal need not be sent twice (KIP-227).

    `offset` is the fsynced end. `read_from` is where to go on reading, -1 for there: what lies between has come from
    this leader in this epoch, and is being fsynced.
    """

    leader_epoch: int
    offset: int
    last_epoch: int
    log_start: int
    read_from: int = -1


class Step(Enum):
    """What to do with an answer."""

    APPEND = "append its records, take over the high watermark and the log start"
    TRUNCATE = "cut the log at `offset`"
    RESTART = "drop everything and begin at `offset`"
    BACK_OFF = "ask again a little later"


class Advice(NamedTuple):
    """What follows from an answer. `ours`: what stands in the way is this broker's own: its disk, or a bad batch."""

    step: Step
    offset: int = -1
    why: str = ""
    ours: bool = False


def ask(
    leader_epoch: int, durable_end: int, log_start: int, epochs: LeaderEpochs, read_from: int = -1
) -> Ask:
    """The next question of a follower in `leader_epoch`.

    The epoch of the last record is sent, not the newest one known: an epoch in which nothing was written says nothing
    about the log.
    """
    last = epochs.epoch_for(durable_end - 1) if durable_end > log_start else NO_EPOCH
    return Ask(leader_epoch, durable_end, last, log_start, read_from)


def advise(
    asked: Ask,
    error: int,
    diverging: tuple[int, int],
    leader_start: int,
    log_end: int,
    epochs: LeaderEpochs,
) -> Advice:
    """What to do about an answer to `asked`.

    Args:
        asked: the question.
        error: the partition's error.
        diverging: (epoch, end offset) where the leader's log parts from ours, (-1, -1) if it does not.
        leader_start: the leader's log start offset, -1 if the answer does not say.
        log_end: our log's end now.
        epochs: our leader epochs.
    """
    if error == ErrorCode.OFFSET_OUT_OF_RANGE:
        if leader_start < 0:
            return Advice(Step.BACK_OFF, why="the leader does not say where its log begins")
        return Advice(Step.RESTART, leader_start, f"the log ends at {log_end}, outside the leader's")
    if error != ErrorCode.NONE:
        return Advice(Step.BACK_OFF, why=_name(error))
    epoch, end = diverging
    if end >= 0 or epoch >= 0:
        return Advice(
            Step.TRUNCATE, parting(epoch, end, log_end, epochs), f"the leader's epoch {epoch} ended at {end}"
        )
    return Advice(Step.APPEND)


def parting(epoch: int, end: int, log_end: int, epochs: LeaderEpochs) -> int:
    """Where to cut a log when the leader's `epoch`, the newest not above our last one, ended at `end`."""
    if epoch < 0 or end < 0:
        return 0
    ours, our_end = epochs.end_offset_for(epoch, log_end)
    if ours == UNDEFINED_EPOCH:
        return min(end, log_end)
    return min(end, our_end)


def _name(error: int) -> str:
    try:
        return ErrorCode(error).name
    except ValueError:
        return f"error {error}"
