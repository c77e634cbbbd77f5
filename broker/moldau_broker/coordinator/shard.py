"""One shard of the group coordinator: requests and passing time in; answers and writes out. Pure.

    load(record)... -> loaded() -> join/sync/... and tick()    ->   writes to append, in order
                                   stored(write, error)        <-   what became of each
                                -> unload()

Every entry point is told the moment it happens. Requests that have to wait are answered through the Deferred they
were given. Membership changes at once; a generation's assignment, committed offsets and deletions are told to clients
only after their records are stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from moldau_broker.base.deferred import Deferred
from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import Uuid
from moldau_broker.coordinator import (
    deletions,
    describe,
    join,
    offset_requests,
    offset_reset,
    rebalance,
    sync,
)
from moldau_broker.coordinator.config import GroupConfig
from moldau_broker.coordinator.describe import GroupSketch, GroupView
from moldau_broker.coordinator.group_state import GroupState
from moldau_broker.coordinator.notices import Notify, ignore
from moldau_broker.coordinator.offset_reset import OffsetReset, ResetOutcome
from moldau_broker.coordinator.records import GroupRecord
from moldau_broker.coordinator.shard_state import Client, Now, ShardState, Write
from moldau_broker.wire.messages.describe_groups import DescribedGroup
from moldau_broker.wire.messages.heartbeat import HeartbeatRequest
from moldau_broker.wire.messages.join_group import JoinGroupRequest, JoinGroupResponse
from moldau_broker.wire.messages.leave_group import MemberIdentity, MemberResponse
from moldau_broker.wire.messages.list_groups import ListedGroup
from moldau_broker.wire.messages.offset_commit import OffsetCommitRequest, OffsetCommitResponse
from moldau_broker.wire.messages.offset_delete import OffsetDeleteRequest, OffsetDeleteResponse
from moldau_broker.wire.messages.offset_fetch import OffsetFetchRequestGroup, OffsetFetchResponseGroup
from moldau_broker.wire.messages.sync_group import SyncGroupRequest, SyncGroupResponse

_EXPIRY = ("expiry",)


class GroupShard:
    """The groups of one partition of the offsets topic. See the module."""

    __slots__ = ("_state",)

    def __init__(
        self,
        config: GroupConfig,
        new_uuid: Callable[[], str],
        notify: Notify = ignore,
    ) -> None:
        """A shard that has to be loaded first.

        Args:
            config: the settings in force.
            new_uuid: the random part of member ids, unguessable where that matters.
            notify: hears of every move of a group.
        """
        self._state = ShardState(config, new_uuid, notify)

    # -- life ----------------------------------------------------------------------------------------------------

    def load(self, record: GroupRecord, now: Now) -> None:
        """One record of the log, oldest first."""
        self._state.now = now
        self._state.replay(record)

    def load_open_transaction(self, producer_id: int, group_id: str, topic: str, partition: int) -> None:
        """A commit of this partition stands in the log and its transaction is not over."""
        self._state.offsets.hold(producer_id, group_id, topic, partition)

    def loaded(self, now: Now) -> None:
        """The log has been read: members' sessions begin, and so does the watch over expired offsets."""
        state = self._state
        state.now = now
        for group in state.groups.values():
            for member in group.members.values():
                rebalance.keep_alive(state, group, member)
            if len(group.members) > state.config.group_size_max:
                rebalance.prepare(state, group, f"it has more than {state.config.group_size_max} members")
        self._watch_expiry()
        state.settle()

    def unload(self, now: Now, error: ErrorCode = ErrorCode.NOT_COORDINATOR) -> None:
        """The shard leaves this broker, or must be read again: everybody who waits is told `error`."""
        state = self._state
        state.now = now
        for group in state.groups.values():
            for member in group.members.values():
                rebalance.answer_join(
                    state, group, member, JoinGroupResponse(error_code=error, member_id=member.member_id)
                )
                rebalance.answer_sync(state, member, SyncGroupResponse(error_code=error))
            group.become(GroupState.DEAD, now.wall_ms)
        state.groups.clear()
        state.settle()

    def update_config(self, config: GroupConfig) -> None:
        """New settings; what is under way keeps the deadlines it has."""
        self._state.config = config

    def take_writes(self) -> list[Write]:
        """What has to be appended since the last call, in order."""
        writes = self._state.writes
        if writes:
            self._state.writes = []
        return writes

    def stored(self, write: Write, error: ErrorCode, now: Now) -> None:
        """A write is durable (NONE), or will never be. Called in the order of the writes."""
        self._state.now = now
        write.stored(error)
        self._state.settle()

    def refused(self, writes: Sequence[Write], error: ErrorCode, now: Now) -> bool:
        """The log has taken none of `writes`, which are all that are outstanding and not appended.

        Returns whether the shard is as its log is again. If not, it has to be unloaded and loaded anew.
        """
        self._state.now = now
        if any(write.undo is None for write in writes):
            return False
        for write in reversed(writes):
            for step in reversed(write.undo or ()):
                step()
        for write in writes:
            write.stored(error)
        self._state.settle()
        return True

    def next_deadline(self) -> int | None:
        """When `tick` has something to do next, in monotonic milliseconds."""
        return self._state.timers.next_deadline()

    def tick(self, now: Now) -> None:
        """Let happen what is due."""
        self._state.now = now
        for action in self._state.timers.due(now.monotonic_ms):
            action()
        self._state.settle()

    def forget_topics(self, deleted: Iterable[tuple[str, Uuid]], now: Now) -> None:
        """Topics (name, id) were deleted: drop what was committed for them."""
        self._state.now = now
        deletions.forget_topics(self._state, deleted)
        self._state.settle()

    # -- membership ----------------------------------------------------------------------------------------------

    def join(self, request: JoinGroupRequest, client: Client, now: Now) -> Deferred[JoinGroupResponse]:
        """JoinGroup; answered when the rebalance gets there."""
        reply: Deferred[JoinGroupResponse] = Deferred()
        state = self._state
        state.now = now
        config = state.config
        if not config.min_session_timeout_ms <= request.session_timeout_ms <= config.max_session_timeout_ms:
            response = JoinGroupResponse(
                error_code=ErrorCode.INVALID_SESSION_TIMEOUT, member_id=request.member_id
            )
            state.answer(reply, response)
        else:
            join.join(state, request, client, reply)
        state.settle()
        return reply

    def sync(self, request: SyncGroupRequest, now: Now) -> Deferred[SyncGroupResponse]:
        """SyncGroup; answered when the assignment is stored."""
        reply: Deferred[SyncGroupResponse] = Deferred()
        self._state.now = now
        sync.sync(self._state, request, reply)
        self._state.settle()
        return reply

    def heartbeat(self, request: HeartbeatRequest, now: Now) -> ErrorCode:
        """Heartbeat."""
        self._state.now = now
        return sync.heartbeat(self._state, request)

    def leave(self, group_id: str, leaving: list[MemberIdentity], now: Now) -> list[MemberResponse]:
        """LeaveGroup, one result for each of `leaving`."""
        self._state.now = now
        responses = sync.leave(self._state, group_id, leaving)
        self._state.settle()
        return responses

    # -- offsets -------------------------------------------------------------------------------------------------

    def commit(
        self, request: OffsetCommitRequest, api_version: int, now: Now
    ) -> Deferred[OffsetCommitResponse]:
        """OffsetCommit; every topic has name and id."""
        reply: Deferred[OffsetCommitResponse] = Deferred()
        self._state.now = now
        offset_requests.commit(self._state, request, api_version, reply)
        self._state.settle()
        return reply

    def fetch(self, asked: OffsetFetchRequestGroup, *, require_stable: bool) -> OffsetFetchResponseGroup:
        """OffsetFetch of one group. Includes what is not stored yet: the caller waits for it (see `runtime`)."""
        return offset_requests.fetch(self._state, asked, require_stable=require_stable)

    def delete_offsets(self, request: OffsetDeleteRequest, now: Now) -> Deferred[OffsetDeleteResponse]:
        """OffsetDelete."""
        reply: Deferred[OffsetDeleteResponse] = Deferred()
        self._state.now = now
        deletions.delete_offsets(self._state, request, reply)
        self._state.settle()
        return reply

    def reset_offsets(self, reset: OffsetReset, now: Now) -> Deferred[ResetOutcome]:
        """Move a group's offsets; answered when they are stored, or refused."""
        reply: Deferred[ResetOutcome] = Deferred()
        self._state.now = now
        offset_reset.reset_offsets(self._state, reset, reply)
        self._state.settle()
        return reply

    # -- groups --------------------------------------------------------------------------------------------------

    def delete_groups(self, group_ids: Sequence[str], now: Now) -> Deferred[dict[str, ErrorCode]]:
        """DeleteGroups; one result for each id."""
        reply: Deferred[dict[str, ErrorCode]] = Deferred()
        self._state.now = now
        deletions.delete_groups(self._state, group_ids, reply)
        self._state.settle()
        return reply

    def describe(self, group_id: str, api_version: int) -> DescribedGroup:
        """One entry of DescribeGroups."""
        return describe.described(self._state, group_id, api_version)

    def list_groups(self, states: Sequence[str], types: Sequence[str]) -> list[ListedGroup]:
        """The entries of ListGroups."""
        return list(describe.listed(self._state, states, types))

    def view(self, group_id: str) -> GroupView | None:
        """A group with its members and offsets, or None."""
        group = self._state.groups.get(group_id)
        return None if group is None else describe.view(self._state, group)

    def sketch(self, group_id: str) -> GroupSketch | None:
        """What metrics show of a group, or None; not to be kept."""
        group = self._state.groups.get(group_id)
        return None if group is None else describe.sketch(self._state, group)

    @property
    def group_ids(self) -> tuple[str, ...]:
        """Every group here."""
        return tuple(self._state.groups)

    def groups_subscribed_to(self, topic: str) -> frozenset[str]:
        """Consumer groups with a member that reads `topic`."""
        return self._state.subscriptions.groups_of(topic)

    def _watch_expiry(self) -> None:
        state = self._state
        state.timers.set(
            _EXPIRY, state.now.monotonic_ms + state.config.retention_check_interval_ms, self._expire
        )

    def _expire(self) -> None:
        deletions.expire(self._state)
        self._watch_expiry()
