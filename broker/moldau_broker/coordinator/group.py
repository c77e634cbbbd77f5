"""A classic consumer group: who is in it, what they speak, where it stands. Pure: no timers, no records, no replies.

Theory of operation: `members` holds everybody who counts in the coming or current generation, `pending_join` the ids
that were handed out and not yet used (KIP-394), `pending_sync` the members of this generation whose SyncGroup has not
arrived. Membership changes at once and lives in memory only; what outlives the broker is the record written when a
generation's assignment arrives, or when the last member has gone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from moldau_broker.base.errors import ErrorCode
from moldau_broker.coordinator.group_state import TRANSITIONS, GroupState
from moldau_broker.coordinator.member import Member, Protocol
from moldau_broker.coordinator.subscriptions import subscribed_topics

CONSUMER_PROTOCOL_TYPE: Final = "consumer"
REBALANCING: Final = frozenset({GroupState.PREPARING_REBALANCE, GroupState.COMPLETING_REBALANCE})


class Group:
    """See the module.

    Attributes:
        state, previous_state: `previous_state` tells a first rebalance (from Empty) from later ones.
        state_timestamp_ms: wall clock of the last change of state; None when an old record did not say.
        protocol_type: "consumer", "connect", ...; None for a group that only stores offsets.
        protocol_name: the assignor of this generation.
        generation: counts rebalances.
        leader_id: the member that computes the assignment.
        static_members: instance id -> member id.
        new_member_added: someone joined during the initial delay, so it is extended.
        storing: the generation whose assignment is on its way into the log, or was; None before any.
        topics: what the members subscribe to; None when that is not known.
    """

    __slots__ = (
        "_awaiting_join",
        "_speakers",
        "generation",
        "group_id",
        "leader_id",
        "members",
        "new_member_added",
        "pending_join",
        "pending_sync",
        "previous_state",
        "protocol_name",
        "protocol_type",
        "state",
        "state_timestamp_ms",
        "static_members",
        "storing",
        "topics",
    )

    def __init__(self, group_id: str, now_wall_ms: int | None, state: GroupState = GroupState.EMPTY) -> None:
        self.group_id = group_id
        self.state = state
        self.previous_state = GroupState.DEAD
        self.state_timestamp_ms = now_wall_ms
        self.protocol_type: str | None = None
        self.protocol_name: str | None = None
        self.generation = 0
        self.leader_id: str | None = None
        self.members: dict[str, Member] = {}
        self.static_members: dict[str, str] = {}
        self.pending_join: set[str] = set()
        self.pending_sync: set[str] = set()
        self.new_member_added = False
        self.storing: int | None = None
        self.topics: frozenset[str] | None = None
        self._awaiting_join = 0
        self._speakers: dict[str, int] = {}

    # -- state ---------------------------------------------------------------------------------------------------

    def become(self, state: GroupState, now_wall_ms: int) -> None:
        """The one place where the state changes."""
        assert state in TRANSITIONS[self.state], f"group {self.group_id}: {self.state.value} -> {state.value}"
        self.previous_state = self.state
        self.state = state
        self.state_timestamp_ms = now_wall_ms

    @property
    def can_rebalance(self) -> bool:
        """Whether a rebalance may begin now; one that is gathering members already cannot begin again."""
        return GroupState.PREPARING_REBALANCE in TRANSITIONS[self.state]

    @property
    def is_initial_rebalance(self) -> bool:
        """Gathering the first members: the delay must run out whoever has joined."""
        return self.state is GroupState.PREPARING_REBALANCE and self.previous_state is GroupState.EMPTY

    @property
    def uses_consumer_protocol(self) -> bool:
        """Whether subscriptions are in the consumer clients' format."""
        return self.protocol_type == CONSUMER_PROTOCOL_TYPE

    @property
    def is_untouched(self) -> bool:
        """Nobody has ever joined, or asked to: it only holds offsets."""
        return self.protocol_type is None and self.state is GroupState.EMPTY and not self.pending_join

    # -- members -------------------------------------------------------------------------------------------------

    def add(self, member: Member, protocol_type: str) -> None:
        """Take a member in; the caller has checked that it speaks what the others speak."""
        if not self.members:
            self.protocol_type = protocol_type
        if member.instance_id is not None:
            assert member.instance_id not in self.static_members, (
                "a static member is replaced, not added twice"
            )
            self.static_members[member.instance_id] = member.member_id
        if self.leader_id is None:
            self.leader_id = member.member_id
        self.members[member.member_id] = member
        self._count_protocols(member, 1)
        if member.awaiting_join is not None:
            self._awaiting_join += 1
        self.pending_join.discard(member.member_id)

    def remove(self, member_id: str) -> Member | None:
        """Forget a member or a pending id; if it led, the longest-standing member leads now.

        Returns the member, whose parked requests the caller must answer, or None.
        """
        member = self.members.pop(member_id, None)
        if member is not None:
            self._count_protocols(member, -1)
            if member.awaiting_join is not None:
                self._awaiting_join -= 1
            if member.instance_id is not None:
                self.static_members.pop(member.instance_id, None)
        if self.leader_id == member_id:
            self.leader_id = next(iter(self.members), None)
        self.pending_join.discard(member_id)
        self.pending_sync.discard(member_id)
        return member

    def replace_static_member(self, old_id: str, new_id: str) -> tuple[Member, Member]:
        """Give a static member a new id and keep everything else (KIP-345).

        Returns (old, new); the caller fences the old one's parked requests, which `new` does not inherit.
        """
        old = self.members.pop(old_id)
        assert old.instance_id is not None
        new = Member(
            new_id,
            instance_id=old.instance_id,
            client_id=old.client_id,
            client_host=old.client_host,
            rebalance_timeout_ms=old.rebalance_timeout_ms,
            session_timeout_ms=old.session_timeout_ms,
            protocols=old.protocols,
            assignment=old.assignment,
        )
        if old.awaiting_join is not None:
            self._awaiting_join -= 1
        self.members[new_id] = new
        if self.leader_id == old_id:
            self.leader_id = new_id
        self.static_members[old.instance_id] = new_id
        if old_id in self.pending_sync:
            self.pending_sync.remove(old_id)
            self.pending_sync.add(new_id)
        return old, new

    def change_protocols(self, member: Member, protocols: tuple[Protocol, ...]) -> None:
        """What a rejoining member speaks now."""
        self._count_protocols(member, -1)
        member.protocols = protocols
        self._count_protocols(member, 1)

    def note_join_parked(self, member: Member) -> None:
        """A join of `member` is parked now that was not before."""
        assert member.awaiting_join is not None
        self._awaiting_join += 1

    def note_join_answered(self) -> None:
        """A parked join has been answered."""
        self._awaiting_join -= 1

    @property
    def joins_parked(self) -> int:
        """Members whose join is waiting for the rebalance."""
        return self._awaiting_join

    @property
    def all_joined(self) -> bool:
        """Whether nobody has to be waited for any more."""
        return len(self.members) == self._awaiting_join and not self.pending_join

    def elect_joined_leader(self) -> bool:
        """Make sure that the leader is one who has rejoined; False if there is nobody to choose."""
        if self.leader_id is None:
            return False
        if self.members[self.leader_id].awaiting_join is not None:
            return True
        for member in self.members.values():
            if member.awaiting_join is not None:
                self.leader_id = member.member_id
                return True
        return False

    @property
    def rebalance_timeout_ms(self) -> int:
        """The longest that any member asked for."""
        return max((member.rebalance_timeout_ms for member in self.members.values()), default=0)

    def check_member(self, member_id: str, instance_id: str | None) -> ErrorCode:
        """Whether a request comes from a member: NONE, UNKNOWN_MEMBER_ID or FENCED_INSTANCE_ID."""
        if instance_id is not None:
            current = self.static_members.get(instance_id)
            if current is None:
                return ErrorCode.UNKNOWN_MEMBER_ID
            if current != member_id:
                return ErrorCode.FENCED_INSTANCE_ID
        return ErrorCode.NONE if member_id in self.members else ErrorCode.UNKNOWN_MEMBER_ID

    # -- protocols and subscriptions -----------------------------------------------------------------------------

    def supports(self, protocol_type: str, protocols: Iterable[Protocol]) -> bool:
        """Whether somebody who speaks this can be understood by every member."""
        names = [protocol.name for protocol in protocols]
        if self.state is GroupState.EMPTY:
            return bool(protocol_type and names)
        return self.protocol_type == protocol_type and any(
            self._speakers.get(name, 0) == len(self.members) for name in names
        )

    def select_protocol(self) -> str:
        """The protocol every member speaks that most like best; a tie goes to the one voted for first."""
        everybody = len(self.members)
        candidates = {name for name, speakers in self._speakers.items() if speakers == everybody}
        votes: dict[str, int] = {}
        for member in self.members.values():
            choice = member.vote(candidates)
            votes[choice] = votes.get(choice, 0) + 1
        return max(votes, key=votes.__getitem__)

    def begin_generation(self, now_wall_ms: int) -> None:
        """The join phase is over: next generation, CompletingRebalance or, with nobody left, Empty."""
        self.generation += 1
        self.pending_sync.clear()
        self.protocol_name = self.select_protocol() if self.members else None
        self.refresh_topics()
        self.become(GroupState.COMPLETING_REBALANCE if self.members else GroupState.EMPTY, now_wall_ms)

    def refresh_topics(self) -> None:
        """Derive `topics` from the members' subscriptions; None where they cannot be read."""
        if not self.uses_consumer_protocol:
            self.topics = None
        elif not self.members:
            self.topics = frozenset()
        elif self.protocol_name is None:
            self.topics = None
        else:
            self.topics = subscribed_topics(
                member.metadata(self.protocol_name) for member in self.members.values()
            )

    def is_subscribed_to(self, topic: str) -> bool:
        """Whether a member reads that topic; a consumer group we cannot read is taken to."""
        return topic in self.topics if self.topics is not None else self.uses_consumer_protocol

    def _count_protocols(self, member: Member, step: int) -> None:
        for protocol in member.protocols:
            count = self._speakers.pop(protocol.name, 0) + step
            if count:
                self._speakers[protocol.name] = count
