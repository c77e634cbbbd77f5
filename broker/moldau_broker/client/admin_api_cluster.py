"""What the brokers' admin API says of the cluster as a whole. Fields that are None were absent: not known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from moldau_broker.client.admin_api_answers import Json, read_place
from moldau_broker.client.partitions import TopicPartition


@dataclass(frozen=True, slots=True)
class QuorumReplica:
    """A voter or an observer; `lag` is records behind the leader, None where not known."""

    node_id: int
    lag: int | None
    last_caught_up_ms: int | None


@dataclass(frozen=True, slots=True)
class ClusterBroker:
    """A registered broker; `listeners` are host:port by name."""

    id: int
    epoch: int
    fenced: bool
    stopping: bool
    rack: str | None
    replicas: int
    leaders: int
    listeners: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Trouble:
    """Partitions that share a trouble. The list is cut at a bound; the count is not."""

    count: int
    partitions: tuple[TopicPartition, ...]

    @classmethod
    def read(cls, found: Json) -> Trouble:
        """One of the lists of `GET cluster`."""
        return cls(int(found["count"]), tuple(map(read_place, found["partitions"])))


@dataclass(frozen=True, slots=True)
class ClusterReport:
    """The cluster at one moment, as the metadata has it."""

    cluster_id: str
    leader_id: int | None
    leader_epoch: int | None
    voters: tuple[QuorumReplica, ...]
    observers: tuple[QuorumReplica, ...]
    brokers: tuple[ClusterBroker, ...]
    under_replicated: Trouble
    offline: Trouble
    under_min_isr: Trouble
    recovering: Trouble

    @classmethod
    def read(cls, found: Json) -> ClusterReport:
        """The answer of `GET cluster`."""
        quorum = found.get("quorum") or {}
        return cls(
            str(found["clusterId"]),
            quorum.get("leaderId"),
            quorum.get("leaderEpoch"),
            _replicas(quorum.get("voters", ())),
            _replicas(quorum.get("observers", ())),
            tuple(
                ClusterBroker(
                    int(b["id"]),
                    int(b["epoch"]),
                    bool(b["fenced"]),
                    bool(b["stopping"]),
                    b.get("rack"),
                    int(b["replicas"]),
                    int(b["leaders"]),
                    {str(name): str(at) for name, at in b["listeners"].items()},
                )
                for b in found["brokers"]
            ),
            Trouble.read(found["underReplicated"]),
            Trouble.read(found["offline"]),
            Trouble.read(found["underMinIsr"]),
            Trouble.read(found["recovering"]),
        )


def _replicas(items: Sequence[Json]) -> tuple[QuorumReplica, ...]:
    return tuple(
        QuorumReplica(int(item["nodeId"]), item.get("lagRecords"), item.get("lastCaughtUpMs"))
        for item in items
    )
