"""Much work, a little in each turn: nothing is done twice, left out, or before its turn."""

from __future__ import annotations

from collections.abc import Callable

from moldau_broker.replication.slices import SLICE_MS, Slices
from moldau_broker.testing.controller import ManualClock


class Bench:
    """Slices whose pieces take 3 ms each, and the turns of a loop."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.done: list[int] = []
        self.turns: list[Callable[[], None]] = []
        self.told = 0
        self.slices: Slices[int] = Slices(self.work, self.clock, self.turns.append, self.tell)

    def work(self, piece: int) -> None:
        self.clock.advance(3)
        self.done.append(piece)

    def tell(self) -> None:
        self.told += 1

    def turn(self) -> None:
        turns, self.turns[:] = list(self.turns), []
        for one in turns:
            one()


def test_what_fits_in_a_slice_is_done_at_once() -> None:
    """Nobody has to wait for a turn that is not needed, or is told of one."""
    bench = Bench()
    for piece in (1, 2, 2, 1):
        bench.slices.add(piece)
    bench.slices.run()
    assert (bench.done, bench.turns, bench.told) == ([1, 2], [], 0)


def test_the_rest_is_done_in_later_turns() -> None:
    """In order, each as long as a slice; what comes meanwhile goes to the end and begins no turn of its own."""
    bench = Bench()
    for piece in range(5):
        bench.slices.add(piece)
    bench.slices.run()
    a_slice = -(-SLICE_MS // 3)
    assert bench.done == list(range(a_slice))
    bench.slices.add(9)
    bench.slices.run()
    assert len(bench.done) == a_slice
    while bench.turns:
        assert len(bench.turns) == 1
        before = len(bench.done)
        bench.turn()
        assert 0 < len(bench.done) - before <= a_slice
    assert bench.done == [0, 1, 2, 3, 4, 9]
    assert len(bench.slices) == 0
    assert bench.told == bench.slices.turns


def test_one_piece_that_is_too_large_is_done_all_the_same() -> None:
    """Every turn gets on."""
    bench = Bench()

    def work(piece: int) -> None:
        bench.clock.advance(10 * SLICE_MS)
        bench.done.append(piece)

    slices: Slices[int] = Slices(work, bench.clock, bench.turns.append, bench.tell)
    slices.add(1)
    slices.add(2)
    slices.run()
    assert bench.done == [1]
    bench.turn()
    assert (bench.done, bench.turns) == ([1, 2], [])
