"""Receive buffers and the budget of bytes in flight."""

from __future__ import annotations

from moldau_broker.server.buffers import InFlightBytes, ReceiveBuffers


class Holder:
    def __init__(self) -> None:
        self.grants = 0

    def bytes_granted(self) -> None:
        self.grants += 1


def test_pooled_buffer_is_used_again() -> None:
    """A buffer given back is the next one taken: no page is faulted in twice."""
    buffers = ReceiveBuffers()
    first = buffers.take(100_000)
    assert len(first) == 131_072
    buffers.give(first)
    assert buffers.take(120_000) is first


def test_very_large_buffer_is_not_kept() -> None:
    """A frame far above the usual gets memory of its own size, which is let go afterwards."""
    buffers = ReceiveBuffers()
    large = buffers.take(30_000_001)
    assert len(large) == 30_000_001
    buffers.give(large)
    assert buffers.take(30_000_001) is not large


def test_budget_lets_the_first_in_and_queues_the_rest_in_order() -> None:
    """Whoever does not fit waits for a release, first come first served."""
    budget = InFlightBytes(100)
    first, second, third = Holder(), Holder(), Holder()
    assert budget.hold(first, 80)
    assert not budget.hold(second, 50)
    assert not budget.hold(third, 60)
    budget.release(first, 80)
    assert (second.grants, third.grants) == (1, 0)
    assert budget.granted(second)
    assert not budget.granted(third)
    budget.release(second, 50)
    assert third.grants == 1
    assert budget.held == 60


def test_budget_admits_one_frame_larger_than_itself() -> None:
    """A frame above the whole budget is served alone rather than never."""
    budget = InFlightBytes(100)
    assert budget.hold(Holder(), 500)
    assert not budget.hold(Holder(), 1)


def test_budget_forgets_a_holder_that_leaves_the_queue() -> None:
    """A connection closed while it waited takes nothing with it."""
    budget = InFlightBytes(100)
    first, second = Holder(), Holder()
    budget.hold(first, 100)
    budget.hold(second, 10)
    budget.release(second, 10)
    assert budget.held == 100
    assert second.grants == 0
