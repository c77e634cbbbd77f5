"""One question to the coordinators of many groups, repeated for those whose answer may still improve."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TypeVar

from moldau_broker.client.cluster import Cluster
from moldau_broker.client.errors import ClientError

T = TypeVar("T")

AskCoordinator = Callable[[int, list[str]], Awaitable[Mapping[str, T | ClientError]]]
"""Asks a broker, by id, about groups it coordinates; a value or an error for each."""


async def ask_coordinators(
    cluster: Cluster, groups: Iterable[str], ask: AskCoordinator[T]
) -> dict[str, T | ClientError]:
    """Ask all coordinators at once, and again where the error is retriable and the deadline allows."""
    limit_ms = cluster.clock.monotonic_ms() + cluster.config.deadline_ms
    outcomes: dict[str, T | ClientError] = {}
    pending = list(dict.fromkeys(groups))
    attempts = 0
    while pending:
        by_node: dict[int, list[str]] = {}
        for group, node in zip(pending, await _coordinators(cluster, pending), strict=True):
            if isinstance(node, ClientError):
                outcomes[group] = node
            else:
                by_node.setdefault(node, []).append(group)
        for answers in await asyncio.gather(*(_ask(ask, node, names) for node, names in by_node.items())):
            outcomes |= answers
        pending = [group for group in pending if _may_improve(outcomes[group])]
        wait_s = cluster.config.backoff_s(attempts, cluster.rng)
        if not pending or cluster.clock.monotonic_ms() + wait_s * 1000 > limit_ms:
            break
        attempts += 1
        await asyncio.sleep(wait_s)
        for group in pending:
            cluster.forget_coordinator(group)
    return outcomes


async def _coordinators(cluster: Cluster, groups: list[str]) -> list[int | ClientError]:
    found = await cluster.find_coordinators(groups)
    return [found[group] for group in groups]


async def _ask(ask: AskCoordinator[T], node: int, groups: list[str]) -> Mapping[str, T | ClientError]:
    try:
        return await ask(node, groups)
    except ClientError as error:
        return dict.fromkeys(groups, error)


def _may_improve(outcome: object) -> bool:
    return isinstance(outcome, ClientError) and outcome.retriable
