"""What must hold for a consumer group with members, seen from above.

Kafka stores a generation when its leader hands in the assignment, before any SyncGroup is answered. So there are two
kinds of promises. What the true log says, no failover takes back: generations of SyncGroup answers never go back, each
has one assignment in which nobody shares a partition, and after its record nothing is committed in an older one. What
JoinGroup alone has answered lives as long as this coordinator does: the next one may count the same generation again,
with others in it, and takes commits in the one that is stored. So one *life* of a coordinator is held to its own word.
A coordinator that has not heard of its successor yet answers from memory what was true; it can store nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from moldau_broker.base.errors import ErrorCode
from moldau_broker.testing.sim.coverage import Coverage
from moldau_broker.testing.sim.group_answers import error_of
from moldau_broker.testing.sim.kernel import InvariantViolated
from moldau_broker.wire.messages.group_records import GroupMetadataValue

GROUP: Final = "workers"
COUNTERS: Final = (
    "group joins",
    "group rebalances completed",
    "group members expired",
    "group members kept by a new coordinator",
    "commits of members acknowledged",
    "commits refused for an old generation",
)


def partitions_of(assignment: bytes) -> tuple[int, ...]:
    """What a member was given, as the simulated leaders write it."""
    return tuple(int(part) for part in assignment.split(b",") if part)


def signature(generation: int, member_id: str) -> str:
    """The metadata of a member's commit: in which generation it was made, and by whom."""
    return f"{generation} {member_id}"


class GroupGhost:
    """Ghost state of the one group that has members.

    Attributes:
        generation: of the newest true record, -1 before any.
        members: member id -> assignment, as of that record.
    """

    def __init__(self, coverage: Coverage) -> None:
        self.coverage = coverage
        self.generation = -1
        self.members: dict[str, bytes] = {}
        self._owners: dict[str, bytes] = {}
        self._stored: dict[tuple[int, str], bytes] = {}
        self._tickets = 0

    def ticket(self) -> int:
        """An offset that nobody else commits."""
        self._tickets += 1
        return self._tickets

    # -- the true log -------------------------------------------------------------------------------------

    def stored(self, value: GroupMetadataValue) -> None:
        """The group's next record has become true.

        Raises:
            InvariantViolated: generations go back, one has two assignments, or two members share a partition.
        """
        generation = value.generation
        owners = {member.group_instance_id or member.member_id: member.assignment for member in value.members}
        if generation < self.generation:
            raise InvariantViolated(f"{GROUP}: generation {generation} is stored after {self.generation}")
        if generation == self.generation and owners != self._owners:  # a static member's id may change
            raise InvariantViolated(
                f"{GROUP}: generation {generation} is stored with {owners} after {self._owners}"
            )
        taken: dict[int, str] = {}
        for owner, assignment in owners.items():
            for partition in partitions_of(assignment):
                if taken.setdefault(partition, owner) != owner:
                    raise InvariantViolated(
                        f"{GROUP}: generation {generation} gives {partition} to {owner} and {taken[partition]}"
                    )
        if generation > self.generation and owners:
            self.coverage.hit("group rebalances completed")
        self.generation, self._owners = generation, owners
        self.members = {member.member_id: member.assignment for member in value.members}
        self._stored.update(((generation, member), what) for member, what in self.members.items())

    def committed(self, signed: str) -> None:
        """An offset of the group has become true.

        Raises:
            InvariantViolated: it is of another generation than the newest, or of nobody who is in it.
        """
        generation, _, member_id = signed.partition(" ")
        if int(generation) != self.generation or member_id not in self.members:
            raise InvariantViolated(
                f"{GROUP}: {member_id} has committed in generation {generation}, after {self.generation} was "
                f"stored with {list(self.members)}"
            )

    # -- clients ------------------------------------------------------------------------------------------

    def told(self, generation: int, member_id: str, assignment: bytes) -> None:
        """A SyncGroup was answered.

        Raises:
            InvariantViolated: this is not what is stored of that member in that generation.
        """
        stored = self._stored.get((generation, member_id))
        if stored != assignment:
            raise InvariantViolated(
                f"{GROUP}: {member_id} was given {assignment!r} in generation {generation}, and {stored!r} is stored"
            )


class Asked(NamedTuple):
    """A request on its way through a coordinator, and what was known when it came.

    Attributes:
        is_old: this coordinator had answered a JoinGroup with a later generation.
        is_silent: the member had not been heard of for longer than its session.
        is_kept: the member is in the generation this coordinator has read, and cannot have been dropped yet.
        stored: generation that was stored.
    """

    kind: str
    member_id: str
    generation: int
    is_old: bool
    is_silent: bool
    is_kept: bool
    stored: int


class CoordinatorLife:
    """One coordinator from when it has read its log until it is closed or reads again.

    Args:
        ghost: of the group.
        name: for a failure's text.
        session_ms: `session.timeout.ms` of every member.
        elected_ms: when its broker was elected, or earlier; local time.
        is_current: whether its broker leads in its epoch, as the controller has committed.
    """

    def __init__(
        self, ghost: GroupGhost, name: str, session_ms: int, elected_ms: int, is_current: Callable[[], bool]
    ) -> None:
        self._ghost = ghost
        self._name = name
        self._patience_ms = session_ms * 107 // 100 + 50  # clocks drift by four in a hundred
        self._kept_until_ms = elected_ms + session_ms * 9 // 10
        self._is_current = is_current
        self._generation = -1
        self._loaded = ghost.generation, frozenset(ghost.members)
        self._known: set[str] = set()
        self._left: set[str] = set()
        self._heard_ms: dict[str, int] = {}
        self._parked: Counter[str] = Counter()

    def asked(self, kind: str, request: Any, now_ms: int, *, woke: bool) -> Asked:
        """A member asks.

        Args:
            kind: "join", "sync", "heartbeat", "leave" or "commit".
            request: its message.
            now_ms: local time.
            woke: the process stood still, so its timers may be late.
        """
        if kind == "leave":
            self._left.update(member.member_id for member in request.members)
            return Asked(kind, "", -1, False, False, False, -1)
        member_id = request.member_id
        generation = -1
        if kind == "commit":
            generation = request.generation_id_or_member_epoch
        elif kind != "join":
            generation = request.generation_id
        heard_ms = self._heard_ms.get(member_id)
        waits = kind in ("join", "sync")
        asked = Asked(
            kind,
            member_id,
            generation,
            is_old=kind != "join" and generation < self._generation,
            is_silent=(
                heard_ms is not None
                and not woke
                and not self._parked[member_id]
                and now_ms - heard_ms > self._patience_ms
            ),
            is_kept=kind == "heartbeat" and self._must_know(member_id, generation, now_ms),
            stored=self._ghost.generation if self._is_current() else -1,
        )
        self._heard_ms[member_id] = now_ms
        if waits:
            self._parked[member_id] += 1
        return asked

    def _must_know(self, member_id: str, generation: int, now_ms: int) -> bool:
        """Its session cannot be over, it has not left, and no rebalance has been without it."""
        loaded, members = self._loaded
        return (
            self._is_current()
            and now_ms < self._kept_until_ms
            and member_id in members - self._left
            and generation == loaded == self._ghost.generation
            and self._generation <= loaded
        )

    def answered(self, asked: Asked, response: Any, now_ms: int) -> None:
        """It is answered.

        Raises:
            InvariantViolated: by what must not be said.
        """
        kind, member_id = asked.kind, asked.member_id
        if kind == "leave":
            return
        if kind in ("join", "sync"):
            self._parked[member_id] -= 1
            self._heard_ms[member_id] = now_ms
        error = error_of(response)
        coverage = self._ghost.coverage
        if error is not ErrorCode.NONE:
            if asked.is_kept and error in (ErrorCode.UNKNOWN_MEMBER_ID, ErrorCode.ILLEGAL_GENERATION):
                self._violated(asked, f"got {error.name} from a coordinator that has read its membership")
            if asked.is_silent and error is ErrorCode.UNKNOWN_MEMBER_ID:
                coverage.hit("group members expired")
            if asked.is_old and kind == "commit":
                coverage.hit("commits refused for an old generation")
            return
        if asked.is_old:
            self._violated(asked, f"was taken though {self._generation} had begun")
        if asked.is_silent and kind in ("heartbeat", "commit"):
            self._violated(asked, "was taken though its session was over")
        if kind == "join":
            if response.generation_id < self._generation:
                self._violated(asked, f"begins {response.generation_id} after {self._generation}")
            self._generation = response.generation_id
            coverage.hit("group joins")
        elif kind == "sync" and asked.generation < asked.stored:
            self._violated(asked, f"was answered though {asked.stored} was stored")
        elif asked.is_kept and member_id not in self._known:
            self._known.add(member_id)
            coverage.hit("group members kept by a new coordinator")

    def _violated(self, asked: Asked, what: str) -> None:
        raise InvariantViolated(
            f"{GROUP}: {asked.kind} of {asked.member_id or 'a new member'} in generation {asked.generation} {what}; "
            f"coordinator: {self._name}"
        )
