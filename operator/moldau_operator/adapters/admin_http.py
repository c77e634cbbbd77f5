"""What the brokers' own admin API over HTTP is asked: may one of them stop, loads, how old is lag, resets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final, TypeVar
from urllib.parse import urlencode

from moldau_broker.base.errors import ErrorCode
from moldau_broker.client.admin_api import AdminApi
from moldau_broker.client.admin_api_answers import GroupReport
from moldau_broker.client.errors import BrokerUnreachable, ClientError, RequestFailed
from moldau_broker.client.partitions import TopicPartition
from moldau_operator.errors import AdminError
from moldau_operator.seams.broker_admin import GroupAge, Obstacle, Partition, PartitionLoad

T = TypeVar("T")

_HURTS: Final = {
    "only-in-sync-replica": "has no other replica in sync",
    "below-min-insync-replicas": "would be below its min.insync.replicas",
}
"""The API's word for an obstacle -> what stopping the broker would do to a partition."""

TIMEOUT_MS: Final = 10_000
"""A broker gives its peers 5 s each."""


LOAD_TIMEOUT_MS: Final = 3_000
"""Loads make a plan better, they are not needed for one: a node that hangs is not waited for long."""

AGES_TIMEOUT_MS: Final = 6_000
"""A broker gives other coordinators 5 s each, side by side: whoever it did not hear from it leaves out."""

TARGET_BYTES: Final = 6_000
"""Of group ids in one request: brokers read a request's first line up to 8,190 bytes."""


class HttpAdmin:
    """Asks whichever node answers first.

    Args:
        addresses: gives host:port of every node, those that serve first.
    """

    def __init__(self, addresses: Callable[[], Sequence[str]]) -> None:
        self._addresses = addresses

    async def may_stop(self, broker_id: int) -> tuple[Obstacle, ...]:
        """Why a broker should not be stopped now; empty when it may."""
        verdict = await self._ask(lambda api: api.may_stop(broker_id))
        if verdict.allowed:
            return ()
        found = [
            Obstacle(f"{one.partition} {_HURTS.get(one.obstacle, one.obstacle)}", Partition(*one.partition))
            for one in verdict.partitions
        ]
        if not verdict.quorum_kept:
            found.append(Obstacle("the metadata quorum would lose its majority"))
        return tuple(found) or tuple(map(Obstacle, verdict.reasons)) or (Obstacle("the cluster needs it"),)

    async def loads(self) -> dict[Partition, PartitionLoad]:
        """What partitions carry; a node that does not answer is left out, and so is what it leads."""
        found: dict[Partition, PartitionLoad] = {}
        for part in await asyncio.gather(*map(_loads_of, self._addresses())):
            found.update(part)
        return found

    async def ages(self, group_ids: Sequence[str]) -> dict[str, GroupAge]:
        """Lag in seconds; a group whose coordinator nobody could ask is left out."""
        found: dict[str, GroupAge] = {}
        for asked in batches(group_ids):
            try:
                answer = await self._ask(partial(AdminApi.groups, group_ids=asked), AGES_TIMEOUT_MS)
            except AdminError:
                break  # nobody answers: what is left would wait as long for nothing
            found.update({group.id: _age(group) for group in answer.groups})
        return found

    async def reset_offsets(
        self, group_id: str, offsets: Mapping[Partition, int], reset_id: str, *, force: bool
    ) -> None:
        """Move a group's offsets under its coordinator's fence; an answer that was lost may be asked for again."""
        wanted = {TopicPartition(*place): offset for place, offset in offsets.items()}
        await self._ask(lambda api: api.reset_offsets(group_id, wanted, reset_id=reset_id, force=force))

    async def _ask(self, call: Callable[[AdminApi], Awaitable[T]], timeout_ms: int = TIMEOUT_MS) -> T:
        last: ClientError = BrokerUnreachable("the brokers", "there are none yet")
        for address in self._addresses():
            host, _, port = address.rpartition(":")
            try:
                async with AdminApi((host, int(port)), timeout_ms=timeout_ms) as api:
                    return await call(api)
            except RequestFailed as error:
                raise admin_error(error) from error
            except ClientError as error:
                last = error
        raise admin_error(last) from last


async def _loads_of(address: str) -> dict[Partition, PartitionLoad]:
    host, _, port = address.rpartition(":")
    try:
        async with AdminApi((host, int(port)), timeout_ms=LOAD_TIMEOUT_MS) as api:
            answer = await api.load()
    except ClientError:
        return {}
    return {
        Partition(*one.partition): PartitionLoad(
            one.bytes_in_per_second_5m, one.bytes_out_per_second_5m, one.requests_per_second_5m
        )
        for one in answer.partitions
    }


def batches(group_ids: Sequence[str]) -> Iterator[list[str]]:
    """The ids in groups that fit into one request each."""
    batch: list[str] = []
    size = 0
    for group_id in group_ids:
        more = len(urlencode({"id": group_id})) + 1
        if batch and size + more > TARGET_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(group_id)
        size += more
    if batch:
        yield batch


def _age(group: GroupReport) -> GroupAge:
    by_topic: dict[str, float | None] = {}
    for one in group.offsets:
        if one.committed_offset is None:
            continue
        before, seconds = by_topic.get(one.partition.topic, 0.0), one.lag_seconds
        by_topic[one.partition.topic] = None if before is None or seconds is None else max(before, seconds)
    return GroupAge(seconds=group.lag_seconds, by_topic=by_topic)


def admin_error(error: ClientError) -> AdminError:
    """A client's error in the operator's words."""
    if isinstance(error, RequestFailed):
        words = error.detail.rstrip(".") if error.detail else error.code.name.replace("_", " ").lower()
        return AdminError(error.code, words)
    code = (
        ErrorCode.BROKER_NOT_AVAILABLE
        if isinstance(error, BrokerUnreachable)
        else ErrorCode.NETWORK_EXCEPTION
    )
    return AdminError(code, str(error), retriable=error.retriable)
