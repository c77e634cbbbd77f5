"""Which logs to clean, how far, and how their segments are grouped."""

from __future__ import annotations

from moldau_broker.base.topic_config import TopicConfig
from moldau_broker.storage.compaction import CleanPlan, SegmentFacts, group_segments, plan_clean

HOUR = 3_600_000
NOW = 1_700_000_000_000


def segments(*bases: int, size: int = 100, step_ms: int = HOUR) -> list[SegmentFacts]:
    """Closed segments and a last, active one; each is `step_ms` older than the next."""
    return [
        SegmentFacts(
            base,
            size,
            NOW - step_ms * (len(bases) - number),
            first_timestamp=NOW - step_ms * (len(bases) - number),
        )
        for number, base in enumerate(bases)
    ]


def plan(
    facts: list[SegmentFacts], config: TopicConfig | None = None, **changes: int | None
) -> CleanPlan | None:
    """A plan for a log from 0 to 1000 that is replicated to its end."""
    values: dict[str, int | None] = {
        "checkpoint": None,
        "log_start_offset": 0,
        "log_end_offset": 1_000,
        "stable_offset": 1_000,
        "now_ms": NOW,
    }
    return plan_clean(facts, config or TopicConfig(), **(values | changes))  # type: ignore[arg-type]


def test_plan_without_a_checkpoint_takes_every_closed_segment():
    """Everything but the active segment is dirty."""
    assert plan(segments(0, 100, 200, 300)) == CleanPlan(0, 300, 0, 300, False)


def test_plan_of_a_log_with_one_segment_is_none():
    """The active segment is never cleaned."""
    assert plan(segments(0)) is None


def test_plan_begins_at_the_checkpoint():
    """Segments below it count as clean bytes."""
    assert plan(segments(0, 100, 200, 300), checkpoint=200) == CleanPlan(200, 300, 200, 100, False)


def test_plan_counts_a_segment_that_the_checkpoint_cuts_as_dirty():
    """A round that ran out of memory ends inside a segment; the next goes on there."""
    assert plan(segments(0, 100, 200, 300), checkpoint=150) == CleanPlan(150, 300, 100, 200, False)


def test_plan_does_not_believe_a_checkpoint_outside_the_log():
    """Below the start or above the end it is from another life of the log: all is dirty."""
    assert plan(segments(0, 100, 200), checkpoint=5_000) == CleanPlan(0, 200, 0, 200, False)
    assert plan(segments(100, 200, 300), checkpoint=10, log_start_offset=150) == CleanPlan(
        150, 300, 0, 200, False
    )


def test_plan_leaves_the_segment_that_holds_the_stable_offset():
    """What is not yet committed may still be aborted or taken back."""
    assert plan(segments(0, 100, 200, 300), stable_offset=299) == CleanPlan(0, 200, 0, 200, False)
    assert plan(segments(0, 100, 200, 300), stable_offset=300) == CleanPlan(0, 300, 0, 300, False)
    assert plan(segments(0, 100, 200, 300), stable_offset=99) is None


def test_plan_leaves_segments_younger_than_the_minimum_lag():
    """min.compaction.lag.ms counts from a segment's newest record, and binds all that follow it."""
    config = TopicConfig(min_compaction_lag_ms=2 * HOUR + 1)
    assert plan(segments(0, 100, 200, 300), config) == CleanPlan(0, 200, 0, 200, False)
    assert plan(segments(0, 100), TopicConfig(min_compaction_lag_ms=3 * HOUR)) is None


def test_plan_is_overdue_after_the_maximum_lag():
    """A dirty record older than max.compaction.lag.ms makes the log due whatever its ratio."""
    facts = segments(0, 100, 200, 300)
    lazy = TopicConfig(min_cleanable_dirty_ratio=1.0)
    assert not plan(facts, lazy).due(lazy)
    impatient = TopicConfig(min_cleanable_dirty_ratio=1.0, max_compaction_lag_ms=3 * HOUR)
    assert plan(facts, impatient).overdue
    assert plan(facts, impatient).due(impatient)
    patient = TopicConfig(min_cleanable_dirty_ratio=1.0, max_compaction_lag_ms=4 * HOUR)
    assert not plan(facts, patient).due(patient)


def test_plan_is_due_above_the_dirty_ratio():
    """The ratio must be exceeded, not met."""
    config = TopicConfig(min_cleanable_dirty_ratio=0.5)
    assert plan(segments(0, 100, 200, 300), checkpoint=100).due(config)
    assert not plan(segments(0, 100, 200), checkpoint=100).due(config)


def group(
    facts: list[SegmentFacts], *, end: int = 10_000, files_max: int = 100, **config: int
) -> list[list[int]]:
    """Groups of a log whose cleanable range ends at 10,000."""
    return group_segments(
        facts, end=end, upper_bound=10_000, config=TopicConfig(**config), files_max=files_max
    )


def test_groups_fill_a_segment():
    """As many neighbours as segment.bytes holds are rewritten into one."""
    assert group(segments(0, 100, 200, 300, 400), segment_bytes=250) == [[0, 100], [200, 300], [400]]


def test_groups_never_split_a_segment_that_is_too_large():
    """segment.bytes may have been lowered; the segment is then a group of its own."""
    assert group(segments(0, 100, size=300), segment_bytes=250) == [[0], [100]]


def test_groups_respect_both_indexes():
    """segment.index.bytes binds the offset index and the time index alike."""
    by_offset = [SegmentFacts(base, 1, 0, index_size=60) for base in (0, 100, 200)]
    by_time = [SegmentFacts(base, 1, 0, time_index_size=60) for base in (0, 100, 200)]
    assert group(by_offset, segment_index_bytes=120) == [[0, 100], [200]]
    assert group(by_time, segment_index_bytes=120) == [[0, 100], [200]]


def test_groups_keep_relative_offsets_within_31_bits():
    """An index entry cannot hold more."""
    far = [SegmentFacts(base, 1, 0) for base in (0, 1 << 30, 1 << 31, (1 << 31) + 5)]
    assert group_segments(
        far, end=1 << 33, upper_bound=(1 << 31) + 9, config=TopicConfig(), files_max=100
    ) == [[0, 1 << 30], [1 << 31, (1 << 31) + 5]]


def test_groups_end_where_the_round_does():
    """Segments that begin at or above the round's end are not touched; the one it cuts is rewritten."""
    assert group(segments(0, 100, 200, 300), end=201) == [[0, 100, 200]]
    assert group(segments(0, 100, 200, 300), end=200) == [[0, 100]]


def test_groups_bound_the_files_of_one_swap():
    """Many small segments become several groups."""
    assert group(segments(*range(0, 700, 100)), files_max=3) == [[0, 100, 200], [300, 400, 500], [600]]
