"""Retention: which segments go, and why."""

from __future__ import annotations

from moldau_broker.base.topic_config import TopicConfig
from moldau_broker.storage.retention import Reason, SegmentFacts, expired

NOW = 1_000_000


def facts(count=5, *, size=100, age=10_000):
    """Segments of ten offsets each; the oldest is `age` ms old per segment that follows."""
    return [
        SegmentFacts(number * 10, number * 10 + 10, size, NOW - (count - number) * age)
        for number in range(count)
    ]


def judge(segments, config, *, start=0, mark=1_000):
    return expired(segments, config, now_ms=NOW, log_start_offset=start, high_watermark=mark)


def test_time_takes_segments_whose_newest_record_is_too_old():
    """Exactly as old as retention.ms is not too old."""
    assert judge(facts(), TopicConfig(retention_ms=30_000)) == [Reason.TIME] * 2
    assert judge(facts(), TopicConfig(retention_ms=29_999)) == [Reason.TIME] * 3
    assert judge(facts(), TopicConfig(retention_ms=-1)) == []


def test_time_takes_the_active_segment_too_unless_it_is_empty():
    """A log that nobody writes to empties itself."""
    config = TopicConfig(retention_ms=1)
    assert judge(facts(3), config) == [Reason.TIME] * 3
    segments = facts(3)
    segments[-1] = SegmentFacts(20, 20, 0, 0)
    assert judge(segments, config) == [Reason.TIME] * 2


def test_size_keeps_at_least_the_bytes_asked_for():
    """A segment goes only if what is left still holds retention.bytes."""
    assert judge(facts(), TopicConfig(retention_bytes=250, retention_ms=-1)) == [Reason.SIZE] * 2
    assert judge(facts(), TopicConfig(retention_bytes=300, retention_ms=-1)) == [Reason.SIZE] * 2
    assert judge(facts(), TopicConfig(retention_bytes=0, retention_ms=-1)) == [Reason.SIZE] * 5


def test_log_start_takes_whole_segments_below_it_whatever_the_policy():
    """Also of compacted topics, but never the active segment."""
    config = TopicConfig(cleanup_policy=frozenset({"compact"}), retention_ms=1, retention_bytes=1)
    assert judge(facts(), config, start=25) == [Reason.START] * 2
    assert judge(facts(), config, start=50) == [Reason.START] * 4
    assert judge(facts(), config) == []


def test_nothing_above_the_high_watermark_goes():
    """What followers may still fetch is kept, and everything after it."""
    assert judge(facts(), TopicConfig(retention_ms=1), mark=29) == [Reason.TIME] * 2
    assert judge(facts(), TopicConfig(retention_ms=1), mark=0) == []


def test_reasons_mix_along_the_log():
    """Each segment goes for its own first reason; a kept one keeps all after it."""
    segments = facts(4, age=10_000)
    config = TopicConfig(retention_ms=25_000, retention_bytes=200)
    assert judge(segments, config, start=10) == [Reason.START, Reason.TIME]
    young = [SegmentFacts(s.base_offset, s.end_offset, s.size, NOW) for s in segments[:1]] + segments[1:]
    assert judge(young, TopicConfig(retention_ms=15_000)) == []
