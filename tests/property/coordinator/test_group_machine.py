"""The group coordinator as a state machine, explored and shrunk by hypothesis.

Reference: reliability notes on invariants: one generation live, no partition owned twice in one generation, offsets
from an old generation refused, no member lost between Join and Sync, replay of the log gives the live state.
"""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from moldau_broker.coordinator.config import GroupConfig
from moldau_broker.testing.group_members import Phase, Promises, SimMember
from moldau_broker.testing.groups import GroupBench

MEMBERS = 4
who = st.integers(0, MEMBERS - 1)


class GroupMachine(RuleBasedStateMachine):
    """Four clients, half of them static, one group, one broker that may restart and a log that may refuse."""

    promises: Promises

    @initialize(delay=st.sampled_from([0, 3_000]), auto_store=st.booleans())
    def begin(self, delay: int, auto_store: bool) -> None:
        """An empty broker."""
        bench = GroupBench(GroupConfig(initial_rebalance_delay_ms=delay), auto_store=auto_store)
        self.promises = Promises(bench)
        for index in range(MEMBERS):
            self.promises.add(f"m{index}", static=index % 2 == 1)

    def _member(self, index: int) -> SimMember:
        return self.promises.members[index]

    @rule(index=who)
    def act(self, index: int) -> None:
        """A client does what it does by itself."""
        self._member(index).act()

    @rule()
    def everybody_acts(self) -> None:
        """All clients are quick."""
        for member in self.promises.members:
            member.act()

    @rule(index=who, old=st.booleans())
    def commit(self, index: int, old: bool) -> None:
        """A client commits, as of its generation or of the one before."""
        member = self._member(index)
        member.commit(member.generation - 1 if old else None)

    @rule(index=who, topics=st.sampled_from([("t",), ("t", "u")]))
    def rejoin(self, index: int, topics: tuple[str, ...]) -> None:
        """A client joins again, perhaps with another subscription."""
        self._member(index).topics = topics
        self._member(index).rejoin()

    @rule(index=who, orderly=st.booleans())
    def go(self, index: int, orderly: bool) -> None:
        """A client leaves or dies."""
        member = self._member(index)
        member.leave() if orderly else member.crash()

    @rule(index=who)
    def come_back(self, index: int) -> None:
        """A client that had gone starts again."""
        if self._member(index).phase is Phase.GONE:
            self._member(index).restart()

    @rule(ms=st.sampled_from([1, 500, 3_000, 6_000, 10_000, 31_000]))
    def wait(self, ms: int) -> None:
        """Time passes."""
        self.promises.bench.advance(ms)

    @precondition(lambda self: self.promises.bench.in_flight)
    @rule(count=st.sampled_from([1, None]))
    def store(self, count: int | None) -> None:
        """What was written is durable now."""
        self.promises.bench.store(count)

    @precondition(lambda self: self.promises.bench.in_flight)
    @rule()
    def refuse(self) -> None:
        """The disk is full."""
        self.promises.log_refuses()

    @rule()
    def restart(self) -> None:
        """The broker loses everything that is not in the log."""
        self.promises.broker_restarts()

    @invariant()
    def promises_hold(self) -> None:
        """After every step."""
        if hasattr(self, "promises"):
            self.promises.check()

    def teardown(self) -> None:
        """Left alone, everybody is answered and the group settles."""
        if hasattr(self, "promises"):
            self.promises.heal()


TestGroupMachine = GroupMachine.TestCase
TestGroupMachine.settings = settings(stateful_step_count=40)
