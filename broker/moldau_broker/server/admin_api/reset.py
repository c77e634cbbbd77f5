"""POST groups/{groupId}/offsets/reset: a group's offsets moved under the coordinator's fence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import Uuid
from moldau_broker.base.limits import ADMIN_PARTITIONS_MAX, TOPICS_PER_REQUEST_MAX
from moldau_broker.base.topics import CONSUMER_OFFSETS
from moldau_broker.coordinator.offset_reset import OffsetReset
from moldau_broker.server.admin_api.answers import Refused
from moldau_broker.server.admin_api.fields import INT32_MAX, INT64_MAX, Fields, invalid, number_of, whole
from moldau_broker.server.admin_api.groups import at_coordinator
from moldau_broker.server.admin_api.positions import Ask, look_up_everywhere
from moldau_broker.server.admin_api.waiting import awaited

if TYPE_CHECKING:
    from moldau_broker.metadata.image import MetadataImage
    from moldau_broker.server.admin_api.node import AdminNode
    from moldau_broker.server.admin_api.routing import Call

Place = tuple[str, int]

EARLIEST: Final = "earliest"
LATEST: Final = "latest"


class ResetRequest(NamedTuple):
    """A reset as it was asked for.

    Attributes:
        to: `EARLIEST`, `LATEST`, a timestamp in ms, or an offset for each partition.
        topics: only these; none are all that the group has committed or subscribes to.
    """

    to: str | int | Mapping[Place, int]
    topics: tuple[str, ...] = ()
    dry_run: bool = False
    force: bool = False
    reset_id: str = ""


def parse(body: object) -> ResetRequest:
    """The request in a body.

    Raises:
        Refused: INVALID_REQUEST with what is wrong.
    """
    fields = Fields(body)
    to = _parse_target(fields.need("to"))
    request = ResetRequest(
        to,
        fields.texts("topics", TOPICS_PER_REQUEST_MAX),
        fields.flag("dryRun"),
        fields.flag("force"),
        fields.text("resetId", ""),
    )
    fields.done()
    if request.topics and isinstance(to, dict):
        invalid("the body: topics says nothing where `to` names offsets")
    return request


def _parse_target(to: object) -> str | int | Mapping[Place, int]:
    if isinstance(to, str):
        if to not in (EARLIEST, LATEST):
            invalid(
                'to must be "earliest", "latest", {"timestampMs": ...} or {"offsets": {topic: {partition: offset}}}'
            )
        return to
    fields = Fields(to, "to")
    timestamp, offsets = fields.take("timestampMs"), fields.take("offsets")
    fields.done()
    if (timestamp is None) == (offsets is None):
        invalid("to: needs timestampMs or offsets, and not both")
    if timestamp is not None:
        return whole(timestamp, "to: timestampMs", 0, INT64_MAX)
    if not isinstance(offsets, dict) or not offsets:
        invalid("to: offsets must be an object {topic: {partition: offset}}")
    targets: dict[Place, int] = {}
    for topic, partitions in offsets.items():
        if not isinstance(partitions, dict) or not partitions:
            invalid("to: offsets must be an object {topic: {partition: offset}}")
        for index, offset in partitions.items():
            place = topic, number_of(index, "to: a partition", 0, INT32_MAX)
            targets[place] = whole(offset, f"to: the offset of {topic}-{index}", 0, INT64_MAX)
    if len(targets) > ADMIN_PARTITIONS_MAX:
        invalid(f"to: at most {ADMIN_PARTITIONS_MAX} partitions")
    return targets


async def respond(node: AdminNode, call: Call) -> Any:
    """Resolve where to, then check and commit in one step of the coordinator."""
    call.query.done()
    request = parse(call.json())
    group_id = call.names["groupId"]
    if CONSUMER_OFFSETS not in node.broker.metadata.image.topics:
        node.broker.controller.create_soon([CONSUMER_OFFSETS])
        raise Refused(
            ErrorCode.COORDINATOR_NOT_AVAILABLE, "no group was ever used: its topic is being created"
        )
    elsewhere = await at_coordinator(node, call, group_id)
    if elsewhere is not None:
        return elsewhere
    places = await _places(node, group_id, request)
    targets = await _resolve(node, request, places)
    image = node.broker.metadata.image
    reset = OffsetReset(
        group_id,
        {place: (offset, _topic_id(image, place)) for place, offset in targets.items()},
        request.reset_id,
        force=request.force,
        dry_run=request.dry_run,
    )
    outcome = await awaited(node.broker.groups.reset_offsets(reset), node.patience_ms)
    if outcome.error is not ErrorCode.NONE:
        raise Refused(outcome.error, outcome.message or outcome.error.name)
    return {
        "groupId": group_id,
        "resetId": request.reset_id,
        "dryRun": request.dry_run,
        "applied": outcome.applied,
        "membersRemoved": [] if request.dry_run else list(outcome.members),
        "partitions": [
            _move(place, outcome.before.get(place), offset) for place, offset in sorted(targets.items())
        ],
    }


def _move(place: Place, before: int | None, after: int) -> dict[str, Any]:
    item: dict[str, Any] = {"topic": place[0], "partition": place[1], "newOffset": after}
    if before is not None:
        item["oldOffset"] = before
    return item


async def _places(node: AdminNode, group_id: str, request: ResetRequest) -> list[Place]:
    """The partitions that are asked for, by name or because the group reads them."""
    image = node.broker.metadata.image
    if isinstance(request.to, Mapping):
        for place in request.to:
            _topic_id(image, place)
        return list(request.to)
    topics = set(request.topics)
    if not topics:
        for view in await awaited(node.broker.groups.views([group_id]), node.patience_ms):
            topics.update(view.topics or ())
            topics.update(topic for topic, _ in view.offsets)
        topics.intersection_update(image.topics)
        if not topics:
            invalid("the group has committed nothing and subscribes to nothing: name the topics")
    places = []
    for topic in sorted(topics):
        found = image.topics.get(topic)
        if found is None:
            raise Refused(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"there is no topic {topic!r}")
        places += [(topic, index) for index in range(len(found.partitions))]
    return places


def _topic_id(image: MetadataImage, place: Place) -> Uuid:
    topic = image.topics.get(place[0])
    if topic is None or place[1] >= len(topic.partitions):
        raise Refused(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"there is no partition {place[0]}-{place[1]}")
    return topic.topic_id


async def _resolve(node: AdminNode, request: ResetRequest, places: list[Place]) -> dict[Place, int]:
    timestamp = request.to if isinstance(request.to, int) else None
    asks = {place: Ask(*place, timestamp_ms=timestamp) for place in places}
    found = await look_up_everywhere(node, asks.values())
    targets: dict[Place, int] = {}
    for place, ask in asks.items():
        position = found[ask]
        name = f"{place[0]}-{place[1]}"
        if isinstance(position, ErrorCode):
            raise Refused(
                position, f"the leader of {name} cannot say where it begins and ends: {position.name}"
            )
        if isinstance(request.to, Mapping):
            offset = request.to[place]
            if not position.log_start <= offset <= position.high_watermark:
                held = f"{position.log_start} to {position.high_watermark}"
                raise Refused(
                    ErrorCode.OFFSET_OUT_OF_RANGE, f"{name} holds offsets {held}; {offset} is outside"
                )
            targets[place] = offset
        elif timestamp is not None:
            at = position.offset_at_timestamp
            targets[place] = position.high_watermark if at is None else at
        else:
            targets[place] = position.log_start if request.to == EARLIEST else position.high_watermark
    return targets
