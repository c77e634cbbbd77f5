"""Since when replicas are out of sync: what their partitions' leaders say, and how to say it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from moldau_broker.client.admin_api import AdminApi
from moldau_broker.client.admin_api_answers import OutOfSyncReport
from moldau_broker.client.cluster import Cluster
from moldau_broker.client.metadata import TopicInfo
from moldau_broker.client.partitions import TopicPartition
from moldau_cli.admin_http import ask_or_none, http_addresses
from moldau_cli.output import human_span, human_time, time_of_day

NAMED_MAX: Final = 20
"""Topics that a question names; for more of them, all are asked for: a request line has 8 KB at most."""


@dataclass(frozen=True, slots=True)
class OutOfSync:
    """A replica that is out of sync, as its leader sees it. Times are UTC in ms.

    Attributes:
        leader: who says so.
        leader_since_ms: when that broker began to lead.
        since_ms: when the replica last had everything; None: before the leader's term.
        now_ms: the leader's clock as it said so.
        lag_records: how many the replica lacks, None where that is not known.
    """

    leader: int
    leader_since_ms: int
    since_ms: int | None
    now_ms: int
    lag_records: int | None

    def words(self, lag: int = 0) -> str:
        """out of sync for 4 min (since 10:31:07 UTC), 1,204 records behind.

        Args:
            lag: what the replica's own broker says of it, where the leader does not know.
        """
        if self.since_ms is None:
            began = time_of_day(self.leader_since_ms, self.now_ms)
            text = f"out of sync since before {began}, when broker {self.leader} began to lead"
        else:
            span = human_span(max(self.now_ms - self.since_ms, 0) // 1000)
            text = f"out of sync for {span} (since {time_of_day(self.since_ms, self.now_ms)})"
        missing = lag if self.lag_records is None else self.lag_records
        return f"{text}, {missing:,} record{'' if missing == 1 else 's'} behind" if missing else text

    def data(self) -> dict[str, Any]:
        """The same for programs; what is not known is null."""
        since, before = self.since_ms, self.leader_since_ms
        return {
            "since": None if since is None else human_time(since),
            "since_before": human_time(before) if since is None else None,
            "seconds": None if since is None else max(self.now_ms - since, 0) // 1000,
            "lag_records": self.lag_records,
        }


async def ask_leaders(
    cluster: Cluster, topics: Iterable[TopicInfo]
) -> dict[TopicPartition, dict[int, OutOfSync]]:
    """What leaders say of the replicas out of sync of these topics, by partition and broker.

    Nothing is asked while all are in sync. A leader that does not answer, or is too old to know, is left out.
    """
    led: dict[int, list[str]] = {}
    for topic in topics:
        for partition in topic.partitions:
            if partition.leader >= 0 and not set(partition.replicas) <= set(partition.isr):
                led.setdefault(partition.leader, []).append(topic.name)
    if not led:
        return {}
    addresses = await http_addresses(cluster)
    asked = [
        (addresses[node], list(dict.fromkeys(names))) for node, names in led.items() if node in addresses
    ]
    answers = await asyncio.gather(*(ask_or_none(address, _question(names)) for address, names in asked))
    return by_partition([answer for answer in answers if answer is not None])


def _question(names: Sequence[str]) -> Callable[[AdminApi], Awaitable[OutOfSyncReport]]:
    return lambda api: api.out_of_sync(names if len(names) <= NAMED_MAX else ())


def by_partition(answers: Iterable[OutOfSyncReport]) -> dict[TopicPartition, dict[int, OutOfSync]]:
    """The answers of several leaders; of two that both think they lead, the one with the newer epoch counts."""
    newest: dict[TopicPartition, int] = {}
    found: dict[TopicPartition, dict[int, OutOfSync]] = {}
    for answer in answers:
        for one in answer.replicas:
            if one.leader_epoch < newest.get(one.partition, -1):
                continue
            if one.leader_epoch > newest.get(one.partition, -1):
                newest[one.partition] = one.leader_epoch
                found[one.partition] = {}
            found[one.partition][one.broker_id] = OutOfSync(
                answer.node_id, one.leader_since_ms, one.since_ms, answer.now_ms, one.lag_records
            )
    return found


def of_topic(
    found: Mapping[TopicPartition, Mapping[int, OutOfSync]], topic: str
) -> dict[int, Mapping[int, OutOfSync]]:
    """Those of one topic, by partition and broker."""
    return {place.partition: replicas for place, replicas in found.items() if place.topic == topic}
