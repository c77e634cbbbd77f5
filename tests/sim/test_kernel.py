"""The simulator's time and chance."""

from __future__ import annotations

from moldau_broker.testing.sim.kernel import Kernel, NodeClock


def test_kernel_runs_in_order_of_time_then_of_asking() -> None:
    """Things of the same millisecond happen in the order in which they were asked for."""
    kernel = Kernel(1)
    seen: list[str] = []
    kernel.at(20, seen.append, "late")
    kernel.at(10, seen.append, "first")
    kernel.at(10, seen.append, "second")
    kernel.run(15)
    assert (seen, kernel.now) == (["first", "second"], 15)
    kernel.run(30)
    assert seen[-1] == "late"


def test_kernel_never_goes_back() -> None:
    """What is asked for in the past happens now."""
    kernel = Kernel(1)
    times: list[int] = []
    kernel.at(50, lambda: kernel.at(10, lambda: times.append(kernel.now)))
    kernel.run(100)
    assert times == [50]


def test_kernel_streams_are_independent_and_repeat() -> None:
    """Drawing more from one stream moves no other, and the seed alone decides."""
    kernel = Kernel(7)
    network, workload = kernel.stream("network"), kernel.stream("workload")
    for _ in range(100):
        network.random()
    assert workload.random() == Kernel(7).stream("workload").random()
    assert workload.random() != Kernel(8).stream("workload").random()


def test_kernel_digest_tells_histories_apart() -> None:
    """The same things at the same times give the same digest; one millisecond of difference gives another."""

    def history(delay: int) -> str:
        kernel = Kernel(3)
        kernel.at(5, lambda: kernel.after(delay, lambda: None))
        kernel.run(50)
        return kernel.digest

    assert history(4) == history(4)
    assert history(4) != history(5)


def test_node_clock_drifts_and_can_be_turned_back_into_virtual_time() -> None:
    """A deadline in local time is reached at the virtual time the clock names, and not a millisecond before."""
    kernel = Kernel(1)
    for drift in (-40, 0, 3, 40):
        kernel.now = 0
        clock = NodeClock(kernel, 5_000, drift)
        for local in range(5_001, 9_000, 37):
            kernel.now = clock.to_virtual(local)
            assert clock.monotonic_ms() >= local
            kernel.now -= 1
            assert clock.monotonic_ms() < local
