"""The simulator's network: every request ends in one answer or one failure."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from moldau_broker.testing.sim.coverage import Coverage
from moldau_broker.testing.sim.kernel import Kernel
from moldau_broker.testing.sim.network import Answer, Broken, Conditions, Network


class Pair:
    """Two hosts: 1 asks, 2 echoes (at once, or when told)."""

    def __init__(self, conditions: Conditions, *, seed: int = 1) -> None:
        self.kernel = Kernel(seed)
        self.network = Network(self.kernel, Random(seed), conditions, Coverage())
        self.asker, self.echo = self.network.host(1), self.network.host(2)
        self.requests: list[Any] = []
        self.held: list[Answer] = []
        self.hold = False
        self.answers: list[Any] = []
        self.network.start(self.asker, lambda *_: None)
        self.network.start(self.echo, self._serve)

    def _serve(self, sender: int, request: Any, answer: Answer) -> None:
        self.requests.append(request)
        if self.hold:
            self.held.append(answer)
        else:
            answer(request)

    def ask(self, request: Any, ms: int = 10_000) -> Any:
        """Ask and wait; the only thing that came."""
        self.network.call(self.asker, 2, request, self.answers.append)
        self.kernel.run(self.kernel.now + ms)
        found, self.answers = self.answers, []
        assert len(found) == 1, found
        return found[0]


def test_network_answers() -> None:
    """A request on a good link is answered."""
    pair = Pair(Conditions())
    assert pair.ask("hello") == "hello"


def test_network_refuses_for_a_process_that_is_down() -> None:
    """The peer's machine resets at once: nothing was carried out."""
    pair = Pair(Conditions(timeout_ms=5_000))
    pair.network.stop(pair.echo)
    assert pair.ask("hello", ms=100) is Broken.REFUSED


def test_network_tells_late_of_a_cut() -> None:
    """Behind a cut nobody answers: the caller's patience ends it, whichever direction is cut."""
    for link in ((1, 2), (2, 1)):
        pair = Pair(Conditions(timeout_ms=700))
        pair.network.cut(*link)
        assert pair.ask("hello") is Broken.TIMED_OUT
        assert bool(pair.requests) is (link == (2, 1))


def test_network_crash_loses_the_connection_and_the_late_answer() -> None:
    """A crash breaks calls under way; an answer of the former life never arrives."""
    pair = Pair(Conditions(timeout_ms=5_000))
    pair.hold = True
    pair.network.call(pair.asker, 2, "a", pair.answers.append)
    pair.kernel.run(100)
    pair.network.stop(pair.echo)
    pair.network.start(pair.echo, lambda *_: None)
    pair.held[0]("too late")
    pair.kernel.run(6_000)
    assert pair.answers == [Broken.LOST]


def test_network_forgets_the_calls_of_a_dead_caller() -> None:
    """Nobody is left to hear the answer."""
    pair = Pair(Conditions())
    pair.hold = True
    pair.network.call(pair.asker, 2, "a", pair.answers.append)
    pair.kernel.run(100)
    pair.network.stop(pair.asker)
    pair.network.start(pair.asker, lambda *_: None)
    pair.held[0]("late")
    pair.kernel.run(6_000)
    assert pair.answers == []


def test_network_pause_delays_but_does_not_break() -> None:
    """What arrives at a stopped process waits there; a caller with less patience gives up."""
    pair = Pair(Conditions(timeout_ms=5_000))
    pair.network.pause(pair.echo, 3_000)
    assert pair.ask("hello", ms=4_000) == "hello"
    impatient = Pair(Conditions(timeout_ms=1_000))
    impatient.network.pause(impatient.echo, 3_000)
    assert impatient.ask("hello", ms=5_000) is Broken.TIMED_OUT
    assert impatient.requests == ["hello"]


def test_network_reset_breaks_calls_under_way() -> None:
    """Both sides notice a reset at once."""
    pair = Pair(Conditions(timeout_ms=5_000))
    pair.hold = True
    pair.network.call(pair.asker, 2, "a", pair.answers.append)
    pair.kernel.run(100)
    pair.network.reset(2, 1)
    pair.kernel.run(101)
    assert pair.answers == [Broken.LOST]


@pytest.mark.parametrize("seed", range(5))
def test_network_ends_every_call_once_whatever_goes_wrong(seed: int) -> None:
    """With loss, duplicates and slow messages each of 500 requests ends exactly once."""
    conditions = Conditions(slow=0.2, slow_ms=400, loss=0.1, duplicate=0.2, timeout_ms=600)
    pair = Pair(conditions, seed=seed)
    ends: dict[int, list[Any]] = {number: [] for number in range(500)}
    for number in ends:
        pair.network.call(pair.asker, 2, number, ends[number].append)
        pair.kernel.run(pair.kernel.now + 3)
    pair.kernel.run(pair.kernel.now + 5_000)
    assert all(len(end) == 1 for end in ends.values())
    lost = [number for number, end in ends.items() if end == [Broken.TIMED_OUT]]
    assert 0 < len(lost) < 250
    assert all(end == [number] for number, end in ends.items() if number not in lost)
    assert len(pair.requests) > len(set(pair.requests)), "some came twice"
    first_seen = list(dict.fromkeys(pair.requests))
    assert first_seen != sorted(first_seen), "some overtook others"
