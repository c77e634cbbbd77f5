"""What the owner of a log asks of a cleaning process, and what it hears back, as JSON lines. Pure.

The process gets one `CleanJob` on its standard input. It answers with `Ready` for each group of segments
it has rewritten, waits for a line before it touches the next, and ends with `Done` or `Failed`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from moldau_broker.base.topic_config import TopicConfig
from moldau_broker.storage.compaction import CleanPlan, SegmentFacts
from moldau_broker.storage.compaction_filter import LastRecord

if TYPE_CHECKING:
    from moldau_broker.storage.log import Log

UNBOUNDED_RATE: Final = 1e15
"""Bytes per second from which a bound is none; Kafka's default is the largest double."""

GROUP_SEGMENTS_MAX: Final = 32
"""Segments replaced by one swap: their renames run on the event loop, at some 50 us a segment."""

GO_ON: Final = b"go on\n"
"""The owner's answer to `Ready`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanerSettings:
    """The `log.cleaner.*` settings of the broker, under their own units."""

    map_bytes_max: int = 32 * 1024 * 1024
    map_load_max: float = 0.9
    io_bytes: int = 512 * 1024
    io_bytes_per_second: float = float("inf")
    backoff_ms: int = 15_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanJob:
    """One round over one log.

    Attributes:
        folder: the partition's folder below the data directory.
        segments: all closed segments that begin below `upper_bound`, oldest first.
        txn_segments: base offsets of the segments whose transaction indexes count: all, the active one too.
        first_dirty: end of the clean section.
        upper_bound: end of the cleanable range.
        producers: (producer id, last data offset or None, epoch) of every live producer.
        now_ms: wall time by which delete horizons are judged and set.
        map_bytes_max: memory for the round's index.
        map_load_max: share of the map's slots that may be filled.
        io_bytes: how much is read and written at a time; a larger batch is read on its own.
        io_bytes_per_second: bound on reading and writing together; 0 is none.
        group_segments_max: most segments replaced by one swap.
    """

    folder: str
    segments: tuple[SegmentFacts, ...]
    txn_segments: tuple[int, ...]
    first_dirty: int
    upper_bound: int
    producers: tuple[tuple[int, int | None, int], ...]
    now_ms: int
    delete_retention_ms: int
    segment_bytes: int
    segment_index_bytes: int
    index_interval_bytes: int
    map_bytes_max: int
    map_load_max: float
    io_bytes: int
    io_bytes_per_second: float
    group_segments_max: int

    def last_records(self) -> dict[int, LastRecord]:
        """The live producers by id."""
        return {producer: LastRecord(offset, epoch) for producer, offset, epoch in self.producers}

    def config(self) -> TopicConfig:
        """The settings by which segments are grouped."""
        return TopicConfig(segment_bytes=self.segment_bytes, segment_index_bytes=self.segment_index_bytes)


def job_for(log: Log, plan: CleanPlan, settings: CleanerSettings, now_ms: int) -> CleanJob:
    """The round that `plan` asks for, as of now."""
    config = log.config
    rate = settings.io_bytes_per_second
    return CleanJob(
        folder=log.place.folder,
        segments=tuple(
            SegmentFacts(segment.base_offset, segment.size, 0)
            for segment in log.segments[:-1]
            if segment.base_offset < plan.upper_bound
        ),
        txn_segments=tuple(segment.base_offset for segment in log.segments),
        first_dirty=plan.first_dirty,
        upper_bound=plan.upper_bound,
        producers=tuple(
            (entry.producer_id, entry.batches[-1].last_offset if entry.batches else None, entry.epoch)
            for entry in log.producers
        ),
        now_ms=now_ms,
        delete_retention_ms=config.delete_retention_ms,
        segment_bytes=config.segment_bytes,
        segment_index_bytes=config.segment_index_bytes,
        index_interval_bytes=config.index_interval_bytes,
        map_bytes_max=settings.map_bytes_max,
        map_load_max=settings.map_load_max,
        io_bytes=settings.io_bytes,
        io_bytes_per_second=rate if rate < UNBOUNDED_RATE else 0.0,  # JSON knows no infinity
        group_segments_max=GROUP_SEGMENTS_MAX,
    )


@dataclass(frozen=True, slots=True)
class Ready:
    """The segments at `sources` have been rewritten into one at the first of them, suffix `.cleaned`.

    `size` is the bytes of its log.
    """

    sources: tuple[int, ...]
    size: int


@dataclass(slots=True)
class Done:
    """The round is over: everything below `end` is clean.

    Bytes and records are those of the rewrite; `map_bytes` and `map_used` tell how much index the round
    needed, `keyless` and `unopened` what it met that has no place in a compacted log.
    """

    end: int = 0
    records_indexed: int = 0
    bytes_indexed: int = 0
    records_read: int = 0
    bytes_read: int = 0
    records_written: int = 0
    bytes_written: int = 0
    map_bytes: int = 0
    map_used: float = 0.0
    keyless: int = 0
    unopened: int = 0
    seconds: float = 0.0
    memory_kib: int = 0


@dataclass(frozen=True, slots=True)
class Failed:
    """The round was given up; what it had swapped stays. `kind` is the error's class name."""

    kind: str
    text: str


Message: TypeAlias = CleanJob | Ready | Done | Failed

_CLASSES: dict[str, type[Any]] = {cls.__name__: cls for cls in (CleanJob, Ready, Done, Failed)}


def encode(message: Message) -> bytes:
    """One line of JSON."""
    return json.dumps({type(message).__name__: asdict(message)}, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> Message:
    """The message of a line.

    Raises:
        ValueError: it is none.
    """
    try:
        ((name, fields),) = json.loads(line).items()
        for key, value in fields.items():
            if isinstance(value, list):
                fields[key] = tuple(tuple(item) if isinstance(item, list) else item for item in value)
        if name == CleanJob.__name__:
            fields["segments"] = tuple(SegmentFacts(**facts) for facts in fields["segments"])
        message: Message = _CLASSES[name](**fields)
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"not a message of the cleaner: {line[:200]!r}") from error
    return message
