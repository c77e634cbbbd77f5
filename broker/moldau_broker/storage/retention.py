"""Which segments a log no longer has to keep. Pure.

Source: topic settings of Kafka 4.3; `UnifiedLog.deleteOldSegments`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from moldau_broker.base.topic_config import TopicConfig


class Reason(Enum):
    """Why a segment is deleted."""

    TIME = "older than retention.ms"
    SIZE = "beyond retention.bytes"
    START = "below the log start offset"


@dataclass(frozen=True, slots=True)
class SegmentFacts:
    """What the decision needs to know of a segment: offsets, bytes, newest record's time in ms."""

    base_offset: int
    end_offset: int
    size: int
    newest_ms: int


def expired(
    segments: Sequence[SegmentFacts],
    config: TopicConfig,
    *,
    now_ms: int,
    log_start_offset: int,
    high_watermark: int,
) -> list[Reason]:
    """Reasons for the oldest segments to go, one per segment, oldest first.

    A segment goes only if all before it go, and if all of it lies below the high watermark. The last (active)
    one may be among them, by time or size, if it holds anything; the caller rolls first.
    """
    reasons: list[Reason] = []
    total = sum(segment.size for segment in segments)
    for segment in segments:
        reason = _reason(segment, config, now_ms, log_start_offset, total)
        is_last = segment is segments[-1]
        if reason is None or segment.end_offset > high_watermark:
            break
        if is_last and (segment.size == 0 or reason is Reason.START):
            break
        reasons.append(reason)
        total -= segment.size
    return reasons


def _reason(
    segment: SegmentFacts, config: TopicConfig, now_ms: int, log_start_offset: int, total: int
) -> Reason | None:
    if segment.end_offset <= log_start_offset:
        return Reason.START
    if config.is_deleted:
        if config.retention_ms >= 0 and now_ms - segment.newest_ms > config.retention_ms:
            return Reason.TIME
        if config.retention_bytes >= 0 and total - segment.size >= config.retention_bytes:
            return Reason.SIZE
    return None
