"""The short form of `make chaos`: three real brokers, real clients, a killed leader and a paused one."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.chaos.faults import Arena, Fault, Kill, Pause, follower, leader
from tests.chaos.scenario import ACKNOWLEDGED_MIN, Result, run


class Alternately(Fault):
    """One fault after the other, on the same cluster."""

    name = "killed and paused by turns"

    def __init__(self, *faults: Fault) -> None:
        self.faults, self.turn = faults, -1

    def hold_s(self, cluster: object) -> float:
        return self.faults[self.turn].hold_s(cluster)  # type: ignore[arg-type]

    def inject(self, arena: Arena) -> None:
        self.turn = (self.turn + 1) % len(self.faults)
        arena.say(self.faults[self.turn].name)
        self.faults[self.turn].inject(arena)

    def heal(self, arena: Arena) -> None:
        self.faults[self.turn].heal(arena)


def explain(result: Result) -> str:
    return "\n".join([str(result.verdict), *result.problems, *result.log, str(result.notes)])


@pytest.mark.timeout(180)
@pytest.mark.xdist_group("cluster")
def test_nothing_is_lost_when_brokers_are_killed_and_paused(tmp_path: Path) -> None:
    """A leader killed, a leader paused past its session, a follower killed: nothing lost, nothing doubled."""
    fault = Alternately(Kill("leader", leader, 4.0), Pause("leader", leader), Kill("follower", follower, 2.0))
    result = run(fault, "moldau", tmp_path / "run", rounds=3, drain_s=30.0)
    if result.void and not result.verdict.broken:
        pytest.skip("the machine is too busy to tell a slow broker from a broken one")
    assert result.good, explain(result)
    assert result.fired == 3
    assert result.verdict.acknowledged >= ACKNOWLEDGED_MIN
    assert result.replicas_compared == 18
