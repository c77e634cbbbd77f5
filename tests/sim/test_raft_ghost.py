"""What the simulator takes for a broken promise of the quorum, and what it does not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import pytest

from moldau_broker.base.ids import Uuid
from moldau_broker.raft.quorum import Voter, VoterKey, VoterSet
from moldau_broker.testing.sim.coverage import Coverage
from moldau_broker.testing.sim.kernel import InvariantViolated
from moldau_broker.testing.sim.quorum_store import Entry
from moldau_broker.testing.sim.raft_ghost import RaftGhost

KEYS = [VoterKey(node_id, Uuid(bytes([node_id]) * 16)) for node_id in (1, 2, 3)]
VOTERS = VoterSet(Voter(key, ()) for key in KEYS)


class Store:
    """A log on a disk that has everything."""

    log_start_offset = 0

    def __init__(self, epochs: Sequence[int]) -> None:
        self.entries = [
            Entry(base, base + 1, epoch, False, b"%d" % base) for base, epoch in enumerate(epochs)
        ]
        self.log_end_offset = self.durable_offset = len(epochs)

    def entry_at(self, base: int) -> Entry | None:
        return self.entries[base] if base < len(self.entries) else None


class Node(NamedTuple):
    """A member of the quorum."""

    key: VoterKey
    store: Any


def nodes(*logs: Sequence[int]) -> list[Node]:
    """One for each log, which is given by the epochs of its entries."""
    return [Node(key, Store(epochs)) for key, epochs in zip(KEYS, logs, strict=True)]


def ghost() -> RaftGhost:
    """One entry was committed in epoch 1, another in epoch 3."""
    made = RaftGhost(Coverage())
    first = nodes([1], [1], [])
    made.commits(cast("Any", first[0]), 1, cast("Any", first), VOTERS, 1)
    second = nodes([1, 3], [1], [1, 3])
    made.commits(cast("Any", second[0]), 2, cast("Any", second), VOTERS, 3)
    return made


def test_a_late_winner_of_an_old_epoch_need_not_have_what_a_later_one_committed() -> None:
    """It was paused while its votes came; it leads nobody, and says so as soon as it is told.

    Reference: Raft section 5.4.3, leader completeness.
    """
    ghost().leads(cast("Any", nodes([], [1], [])[1]), 2)


@pytest.mark.parametrize(("log", "epoch"), [([], 2), ([1], 4), ([1, 2], 4), ([2], 4)])
def test_a_leader_without_what_an_earlier_one_committed_is_found(log: list[int], epoch: int) -> None:
    """Its log is too short, or has something else there."""
    with pytest.raises(InvariantViolated, match="leader completeness"):
        ghost().leads(cast("Any", nodes([], log, [])[1]), epoch)
