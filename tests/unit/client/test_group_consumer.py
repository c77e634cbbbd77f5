"""A group member's life: join, lead, read, commit, rebalance, leave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from moldau_broker.base.errors import ErrorCode
from moldau_broker.client.cluster import Cluster
from moldau_broker.client.consumer_protocol import (
    read_assignment,
    read_subscription,
    write_assignment,
    write_subscription,
)
from moldau_broker.client.errors import RequestFailed
from moldau_broker.client.group_consumer import GroupConfig, GroupConsumer
from moldau_broker.client.partitions import TopicPartition
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.fetch import (
    FetchableTopicResponse,
    FetchRequest,
    FetchResponse,
    PartitionData,
)
from moldau_broker.wire.messages.heartbeat import HeartbeatRequest, HeartbeatResponse
from moldau_broker.wire.messages.join_group import (
    JoinGroupRequest,
    JoinGroupResponse,
    JoinGroupResponseMember,
)
from moldau_broker.wire.messages.leave_group import LeaveGroupResponse
from moldau_broker.wire.messages.list_offsets import (
    ListOffsetsPartitionResponse,
    ListOffsetsRequest,
    ListOffsetsResponse,
    ListOffsetsTopicResponse,
)
from moldau_broker.wire.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitResponse,
    OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
)
from moldau_broker.wire.messages.offset_fetch import (
    OffsetFetchRequest,
    OffsetFetchResponse,
    OffsetFetchResponseGroup,
    OffsetFetchResponsePartitions,
    OffsetFetchResponseTopics,
)
from moldau_broker.wire.messages.sync_group import SyncGroupRequest, SyncGroupResponse
from moldau_broker.wire.records import Record, build_batch

P0, P1 = TopicPartition("t", 0), TopicPartition("t", 1)
QUICK = GroupConfig(heartbeat_ms=5)


class Coordinator:
    """A group of the member under test and, if named, others that lead or follow; ten records a partition."""

    def __init__(self, scripted: Any) -> None:
        self.generation = 0
        self.others: dict[str, bytes] = {}
        self.shared_out: dict[str, tuple[TopicPartition, ...]] = {}
        self.committed: dict[tuple[str, int], int] = {}
        self.commits: list[tuple[int, str, dict[tuple[str, int], int]]] = []
        self.heartbeat_errors: list[ErrorCode] = []
        self.join_errors: list[ErrorCode] = []
        for key in (
            ApiKey.JOIN_GROUP,
            ApiKey.SYNC_GROUP,
            ApiKey.HEARTBEAT,
            ApiKey.OFFSET_FETCH,
            ApiKey.OFFSET_COMMIT,
            ApiKey.LIST_OFFSETS,
            ApiKey.FETCH,
        ):
            scripted.scripts[key] = getattr(self, key.name.lower())
        scripted.script(ApiKey.LEAVE_GROUP, LeaveGroupResponse())

    def join_group(self, request: JoinGroupRequest, _version: int) -> JoinGroupResponse:
        if self.join_errors:
            return JoinGroupResponse(error_code=self.join_errors.pop(0))
        if not request.member_id:
            return JoinGroupResponse(
                error_code=ErrorCode.MEMBER_ID_REQUIRED, member_id=f"me-{self.generation}"
            )
        self.generation += 1
        members = {request.member_id: request.protocols[0].metadata, **self.others}
        return JoinGroupResponse(
            generation_id=self.generation,
            protocol_name="range",
            leader=request.member_id,
            member_id=request.member_id,
            members=[JoinGroupResponseMember(member_id=m, metadata=data) for m, data in members.items()],
        )

    def sync_group(self, request: SyncGroupRequest, _version: int) -> SyncGroupResponse:
        given = {a.member_id: a.assignment for a in request.assignments}
        self.shared_out = {member: read_assignment(data) for member, data in given.items()}
        return SyncGroupResponse(assignment=given[request.member_id])

    def heartbeat(self, request: HeartbeatRequest, _version: int) -> HeartbeatResponse:
        return HeartbeatResponse(error_code=self.heartbeat_errors.pop(0) if self.heartbeat_errors else 0)

    def offset_fetch(self, request: OffsetFetchRequest, _version: int) -> OffsetFetchResponse:
        [group] = request.groups
        topics = [
            OffsetFetchResponseTopics(
                name=topic.name,
                partitions=[
                    OffsetFetchResponsePartitions(
                        partition_index=p, committed_offset=self.committed.get((topic.name, p), -1)
                    )
                    for p in topic.partition_indexes
                ],
            )
            for topic in group.topics or ()
        ]
        return OffsetFetchResponse(groups=[OffsetFetchResponseGroup(group_id=group.group_id, topics=topics)])

    def offset_commit(self, request: OffsetCommitRequest, _version: int) -> OffsetCommitResponse:
        offsets = {
            (topic.name, p.partition_index): p.committed_offset
            for topic in request.topics
            for p in topic.partitions
        }
        stale = request.generation_id_or_member_epoch != self.generation
        if not stale:
            self.committed |= offsets
        self.commits.append((request.generation_id_or_member_epoch, request.member_id, offsets))
        code = ErrorCode.ILLEGAL_GENERATION if stale else ErrorCode.NONE
        topics = [
            OffsetCommitResponseTopic(
                name=name, partitions=[OffsetCommitResponsePartition(partition_index=p, error_code=code)]
            )
            for name, p in offsets
        ]
        return OffsetCommitResponse(topics=topics)

    def list_offsets(self, request: ListOffsetsRequest, _version: int) -> ListOffsetsResponse:
        topics = [
            ListOffsetsTopicResponse(
                name=topic.name,
                partitions=[
                    ListOffsetsPartitionResponse(
                        partition_index=p.partition_index, offset=0 if p.timestamp == -2 else 10
                    )
                    for p in topic.partitions
                ],
            )
            for topic in request.topics
        ]
        return ListOffsetsResponse(topics=topics)

    def fetch(self, request: FetchRequest, _version: int) -> FetchResponse:
        topics = []
        for topic in request.topics:
            parts = []
            for p in topic.partitions:
                records = [Record(o, 1, None, b"%d" % o) for o in range(p.fetch_offset, 10)]
                data = bytes(build_batch(records, base_offset=p.fetch_offset)) if records else b""
                parts.append(
                    PartitionData(partition_index=p.partition, high_watermark=10, records=memoryview(data))
                )
            topics.append(
                FetchableTopicResponse(topic_id=topic.topic_id, topic=topic.topic, partitions=parts)
            )
        return FetchResponse(responses=topics)


@pytest.fixture
def coordinator(scripted: Any) -> Coordinator:
    return Coordinator(scripted)


@pytest_asyncio.fixture
async def member(cluster: Cluster, coordinator: Coordinator) -> AsyncIterator[GroupConsumer]:
    consumer = GroupConsumer(cluster, "g", ["t"], QUICK)
    yield consumer
    await consumer.close()


async def read(member: GroupConsumer, count: int) -> list[tuple[int, int]]:
    """(partition, offset) of the next `count` records or more."""
    found: list[tuple[int, int]] = []
    async with asyncio.timeout(30):
        while len(found) < count:
            for partition, records in await member.poll(50):
                found += [(partition.partition, record.offset) for record in records]
    return sorted(found)


async def test_member_joins_leads_and_reads_everything_alone(
    member: GroupConsumer, coordinator: Coordinator, scripted: Any
) -> None:
    """The id the coordinator hands out is used; alone in the group it gets every partition."""
    assert await read(member, 20) == [(p, offset) for p in (0, 1) for offset in range(10)]
    assert [r.member_id for r in scripted.seen(ApiKey.JOIN_GROUP)] == ["", "me-0"]
    assert member.assignment == [P0, P1]
    assert coordinator.shared_out == {"me-0": (P0, P1)}


async def test_member_shares_with_others(member: GroupConsumer, coordinator: Coordinator) -> None:
    """As leader it gives every member its range, in the order of member ids."""
    coordinator.others = {"a-first": write_subscription(["t"]), "z-other": write_subscription(["u"])}
    await read(member, 10)
    assert coordinator.shared_out == {"a-first": (P0,), "me-0": (P1,), "z-other": ()}
    assert member.assignment == [P1]


async def test_member_begins_where_the_group_stands(member: GroupConsumer, coordinator: Coordinator) -> None:
    """Committed partitions continue; the others begin at the configured end."""
    coordinator.committed = {("t", 0): 7}
    assert await read(member, 13) == [(0, o) for o in range(7, 10)] + [(1, o) for o in range(10)]


async def test_member_commits_what_moved(member: GroupConsumer, coordinator: Coordinator) -> None:
    """Only partitions whose position changed, under the member's id and generation."""
    await read(member, 20)
    await member.commit()
    await member.commit()
    assert coordinator.commits == [(1, "me-0", {("t", 0): 10, ("t", 1): 10})]


async def test_member_commits_the_offsets_it_is_told(member: GroupConsumer, coordinator: Coordinator) -> None:
    """A caller that dealt with less than it was given says so; foreign partitions are left out."""
    await read(member, 20)
    await member.commit({P0: 4, TopicPartition("u", 0): 9})
    assert coordinator.committed == {("t", 0): 4}


async def test_member_commits_before_it_gives_partitions_up(
    member: GroupConsumer, coordinator: Coordinator, eventually: Callable[..., Any]
) -> None:
    """A rebalance commits what was read, then joins again under the same id."""
    await read(member, 20)
    coordinator.heartbeat_errors = [ErrorCode.REBALANCE_IN_PROGRESS]
    await eventually(lambda: not member.assignment)
    await member.poll(10)
    assert coordinator.commits == [(1, "me-0", {("t", 0): 10, ("t", 1): 10})]
    assert coordinator.generation == 2
    assert member.assignment == [P0, P1]


@pytest.mark.parametrize("code", [ErrorCode.UNKNOWN_MEMBER_ID, ErrorCode.ILLEGAL_GENERATION])
async def test_member_that_was_dropped_joins_as_a_new_one(
    member: GroupConsumer,
    coordinator: Coordinator,
    scripted: Any,
    eventually: Callable[..., Any],
    code: ErrorCode,
) -> None:
    """Its partitions may be with others by now, so nothing is committed for the lost generation."""
    await read(member, 20)
    coordinator.heartbeat_errors = [code]
    await eventually(lambda: not member.assignment)
    await member.poll(10)
    assert coordinator.commits == []
    assert [r.member_id for r in scripted.seen(ApiKey.JOIN_GROUP)] == ["", "me-0", "", "me-1"]


async def test_member_commit_after_a_lost_generation_is_an_error(
    member: GroupConsumer, coordinator: Coordinator
) -> None:
    """The caller must know that its records may be read again."""
    await read(member, 20)
    coordinator.generation = 9
    with pytest.raises(RequestFailed, match="ILLEGAL_GENERATION"):
        await member.commit()


async def test_member_waits_for_a_loading_coordinator(
    member: GroupConsumer, coordinator: Coordinator
) -> None:
    """Retriable answers to JoinGroup are tried again."""
    coordinator.join_errors = [ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, ErrorCode.NOT_COORDINATOR]
    assert len(await read(member, 20)) == 20


async def test_member_reports_why_it_may_not_join(member: GroupConsumer, coordinator: Coordinator) -> None:
    """A group of another kind, or one that is full, is not retried."""
    coordinator.join_errors = [ErrorCode.INCONSISTENT_GROUP_PROTOCOL]
    with pytest.raises(RequestFailed, match="group g: INCONSISTENT_GROUP_PROTOCOL"):
        await member.poll(10)


async def test_member_leaves_when_closed(cluster: Cluster, coordinator: Coordinator, scripted: Any) -> None:
    """The others need not wait for its session to run out."""
    member = GroupConsumer(cluster, "g", ["t"], QUICK)
    await read(member, 20)
    await member.close()
    [request] = scripted.seen(ApiKey.LEAVE_GROUP)
    assert [m.member_id for m in request.members] == ["me-0"]
    await member.close()
    assert len(scripted.seen(ApiKey.LEAVE_GROUP)) == 1


async def test_leader_notices_that_a_topic_has_grown(
    member: GroupConsumer,
    coordinator: Coordinator,
    cluster: Cluster,
    scripted: Any,
    eventually: Callable[..., Any],
) -> None:
    """New partitions are shared out without anybody's doing."""
    await read(member, 20)
    scripted.topics["t"] = [1, 1, 1]
    cluster.forget(["t"])
    await eventually(lambda: not member.assignment)
    await read(member, 10)
    assert member.assignment == [P0, P1, TopicPartition("t", 2)]


def test_consumer_protocol_round_trip() -> None:
    """What is written is read back, sorted."""
    assert read_subscription(write_subscription(["b", "a"])) == ("a", "b")
    assert read_assignment(write_assignment([P1, TopicPartition("s", 3), P0])) == (
        TopicPartition("s", 3),
        P0,
        P1,
    )


@pytest.mark.parametrize("data", [b"", b"\0", b"\0\0", b"\xff\xff\0\0\0\0", b"\0\0\0\0\0\x09"])
def test_consumer_protocol_reads_nothing_from_garbage(data: bytes) -> None:
    """A group of another kind stores what it likes there."""
    assert read_assignment(data) == ()
    assert read_subscription(data) == ()


def test_consumer_protocol_reads_newer_versions_as_the_newest_it_knows() -> None:
    """Fields are only ever added at the end."""
    known = write_assignment([P0])
    assert read_assignment(b"\0\x09" + known[2:]) == (P0,)
