"""Requests and answers between hosts over links that lose, delay, duplicate, reorder, clog and break.

A request ends in exactly one call of its `on_answer`: with the answer, or with a `Broken` when nobody knows
whether the request was carried out (or, `REFUSED`, that it was not). As over TCP, the caller learns of a loss
late (its own timeout), and of a dead peer soon (a reset). A duplicate stands for a retry on a new connection
while the old connection's bytes still reach the peer.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from functools import partial
from random import Random
from typing import Any, NamedTuple, TypeAlias

from moldau_broker.testing.sim.coverage import Coverage
from moldau_broker.testing.sim.kernel import Kernel

Answer: TypeAlias = Callable[[Any], None]
Handler: TypeAlias = Callable[[int, Any, Answer], None]
"""(sender's host id, request, answer with this now or later)."""


class Broken(Enum):
    """Why there is no answer."""

    REFUSED = "refused"
    """Nobody listens there: nothing was carried out."""
    LOST = "lost"
    """The connection ended."""
    TIMED_OUT = "timed out"


class Conditions(NamedTuple):
    """How bad the network is; probabilities per message.

    Attributes:
        delay_ms: ordinary one-way delay is between 0 and this.
        slow, slow_ms: how often a message takes up to `slow_ms` instead, and so overtakes are common.
        loss, duplicate: as they say.
        timeout_ms: after which a caller gives a connection up.
    """

    delay_ms: int = 2
    slow: float = 0.0
    slow_ms: int = 0
    loss: float = 0.0
    duplicate: float = 0.0
    timeout_ms: int = 1500


class Host:
    """A process on the network.

    Attributes:
        handler: takes requests while the process lives; None while it is down.
        life: grows at every start; what belongs to an earlier life is void.
        paused_until: virtual ms until which the process does not run though its connections stand (SIGSTOP).
    """

    __slots__ = ("handler", "id", "life", "paused_until")

    def __init__(self, host_id: int) -> None:
        self.id = host_id
        self.handler: Handler | None = None
        self.life = 0
        self.paused_until = -1


class _Call:
    """A request under way."""

    __slots__ = ("caller", "caller_life", "on_answer", "peer", "request", "sent_ms", "timed")

    def __init__(self, caller: Host, peer: Host, request: Any, on_answer: Answer, sent_ms: int) -> None:
        self.caller = caller
        self.caller_life = caller.life
        self.peer = peer
        self.request = request
        self.on_answer: Answer | None = on_answer
        self.sent_ms = sent_ms
        self.timed = False


class Network:
    """All hosts and the links between them."""

    def __init__(self, kernel: Kernel, rng: Random, conditions: Conditions, coverage: Coverage) -> None:
        self._kernel = kernel
        self._random = rng.random
        self._coverage = coverage
        self.conditions = conditions
        self.hosts: dict[int, Host] = {}
        self._cut: set[tuple[int, int]] = set()
        self._clogged: dict[tuple[int, int], int] = {}
        self._stalled: dict[tuple[int, int, str], int] = {}
        self._open: dict[_Call, None] = {}  # a dict keeps the order, which a set would not

    def host(self, host_id: int) -> Host:
        """The host of that id, made at first use."""
        found = self.hosts.get(host_id)
        if found is None:
            found = self.hosts[host_id] = Host(host_id)
        return found

    # -- calling ------------------------------------------------------------------------------------------

    def call(self, caller: Host, peer_id: int, request: Any, on_answer: Answer) -> None:
        """Send a request; `on_answer` is called once, unless the caller dies first."""
        kernel = self._kernel
        call = _Call(caller, self.host(peer_id), request, on_answer, kernel.now)
        self._open[call] = None
        conditions = self.conditions
        chance = self._random()
        if chance < conditions.loss or (caller.id, peer_id) in self._cut:
            self._coverage.hit("messages lost")
            self._expect_timeout(call)
            return
        delay = self._delay(caller.id, peer_id)
        if self._stalled:
            delay += max(0, self._stalled.get((caller.id, peer_id, request[0]), 0) - kernel.now)
        kernel.after(delay, self._arrive, call)
        if chance > 1.0 - conditions.duplicate:
            self._coverage.hit("messages duplicated")
            kernel.after(
                self._delay(caller.id, peer_id) + int(self._random() * 400), self._arrive_again, call
            )

    def _delay(self, source: int, target: int) -> int:
        conditions = self.conditions
        chance = self._random()
        if chance < conditions.slow:
            self._coverage.hit("messages slow")
            delay = int(chance / conditions.slow * conditions.slow_ms)
        else:
            delay = int(chance * (conditions.delay_ms + 1))
        if self._clogged:
            open_again = self._clogged.get((source, target))
            if open_again is not None and open_again > self._kernel.now:
                return open_again - self._kernel.now + delay
        return delay

    def _arrive(self, call: _Call) -> None:
        peer = call.peer
        if peer.handler is None:
            self._break(call, Broken.REFUSED)
            return
        if peer.paused_until > self._kernel.now:
            self._expect_timeout(call)
            self._kernel.at(peer.paused_until, self._arrive, call)
            return
        peer.handler(call.caller.id, call.request, partial(self._send_answer, call, peer.life))
        if call.on_answer is not None and not call.timed:
            self._expect_timeout(call)

    def _arrive_again(self, call: _Call) -> None:
        peer = call.peer
        if peer.handler is not None and peer.paused_until <= self._kernel.now:
            peer.handler(call.caller.id, call.request, _nobody)

    def _send_answer(self, call: _Call, life: int, response: Any) -> None:
        if call.on_answer is None or call.peer.life != life or call.peer.handler is None:
            return
        chance = self._random()
        if chance < self.conditions.loss or (call.peer.id, call.caller.id) in self._cut:
            self._coverage.hit("answers lost")
            self._expect_timeout(call)
            return
        self._kernel.after(self._delay(call.peer.id, call.caller.id), self._answered, call, response)

    def _answered(self, call: _Call, response: Any) -> None:
        on_answer, caller = call.on_answer, call.caller
        if on_answer is None:
            return
        if caller.paused_until > self._kernel.now:
            self._kernel.at(caller.paused_until, self._answered, call, response)
            return
        call.on_answer = None
        del self._open[call]
        if caller.life == call.caller_life and caller.handler is not None:
            on_answer(response)

    def _expect_timeout(self, call: _Call) -> None:
        if not call.timed:
            call.timed = True
            self._kernel.at(call.sent_ms + self.conditions.timeout_ms, self._answered, call, Broken.TIMED_OUT)

    def _break(self, call: _Call, failure: Broken) -> None:
        """The peer's machine resets the connection; a cut link keeps that quiet."""
        if (call.peer.id, call.caller.id) in self._cut:
            self._expect_timeout(call)
        else:
            self._kernel.after(self._delay(call.peer.id, call.caller.id), self._answered, call, failure)

    # -- what goes wrong ----------------------------------------------------------------------------------

    def start(self, host: Host, handler: Handler) -> None:
        """The host's process begins a new life."""
        host.life += 1
        host.handler = handler
        host.paused_until = -1

    def stop(self, host: Host) -> None:
        """The process is gone: its callers' connections are reset, its own calls end without a word."""
        host.handler = None
        for call in list(self._open):
            if call.caller is host:
                call.on_answer = None
                del self._open[call]
            elif call.peer is host:
                self._break(call, Broken.LOST)

    def pause(self, host: Host, until_ms: int) -> None:
        """The process stands still; what arrives waits."""
        host.paused_until = until_ms

    def cut(self, source: int, target: int) -> None:
        """Nothing passes from `source` to `target` any more."""
        self._cut.add((source, target))

    def clog(self, source: int, target: int, until_ms: int) -> None:
        """What is sent from `source` to `target` arrives after `until_ms` only."""
        self._clogged[(source, target)] = until_ms

    def stall(self, source: int, target: int, kind: str, until_ms: int) -> None:
        """Requests of that kind, which have their own connection, arrive after `until_ms` only; others do not wait."""
        self._stalled[source, target, kind] = until_ms

    def reset(self, one: int, other: int) -> None:
        """Break the connections between two hosts; both sides notice at once."""
        for call in list(self._open):
            if {call.caller.id, call.peer.id} == {one, other}:
                self._coverage.hit("connections reset")
                self._kernel.after(0, self._answered, call, Broken.LOST)

    @property
    def is_whole(self) -> bool:
        """Whether no link is cut."""
        return not self._cut

    def is_joined(self, one: int, other: int) -> bool:
        """Whether packets pass both ways."""
        return (one, other) not in self._cut and (other, one) not in self._cut

    def heal_link(self, source: int, target: int) -> None:
        """Undo `cut` and `clog` of one direction."""
        self._cut.discard((source, target))
        self._clogged.pop((source, target), None)

    def heal(self) -> None:
        """Undo every cut and clog; nothing is lost, late or doubled any more."""
        self._cut.clear()
        self._clogged.clear()
        self._stalled.clear()
        self.conditions = self.conditions._replace(loss=0.0, duplicate=0.0, slow=0.0)


def _nobody(_: Any) -> None:
    """Takes the answer to a duplicate."""
