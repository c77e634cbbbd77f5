"""The range assignor shares partitions as the Java client's does."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from moldau_broker.client.assignors import assign_range
from moldau_broker.client.partitions import TopicPartition


def partitions(topic: str, *numbers: int) -> list[TopicPartition]:
    return [TopicPartition(topic, number) for number in numbers]


def test_assign_range_gives_earlier_members_the_longer_ranges() -> None:
    """Reference: RangeAssignor's documentation: 3 + 3 partitions over 2 members."""
    shared = assign_range({"C0": ["t0", "t1"], "C1": ["t0", "t1"]}, {"t0": 3, "t1": 3})
    assert shared == {
        "C0": partitions("t0", 0, 1) + partitions("t1", 0, 1),
        "C1": partitions("t0", 2) + partitions("t1", 2),
    }


def test_assign_range_asks_only_subscribers() -> None:
    """A member gets nothing of a topic it did not ask for; extra members get nothing."""
    shared = assign_range({"a": ["x"], "b": ["x", "y"], "c": ["y"], "d": ["gone"]}, {"x": 1, "y": 2})
    assert shared == {"a": partitions("x", 0), "b": partitions("y", 0), "c": partitions("y", 1), "d": []}


@given(
    st.dictionaries(st.text("abc", min_size=1, max_size=3), st.lists(st.sampled_from("xyz")), min_size=1),
    st.dictionaries(st.sampled_from("xyz"), st.integers(0, 20)),
)
def test_assign_range_gives_every_partition_to_exactly_one(
    subscriptions: dict[str, list[str]], counts: dict[str, int]
) -> None:
    """Nothing is lost or shared, and no two subscribers of a topic differ by more than one."""
    shared = assign_range(subscriptions, counts)
    given_out = sorted(p for assigned in shared.values() for p in assigned)
    wanted = {topic for topics in subscriptions.values() for topic in topics}
    assert given_out == sorted(TopicPartition(t, n) for t in wanted for n in range(counts.get(t, 0)))
    for topic in wanted:
        shares = [
            sum(p.topic == topic for p in shared[member])
            for member, topics in subscriptions.items()
            if topic in topics
        ]
        assert max(shares) - min(shares) <= 1
