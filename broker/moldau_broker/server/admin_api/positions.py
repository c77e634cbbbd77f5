"""POST partitions/positions: where partitions led here begin and end, and how old a record is.

A group's coordinator asks this of the leaders to know lag in seconds. An offset at the beginning of a batch, which is
where consumers commit as a rule, is told from the batch's header; any other opens that one batch, on a helper thread.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.limits import ADMIN_PARTITIONS_MAX, OPENED_ITEMS_MAX, POSITIONS_CACHE_MAX
from moldau_broker.server.admin_api.answers import Refused
from moldau_broker.server.admin_api.fields import INT32_MAX, INT64_MAX, Fields, invalid, whole
from moldau_broker.server.admin_api.lag import Position
from moldau_broker.storage.errors import StorageError
from moldau_broker.wire.batches import Buffer
from moldau_broker.wire.errors import WireError
from moldau_broker.wire.records import ReadLimits, parse_header, read_records

if TYPE_CHECKING:
    from moldau_broker.replication.manager import ReplicaManager
    from moldau_broker.replication.partition import Partition
    from moldau_broker.server.admin_api.node import AdminNode
    from moldau_broker.server.admin_api.routing import Call

_LIMITS: Final = ReadLimits(items_max=OPENED_ITEMS_MAX)


class Ask(NamedTuple):
    """What to find out about a partition: the age of an offset, the offset of a time (ms); None does not ask."""

    topic: str
    partition: int
    offset: int | None = None
    timestamp_ms: int | None = None


Found = Position | ErrorCode
"""A position, or why there is none."""


async def respond(node: AdminNode, call: Call) -> Any:
    """The positions of partitions led here, in the order asked; each that is not has an `error`."""
    call.query.done()
    asks = _parse(call.json())
    found = await node.positions.look_up(asks)
    return {"nodeId": node.broker.node_id, "partitions": [_to_json(ask, found[ask]) for ask in asks]}


def _parse(body: object) -> list[Ask]:
    fields = Fields(body)
    items = fields.need("partitions")
    fields.done()
    if not isinstance(items, list) or len(items) > ADMIN_PARTITIONS_MAX:
        invalid(f"partitions must be a list of at most {ADMIN_PARTITIONS_MAX}")
    asks = []
    for item in items:
        one = Fields(item, "a partition")
        topic, index = one.text("topic"), one.number("partition", 0, INT32_MAX)
        offset, timestamp = (
            None if (value := one.take(name)) is None else whole(value, name, 0, INT64_MAX)
            for name in ("offset", "timestampMs")
        )
        one.done()
        asks.append(Ask(topic, index, offset, timestamp))
    return asks


def _to_json(ask: Ask, found: Found) -> dict[str, Any]:
    """One entry of the answer; what is not known is left out."""
    item: dict[str, Any] = {"topic": ask.topic, "partition": ask.partition}
    if isinstance(found, ErrorCode):
        item["error"] = found.name
        return item
    item["logStartOffset"] = found.log_start
    item["highWatermark"] = found.high_watermark
    if found.timestamp_ms is not None:
        item["timestampMs"] = found.timestamp_ms
    if found.offset_at_timestamp is not None:
        item["offsetAtTimestamp"] = found.offset_at_timestamp
    return item


class LocalPositions:
    """Looks partitions led here up, and remembers how old records are."""

    def __init__(self, replicas: ReplicaManager, remembered_max: int = POSITIONS_CACHE_MAX) -> None:
        self._replicas = replicas
        self._remembered_max = remembered_max
        self._ages: OrderedDict[tuple[bytes, int, int, int], int | None] = OrderedDict()

    async def look_up(self, asks: Iterable[Ask]) -> dict[Ask, Found]:
        """What is found for each ask."""
        found: dict[Ask, Found] = {}
        to_read: dict[Ask, tuple[Partition, Position]] = {}
        for ask in asks:
            partition = self._replicas.partition(ask.topic, ask.partition)
            if partition is None:
                found[ask] = self._replicas.missing_error(ask.topic, ask.partition)
                continue
            error = partition.leadership_error(-1)
            if error is ErrorCode.NONE and not partition.is_ready:
                error = (
                    ErrorCode.OFFSET_NOT_AVAILABLE
                )  # a new leader's high watermark may be old, and lag too small
            if error is not ErrorCode.NONE:
                found[ask] = error
                continue
            position = Position(partition.log_start_offset, partition.high_watermark)
            known, age = self._remembered(partition, ask.offset, position)
            found[ask] = position._replace(timestamp_ms=age)
            if not known or ask.timestamp_ms is not None:
                to_read[ask] = partition, position
        if to_read:
            found.update(await asyncio.to_thread(_read_all, to_read))
            for ask, (partition, _) in to_read.items():
                self._remember(partition, ask.offset, found[ask])
        return found

    def _remembered(
        self, partition: Partition, offset: int | None, position: Position
    ) -> tuple[bool, int | None]:
        """(whether nothing has to be read, the timestamp)."""
        if offset is None or offset >= position.high_watermark:
            return True, None
        key = _key(partition, max(offset, position.log_start))
        if key in self._ages:
            self._ages.move_to_end(key)
            return True, self._ages[key]
        return False, None

    def _remember(self, partition: Partition, offset: int | None, found: Found) -> None:
        if isinstance(found, ErrorCode) or offset is None or offset >= found.high_watermark:
            return
        self._ages[_key(partition, max(offset, found.log_start))] = found.timestamp_ms
        while len(self._ages) > self._remembered_max:
            self._ages.popitem(last=False)


def _key(partition: Partition, offset: int) -> tuple[bytes, int, int, int]:
    """An epoch's records do not change; with the next, those behind the high watermark may."""
    return partition.topic_id, partition.index, partition.leader_epoch, offset


def _read_all(asked: Mapping[Ask, tuple[Partition, Position]]) -> dict[Ask, Found]:
    """On a helper thread: nothing of the partition may be changed here, not even to say that its disk has failed."""
    return {ask: _read(partition, ask, position) for ask, (partition, position) in asked.items()}


def _read(partition: Partition, ask: Ask, position: Position) -> Found:
    log, end = partition.log, position.high_watermark
    try:
        if ask.timestamp_ms is not None:
            found = log.offset_for_timestamp(ask.timestamp_ms, end)
            position = position._replace(offset_at_timestamp=end if found is None else found.offset)
        if ask.offset is not None and ask.offset < end:
            offset = max(ask.offset, position.log_start)
            position = position._replace(timestamp_ms=first_timestamp(log.read(offset, 1, up_to=end), offset))
    except StorageError:
        return ErrorCode.KAFKA_STORAGE_ERROR
    return position


def first_timestamp(batch: Buffer, offset: int) -> int | None:
    """The timestamp (ms) of the first record at or after `offset` in a batch; None if there is none to be seen."""
    try:
        header = parse_header(batch)
        if header.is_control or not header.record_count:
            return None
        if header.is_log_append_time:
            return header.max_timestamp
        if offset <= header.base_offset and not header.has_delete_horizon:
            return header.base_timestamp if header.base_timestamp >= 0 else None
        for record in read_records(batch, 0, _LIMITS):
            if record.offset >= offset:
                return record.timestamp if record.timestamp >= 0 else None
    except WireError:
        return None  # opaque when it came: its producer's doing, and nobody else can read it either
    return None


async def look_up_everywhere(node: AdminNode, asks: Iterable[Ask]) -> dict[Ask, Found]:
    """What is found for each ask wherever its partition is led; a leader that cannot be asked is an error there."""
    image = node.broker.metadata.image
    by_leader: dict[int, list[Ask]] = {}
    found: dict[Ask, Found] = {}
    for ask in asks:
        partition = image.partition(ask.topic, ask.partition)
        if partition is None:
            found[ask] = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        elif partition.leader < 0:
            found[ask] = ErrorCode.LEADER_NOT_AVAILABLE
        else:
            by_leader.setdefault(partition.leader, []).append(ask)

    async def ask_leader(leader: int, places: list[Ask]) -> dict[Ask, Found]:
        if leader == node.broker.node_id:
            return await node.positions.look_up(places)
        try:
            return await node.peers.positions(leader, places)
        except Refused as refusal:
            return dict.fromkeys(places, refusal.error)

    for answer in await asyncio.gather(*(ask_leader(*item) for item in by_leader.items())):
        found.update(answer)
    return found
