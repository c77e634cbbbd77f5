"""The ConsumerGroup resource. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, TypeAlias

from moldau_operator.names import group_id_problem, label_problem, object_name_problem, topic_name_problem
from moldau_operator.resources.fields import Fields
from moldau_operator.resources.located import Located
from moldau_operator.resources.meta import DeletionPolicy, Key, Kind, Metadata, read_metadata

_LONG_MAX: Final = 2**63 - 1
_PARTITION_MAX: Final = 2**31 - 1
_SECONDS_MAX: Final = 10 * 365 * 86_400
_MEMBERS_MAX: Final = 100_000


class Edge(StrEnum):
    """The two ends of a log."""

    EARLIEST = "earliest"
    LATEST = "latest"


@dataclass(frozen=True, slots=True)
class AtTime:
    """The first record at or after a moment (milliseconds since the epoch)."""

    timestamp_ms: int
    text: str


@dataclass(frozen=True, slots=True)
class AtOffsets:
    """Named offsets: topic -> partition -> offset."""

    offsets: Mapping[str, Mapping[int, int]]


ResetTarget: TypeAlias = Edge | AtTime | AtOffsets


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetReset:
    """A wish to move the group's committed offsets, granted once.

    Attributes:
        id: names the wish; the same id is never applied twice.
        to: where the offsets should go.
        topics: which topics; empty means those the group has committed offsets in (or those `to` names).
        dry_run: only say what would happen.
        force: also while members are active.
    """

    id: str
    to: ResetTarget
    topics: tuple[str, ...] = ()
    dry_run: bool = False
    force: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxLag:
    """How far behind the group may be; None is no limit."""

    records: int | None = None
    seconds: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerGroupSpec:
    """What a group should be.

    Attributes:
        cluster: the Cluster's name, in the same namespace.
        group_id: the group's id in Kafka; defaults to metadata.name; immutable.
        max_lag: the lag budget, for the condition LagWithinBudget.
        members_min: members expected, for the condition MembersPresent; 0 expects none.
        reset: offsets to set once.
        deletion_policy: what happens to the group's offsets when the resource goes.
    """

    cluster: str
    group_id: str
    max_lag: MaxLag = MaxLag()
    members_min: int = 0
    reset: OffsetReset | None = None
    deletion_policy: DeletionPolicy = DeletionPolicy.RETAIN


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerGroup:
    """A declared consumer group."""

    metadata: Metadata
    spec: ConsumerGroupSpec

    @property
    def key(self) -> Key:
        """Its identity."""
        return Key(Kind.CONSUMER_GROUP, self.metadata.namespace, self.metadata.name)


def read_consumer_group(resource: Fields) -> ConsumerGroup:
    """A ConsumerGroup from the fields of its document; problems go where `resource` collects them."""
    metadata_fields, spec_fields = resource.fields("metadata"), resource.fields("spec")
    metadata = read_metadata(metadata_fields) if metadata_fields else Metadata(name="")
    if spec_fields is None:
        return ConsumerGroup(metadata=metadata, spec=ConsumerGroupSpec(cluster="", group_id=metadata.name))
    spec = ConsumerGroupSpec(
        cluster=spec_fields.required_text(
            "cluster", "the name of the Cluster it belongs to", object_name_problem
        ),
        group_id=spec_fields.text("groupId", group_id_problem) or metadata.name,
        max_lag=_read_max_lag(spec_fields.fields("maxLag")),
        members_min=_read_members(spec_fields.fields("members")),
        reset=_read_offsets(spec_fields.fields("offsets")),
        deletion_policy=spec_fields.choice("deletionPolicy", DeletionPolicy.RETAIN),
    )
    spec_fields.done()
    return ConsumerGroup(metadata=metadata, spec=spec)


def _read_max_lag(fields: Fields | None) -> MaxLag:
    if fields is None:
        return MaxLag()
    max_lag = MaxLag(
        records=fields.whole("records", 0, _LONG_MAX), seconds=fields.whole("seconds", 1, _SECONDS_MAX)
    )
    fields.done()
    return max_lag


def _read_members(fields: Fields | None) -> int:
    if fields is None:
        return 0
    minimum = fields.whole("min", 0, _MEMBERS_MAX)
    fields.done()
    return minimum or 0


def _read_offsets(fields: Fields | None) -> OffsetReset | None:
    if fields is None:
        return None
    reset_fields = fields.fields("reset")
    fields.done()
    return _read_reset(reset_fields) if reset_fields is not None else None


def _read_reset(fields: Fields) -> OffsetReset | None:
    node = fields.required("to", "earliest, latest, a time, or offsets by topic and partition")
    target = _read_target(fields, node) if node is not None else None
    topics = []
    for item in fields.items("topics"):
        words = topic_name_problem(item.value) if isinstance(item.value, str) else "must be text"
        if words:
            fields.complain(item.where, "topics", f"{item.text[:60]!r} {words}")
        else:
            topics.append(item.text)
    if isinstance(target, AtOffsets) and topics:
        fields.wrong("topics", "cannot be given together with offsets by topic; remove it")
    reset_id = fields.required_text("id", "a name for this reset; each id is applied once", _reset_id_problem)
    dry_run, force = fields.flag("dryRun"), fields.flag("force")
    fields.done()
    if target is None:
        return None
    return OffsetReset(id=reset_id, to=target, topics=tuple(topics), dry_run=dry_run, force=force)


def _reset_id_problem(text: str) -> str | None:
    return label_problem(text)


def _read_target(fields: Fields, node: Located) -> ResetTarget | None:
    value = node.value
    if isinstance(value, str) and value in {edge.value for edge in Edge}:
        return Edge(value)
    if isinstance(value, int) and not isinstance(value, bool):
        milliseconds = fields.whole_node("to", node, 0, _LONG_MAX)
        return AtTime(milliseconds, node.text) if milliseconds is not None else None
    if isinstance(value, str):
        milliseconds = _timestamp_ms(value)
        if milliseconds is not None:
            return AtTime(milliseconds, value)
    if isinstance(value, tuple) or not isinstance(value, dict):
        fields.complain(
            node.where,
            "to",
            f"{node.text[:40] or node.kind} is not a place in a log; give earliest, latest, a time with its "
            "zone (2026-01-31T08:00:00Z) or milliseconds, or offsets: {topic: {partition: offset}}",
        )
        return None
    return _read_named_offsets(fields.fields("to"))


def _read_named_offsets(fields: Fields | None) -> AtOffsets | None:
    assert fields is not None
    topics: dict[str, dict[int, int]] = {}
    for topic, entry in fields.entries():
        words = topic_name_problem(topic)
        if words:
            fields.complain(entry.where, "", f"{topic[:60]!r} {words}")
            continue
        partitions = topics.setdefault(topic, {})
        inner = fields.fields(topic)
        for number, offset in inner.entries() if inner else ():
            value = fields.whole_node(f"{topic}.{number[:20]}", offset.value, 0, _LONG_MAX)
            if not (
                number.isascii() and number.isdigit() and len(number) <= 10 and int(number) <= _PARTITION_MAX
            ):
                fields.complain(offset.where, topic, f"{number[:20]!r} is not a partition's number")
            elif value is not None:
                partitions[int(number)] = value
    return AtOffsets(topics)


def _timestamp_ms(text: str) -> int | None:
    """RFC 3339 with a zone as milliseconds since the epoch; None when it is not that."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        return None
    elapsed = moment - datetime(1970, 1, 1, tzinfo=UTC)
    milliseconds = elapsed.days * 86_400_000 + elapsed.seconds * 1000 + elapsed.microseconds // 1000
    return milliseconds if milliseconds >= 0 else None
