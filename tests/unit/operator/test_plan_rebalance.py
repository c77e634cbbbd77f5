"""Plans to move replicas: when they are made, what they may cost, what they are called."""

from __future__ import annotations

from random import Random

import pytest

from moldau_operator.plan.balance import BalanceAsk, plan_balance, say_duration, say_moves, say_proof
from moldau_operator.plan.packing import PackBroker
from moldau_operator.plan.partitions import SeenPartition
from moldau_operator.plan.rebalance import (
    BYTES_MATTER,
    PlannedMove,
    cut_to,
    decode_moves,
    encode_moves,
    hash_of,
    plan_rebalance,
    seconds_for,
    spread,
)

MIB = 1 << 20


def cluster(partitions: int, before: int, *, size: int = 100 * MIB, seed: int = 0) -> list[SeenPartition]:
    rng = Random(seed)
    found = []
    for index in range(partitions):
        replicas = tuple(rng.sample(range(before), min(3, before)))
        found.append(
            SeenPartition(("t", index), replicas[0], replicas, replicas, size and rng.randint(1, 2 * size))
        )
    return found


def brokers(count: int) -> list[PackBroker]:
    return [PackBroker(broker) for broker in range(count)]


def test_a_new_broker_is_a_reason_for_a_plan() -> None:
    """It has nothing: words say so, and the plan fills it by little more than the least possible."""
    partitions = cluster(120, 4)
    found = spread(partitions, brokers(5))
    assert found.words == "broker 4 has 0 of 72.0 replicas"
    plan = plan_rebalance(partitions, brokers(5))
    assert plan.by_bytes
    assert plan.gap is not None
    assert 0 <= plan.gap < 0.1
    assert plan.after[4].replicas > 60
    assert spread(moved(partitions, plan.moves), brokers(5)).words == ""


def moved(partitions: list[SeenPartition], moves: tuple[PlannedMove, ...]) -> list[SeenPartition]:
    replicas = {one.name: list(one.replicas) for one in partitions}
    for move in moves:
        replicas[move.name][replicas[move.name].index(move.source)] = move.target
    return [one._replace(replicas=tuple(replicas[one.name])) for one in partitions]


def test_a_small_cluster_is_balanced_by_counts() -> None:
    """A megabyte here or there is no reason to move anything, nor is a whole replica that cannot be divided."""
    partitions = [
        SeenPartition(("t", index), index % 3, (index % 3,), (index % 3,), index * 1000)
        for index in range(10)
    ]
    assert spread(partitions, brokers(3)).words == ""
    plan = plan_rebalance(cluster(40, 3, size=0), brokers(4))
    assert not plan.by_bytes
    assert plan.lower_bound == 28  # replicas: 30 are the mean, and the band begins at 27.3
    assert plan.moves
    assert plan.bytes_moved == 0


def test_bytes_matter_above_a_threshold() -> None:
    """The same counts: what lies on one broker only is moved once it is worth it."""

    def lopsided(size: int) -> list[SeenPartition]:
        return [
            SeenPartition(("t", index), index % 2, (index % 2,), (index % 2,), size if index % 2 else 0)
            for index in range(8)
        ]

    assert spread(lopsided(BYTES_MATTER // 8), brokers(2)).words == ""
    found = spread(lopsided(BYTES_MATTER), brokers(2))
    assert found.words == "broker 0 has 0.0 of 0.1 GB"


def test_replicas_that_share_a_rack_are_a_reason() -> None:
    """Evenness is not enough: a rack that fails must not take all of them."""
    racked = [PackBroker(broker, f"rack-{broker // 2}") for broker in range(4)]
    partitions = [SeenPartition(("t", index), 0, (0, 1) if index % 2 else (2, 3), (0,)) for index in range(4)]
    assert spread(partitions, racked).words == "replicas of t-0 share a rack although another one has room"
    plan = plan_rebalance(partitions, racked)
    for one in moved(partitions, plan.moves):
        assert len({broker // 2 for broker in one.replicas}) == 2


@pytest.mark.parametrize("seed", range(5))
def test_a_budget_is_kept(seed: int) -> None:
    """Fewer moves, never more bytes; what is left out is counted."""
    partitions = cluster(120, 4, seed=seed)
    whole = plan_rebalance(partitions, brokers(5))
    budget = whole.bytes_moved // 3
    part = plan_rebalance(partitions, brokers(5), budget_bytes=budget)
    assert 0 < part.bytes_moved <= budget
    assert len(part.moves) + part.left_out == len(whole.moves)
    assert part.gap is None
    assert part.hash != whole.hash


def test_a_move_that_needs_another_one_is_left_out_with_it() -> None:
    """The second replica of a partition may go where the first made room in the rack."""
    moves = [PlannedMove(("a", 0), 1, 2), PlannedMove(("b", 0), 1, 2), PlannedMove(("a", 0), 3, 1)]
    assert cut_to(moves, {("a", 0): 10, ("b", 0): 1}, 5) == [moves[1]]


def test_a_hash_names_the_moves_and_nothing_else() -> None:
    """Any order is the same plan, any other move another one; sizes that grow meanwhile change no name."""
    moves = [PlannedMove(("a", index), 1, 2) for index in range(5)]
    assert hash_of(moves) == hash_of(moves[::-1])
    assert hash_of(moves) != hash_of(moves[:-1])
    assert len(hash_of(moves)) == 12
    assert hash_of([]) == ""


def test_moves_survive_being_written_down() -> None:
    """Thousands of them in some kilobytes; what is no plan is refused in words."""
    rng = Random(1)
    moves = [
        PlannedMove((f"topic-{index % 50}", index), rng.randint(0, 29), rng.randint(30, 35))
        for index in range(5000)
    ]
    text = encode_moves(moves)
    assert set(decode_moves(text)) == set(moves)
    assert len(text) < 60_000
    for damaged in ("", "x", text[:100], encode_moves([])[:-4] + "AAAA"):
        with pytest.raises(ValueError, match="no plan"):
            decode_moves(damaged)


def test_the_time_is_the_busiest_brokers() -> None:
    """Two copies into one broker take twice as long; so do two out of one leader."""
    moves = [PlannedMove(("a", 0), 1, 4), PlannedMove(("a", 1), 2, 4), PlannedMove(("a", 2), 3, 5)]
    sizes = {("a", index): 100 for index in range(3)}
    assert seconds_for(moves, sizes, {}, 10) == 20
    assert seconds_for(moves, sizes, {("a", 0): 1, ("a", 1): 1, ("a", 2): 1}, 10) == 30


def test_a_balance_plan_shows_every_broker_before_and_after() -> None:
    """Rows for people: both halves of the plan in one, by broker."""
    partitions = cluster(30, 3)
    plan = plan_balance(partitions, BalanceAsk(brokers=tuple(brokers(4)), replicas=True))
    rows = plan.rows()
    assert [row.id for row in rows] == [0, 1, 2, 3]
    assert sum(row.replicas[0] for row in rows) == sum(row.replicas[1] for row in rows) == 90
    assert rows[3].replicas[0] == 0 < rows[3].replicas[1]
    assert rows[3].leaders == (0, 0)  # it has no replica to lead yet
    assert plan.replicas is not None
    assert say_moves(plan.replicas).startswith(f"{len(plan.replicas.moves)} replicas, ")


def test_words() -> None:
    """Times in their largest units; a proof names its brokers, and is silent where the mean is reached."""
    assert [say_duration(s) for s in (0, 0.2, 59, 61, 3_700, 100_000)] == [
        "0s",
        "1s",
        "59s",
        "2m",
        "1h 1m",
        "1d 3h",
    ]
    assert say_proof((), 5, 5) == ""
    assert say_proof((0, 1), 5, 2) == (
        "brokers 0, 1 have every in-sync replica of what they lead, so 5 is the least (the mean is 2)"
    )
