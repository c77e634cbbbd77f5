"""Random schedules: many members that come, crash, return and leave; time, slow disks, full disks, restarts.

Seeds are fixed so that a failure can be replayed; `MOLDAU_GROUP_SEEDS` runs more of them.
"""

import os
import random

import pytest

from moldau_broker.coordinator.config import GroupConfig
from moldau_broker.testing.group_members import Phase, Promises
from moldau_broker.testing.groups import GroupBench

SEEDS = int(os.environ.get("MOLDAU_GROUP_SEEDS", "150"))
STEPS = 300


def _run(seed: int) -> Promises:
    """One schedule; every probability is drawn from the seed itself."""
    rng = random.Random(seed)
    bench = GroupBench(
        GroupConfig(initial_rebalance_delay_ms=rng.choice([0, 3_000]), group_size_max=rng.choice([3, 1_000])),
        auto_store=rng.random() < 0.3,
    )
    promises = Promises(bench)
    for index in range(rng.randint(1, 12)):
        promises.add(f"m{index}", static=rng.random() < 0.3)
    weights = {name: rng.random() ** 2 * usual for name, (_, usual) in _STEPS.items()}
    names = list(weights)
    for _ in range(STEPS):
        step = rng.choices(names, [weights[name] for name in names])[0]
        _STEPS[step][0](promises, rng)
        promises.check()
    if bench.config.group_size_max < len(promises.members):
        for member in promises.members[bench.config.group_size_max :]:
            member.leave()
    promises.heal()
    return promises


def _act(promises: Promises, rng: random.Random) -> None:
    rng.choice(promises.members).act()


def _everybody(promises: Promises, rng: random.Random) -> None:
    for member in rng.sample(promises.members, len(promises.members)):
        member.act()


def _time(promises: Promises, rng: random.Random) -> None:
    promises.bench.advance(int(rng.expovariate(1 / rng.choice([100, 500, 2_000, 2_000, 12_000]))))


def _commit(promises: Promises, rng: random.Random) -> None:
    member = rng.choice(promises.members)
    member.commit()
    member.commit(member.generation + rng.choice([-1, 0, 1]))


def _rejoin(promises: Promises, rng: random.Random) -> None:
    rng.choice(promises.members).rejoin()


def _change(promises: Promises, rng: random.Random) -> None:
    member = rng.choice(promises.members)
    member.topics = rng.choice([("t",), ("t", "u")])
    member.rejoin()


def _crash(promises: Promises, rng: random.Random) -> None:
    rng.choice(promises.members).crash()


def _return(promises: Promises, rng: random.Random) -> None:
    member = rng.choice(promises.members)
    if member.phase is Phase.GONE:
        member.restart()


def _leave(promises: Promises, rng: random.Random) -> None:
    rng.choice(promises.members).leave()


def _store(promises: Promises, rng: random.Random) -> None:
    promises.bench.store(rng.choice([1, 2, None]))


def _refuse(promises: Promises, rng: random.Random) -> None:
    if rng.random() < 0.2:
        promises.log_refuses()


def _restart(promises: Promises, rng: random.Random) -> None:
    if rng.random() < 0.3:
        promises.broker_restarts()


_STEPS = {
    "act": (_act, 4),
    "everybody": (_everybody, 8),
    "time": (_time, 2),
    "commit": (_commit, 4),
    "store": (_store, 4),
    "rejoin": (_rejoin, 0.5),
    "change": (_change, 0.5),
    "crash": (_crash, 0.5),
    "return": (_return, 1),
    "leave": (_leave, 0.3),
    "refuse": (_refuse, 0.5),
    "restart": (_restart, 0.3),
}
"""What may happen, and how often as a rule; each schedule has its own temper."""


@pytest.mark.parametrize("block", range(10))
def test_group_keeps_its_promises_under_random_schedules(block: int) -> None:
    """Members, crashes, timeouts, refused writes and restarts in any order; then everything heals."""
    generations = assignments = commits = refused = 0
    for seed in range(block, SEEDS, 10):
        try:
            promises = _run(seed)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        generations += promises.generations
        assignments += promises.assignments
        commits += promises.commits
        refused += promises.refused_commits
    # A run in which nothing happens proves nothing.
    assert min(generations, assignments) > SEEDS // 5
    assert min(commits, refused) > 0
