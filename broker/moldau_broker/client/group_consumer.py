"""A member of a classic consumer group: joins, heartbeats, reads its share, commits.

Eager rebalancing with the range assignor, the least that every broker and every other client understands.
A member gives its partitions up by committing and joining again, which happens inside `poll`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from moldau_broker.base.errors import ErrorCode
from moldau_broker.client.admin.offsets import CommittedOffset, Member, commit_offsets, fetch_offsets
from moldau_broker.client.admin.outcomes import settle
from moldau_broker.client.assignors import assign_range
from moldau_broker.client.cluster import Cluster
from moldau_broker.client.consumer import Consumer, ConsumerConfig, Fetched, find_offsets
from moldau_broker.client.consumer_protocol import (
    PROTOCOL_TYPE,
    read_assignment,
    read_subscription,
    write_assignment,
    write_subscription,
)
from moldau_broker.client.errors import ClientError, RequestFailed, raise_for
from moldau_broker.client.partitions import EARLIEST, TopicPartition
from moldau_broker.wire.messages.heartbeat import HeartbeatRequest, HeartbeatResponse
from moldau_broker.wire.messages.join_group import (
    JoinGroupRequest,
    JoinGroupRequestProtocol,
    JoinGroupResponse,
)
from moldau_broker.wire.messages.leave_group import LeaveGroupRequest, LeaveGroupResponse, MemberIdentity
from moldau_broker.wire.messages.sync_group import (
    SyncGroupRequest,
    SyncGroupRequestAssignment,
    SyncGroupResponse,
)

RANGE: Final = "range"
REJOIN: Final = frozenset({ErrorCode.REBALANCE_IN_PROGRESS, ErrorCode.MEMBER_ID_REQUIRED})
"""Answers after which a member joins again under the id it has."""
FORGOTTEN: Final = frozenset(
    {ErrorCode.UNKNOWN_MEMBER_ID, ErrorCode.ILLEGAL_GENERATION, ErrorCode.FENCED_INSTANCE_ID}
)
"""Answers after which a member joins as a new one: its partitions may be with others already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupConfig:
    """A member's timing in milliseconds, at the Java client's defaults.

    Attributes:
        session_ms: without a heartbeat for so long the coordinator drops the member.
        heartbeat_ms: between heartbeats.
        rebalance_ms: how long the others wait for this member to join again.
        start: EARLIEST or LATEST, for partitions the group has never committed.
    """

    session_ms: int = 45_000
    heartbeat_ms: int = 3_000
    rebalance_ms: int = 60_000
    start: int = EARLIEST


class GroupConsumer:
    """Reads topics as one of a group. Call `poll` in a loop, `commit` after the records are dealt with."""

    def __init__(
        self,
        cluster: Cluster,
        group: str,
        topics: Iterable[str],
        config: GroupConfig | None = None,
        consumer: ConsumerConfig | None = None,
    ) -> None:
        self.group = group
        self.topics = sorted(set(topics))
        self.config = config or GroupConfig()
        self.consumer = Consumer(cluster, consumer)
        self._cluster = cluster
        self._member_id = ""
        self._generation = -1
        self._joined = False
        self._committed: dict[TopicPartition, int] = {}
        self._counts: dict[str, int] = {}
        self._heartbeats: asyncio.Task[None] | None = None

    @property
    def assignment(self) -> list[TopicPartition]:
        """The partitions that are this member's now."""
        return sorted(self.consumer.positions) if self._joined else []

    async def poll(self, timeout_ms: int) -> list[Fetched]:
        """Records of this member's partitions, after joining the group if need be.

        Joining takes as long as the other members take, whatever the time-out. Everything returned before
        counts as dealt with when the group rebalances.

        Raises:
            ClientError: the group cannot be joined, or a partition cannot be read.
        """
        if not self._joined:
            await self._rejoin()
        return await self.consumer.poll(timeout_ms)

    async def commit(self, offsets: Mapping[TopicPartition, int] | None = None) -> None:
        """Commit these offsets, or (None) those after everything `poll` has returned.

        Raises:
            RequestFailed: the group has rebalanced without this member; the records may be read again.
        """
        moved = {
            partition: CommittedOffset(offset)
            for partition, offset in (self.consumer.positions if offsets is None else offsets).items()
            if self._committed.get(partition) != offset and partition in self.consumer.positions
        }
        if moved and self._generation >= 0:
            member = Member(self._member_id, self._generation)
            for outcome in (await commit_offsets(self._cluster, self.group, moved, member=member)).values():
                if outcome is not None:
                    raise outcome
            self._committed |= {partition: committed.offset for partition, committed in moved.items()}

    async def close(self) -> None:
        """Leave the group, so that the others need not wait for the session to run out. Commits nothing."""
        await self._stop_heartbeats()
        await self.consumer.close()
        if self._member_id:
            member = MemberIdentity(member_id=self._member_id, reason="the consumer is closing")
            request = LeaveGroupRequest(group_id=self.group, members=[member])
            self._joined, self._member_id, self._generation = False, "", -1
            try:
                await self._cluster.ask_coordinator(self.group, request, LeaveGroupResponse)
            except ClientError:
                return  # the session will run out; there is nothing better to do while leaving

    # joining

    async def _rejoin(self) -> None:
        await self._stop_heartbeats()
        try:
            await self.commit()
        except RequestFailed as error:
            self._digest(error)
        self.consumer.assign({})
        self._counts = {}
        attempts = 0
        while not self._joined:
            try:
                await self._cluster.retry_coordinator(self.group, self._join)
            except RequestFailed as error:
                if not self._digest(error):
                    raise
                if attempts:  # the first is the coordinator handing out a member id
                    await asyncio.sleep(self._cluster.config.backoff_s(attempts, self._cluster.rng))
                attempts += 1
        self._heartbeats = asyncio.create_task(self._beat(), name=f"moldau group {self.group}")

    async def _join(self) -> None:
        request = JoinGroupRequest(
            group_id=self.group,
            session_timeout_ms=self.config.session_ms,
            rebalance_timeout_ms=self.config.rebalance_ms,
            member_id=self._member_id,
            protocol_type=PROTOCOL_TYPE,
            protocols=[JoinGroupRequestProtocol(name=RANGE, metadata=write_subscription(self.topics))],
        )
        patience_ms = self.config.rebalance_ms + self._cluster.config.request_timeout_ms
        joined = await self._cluster.ask_coordinator(
            self.group, request, JoinGroupResponse, timeout_ms=patience_ms
        )
        if joined.error_code == ErrorCode.MEMBER_ID_REQUIRED:
            self._member_id = joined.member_id
        raise_for(joined.error_code, f"group {self.group}")
        self._member_id, self._generation = joined.member_id, joined.generation_id
        assignments = await self._share_out(joined) if joined.leader == joined.member_id else {}
        synced = await self._cluster.ask_coordinator(
            self.group,
            SyncGroupRequest(
                group_id=self.group,
                generation_id=self._generation,
                member_id=self._member_id,
                protocol_type=PROTOCOL_TYPE,
                protocol_name=joined.protocol_name,
                assignments=[
                    SyncGroupRequestAssignment(member_id=member, assignment=write_assignment(partitions))
                    for member, partitions in assignments.items()
                ],
            ),
            SyncGroupResponse,
            timeout_ms=patience_ms,
        )
        raise_for(synced.error_code, f"group {self.group}")
        await self._take_up(read_assignment(synced.assignment))
        self._joined = True

    async def _share_out(self, joined: JoinGroupResponse) -> dict[str, list[TopicPartition]]:
        """The leader's part: who reads what. Static members come first, as in the Java assignor."""
        members = sorted(
            joined.members, key=lambda m: (m.group_instance_id is None, m.group_instance_id, m.member_id)
        )
        subscriptions = {m.member_id: read_subscription(m.metadata) for m in members}
        topics = {topic for wanted in subscriptions.values() for topic in wanted}
        metadata = await self._cluster.refresh(topics)
        self._counts = {topic: len(metadata.topics[topic].partitions) for topic in topics}
        return assign_range(subscriptions, self._counts)

    async def _take_up(self, partitions: Iterable[TopicPartition]) -> None:
        """Begin where the group stands, or at the configured end where it has never been."""
        mine = list(partitions)
        committed = settle(await fetch_offsets(self._cluster, {self.group: mine}))[self.group] if mine else {}
        fresh = {p: self.config.start for p in mine if p not in committed}
        positions = {p: offset.offset for p, offset in committed.items()}
        self._committed = dict(positions)
        self.consumer.assign(positions | await find_offsets(self._cluster, fresh))

    def _digest(self, error: RequestFailed) -> bool:
        """Prepare for joining again after an answer of the coordinator; False if it forbids that."""
        if error.code in FORGOTTEN:
            self._member_id, self._generation = "", -1
            return True
        return error.code in REJOIN

    # heartbeats

    async def _beat(self) -> None:
        """Show life until the group rebalances."""
        while self._joined:
            await asyncio.sleep(self.config.heartbeat_ms / 1000)
            request = HeartbeatRequest(
                group_id=self.group, generation_id=self._generation, member_id=self._member_id
            )
            try:
                answer = await self._cluster.ask_coordinator(self.group, request, HeartbeatResponse)
                raise_for(answer.error_code, f"group {self.group}")
                if await self._partitions_changed():
                    self._joined = False
            except RequestFailed as error:
                self._cluster.forget_coordinator(self.group)
                if self._digest(error) or not error.retriable:
                    self._joined = False
            except ClientError:
                self._cluster.forget_coordinator(self.group)  # the session time-out is the judge of silence

    async def _partitions_changed(self) -> bool:
        """Whether topics have grown since this member, as leader, shared them out."""
        for topic, count in self._counts.items():
            if self._cluster.fresh(topic) is None:
                metadata = await self._cluster.refresh([topic])
                if len(metadata.topics[topic].partitions) != count:
                    return True
        return False

    async def _stop_heartbeats(self) -> None:
        if self._heartbeats is not None:
            self._heartbeats.cancel()
            await asyncio.gather(self._heartbeats, return_exceptions=True)
            self._heartbeats = None
