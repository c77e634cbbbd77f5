"""GET groups and groups/{groupId}: state, members, offsets, and lag in records and seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.limits import ADMIN_GROUPS_MAX
from moldau_broker.base.topics import CONSUMER_OFFSETS
from moldau_broker.coordinator.describe import GroupView, MemberView
from moldau_broker.server.admin_api.answers import Answer, Refused
from moldau_broker.server.admin_api.lag import Lag, partition_lag, total_lag
from moldau_broker.server.admin_api.positions import Ask, Found, look_up_everywhere
from moldau_broker.server.admin_api.waiting import awaited

if TYPE_CHECKING:
    from moldau_broker.metadata.image import MetadataImage
    from moldau_broker.server.admin_api.node import AdminNode
    from moldau_broker.server.admin_api.routing import Call

Place = tuple[str, int]


async def respond_all(node: AdminNode, call: Call) -> Any:
    """The groups coordinated here; with `all=true` those of every coordinator, with `id=` only the ones named."""
    everywhere = call.query.flag("all")
    group_ids = call.query.texts("id", ADMIN_GROUPS_MAX)
    call.query.done()
    call.no_body()
    others: list[int] = []
    if everywhere and not call.forwarded:
        others = _other_coordinators(node, group_ids)
    path = f"groups?{urlencode([('id', group_id) for group_id in group_ids or ()])}"
    own, *found = await asyncio.gather(
        _own(node, group_ids), *(_ask(node, broker, path) for broker in others)
    )
    groups, incomplete = own
    for more, missing in found:
        groups += more
        incomplete += missing
    return {"groups": sorted(groups, key=lambda group: str(group["groupId"])), "incomplete": incomplete}


async def respond_one(node: AdminNode, call: Call) -> Any:
    """One group, wherever it is coordinated."""
    call.query.done()
    call.no_body()
    group_id = call.names["groupId"]
    if CONSUMER_OFFSETS not in node.broker.metadata.image.topics:
        raise _unknown(group_id)
    elsewhere = await at_coordinator(node, call, group_id)
    if elsewhere is not None:
        return elsewhere
    reports = await _reports(node, [group_id])
    if not reports:
        raise _unknown(group_id)
    return reports[0]


def _unknown(group_id: str) -> Refused:
    return Refused(ErrorCode.GROUP_ID_NOT_FOUND, f"there is no group {group_id!r}")


async def at_coordinator(node: AdminNode, call: Call, group_id: str) -> Answer | None:
    """The answer of the group's coordinator where that is another broker; None where it is this one.

    Raises:
        Refused: there is none now, it cannot be asked, or the group is still being read.
    """
    error = node.broker.groups.availability(group_id)
    if error is ErrorCode.NONE:
        return None
    if error is ErrorCode.NOT_COORDINATOR and not call.forwarded:
        image = node.broker.metadata.image
        partition = image.partition(CONSUMER_OFFSETS, node.broker.groups.partition_for(group_id))
        leader = -1 if partition is None else partition.leader
        if leader >= 0 and leader != node.broker.node_id:
            return await node.peers.pass_on(leader, call.method, call.path, call.body or None)
        error = ErrorCode.COORDINATOR_NOT_AVAILABLE
    raise Refused(error, f"group {group_id!r} cannot be asked about now: {error.name}")


def _other_coordinators(node: AdminNode, group_ids: Sequence[str] | None) -> list[int]:
    image = node.broker.metadata.image
    topic = image.topics.get(CONSUMER_OFFSETS)
    if topic is None:
        return []
    if group_ids is None:
        leaders = {partition.leader for partition in topic.partitions}
    else:
        leaders = {
            topic.partitions[node.broker.groups.partition_for(group_id)].leader for group_id in group_ids
        }
    return sorted(leaders - {node.broker.node_id, -1})


async def _own(
    node: AdminNode, group_ids: Sequence[str] | None
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    loading = node.broker.groups.loading
    incomplete = []
    if loading:
        reason = f"{loading} partitions of {CONSUMER_OFFSETS} are still being read"
        incomplete.append({"brokerId": node.broker.node_id, "reason": reason})
    return await _reports(node, group_ids), incomplete


async def _ask(
    node: AdminNode, broker_id: int, path: str
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    try:
        found = await node.peers.get(broker_id, path)
        return list(found["groups"]), list(found["incomplete"])
    except Refused as refusal:
        return [], [{"brokerId": broker_id, "reason": refusal.message}]


async def _reports(node: AdminNode, group_ids: Sequence[str] | None) -> list[dict[str, Any]]:
    """Commits first, log ends after them: that order keeps lag from ever being negative."""
    views = await awaited(node.broker.groups.views(group_ids), node.patience_ms)
    image = node.broker.metadata.image
    committed = {view.group_id: _committed(image, view) for view in views}
    asks = {
        Ask(*place, offset)
        for offsets in committed.values()
        for place, offset in offsets.items()
        if offset is not None
    }
    found = await look_up_everywhere(node, asks)
    now_ms = node.broker.clock.wall_ms()
    return [_report(node.broker.node_id, view, committed[view.group_id], found, now_ms) for view in views]


def _committed(image: MetadataImage, view: GroupView) -> dict[Place, int | None]:
    """Where the group stands in every partition it has committed or subscribes to; None is nowhere yet."""
    places: dict[Place, int | None] = {
        (name, index): None
        for name in view.topics or ()
        if (topic := image.topics.get(name)) is not None
        for index in range(len(topic.partitions))
    }
    for (name, index), commit in view.offsets.items():
        topic = image.topics.get(name)
        if topic is not None and index < len(topic.partitions) and commit.is_of(topic.topic_id):
            places[name, index] = commit.offset
    return places


def _report(
    coordinator_id: int,
    view: GroupView,
    committed: dict[Place, int | None],
    found: Mapping[Ask, Found],
    now_ms: int,
) -> dict[str, Any]:
    offsets = []
    lags = []
    for place, offset in sorted(committed.items()):
        item: dict[str, Any] = {"topic": place[0], "partition": place[1]}
        if offset is not None:
            position = found.get(Ask(*place, offset))
            if isinstance(position, ErrorCode):
                position = None
            lag = partition_lag(offset, position, now_ms)
            lags.append(lag)
            item["committedOffset"] = offset
            if position is not None:
                item["logStartOffset"] = position.log_start
                item["highWatermark"] = position.high_watermark
            _put_lag(item, lag)
        offsets.append(item)
    report: dict[str, Any] = {
        "groupId": view.group_id,
        "coordinatorId": coordinator_id,
        "state": view.state,
        "protocolType": view.protocol_type,
        "generation": view.generation,
        "members": [_member(member) for member in view.members],
        "offsets": offsets,
    }
    _put_lag(report, total_lag(lags))
    return report


def _member(member: MemberView) -> dict[str, Any]:
    item = {"memberId": member.member_id, "clientId": member.client_id, "clientHost": member.client_host}
    if member.instance_id is not None:
        item["groupInstanceId"] = member.instance_id
    return item


def _put_lag(item: dict[str, Any], lag: Lag) -> None:
    if lag.records is not None:
        item["lagRecords"] = lag.records
    if lag.seconds is not None:
        item["lagSeconds"] = lag.seconds
