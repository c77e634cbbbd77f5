"""Seeds that were red once, each with what it found. They stay, whatever else becomes of their stories."""

from __future__ import annotations

import pytest

from moldau_broker.testing.sim.run import run_seed
from moldau_broker.testing.sim.swarm import (
    COMMITS,
    DELETIONS,
    DISK_FAULTS,
    EXTRAS,
    LATE_ROT,
    MEMBERS,
    METADATA_ROT,
    READ_AHEAD,
    TopicPlan,
)

BEFORE_ALL_THAT = EXTRAS - {READ_AHEAD, MEMBERS, METADATA_ROT}

RED = [
    (
        "broker",
        0,
        "a restarted broker led by an image from before its registration, and cut off replicated records",
    ),
    (
        "broker",
        1050,
        "the simulator's consumer asked without a leader epoch, and believed a leader of the past",
    ),
    (
        "broker",
        149,
        "the simulator blamed a wiped replica that came back by its last heartbeat and fetch, late but true",
    ),
    ("broker", 10, "a leader below min.insync.replicas could never grow its ISR"),
]
RED_SINCE_SESSIONS_LISTEN = [
    (
        309,
        "offset commits read",
        "a read of offsets that waited for a commit before it gave one after it, which was not stored yet",
    ),
    (
        740,
        "disks wiped",
        "the simulator blamed a wiped replica that a fetch of before brought into an ISR it had not been in",
    ),
]
RED_BY_DISKS = [
    (
        "broker",
        8,
        "a leader never asked again for an ISR that a controller with a full disk had refused to write",
    ),
    (
        "broker",
        15,
        "the simulator blamed a late winner of an old epoch for lacking what a later leader had committed",
    ),
    ("quorum", 8, "an answer that half fitted was never flushed, and the follower asked for nothing again"),
]
RED_WITH_ALL = [
    (
        "broker",
        55,
        "bits flipped",
        TopicPlan("fleeting", 1, 3, 2),
        1,
        "the simulator left a node down that had taken long to stop, while damage kept all other faults away",
    ),
    (
        "broker",
        526,
        "bits flipped",
        TopicPlan("fleeting", 1, 2, 1),
        0,
        "the simulator left a node down that had died long after its crash was asked for, beside damage of its own",
    ),
    (
        "broker",
        934,
        "disks full",
        TopicPlan("fleeting", 1, 3, 3),
        0,
        "the simulator's disk could not say that a log which a full disk had refused to make was not there",
    ),
]

RED_READING_AHEAD = [
    (
        575,
        "replica questions ahead",
        "a replica that had led an epoch without writing in it forgot where the epoch before it began",
    ),
    (586, "replica questions ahead", "the same"),
    (
        609,
        "voices regained",
        "the simulator's disk gave a log that was begun anew the voters of a snapshot from before",
    ),
    (
        1517,
        "crashes halfway",
        "the simulator damaged a replica whose only whole copy was about to die, in a crash asked for before",
    ),
]
RED_WITH_MEMBERS = [
    (18, "a leader that synced twice while its assignment was being stored gave its generation two of them"),
    (43, "the same; each of three members would have got the share of another"),
]


@pytest.mark.parametrize(("layer", "seed", "found"), RED, ids=[f"{layer}-{seed}" for layer, seed, _ in RED])
def test_seed_that_was_red_is_green(layer: str, seed: int, found: str) -> None:
    """What the seed found does not come back."""
    outcome = run_seed(seed, layer=layer, extras=frozenset())  # there were none when it was found
    assert outcome.failure is None, f"{outcome.failure}; it once found: {found}"


@pytest.mark.parametrize(
    ("layer", "seed", "fault", "fleeting", "groups", "found"),
    RED_WITH_ALL,
    ids=[f"{one[0]}-{one[1]}" for one in RED_WITH_ALL],
)
def test_seed_that_was_red_in_a_world_of_all_is_green(
    layer: str, seed: int, fault: str, fleeting: TopicPlan, groups: int, found: str
) -> None:
    """Likewise, for what came with deleted topics, groups and damage in every network.

    Fewer worlds have topics that go, and groups, than when these were found; here they have theirs still.
    """
    outcome = run_seed(
        seed,
        layer=layer,
        world=lambda swarm: swarm._replace(fleeting=fleeting, groups=groups),
        extras=frozenset({DISK_FAULTS, DELETIONS, COMMITS, LATE_ROT}),
    )
    assert outcome.counts[fault], "the fault that found it is still there"
    assert outcome.failure is None, f"{outcome.failure}; it once found: {found}"


@pytest.mark.parametrize(
    ("layer", "seed", "found"), RED_BY_DISKS, ids=[f"{layer}-{seed}" for layer, seed, _ in RED_BY_DISKS]
)
def test_seed_that_was_red_by_its_disks_is_green(layer: str, seed: int, found: str) -> None:
    """Likewise, for what full disks and flipped bits have found."""
    outcome = run_seed(seed, layer=layer, extras=frozenset({DISK_FAULTS}))
    assert outcome.counts["disks full"], "the fault that found it is still there"
    assert outcome.failure is None, f"{outcome.failure}; it once found: {found}"


@pytest.mark.parametrize(
    ("seed", "counted", "found"),
    RED_SINCE_SESSIONS_LISTEN,
    ids=[f"broker-{one[0]}" for one in RED_SINCE_SESSIONS_LISTEN],
)
def test_seed_that_was_red_since_sessions_listen_is_green(seed: int, counted: str, found: str) -> None:
    """Likewise, for stories in which fetches look only where something has happened."""
    outcome = run_seed(seed, layer="broker", extras=BEFORE_ALL_THAT)
    assert outcome.counts[counted], "what found it is still there"
    assert outcome.failure is None, f"{outcome.failure}; it once found: {found}"


@pytest.mark.parametrize(
    ("seed", "found"), RED_WITH_MEMBERS, ids=[f"broker-{seed}" for seed, _ in RED_WITH_MEMBERS]
)
def test_seed_that_was_red_by_a_groups_members_is_green(seed: int, found: str) -> None:
    """Likewise, for what members of a group have found."""
    outcome = run_seed(seed, layer="broker", extras=EXTRAS - {READ_AHEAD, METADATA_ROT})
    assert outcome.counts["group rebalances completed"], "what found it is still there"
    assert outcome.failure is None, f"{outcome.failure}; it once found: {found}"


@pytest.mark.parametrize(
    ("seed", "counted", "found"), RED_READING_AHEAD, ids=[f"broker-{one[0]}" for one in RED_READING_AHEAD]
)
def test_seed_that_was_red_while_followers_read_ahead_is_green(seed: int, counted: str, found: str) -> None:
    """Likewise, for worlds with all that there is by now."""
    outcome = run_seed(seed, layer="broker")
    assert outcome.counts[counted], "what found it is still there"
    assert outcome.failure is None, f"{outcome.failure}; it once found: {found}"
