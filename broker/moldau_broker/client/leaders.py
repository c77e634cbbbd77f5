"""One question to the leaders of many partitions, repeated for those whose answer may still improve."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TypeVar

from moldau_broker.base.errors import ErrorCode
from moldau_broker.client.cluster import Cluster
from moldau_broker.client.errors import ClientError, RequestFailed
from moldau_broker.client.partitions import TopicPartition

T = TypeVar("T")

AskLeader = Callable[[int, list[TopicPartition]], Awaitable[Mapping[TopicPartition, T | ClientError]]]
"""Asks a broker, by id, about partitions it leads; a value or an error for each."""


async def ask_leaders(
    cluster: Cluster,
    partitions: Iterable[TopicPartition],
    ask: AskLeader[T],
    *,
    deadline_ms: int | None = None,
) -> dict[TopicPartition, T | ClientError]:
    """Ask all leaders at once, and again where the error is retriable and the deadline allows.

    Partitions that do not exist get their error as value at once; those without a leader are waited for.

    Args:
        cluster: whom to ask.
        partitions: what to ask about.
        ask: one request to one broker.
        deadline_ms: for all the attempts; None is the configuration's, 0 asks once.
    """
    patience_ms = cluster.config.deadline_ms if deadline_ms is None else deadline_ms
    limit_ms = cluster.clock.monotonic_ms() + patience_ms
    outcomes: dict[TopicPartition, T | ClientError] = {}
    wanted = list(dict.fromkeys(partitions))
    pending = wanted
    attempts = 0
    while pending:
        led, missing, leaderless = await group_by_leader(cluster, pending)
        outcomes |= missing
        outcomes |= leaderless
        for answers in await asyncio.gather(*(_ask(ask, node, led[node]) for node in led)):
            outcomes |= answers
        pending = [p for p in pending if p not in missing and _may_improve(outcomes[p])]
        wait_s = cluster.config.backoff_s(attempts, cluster.rng)
        if not pending or cluster.clock.monotonic_ms() + wait_s * 1000 > limit_ms:
            break
        attempts += 1
        await asyncio.sleep(wait_s)
        cluster.forget({p.topic for p in pending})
    return {partition: outcomes[partition] for partition in wanted}


async def group_by_leader(
    cluster: Cluster, partitions: Iterable[TopicPartition]
) -> tuple[
    dict[int, list[TopicPartition]], dict[TopicPartition, ClientError], dict[TopicPartition, ClientError]
]:
    """Partitions by the id of their leader; those that do not exist; those without a leader now."""
    partitions = list(partitions)
    stale = {p.topic for p in partitions if cluster.fresh(p.topic) is None}
    if stale:
        await cluster.retry(lambda: cluster.refresh(stale))
    led: dict[int, list[TopicPartition]] = {}
    missing: dict[TopicPartition, ClientError] = {}
    leaderless: dict[TopicPartition, ClientError] = {}
    for partition in partitions:
        topic = cluster.metadata.topics[partition.topic]
        info = cluster.metadata.partition(partition)
        if info is not None and info.leader in cluster.metadata.nodes:
            led.setdefault(info.leader, []).append(partition)
        elif info is not None or topic.error is ErrorCode.LEADER_NOT_AVAILABLE:
            leaderless[partition] = RequestFailed(ErrorCode.LEADER_NOT_AVAILABLE, f"partition {partition}")
        elif topic.error is not ErrorCode.NONE:
            missing[partition] = RequestFailed(topic.error, f"topic {partition.topic}")
        else:
            missing[partition] = RequestFailed(
                ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"partition {partition.partition} of topic {topic.name}"
            )
    return led, missing, leaderless


async def _ask(
    ask: AskLeader[T], node: int, partitions: list[TopicPartition]
) -> Mapping[TopicPartition, T | ClientError]:
    try:
        return await ask(node, partitions)
    except ClientError as error:
        return dict.fromkeys(partitions, error)


def _may_improve(outcome: object) -> bool:
    return isinstance(outcome, ClientError) and outcome.retriable
