"""The group coordinator of this broker: which shard, is it there, what does Kafka answer if not.

Handlers call it; it calls the shards it hosts and sees to it that what they write is appended, what they are told
happens in order, and time passes for them. No event loop here: the two things it needs of one are arguments.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, TypeVar

from moldau_broker.base.clock import Clock
from moldau_broker.base.deferred import Deferred
from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import Uuid
from moldau_broker.base.limits import GROUP_LOAD_SLICE_MS_MAX
from moldau_broker.base.topics import CONSUMER_OFFSETS
from moldau_broker.coordinator.config import GroupConfig
from moldau_broker.coordinator.describe import GroupView
from moldau_broker.coordinator.hosted_shard import HostedShard, Status
from moldau_broker.coordinator.offset_requests import commit_failed
from moldau_broker.coordinator.offset_reset import OffsetReset, ResetOutcome
from moldau_broker.coordinator.placement import partition_for
from moldau_broker.coordinator.replies import gathered, mapped, ready
from moldau_broker.coordinator.seams import Replicas, TimerHandle
from moldau_broker.coordinator.shard_loader import ReadableLog
from moldau_broker.coordinator.shard_state import Client
from moldau_broker.metadata.image import MetadataImage
from moldau_broker.replication.outcome import AppendOutcome
from moldau_broker.wire.messages.describe_groups import DescribedGroup
from moldau_broker.wire.messages.heartbeat import HeartbeatRequest
from moldau_broker.wire.messages.join_group import JoinGroupRequest, JoinGroupResponse
from moldau_broker.wire.messages.leave_group import LeaveGroupRequest, LeaveGroupResponse, MemberResponse
from moldau_broker.wire.messages.list_groups import ListedGroup, ListGroupsRequest, ListGroupsResponse
from moldau_broker.wire.messages.offset_commit import OffsetCommitRequest, OffsetCommitResponse
from moldau_broker.wire.messages.offset_delete import OffsetDeleteRequest, OffsetDeleteResponse
from moldau_broker.wire.messages.offset_fetch import OffsetFetchRequestGroup, OffsetFetchResponseGroup
from moldau_broker.wire.messages.sync_group import SyncGroupRequest, SyncGroupResponse

T = TypeVar("T")


class GroupCoordinator:
    """See the module.

    Args:
        replicas: where the offsets topic's partitions are.
        clock: both clocks.
        config: the settings in force; replace them with `update_config`.
        image: gives the current metadata.
        soon: runs a callback at the end of this turn of the event loop.
        call_later: runs a callback after so many milliseconds, unless the handle is cancelled.
        default_partitions: how many partitions the offsets topic will have once it is made.
        new_uuid: the random part of member ids.
    """

    def __init__(
        self,
        replicas: Replicas,
        clock: Clock,
        config: GroupConfig,
        image: Callable[[], MetadataImage],
        *,
        soon: Callable[[Callable[[], None]], Any],
        call_later: Callable[[float, Callable[[], None]], TimerHandle],
        default_partitions: int = 50,
        new_uuid: Callable[[], str] | None = None,
    ) -> None:
        self.clock = clock
        self.config = config
        self.new_uuid = new_uuid or _random_uuid
        self.soon = soon
        self._replicas = replicas
        self._image = image
        self._call_later = call_later
        self._default_partitions = default_partitions
        self._shards: dict[int, HostedShard] = {}
        self._loading: deque[HostedShard] = deque()
        self._load_scheduled = False
        self._timer: TimerHandle | None = None
        self._timer_ms = 0
        self._stopped = False

    # -- leadership and metadata ---------------------------------------------------------------------------------

    def on_elected(self, index: int, leader_epoch: int, log: ReadableLog) -> None:
        """This broker leads that partition of the offsets topic: read it once it is committed, then serve its groups.

        News of an epoch that is over are ignored, and of this one where it is being served.
        """
        known = self._shards.get(index)
        if known is not None:
            if leader_epoch < known.leader_epoch:
                return
            if leader_epoch == known.leader_epoch and known.status is not Status.FAILED:
                return
            self._shards.pop(index).close()
        if not self._stopped:
            self._shards[index] = HostedShard(index, leader_epoch, log, self)

    def on_resigned(self, index: int, leader_epoch: int) -> None:
        """Another broker leads that partition as of this epoch, or it is gone; news that are old are ignored."""
        known = self._shards.get(index)
        if known is not None and leader_epoch >= known.leader_epoch:
            self._shards.pop(index).close()

    def on_topics_deleted(self, deleted: Iterable[tuple[str, Uuid]]) -> None:
        """Topics (name, id) are gone: committed offsets go with them."""
        topics = [(name, topic_id) for name, topic_id in deleted if name != CONSUMER_OFFSETS]
        if topics:
            for hosted in tuple(self._shards.values()):
                hosted.forget_topics(topics)

    def update_config(self, config: GroupConfig) -> None:
        """New settings, for every group, from now on."""
        self.config = config
        for hosted in self._shards.values():
            hosted.shard.update_config(config)

    def stop(self) -> None:
        """The broker shuts down: everybody who waits is told to look elsewhere, nobody is taken in any more."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        shards, self._shards = self._shards, {}
        for hosted in shards.values():
            hosted.close()

    # -- where groups are ----------------------------------------------------------------------------------------

    def partition_for(self, group_id: str) -> int:
        """The partition of the offsets topic that the group belongs to."""
        topic = self._image().topics.get(CONSUMER_OFFSETS)
        return partition_for(group_id, len(topic.partitions) if topic else self._default_partitions)

    def _find(self, group_id: str) -> HostedShard | ErrorCode:
        """The shard of the group if it can be asked, else what to answer."""
        if self._stopped:
            return ErrorCode.COORDINATOR_NOT_AVAILABLE
        hosted = self._shards.get(self.partition_for(group_id))
        if hosted is None:
            return ErrorCode.NOT_COORDINATOR
        return hosted if hosted.status is Status.ACTIVE else hosted.error

    def _member_api(self, group_id: str) -> HostedShard | ErrorCode:
        """As `_find`, for requests that a group without a name cannot make."""
        return self._find(group_id) if group_id else ErrorCode.INVALID_GROUP_ID

    # -- membership ----------------------------------------------------------------------------------------------

    def join_group(
        self, request: JoinGroupRequest, client: Client
    ) -> JoinGroupResponse | Deferred[JoinGroupResponse]:
        """JoinGroup."""
        found = self._member_api(request.group_id)
        if isinstance(found, ErrorCode):
            return JoinGroupResponse(error_code=found, member_id=request.member_id)
        reply = found.shard.join(request, client, found.now())
        found.drain()
        return reply

    def sync_group(self, request: SyncGroupRequest) -> SyncGroupResponse | Deferred[SyncGroupResponse]:
        """SyncGroup."""
        found = self._member_api(request.group_id)
        if isinstance(found, ErrorCode):
            return SyncGroupResponse(error_code=found)
        reply = found.shard.sync(request, found.now())
        found.drain()
        return reply

    def heartbeat(self, request: HeartbeatRequest) -> ErrorCode:
        """Heartbeat. While the shard loads everybody is taken to be well: members must not give up for that."""
        found = self._member_api(request.group_id)
        if isinstance(found, ErrorCode):
            return ErrorCode.NONE if found is ErrorCode.COORDINATOR_LOAD_IN_PROGRESS else found
        return found.shard.heartbeat(request, found.now())

    def leave_group(self, request: LeaveGroupRequest) -> LeaveGroupResponse | Deferred[LeaveGroupResponse]:
        """LeaveGroup with `request.members` filled. The last to leave hears of it once that is stored."""
        found = self._member_api(request.group_id)
        if isinstance(found, ErrorCode):
            return LeaveGroupResponse(error_code=found)
        results = found.shard.leave(request.group_id, list(request.members), found.now())
        found.drain()
        return found.after_writes(lambda error: _left(results, error))

    # -- offsets -------------------------------------------------------------------------------------------------

    def commit_offsets(
        self, request: OffsetCommitRequest, api_version: int
    ) -> OffsetCommitResponse | Deferred[OffsetCommitResponse]:
        """OffsetCommit; every topic has name and id."""
        found = self._find(request.group_id)
        if isinstance(found, ErrorCode):
            return commit_failed(request, found)
        reply = found.shard.commit(request, api_version, found.now())
        found.drain()
        return found.bounded(reply, lambda: commit_failed(request, ErrorCode.COORDINATOR_NOT_AVAILABLE))

    def fetch_offsets(
        self, asked: OffsetFetchRequestGroup, *, require_stable: bool
    ) -> Deferred[OffsetFetchResponseGroup]:
        """OffsetFetch of one group; what is not stored yet is waited for, so that nothing read is ever taken back."""
        found = self._find(asked.group_id)
        if isinstance(found, ErrorCode):
            return ready(OffsetFetchResponseGroup(group_id=asked.group_id, error_code=found))

        def read(error: ErrorCode) -> OffsetFetchResponseGroup:
            if error is not ErrorCode.NONE:
                return OffsetFetchResponseGroup(group_id=asked.group_id, error_code=error)
            return found.shard.fetch(asked, require_stable=require_stable)

        return found.read_stored(read)

    def delete_offsets(
        self, request: OffsetDeleteRequest
    ) -> OffsetDeleteResponse | Deferred[OffsetDeleteResponse]:
        """OffsetDelete."""
        found = self._member_api(request.group_id)
        if isinstance(found, ErrorCode):
            return OffsetDeleteResponse(error_code=found)
        reply = found.shard.delete_offsets(request, found.now())
        found.drain()
        return reply

    # -- groups --------------------------------------------------------------------------------------------------

    def describe_group(self, group_id: str, api_version: int) -> Deferred[DescribedGroup]:
        """One entry of DescribeGroups."""
        found = self._find(group_id)
        if isinstance(found, ErrorCode):
            return ready(DescribedGroup(group_id=group_id, error_code=found))

        def read(error: ErrorCode) -> DescribedGroup:
            if error is not ErrorCode.NONE:
                return DescribedGroup(group_id=group_id, error_code=error)
            return found.shard.describe(group_id, api_version)

        return found.read_stored(read)

    def list_groups(self, request: ListGroupsRequest) -> Deferred[ListGroupsResponse]:
        """ListGroups: the groups of every shard here; an error if one of them is still being read."""
        if self._stopped:
            return ready(ListGroupsResponse(error_code=ErrorCode.COORDINATOR_NOT_AVAILABLE))
        if any(hosted.status is Status.LOADING for hosted in self._shards.values()):
            return ready(ListGroupsResponse(error_code=ErrorCode.COORDINATOR_LOAD_IN_PROGRESS))

        def read(hosted: HostedShard, error: ErrorCode) -> list[ListedGroup]:
            if error is not ErrorCode.NONE:
                return []  # it has left this broker meanwhile
            return hosted.shard.list_groups(request.states_filter, request.types_filter)

        lists = [hosted.read_stored(partial(read, hosted)) for hosted in self.active()]
        return mapped(
            gathered(lists),
            lambda found: ListGroupsResponse(groups=[group for groups in found for group in groups]),
        )

    def delete_group(self, group_id: str) -> Deferred[ErrorCode]:
        """Delete one group that nobody is in."""
        found = self._find(group_id)
        if isinstance(found, ErrorCode):
            return ready(found)
        reply = mapped(found.shard.delete_groups([group_id], found.now()), lambda results: results[group_id])
        found.drain()
        return reply

    # -- for operators -------------------------------------------------------------------------------------------

    def views(self, group_ids: Sequence[str] | None = None) -> Deferred[list[GroupView]]:
        """Groups here with members and offsets, all or those named, as durably stored; groups elsewhere are left out.

        What a shard has written is waited for: nobody shall see an offset that a failover takes back.
        """
        wanted = None if group_ids is None else frozenset(group_ids)

        def read(hosted: HostedShard, error: ErrorCode) -> list[GroupView]:
            if error is not ErrorCode.NONE:
                return []  # it has left this broker meanwhile
            names = hosted.shard.group_ids if wanted is None else wanted.intersection(hosted.shard.group_ids)
            found = map(hosted.shard.view, names)
            return [view for view in found if view is not None]

        lists = [hosted.read_stored(partial(read, hosted)) for hosted in self.active()]
        return mapped(gathered(lists), lambda found: [view for views in found for view in views])

    def availability(self, group_id: str) -> ErrorCode:
        """NONE where this broker coordinates the group and can be asked, else what to answer."""
        found = self._find(group_id)
        return found if isinstance(found, ErrorCode) else ErrorCode.NONE

    @property
    def loading(self) -> int:
        """How many partitions of the offsets topic are led here and not read yet."""
        return sum(hosted.status is Status.LOADING for hosted in self._shards.values())

    def reset_offsets(self, reset: OffsetReset) -> Deferred[ResetOutcome]:
        """Move a group's offsets under the coordinator's fence."""
        found = self._member_api(reset.group_id)
        if isinstance(found, ErrorCode):
            return ready(ResetOutcome(found, "", applied=False, before={}))
        reply = found.shard.reset_offsets(reset, found.now())
        found.drain()

        def settled(error: ErrorCode) -> ResetOutcome:
            """By now the reply is there; one that found the offsets moved already must not outrun their commit."""
            outcome = reply.value
            failed = error is not ErrorCode.NONE and outcome.error is ErrorCode.NONE
            return outcome._replace(error=error, applied=False) if failed else outcome

        return found.after_writes(settled)

    def group_ids(self) -> list[str]:
        """Every group this broker coordinates."""
        return [group_id for hosted in self.active() for group_id in hosted.shard.group_ids]

    def group(self, group_id: str) -> GroupView | None:
        """A group as it is this moment, stored or not; None if it is not here."""
        found = self._find(group_id)
        return None if isinstance(found, ErrorCode) else found.shard.view(group_id)

    def active(self) -> Sequence[HostedShard]:
        """The shards that can be asked."""
        return [hosted for hosted in self._shards.values() if hosted.status is Status.ACTIVE]

    # -- what shards need (hosted_shard.Surroundings) ------------------------------------------------------------

    def append(self, index: int, batch: bytearray) -> Deferred[AppendOutcome]:
        """See `hosted_shard.Surroundings`."""
        return self._replicas.append_internal(CONSUMER_OFFSETS, index, batch)

    def can_append(self, index: int) -> bool:
        """See `hosted_shard.Surroundings`."""
        replica = self._replicas.partition(CONSUMER_OFFSETS, index)
        return replica is not None and replica.is_leader and replica.offline_reason is None

    def committed_end(self, index: int) -> int:
        """See `hosted_shard.Surroundings`."""
        replica = self._replicas.partition(CONSUMER_OFFSETS, index)
        return replica.high_watermark if replica is not None and replica.is_leader else -1

    def load_soon(self, shard: HostedShard) -> None:
        """See `hosted_shard.Surroundings`. One shard at a time, so that the loop is held by one slice a turn."""
        self._loading.append(shard)
        if not self._load_scheduled:
            self._load_scheduled = True
            self.soon(self._load_slice)

    def _load_slice(self) -> None:
        deadline_ms = self.clock.monotonic_ms() + GROUP_LOAD_SLICE_MS_MAX
        while self._loading and self._loading[0].load_until(deadline_ms):
            self._loading.popleft()
        self._load_scheduled = bool(self._loading)
        if self._load_scheduled:
            self.soon(self._load_slice)

    def wake_at(self, deadline_ms: int) -> None:
        """See `hosted_shard.Surroundings`. A timer set too early only looks around and sets the next."""
        if self._timer is not None:
            if self._timer_ms <= deadline_ms:
                return
            self._timer.cancel()
        self._timer_ms = deadline_ms
        self._timer = self._call_later(max(deadline_ms - self.clock.monotonic_ms(), 0), self.tick)

    def tick(self) -> None:
        """Let everything happen that is due, and set the timer for what comes next."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for hosted in tuple(self._shards.values()):
            hosted.tick()


def _left(results: list[MemberResponse], error: ErrorCode) -> LeaveGroupResponse:
    return (
        LeaveGroupResponse(error_code=error)
        if error is not ErrorCode.NONE
        else LeaveGroupResponse(members=results)
    )


def _random_uuid() -> str:
    """A random (version 4) UUID in the usual text form, as Kafka ends its member ids."""
    raw = bytearray(os.urandom(16))
    raw[6] = (raw[6] & 0x0F) | 0x40
    raw[8] = (raw[8] & 0x3F) | 0x80
    text = raw.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
