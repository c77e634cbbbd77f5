"""From two looks at a cluster to what `moldau top` shows. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from moldau_broker.client.admin_api_cluster import ClusterBroker
from moldau_cli.top_look import BYTES_IN, BYTES_OUT, CPU, MEMORY, BrokerLook, Look


@dataclass(frozen=True, slots=True)
class BrokerLine:
    """A broker; rates are per second, None where they are not known."""

    broker: int
    state: str
    leaders: int
    replicas: int
    bytes_in: float | None
    bytes_out: float | None
    cpu_percent: float | None
    memory_bytes: int | None


@dataclass(frozen=True, slots=True)
class PartitionLine:
    """A partition on its leader; rates are per second, averages of a minute."""

    topic: str
    partition: int
    leader: int
    bytes_in: float
    bytes_out: float
    requests: float
    size_bytes: int


@dataclass(frozen=True, slots=True)
class GroupLine:
    """A group and how far it is behind; `unknown` partitions have a commit but no lag that anybody could tell."""

    group: str
    state: str
    members: int
    lag_records: int | None
    lag_seconds: float | None
    unknown: int


@dataclass(frozen=True, slots=True)
class TopReport:
    """The whole view: partitions hottest first, groups furthest behind first."""

    cluster_id: str
    controller: int | None
    controller_epoch: int | None
    under_replicated: int
    offline: int
    under_min_isr: int
    brokers: tuple[BrokerLine, ...]
    partitions: tuple[PartitionLine, ...]
    groups: tuple[GroupLine, ...]
    problems: tuple[str, ...]

    @property
    def busy_partitions(self) -> tuple[PartitionLine, ...]:
        """Those that carried a byte a second or more of late."""
        return tuple(line for line in self.partitions if line.bytes_in + line.bytes_out >= 1)

    def as_json(self) -> dict[str, Any]:
        """Plain data; the fields' names are those of the attributes."""
        return asdict(self)


def make_report(before: Look | None, now: Look) -> TopReport:
    """`before` is the look that rates are counted from; without one, or across a restart, rates are not known."""
    cluster = now.cluster
    fenced = {one.id for one in cluster.brokers if one.fenced}
    problems = [
        f"broker {node} tells nothing: {why}" for node, why in now.silent.items() if node not in fenced
    ]
    problems += [
        f"the groups of broker {node} are missing: {why}" for node, why in now.groups.incomplete.items()
    ]
    return TopReport(
        cluster_id=cluster.cluster_id,
        controller=cluster.leader_id,
        controller_epoch=cluster.leader_epoch,
        under_replicated=cluster.under_replicated.count,
        offline=cluster.offline.count,
        under_min_isr=cluster.under_min_isr.count,
        brokers=tuple(_broker(one, before, now) for one in cluster.brokers),
        partitions=_partitions(now),
        groups=_groups(now),
        problems=tuple(problems),
    )


def _broker(about: ClusterBroker, before: Look | None, now: Look) -> BrokerLine:
    seen = now.brokers.get(about.id)
    since = before.brokers.get(about.id) if before is not None else None
    cpu = _rate(since, seen, CPU)
    return BrokerLine(
        broker=about.id,
        state=_state(about, seen is not None),
        leaders=about.leaders,
        replicas=about.replicas,
        bytes_in=_traffic(since, seen, BYTES_IN),
        bytes_out=_traffic(since, seen, BYTES_OUT),
        cpu_percent=None if cpu is None else 100 * cpu,
        memory_bytes=int(seen.totals[MEMORY]) if seen is not None and MEMORY in seen.totals else None,
    )


def _state(about: ClusterBroker, answers: bool) -> str:
    if about.stopping:
        return "stopping"
    if about.fenced:
        return "fenced" if answers else "down"
    return "serving" if answers else "silent"


def _traffic(since: BrokerLook | None, seen: BrokerLook | None, name: str) -> float | None:
    """Counted between the looks; where there is only one look, what the partitions' last minute says."""
    rate = _rate(since, seen, name)
    if rate is not None or seen is None:
        return rate
    loads = seen.load.partitions
    if name == BYTES_IN:
        return sum(one.bytes_in_per_second_1m for one in loads)
    return sum(one.bytes_out_per_second_1m for one in loads)


def _rate(since: BrokerLook | None, seen: BrokerLook | None, name: str) -> float | None:
    """Per second between the looks; None for a counter that began anew."""
    if since is None or seen is None or name not in since.totals or name not in seen.totals:
        return None
    grown, elapsed = seen.totals[name] - since.totals[name], seen.at_s - since.at_s
    return grown / elapsed if grown >= 0 and elapsed > 0 else None


def _partitions(now: Look) -> tuple[PartitionLine, ...]:
    lines = [
        PartitionLine(
            one.partition.topic,
            one.partition.partition,
            node,
            one.bytes_in_per_second_1m,
            one.bytes_out_per_second_1m,
            one.requests_per_second_1m,
            one.size_bytes,
        )
        for node, seen in now.brokers.items()
        for one in seen.load.partitions
    ]
    return tuple(
        sorted(lines, key=lambda line: (-line.bytes_in - line.bytes_out, line.topic, line.partition))
    )


def _groups(now: Look) -> tuple[GroupLine, ...]:
    lines = [
        GroupLine(
            group.id,
            group.state,
            len(group.members),
            sum(known) if (known := _known([one.lag_records for one in group.offsets])) else None,
            max(_known([one.lag_seconds for one in group.offsets]), default=None),
            sum(one.committed_offset is not None and one.lag_records is None for one in group.offsets),
        )
        for group in now.groups.groups
    ]
    return tuple(
        sorted(lines, key=lambda line: (-(line.lag_records or 0), -(line.lag_seconds or 0), line.group))
    )


def _known(values: Sequence[Any]) -> list[Any]:
    return [value for value in values if value is not None]
