"""Well-behaved members of a classic group, and what the coordinator promises them. Time and chance are the caller's.

A `SimMember` does what a consumer client does: joins, computes the assignment if it leads, syncs, sends heartbeats,
commits, and reacts to errors as the Java client does. `Promises` hears of everything and checks after every step:

- one generation of a group is live at a time, and every partition has at most one owner in it;
- an assignment once told to a member is never told differently for the same generation;
- a member that was told its generation and has kept in touch since is in the group as long as that generation lasts;
- nobody commits offsets but members of the current generation;
- what the log says is what the shard says, as soon as everything is stored.
"""

from __future__ import annotations

from enum import Enum

from moldau_broker.base.errors import ErrorCode
from moldau_broker.testing.groups import GroupBench, subscription
from moldau_broker.wire.messages.join_group import JoinGroupResponse
from moldau_broker.wire.messages.sync_group import SyncGroupResponse

PARTITIONS = 6
SESSION_MS = 10_000
REBALANCE_MS = 30_000

_LOOK_AGAIN = frozenset(
    {ErrorCode.NOT_COORDINATOR, ErrorCode.COORDINATOR_NOT_AVAILABLE, ErrorCode.COORDINATOR_LOAD_IN_PROGRESS}
)
_WHO_AM_I = frozenset({ErrorCode.UNKNOWN_MEMBER_ID, ErrorCode.UNKNOWN_SERVER_ERROR})


class Phase(Enum):
    """Where a member stands, as far as it knows."""

    OUT = "out"
    JOINING = "joining"
    JOINED = "joined"
    SYNCING = "syncing"
    STABLE = "stable"
    GONE = "gone"


class SimMember:
    """One client. `act` makes its next request; answers move it on.

    Attributes:
        phase: see `Phase`.
        owned: the partitions it reads; empty unless STABLE.
        heard_ms: when the coordinator last heard of it and was not displeased.
    """

    def __init__(self, name: str, bench: GroupBench, promises: Promises, *, static: bool) -> None:
        self.name = name
        self.instance_id = name if static else None
        self.bench = bench
        self.promises = promises
        self.phase = Phase.OUT
        self.member_id = ""
        self.generation = -1
        self.leads = False
        self.skip_assignment = False
        self.others: list[str] = []
        self.owned: frozenset[int] = frozenset()
        self.heard_ms = 0
        self.joined_ms = 0
        self.topics = ("t",)
        self._life = 0

    def act(self) -> None:
        """The next thing a client does by itself; nothing while it waits for an answer."""
        if self.phase is Phase.OUT:
            self._join()
        elif self.phase is Phase.JOINED:
            self._sync()
        elif self.phase is Phase.STABLE:
            self._heard(self.bench.heartbeat("g", self.member_id, self.generation, self.instance_id))

    def rejoin(self) -> None:
        """Join again though nobody asked, as a leader does that sees a new partition."""
        if self.phase is Phase.STABLE:
            self._revoke()
            self._join()

    def commit(self, generation: int | None = None) -> None:
        """Commit an offset of every partition it owns; as of another generation if told so."""
        if self.phase is not Phase.STABLE:
            return
        used = self.generation if generation is None else generation
        offsets = {("t", partition): self.bench.wall_ms for partition in self.owned or {0}}
        reply = self.bench.commit("g", offsets, self.member_id, used, instance_id=self.instance_id)
        view = self.bench.shard.view("g")
        accepted = view is not None and used == view.generation and self._is_in(view.members)
        state = "" if view is None else view.state
        reply.on_complete(
            lambda response: self.promises.committed(
                ErrorCode(response.topics[0].partitions[0].error_code), accepted=accepted, state=state
            )
        )

    def crash(self) -> None:
        """The process is gone; its connections with it."""
        self._life += 1
        self.phase = Phase.GONE
        self.owned = frozenset()

    def restart(self) -> None:
        """The process is back; it remembers nothing but its instance id."""
        assert self.phase is Phase.GONE
        self.phase = Phase.OUT
        self._forget()

    def leave(self) -> None:
        """Go in order: dynamic members say so, static ones just stop."""
        if self.phase is not Phase.GONE:
            if self.instance_id is None and self.member_id:
                self.bench.leave("g", self.member_id)
            self.crash()

    # -- requests and answers ------------------------------------------------------------------------------------

    def _join(self) -> None:
        self.phase = Phase.JOINING
        life = self._life
        reply = self.bench.join(
            "g",
            self.member_id,
            instance_id=self.instance_id,
            session_ms=SESSION_MS,
            rebalance_ms=REBALANCE_MS,
            protocols=[("range", subscription(*self.topics))],
            client_id=self.name,
        )
        self.promises.parked(reply)
        reply.on_complete(lambda response: self._joined(response) if life == self._life else None)

    def _joined(self, response: JoinGroupResponse) -> None:
        error = ErrorCode(response.error_code)
        if error is ErrorCode.NONE:
            self.phase = Phase.JOINED
            self.member_id = response.member_id
            self.generation = response.generation_id
            self.leads = response.leader == response.member_id
            self.skip_assignment = response.skip_assignment
            self.others = [member.member_id for member in response.members]
            self.heard_ms = self.joined_ms = self.bench.monotonic_ms
            self.promises.joined(self)
        elif error is ErrorCode.MEMBER_ID_REQUIRED:
            self.member_id = response.member_id
            self._join()
        else:
            self._failed(error)

    def _sync(self) -> None:
        self.phase = Phase.SYNCING
        life = self._life
        shares: dict[str, bytes] = {}
        if self.leads and not self.skip_assignment:
            for partition in range(PARTITIONS):
                member_id = self.others[partition % len(self.others)]
                shares[member_id] = shares.get(member_id, b"") + bytes([partition])
        reply = self.bench.sync("g", self.member_id, self.generation, shares, instance_id=self.instance_id)
        self.promises.parked(reply)
        reply.on_complete(lambda response: self._synced(response) if life == self._life else None)

    def _synced(self, response: SyncGroupResponse) -> None:
        error = ErrorCode(response.error_code)
        if error is ErrorCode.NONE:
            self.phase = Phase.STABLE
            self.owned = frozenset(response.assignment)
            self.heard_ms = self.bench.monotonic_ms
            self.promises.assigned(self)
        else:
            self._failed(error)

    def _heard(self, error: ErrorCode) -> None:
        if error in (ErrorCode.NONE, ErrorCode.REBALANCE_IN_PROGRESS):
            self.heard_ms = self.bench.monotonic_ms
        if error is ErrorCode.REBALANCE_IN_PROGRESS:
            self._revoke()
            self._join()
        elif error is not ErrorCode.NONE:
            self._failed(error)

    def _failed(self, error: ErrorCode) -> None:
        self._revoke()
        self.phase = Phase.OUT
        if error in _WHO_AM_I or (error is ErrorCode.ILLEGAL_GENERATION and self.instance_id is None):
            self._forget()
        elif error is ErrorCode.FENCED_INSTANCE_ID:
            self.crash()
        else:
            assert error in _LOOK_AGAIN or error in (
                ErrorCode.REBALANCE_IN_PROGRESS,
                ErrorCode.ILLEGAL_GENERATION,
                ErrorCode.GROUP_MAX_SIZE_REACHED,
            ), f"{self.name} was told {error.name}"

    def _revoke(self) -> None:
        self.owned = frozenset()

    def _forget(self) -> None:
        self.member_id = ""
        self.generation = -1
        self.leads = False

    def _is_in(self, members: object) -> bool:
        return any(member.member_id == self.member_id for member in members)  # type: ignore[attr-defined]


class Promises:
    """See the module. `check` is to be called after every step."""

    def __init__(self, bench: GroupBench) -> None:
        self.bench = bench
        self.members: list[SimMember] = []
        self.generations = 0
        self.assignments = 0
        self.commits = 0
        self.refused_commits = 0
        self._told: dict[int, dict[str, frozenset[int]]] = {}
        self._excused: set[str] = set()
        self._replies: list[object] = []
        self._log_in_doubt = False

    def add(self, name: str, *, static: bool) -> SimMember:
        """One more client."""
        member = SimMember(name, self.bench, self, static=static)
        self.members.append(member)
        return member

    # -- what members report -------------------------------------------------------------------------------------

    def parked(self, reply: object) -> None:
        """A request that may have to wait."""
        self._replies = [known for known in self._replies if not known.done]  # type: ignore[attr-defined]
        self._replies.append(reply)

    def joined(self, member: SimMember) -> None:
        """A member was told its generation."""
        self._excused.discard(member.name)
        view = self.bench.view("g")
        assert member.generation <= view.generation, "a generation nobody has begun"
        self.generations = max(self.generations, member.generation)

    def assigned(self, member: SimMember) -> None:
        """A member was told what it owns."""
        self.assignments += 1
        told = self._told.setdefault(member.generation, {})
        owner = member.instance_id or member.member_id
        before = told.setdefault(owner, member.owned)
        assert before == member.owned, f"{owner} was told {set(before)}, then {set(member.owned)}"
        for other, owned in told.items():
            both = owned & member.owned
            assert other == owner or not both, f"{other} and {owner} own {set(both)} in {member.generation}"

    def committed(self, error: ErrorCode, *, accepted: bool, state: str) -> None:
        """What a commit came to; `accepted` is whether it was of the current generation when it was made."""
        if error is ErrorCode.NONE:
            self.commits += 1
            assert accepted, f"a commit of another generation was taken while {state}"
        else:
            self.refused_commits += 1

    # -- what happens to the broker ------------------------------------------------------------------------------

    def broker_restarts(self) -> None:
        """What was not stored is forgotten: members of an unfinished generation are nobody's fault."""
        self._excused.update(member.name for member in self.members)
        self.bench.restart()
        self._log_in_doubt = False

    def log_refuses(self) -> None:
        """Everything on its way is refused."""
        if self.bench.in_flight and not self.bench.refuse(ErrorCode.KAFKA_STORAGE_ERROR):
            self.broker_restarts()
        self._log_in_doubt = True

    # -- checks --------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Every promise that can be checked now."""
        view = self.bench.shard.view("g")
        if view is None:
            return
        here = {member.member_id for member in view.members}
        now = self.bench.monotonic_ms
        for member in self.members:
            if member.phase not in (Phase.JOINED, Phase.SYNCING, Phase.STABLE):
                continue
            in_touch = member.phase is Phase.SYNCING or now - member.heard_ms < SESSION_MS
            in_time = member.phase is Phase.STABLE or now - member.joined_ms < REBALANCE_MS
            if (
                member.generation == view.generation
                and in_touch
                and in_time
                and member.name not in self._excused
                and not self._is_replaced(member)
            ):
                assert member.member_id in here, f"{member.name} was lost in generation {view.generation}"
        if not self.bench.in_flight and not self._log_in_doubt:
            self._check_log()

    def _is_replaced(self, member: SimMember) -> bool:
        """Another process of the same instance has taken its place."""
        return member.instance_id is not None and any(
            other is not member and other.instance_id == member.instance_id for other in self.members
        )

    def _check_log(self) -> None:
        twin = self.bench.replica().shard
        for group_id in self.bench.shard.group_ids:
            live, stored = self.bench.shard.view(group_id), twin.view(group_id)
            assert live is not None
            assert stored is not None, f"{group_id} is not in the log"
            assert stored.offsets == live.offsets
            if live.state in ("Stable", "Empty"):
                assert stored == live
            else:
                assert stored.generation <= live.generation

    def heal(self) -> None:
        """Everybody alive gets the time it needs: in the end all requests are answered and the group is settled."""
        self.bench.auto_store = True
        self.bench.store()
        self._log_in_doubt = True
        for _ in range(60):
            for member in self.members:
                member.act()
            self.bench.advance(3_000)
            self.check()
        waiting = [reply for reply in self._replies if not reply.done]  # type: ignore[attr-defined]
        assert not waiting, f"{len(waiting)} requests are never answered"
        alive = [member for member in self.members if member.phase is not Phase.GONE]
        assert all(member.phase is Phase.STABLE for member in alive), [m.phase for m in alive]
        if alive:
            view = self.bench.view("g")
            assert view.state == "Stable"
            assert {member.member_id for member in view.members} == {member.member_id for member in alive}
            assert len({member.generation for member in alive}) == 1
            owned = sorted(partition for member in alive for partition in member.owned)
            assert owned == list(range(PARTITIONS)), f"owned: {owned}"
        else:
            found = self.bench.shard.view("g")
            assert found is None or found.members == ()
