"""What an instance remembers: identities, generations and statuses, across restarts."""

from __future__ import annotations

from pathlib import Path

import pytest

from moldau_operator.errors import InstanceError
from moldau_operator.local.memory import Memory
from moldau_operator.resources import conditions
from moldau_operator.resources.bundle import Bundle, read_bundle
from moldau_operator.resources.meta import DeletionPolicy, Key, Kind
from moldau_operator.resources.status import ClusterStatus, GroupStatus, PendingReset, TopicStatus
from moldau_operator.testing.platform import FakeClock

TOPIC = "apiVersion: moldau.dev/v1alpha1\nkind: Topic\nmetadata: {{name: {name}}}\nspec: {spec}\n"


def bundle(**topics: str) -> Bundle:
    return read_bundle("---\n".join(TOPIC.format(name=name, spec=spec) for name, spec in topics.items()), "f")


def inode(path: Path) -> int:
    """Another one after every write, because a write replaces the file."""
    return path.stat().st_ino


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the memory lies."""
    return tmp_path / "memory.json"


def test_a_resource_keeps_its_identity_and_counts_its_changes(path: Path) -> None:
    """A new spec is a new generation; layout, comments and labels are not."""
    clock = FakeClock()
    first = Memory(path, clock).identify(bundle(a="{cluster: d, partitions: 3}")).topics[0].metadata
    clock.advance(60_000)
    same = Memory(path, clock).identify(bundle(a="{partitions: 3,   cluster: d} # hm")).topics[0].metadata
    edited = Memory(path, clock).identify(bundle(a="{cluster: d, partitions: 4}")).topics[0].metadata
    assert same == first
    assert (edited.uid, edited.created_at, edited.generation) == (first.uid, first.created_at, 2)


def test_later_resources_are_younger(path: Path) -> None:
    """In the order of the file, and of the files."""
    memory = Memory(path, FakeClock())
    (b,) = memory.identify(bundle(b="{cluster: d}")).topics
    a, again = memory.identify(bundle(a="{cluster: d}", b="{cluster: d}")).topics
    assert again.metadata.uid == b.metadata.uid < a.metadata.uid


async def test_statuses_outlive_the_process(path: Path) -> None:
    """Every kind, with conditions, policies and a reset under way; figures that move are not kept."""
    found = conditions.merge((), conditions.ready(), 1, "2026-01-01T00:00:00Z")
    statuses = {
        Key(Kind.CLUSTER, "default", "demo"): ClusterStatus(
            conditions=found, cluster_id="c", node_id_bases={"p": 0}
        ),
        Key(Kind.TOPIC, "default", "orders"): TopicStatus(
            conditions=found, topic_id="t", deletion_policy=DeletionPolicy.DELETE, owned=True
        ),
        Key(Kind.CONSUMER_GROUP, "default", "billing"): GroupStatus(
            conditions=found,
            pending_reset=PendingReset(id="r", offsets={"orders": {0: 5}}),
            last_reset_id="q",
        ),
    }
    await Memory(path, FakeClock()).save(statuses)
    again = Memory(path, FakeClock())
    kept = {**again.statuses(ClusterStatus), **again.statuses(TopicStatus), **again.statuses(GroupStatus)}
    assert kept == statuses


async def test_moving_figures_are_not_written(path: Path) -> None:
    """Lag changes with every record; the disk must not."""
    memory, key = Memory(path, FakeClock()), Key(Kind.CONSUMER_GROUP, "default", "billing")
    await memory.save({key: GroupStatus(lag=1, members=1, state="Stable")})
    before = inode(path)
    await memory.save({key: GroupStatus(lag=2, members=2, state="Empty")})
    assert inode(path) == before
    assert memory.statuses(GroupStatus)[key].lag == 2


async def test_forgetting_is_for_good(path: Path) -> None:
    """A resource declared again later is a new one."""
    memory = Memory(path, FakeClock())
    (old,) = memory.identify(bundle(a="{cluster: d}")).topics
    await memory.save({old.key: TopicStatus(owned=True)})
    await memory.forget(frozenset({old.key}))
    (new,) = Memory(path, FakeClock()).identify(bundle(a="{cluster: d}")).topics
    assert new.metadata.uid != old.metadata.uid
    assert Memory(path, FakeClock()).statuses(TopicStatus) == {}


async def test_replaced_data_is_no_deletion(path: Path) -> None:
    """Topics of a cluster whose data is gone are made again, not reported as deleted behind."""
    memory, key = Memory(path, FakeClock()), Key(Kind.TOPIC, "default", "orders")
    await memory.save({key: TopicStatus(topic_id="t", topic_name="orders", owned=True, settled_generation=1)})
    await memory.forget_topics()
    assert memory.statuses(TopicStatus)[key] == TopicStatus(topic_name="orders")


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"next_uid": "x"}', '{"next_uid":1,"identities":{},"statuses":{"a":{}}}']
)
def test_a_damaged_memory_says_what_to_do(path: Path, text: str) -> None:
    """Removing it loses no record."""
    path.write_text(text)
    with pytest.raises(InstanceError, match=r"is damaged .*; remove it: topics stay, and are adopted"):
        Memory(path, FakeClock())
