"""A group shard on a bench: its clock turned by hand, its log a list, its writes stored when the test says so.

bench = GroupBench()
reply = bench.join("g", "m-1")
bench.store()          # what was written is durable now
bench.advance(3_000)   # everything due in these three seconds happens, in order
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from moldau_broker.base.deferred import Deferred
from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import NULL_UUID
from moldau_broker.coordinator.config import GroupConfig
from moldau_broker.coordinator.describe import GroupView
from moldau_broker.coordinator.notices import Notice
from moldau_broker.coordinator.records import EncodedRecord, decode_record
from moldau_broker.coordinator.shard import GroupShard
from moldau_broker.coordinator.shard_state import Client, Now, Write
from moldau_broker.wire.coordinator_framing import encode_versioned
from moldau_broker.wire.messages.consumer_protocol import ConsumerProtocolSubscription
from moldau_broker.wire.messages.heartbeat import HeartbeatRequest
from moldau_broker.wire.messages.join_group import (
    JoinGroupRequest,
    JoinGroupRequestProtocol,
    JoinGroupResponse,
)
from moldau_broker.wire.messages.leave_group import MemberIdentity, MemberResponse
from moldau_broker.wire.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
    OffsetCommitResponse,
)
from moldau_broker.wire.messages.offset_fetch import OffsetFetchRequestGroup, OffsetFetchRequestTopics
from moldau_broker.wire.messages.sync_group import (
    SyncGroupRequest,
    SyncGroupRequestAssignment,
    SyncGroupResponse,
)

LATEST_JOIN = 9
LATEST_COMMIT = 10


def subscription(*topics: str) -> bytes:
    """A consumer's metadata: it wants these topics."""
    return encode_versioned(ConsumerProtocolSubscription(topics=list(topics)), 0)


class GroupBench:
    """See the module.

    Attributes:
        log: the stored records, oldest first.
        in_flight: writes taken from the shard and not stored yet, oldest first.
        auto_store: store what is written at once, after every call.
        monotonic_ms, wall_ms: the time; `advance` moves both.
        told: what the shard had to say.
    """

    def __init__(
        self,
        config: GroupConfig | None = None,
        *,
        auto_store: bool = True,
        log: Iterable[EncodedRecord] = (),
        wall_ms: int = 1_700_000_000_000,
    ) -> None:
        self.config = config or GroupConfig()
        self.log: list[EncodedRecord] = list(log)
        self.in_flight: list[Write] = []
        self.auto_store = auto_store
        self.monotonic_ms = 1_000
        self.wall_ms = wall_ms
        self.told: list[Notice] = []
        self._ids = 0
        self.shard = self._load()

    # -- time and log --------------------------------------------------------------------------------------------

    @property
    def now(self) -> Now:
        """The moment on both clocks."""
        return Now(self.monotonic_ms, self.wall_ms)

    def advance(self, ms: int) -> None:
        """Let time pass; what is due happens at its own moment."""
        end = self.monotonic_ms + ms
        while (deadline := self.shard.next_deadline()) is not None and deadline <= end:
            self._move_to(max(deadline, self.monotonic_ms))
            self.shard.tick(self.now)
            self._called()
        self._move_to(end)

    def store(self, count: int | None = None) -> None:
        """Make the oldest `count` writes durable (None: all there are, and what follows from them)."""
        left = count
        while self.in_flight and left != 0:
            write = self.in_flight.pop(0)
            self.log += write.records
            self.shard.stored(write, ErrorCode.NONE, self.now)
            self.in_flight += self.shard.take_writes()
            left = None if left is None else left - 1

    def refuse(self, error: ErrorCode) -> bool:
        """The log takes none of the writes; gives what `GroupShard.refused` gives."""
        writes, self.in_flight = self.in_flight, []
        undone = self.shard.refused(writes, error, self.now)
        self.in_flight += self.shard.take_writes()
        return undone

    def restart(self) -> None:
        """The shard is unloaded, and loaded from what is stored."""
        left, self.in_flight = self.in_flight, []
        self.shard.unload(self.now)
        for write in left:
            self.shard.stored(write, ErrorCode.NOT_COORDINATOR, self.now)
        self.shard = self._load()

    def replica(self) -> GroupBench:
        """Another bench, loaded from the same log at the same moment."""
        twin = GroupBench(self.config, log=self.log, wall_ms=self.wall_ms)
        twin.monotonic_ms = self.monotonic_ms
        return twin

    def _load(self) -> GroupShard:
        shard = GroupShard(self.config, self._new_uuid, self.told.append)
        for key, value in self.log:
            record = decode_record(key, value)
            assert record is not None
            shard.load(record, self.now)
        shard.loaded(self.now)
        self.in_flight += shard.take_writes()
        return shard

    def _new_uuid(self) -> str:
        self._ids += 1
        return f"{self._ids:04d}"

    def _move_to(self, monotonic_ms: int) -> None:
        self.wall_ms += monotonic_ms - self.monotonic_ms
        self.monotonic_ms = monotonic_ms

    def _called(self) -> None:
        self.in_flight += self.shard.take_writes()
        if self.auto_store:
            self.store()

    # -- requests ------------------------------------------------------------------------------------------------

    def join(
        self,
        group_id: str = "g",
        member_id: str = "",
        *,
        version: int = LATEST_JOIN,
        instance_id: str | None = None,
        protocols: Sequence[tuple[str, bytes]] | None = None,
        protocol_type: str = "consumer",
        topics: Sequence[str] = ("t",),
        session_ms: int = 10_000,
        rebalance_ms: int = 60_000,
        client_id: str = "client",
        reason: str | None = None,
    ) -> Deferred[JoinGroupResponse]:
        """JoinGroup; by default a consumer with the range assignor."""
        offered = protocols if protocols is not None else [("range", subscription(*topics))]
        request = JoinGroupRequest(
            group_id=group_id,
            session_timeout_ms=session_ms,
            rebalance_timeout_ms=rebalance_ms,
            member_id=member_id,
            group_instance_id=instance_id,
            protocol_type=protocol_type,
            protocols=[JoinGroupRequestProtocol(name=name, metadata=data) for name, data in offered],
            reason=reason,
        )
        reply = self.shard.join(request, Client(client_id, "/127.0.0.1", version), self.now)
        self._called()
        return reply

    def new_id(self, group_id: str = "g", **join: object) -> str:
        """A member id, got the way clients get one."""
        reply = self.join(group_id, **join)  # type: ignore[arg-type]
        assert reply.value.error_code == ErrorCode.MEMBER_ID_REQUIRED
        return reply.value.member_id

    def sync(
        self,
        group_id: str,
        member_id: str,
        generation: int,
        assignments: Mapping[str, bytes] | None = None,
        *,
        instance_id: str | None = None,
        protocol_type: str | None = "consumer",
        protocol_name: str | None = "range",
    ) -> Deferred[SyncGroupResponse]:
        """SyncGroup; with assignments as the leader sends it."""
        request = SyncGroupRequest(
            group_id=group_id,
            generation_id=generation,
            member_id=member_id,
            group_instance_id=instance_id,
            protocol_type=protocol_type,
            protocol_name=protocol_name,
            assignments=[
                SyncGroupRequestAssignment(member_id=member, assignment=data)
                for member, data in (assignments or {}).items()
            ],
        )
        reply = self.shard.sync(request, self.now)
        self._called()
        return reply

    def heartbeat(
        self, group_id: str, member_id: str, generation: int, instance_id: str | None = None
    ) -> ErrorCode:
        """Heartbeat."""
        request = HeartbeatRequest(
            group_id=group_id,
            generation_id=generation,
            member_id=member_id,
            group_instance_id=instance_id,
        )
        return self.shard.heartbeat(request, self.now)

    def leave(self, group_id: str, *leaving: MemberIdentity | str) -> list[MemberResponse]:
        """LeaveGroup, by member id or by identity."""
        identities = [MemberIdentity(member_id=who) if isinstance(who, str) else who for who in leaving]
        responses = self.shard.leave(group_id, identities, self.now)
        self._called()
        return responses

    def commit(
        self,
        group_id: str,
        offsets: Mapping[tuple[str, int], int],
        member_id: str = "",
        generation: int = -1,
        *,
        version: int = LATEST_COMMIT,
        instance_id: str | None = None,
        metadata: str | None = "",
        leader_epoch: int = -1,
        retention_ms: int = -1,
        topic_id: bytes = NULL_UUID,
    ) -> Deferred[OffsetCommitResponse]:
        """OffsetCommit; by default as a consumer without group management does it."""
        request = OffsetCommitRequest(
            group_id=group_id,
            generation_id_or_member_epoch=generation,
            member_id=member_id,
            group_instance_id=instance_id,
            retention_time_ms=retention_ms,
            topics=[
                OffsetCommitRequestTopic(
                    topic_id=topic_id,
                    name=topic,
                    partitions=[
                        OffsetCommitRequestPartition(
                            partition_index=index,
                            committed_offset=offset,
                            committed_leader_epoch=leader_epoch,
                            committed_metadata=metadata,
                        )
                    ],
                )
                for (topic, index), offset in offsets.items()
            ],
        )
        reply = self.shard.commit(request, version, self.now)
        self._called()
        return reply

    def committed(self, group_id: str, topic: str, partition: int = 0, *, topic_id: bytes = NULL_UUID) -> int:
        """OffsetFetch of one partition: the offset, -1 when there is none."""
        asked = OffsetFetchRequestGroup(
            group_id=group_id,
            topics=[OffsetFetchRequestTopics(topic_id=topic_id, name=topic, partition_indexes=[partition])],
        )
        (answer,) = self.shard.fetch(asked, require_stable=False).topics[0].partitions
        assert answer.error_code == ErrorCode.NONE
        return answer.committed_offset

    # -- shortcuts -----------------------------------------------------------------------------------------------

    def view(self, group_id: str = "g") -> GroupView:
        """The group, which must exist."""
        found = self.shard.view(group_id)
        assert found is not None
        return found

    def stable_group(self, members: int = 2, group_id: str = "g", **join: object) -> list[str]:
        """A Stable group in generation 1; gives the member ids, the leader first. Member i is assigned b"i"."""
        assert self.auto_store
        ids = [self.new_id(group_id, **join) for _ in range(members)]
        joins = [self.join(group_id, member_id, **join) for member_id in ids]  # type: ignore[arg-type]
        self.advance(self.config.initial_rebalance_delay_ms * 2)
        assert all(reply.done and reply.value.error_code == ErrorCode.NONE for reply in joins)
        ids.sort(key=lambda member_id: member_id != joins[0].value.leader)
        generation = joins[0].value.generation_id
        shares = {member_id: b"%d" % index for index, member_id in enumerate(ids)}
        syncs = [
            self.sync(group_id, member_id, generation, shares if member_id == ids[0] else None)
            for member_id in ids
        ]
        assert all(reply.done and reply.value.error_code == ErrorCode.NONE for reply in syncs)
        return ids
