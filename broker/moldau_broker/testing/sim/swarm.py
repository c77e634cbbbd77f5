"""How this seed's world is: every size, time and probability is drawn, so that rare paths are common somewhere."""

from __future__ import annotations

from random import Random
from typing import Final, NamedTuple

from moldau_broker.replication.fetch_round import AHEAD_BYTES
from moldau_broker.testing.sim.disk import DiskConditions
from moldau_broker.testing.sim.network import Conditions


class TopicPlan(NamedTuple):
    """A topic the run makes at its beginning."""

    name: str
    partitions: int
    replication_factor: int
    min_insync: int


class MemberPlan(NamedTuple):
    """The group that has members, in a world that has groups.

    Attributes:
        members: how many clients; the first `static` of them have a `group.instance.id` (KIP-345).
        partitions: that they share; their leader's business alone.
        session_timeout_ms, rebalance_timeout_ms: what every member asks for; the second is never the shorter one.
        beat_ms: between two heartbeats.
        initial_delay_ms: `group.initial.rebalance.delay.ms`.
    """

    members: int
    static: int
    partitions: int
    session_timeout_ms: int
    rebalance_timeout_ms: int
    beat_ms: int
    initial_delay_ms: int


DISK_FAULTS: Final = "disk faults"
DELETIONS: Final = "deletions"
COMMITS: Final = "commits"
LATE_ROT: Final = "damage beside late messages"
READ_AHEAD: Final = "followers read ahead"
MEMBERS: Final = "members"
METADATA_ROT: Final = "metadata damage"
EXTRAS: Final = frozenset({DISK_FAULTS, DELETIONS, COMMITS, LATE_ROT, READ_AHEAD, MEMBERS, METADATA_ROT})
"""What worlds have come to have over time. A seed that was red before is played without, or it has another story."""


class Swarm(NamedTuple):
    """One world.

    Attributes:
        nodes: combined broker and controller processes.
        voters: how many of them found the quorum together; the rest join.
        chaos_ms: how long faults are injected; afterwards everything must converge.
        fault_gap_ms: mean pause between faults.
        faults: kind -> weight; kinds that are absent do not occur in this world.
        drift_permille, offset_ms: each node's clock.
        snapshot_records: metadata records between snapshots.
        fetch_bytes: of one replica Fetch answer; small ones make followers fall behind batch by batch.
        producers, consumers: clients of each kind.
        pause_ms: mean pause of a producer between two batches of a partition.
        records_max: per batch.
        session_timeout_ms, lag_ms: `broker.session.timeout.ms`, `replica.lag.time.max.ms`.
        dies_halfway: how often a crash comes in the middle of carrying something out.
        groups: consumer groups that store offsets; where there are none, there is no offsets topic either.
        fleeting: a topic that is deleted and made again all the time, None where there is none.
        ahead_bytes: after an answer of this size a follower reads on before it is on disk.
        members: one more group, which has members; it counts where `groups` is not zero.
        rot_gap_ms: mean pause between damages of metadata logs or quorum-states.
    """

    nodes: int
    chaos_ms: int
    fault_gap_ms: int
    faults: dict[str, float]
    drift_permille: tuple[int, ...]
    offset_ms: tuple[int, ...]
    network: Conditions
    disk: DiskConditions
    snapshot_records: int
    fetch_bytes: int
    topics: tuple[TopicPlan, ...]
    producers: int
    consumers: int
    pause_ms: int
    records_max: int
    session_timeout_ms: int
    lag_ms: int
    dies_halfway: float
    fleeting: TopicPlan | None = None
    groups: int = 0
    ahead_bytes: int = AHEAD_BYTES
    members: MemberPlan | None = None
    rot_gap_ms: int = 8_000


FAULTS = (
    "crash",
    "crash leader",
    "crash all",
    "pause",
    "pause leader",
    "isolate",
    "isolate leader",
    "one-way cut",
    "split",
    "clog",
    "reset",
    "wall clock jump",
    "slow disk",
    "wipe",
    "membership",
    "clean restart",
    "reassign",
    "elect",
)


def draw(rng: Random) -> Swarm:
    """A world from chance."""
    nodes = 5 if rng.random() < 0.12 else 3
    faults = {kind: 0.2 + rng.random() for kind in FAULTS if rng.random() < 0.75}
    if not faults:
        faults["crash"] = 1.0
    calm = rng.random() < 0.3
    rare = rng.choice((0.0, 0.002, 0.01))
    network = Conditions(
        delay_ms=rng.choice((0, 1, 2, 5, 10)),
        slow=0.0 if calm else rng.choice((0.0, 0.01, 0.05)),
        slow_ms=rng.choice((20, 100, 400)),
        loss=0.0 if calm else rare,
        duplicate=0.0 if calm else rng.choice((0.0, 0.01, 0.03)),
        timeout_ms=rng.choice((1000, 1500, 2500)),
    )
    disk = DiskConditions(
        sync_ms=rng.choice((0, 1, 3, 10)),
        slow=rng.choice((0.0, 0.0, 0.01, 0.03)),
        slow_ms=rng.choice((50, 300)),
        lose_unsynced=rng.choice((0.0, 0.5, 1.0, 1.0)),
    )
    drifting = rng.random() < 0.5
    return Swarm(
        nodes=nodes,
        chaos_ms=rng.randrange(42_000, 50_000),
        fault_gap_ms=rng.choice((2_000, 3_000, 5_000)),
        faults=faults,
        drift_permille=tuple(rng.randint(-40, 40) if drifting else 0 for _ in range(nodes)),
        offset_ms=tuple(rng.randrange(1_000_000) for _ in range(nodes)),
        network=network,
        disk=disk,
        snapshot_records=rng.choice((15, 40, 120)),
        fetch_bytes=rng.choice((100, 400, 1 << 20)),
        topics=_topics(rng),
        producers=rng.choice((2, 3)),
        consumers=1,
        pause_ms=rng.choice((120, 160, 200)),
        records_max=rng.choice((1, 1, 3)),
        session_timeout_ms=rng.choice((2_000, 4_000, 6_000)),
        lag_ms=rng.choice((1_500, 3_000, 6_000)),
        dies_halfway=rng.choice((0.0, 0.3, 0.6)),
        fleeting=_fleeting(rng),  # what comes later is drawn later: older worlds stay as they were
        groups=rng.choice((1, 2)) if rng.random() < _RARER else 0,
        ahead_bytes=rng.choice((1, 250, AHEAD_BYTES, AHEAD_BYTES)),
        members=_members(rng),
    )


_RARER: Final = 0.15
"""Worlds with what makes them dearest: a thousand seeds shall take no longer than three minutes."""

_SHAPES: Final = [(3, 2), (3, 2), (3, 2), (3, 1), (2, 1), (2, 2), (3, 3)]


def _fleeting(rng: Random) -> TopicPlan | None:
    shape = rng.choice(_SHAPES)
    return TopicPlan("fleeting", 1, *shape) if rng.random() < _RARER else None


def _members(rng: Random) -> MemberPlan:
    members = rng.choice((2, 3, 3, 4))
    session_ms = rng.choice((1_200, 2_000, 3_000))
    return MemberPlan(
        members=members,
        static=min(members, rng.choice((0, 0, 1, 2))),
        partitions=rng.randint(2, 6),
        session_timeout_ms=session_ms,
        rebalance_timeout_ms=session_ms + rng.choice((0, 1_500)),
        beat_ms=session_ms // rng.choice((3, 5)),
        initial_delay_ms=rng.choice((0, 200, 600)),
    )


def _topics(rng: Random) -> tuple[TopicPlan, ...]:
    return tuple(
        TopicPlan(f"topic{index}", rng.choice((1, 1, 2)), *rng.choice(_SHAPES))
        for index in range(rng.choice((1, 1, 2)))
    )
