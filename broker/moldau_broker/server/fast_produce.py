"""The short way for the commonest request: Produce with one partition, again and again from the same client.

Theory of operation: between two such requests of one connection only the correlation id and the records change.
So the first one is decoded in full, and the bytes from the client id to the partition index (its *prefix*) are
remembered together with what they mean and with a ready-made answer. A request that begins with a remembered
prefix skips decoding and encoding; its batch takes the same validation and the same append as any other.
Whatever is unusual (another shape, an illegal batch, a topic that has moved) falls back to the ordinary way, always
before the partition has judged it: to be refused counts, so no batch is judged twice.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, Literal

from moldau_broker.base.deferred import Deferred
from moldau_broker.base.errors import ErrorCode
from moldau_broker.replication.outcome import AppendOutcome
from moldau_broker.replication.validation import (
    Rejected,
    parse_single_batch,
    validate_batch,
)
from moldau_broker.server.exchange import Answer, Chunks
from moldau_broker.server.handlers import produce as produce_api
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.codec import encode
from moldau_broker.wire.framing import encode_response
from moldau_broker.wire.messages.produce import (
    PartitionProduceResponse,
    ProduceRequest,
    ProduceResponse,
    TopicProduceResponse,
)
from moldau_broker.wire.schema import replace

if TYPE_CHECKING:
    from moldau_broker.replication.partition import Partition
    from moldau_broker.server.broker import Broker

_FLEXIBLE_SINCE: Final = 9
_LOG_START_SINCE: Final = 5
_RECORDS_LENGTH: Final = struct.Struct(">i")
_OFFSET: Final = struct.Struct(">q")
_ERROR: Final = struct.Struct(">h")
_THREE_OFFSETS: Final = struct.Struct(">qqq")
_TWO_OFFSETS: Final = struct.Struct(">qq")
_SENTINEL: Final = 0x7BADC0DE5EA5CA5E
_ACKS_ALL: Final = -1
_NO_TAGS: Final = b"\0\0\0"  # of partition, topic and request
REMEMBERED_MAX: Final = 16
"""Prefixes one connection remembers: a producer's partitions on this broker, oldest forgotten first."""


class KnownProduce:
    """What a prefix stands for."""

    __slots__ = (
        "acks",
        "answer",
        "answer_at",
        "generation",
        "listener",
        "partition",
        "prefix",
        "request",
        "timeout_ms",
        "version",
    )

    def __init__(
        self,
        prefix: bytes,
        version: int,
        listener: str,
        request: ProduceRequest,
        partition: Partition,
        generation: int,
    ) -> None:
        self.prefix = prefix
        self.version = version
        self.listener = listener
        self.request = request
        self.acks = request.acks
        self.timeout_ms = request.timeout_ms
        self.partition = partition
        self.generation = generation
        self.answer, self.answer_at = _template(request, version)

    def respond(
        self, correlation_id: bytes, base_offset: int, append_time_ms: int, log_start: int
    ) -> bytearray:
        """The answer of a successful append."""
        answer = bytearray(self.answer)
        answer[4:8] = correlation_id
        if self.version >= _LOG_START_SINCE:
            _THREE_OFFSETS.pack_into(answer, self.answer_at, base_offset, append_time_ms, log_start)
        else:
            _TWO_OFFSETS.pack_into(answer, self.answer_at, base_offset, append_time_ms)
        return answer

    def refuse(self, broker: Broker, correlation_id: bytes, outcome: AppendOutcome) -> Chunks:
        """The answer of an append that was not made."""
        number = int.from_bytes(correlation_id, "big", signed=True)
        told = produce_api.answer(broker, self.listener, self.version, self.request, [outcome])
        return encode_response(number, ApiKey.PRODUCE, self.version, told)

    def revoke(self, broker: Broker, correlation_id: bytes, error: ErrorCode) -> Chunks:
        """The answer of an append that was made but not committed."""
        if error is ErrorCode.NOT_LEADER_OR_FOLLOWER:  # says who leads instead
            return self.refuse(broker, correlation_id, AppendOutcome(error))
        answer = self.respond(correlation_id, -1, -1, -1)
        _ERROR.pack_into(answer, self.answer_at - 2, error)
        return [answer]


def _template(request: ProduceRequest, version: int) -> tuple[bytes, int]:
    """A whole answer frame, and where its base offset stands."""
    topic = request.topic_data[0]
    response = ProduceResponse(
        responses=[
            TopicProduceResponse(
                name=topic.name,
                topic_id=topic.topic_id,
                partition_responses=[
                    PartitionProduceResponse(
                        index=topic.partition_data[0].index, base_offset=_SENTINEL, record_errors=[]
                    )
                ],
            )
        ]
    )
    frame = b"".join(encode_response(0, ApiKey.PRODUCE, version, response))
    return frame, frame.index(_OFFSET.pack(_SENTINEL))


def learn(
    known: list[KnownProduce],
    buffer: bytearray,
    start: int,
    body: int,
    end: int,
    request: ProduceRequest,
    partition: Partition,
    generation: int,
    version: int,
    listener: str,
) -> None:
    """Remember the prefix of a request that was decoded in full, named one partition and was appended there.

    A frame that is not exactly what our own encoder would make of the request (trailing bytes, unknown tags,
    a length in too many bytes) is not remembered: only then is it certain where its records stand.
    """
    data = request.topic_data[0].partition_data[0]
    records = data.records
    if records is None:
        return
    head, length_bytes, tail = _head(request, version), 4, 0
    if version >= _FLEXIBLE_SINCE:
        length_bytes, tail = _uvarint_size(len(records) + 1), len(_NO_TAGS)
    if body + len(head) + length_bytes + len(records) + tail != end or not buffer.startswith(head, body):
        return
    prefix = bytes(buffer[start + 8 : body + len(head)])
    if any(entry.prefix == prefix and entry.version == version for entry in known):
        return
    if len(known) >= REMEMBERED_MAX:
        known.pop()
    known.insert(0, KnownProduce(prefix, version, listener, _without_records(request), partition, generation))


def _head(request: ProduceRequest, version: int) -> bytes:
    """What stands before the length of the records."""
    body = encode(_without_records(request), version)
    return body[: -1 - len(_NO_TAGS)] if version >= _FLEXIBLE_SINCE else body[:-4]


def _without_records(request: ProduceRequest) -> ProduceRequest:
    """The same request, which keeps nothing of the receive buffer."""
    topic = request.topic_data[0]
    empty = replace(topic.partition_data[0], records=memoryview(b""))
    return replace(request, topic_data=[replace(topic, partition_data=[empty])])


def _uvarint_size(value: int) -> int:
    return max(1, (value.bit_length() + 6) // 7)


def find(known: list[KnownProduce], buffer: bytearray, start: int, version: int) -> KnownProduce | None:
    """The remembered prefix this frame begins with; moved to the front."""
    at = start + 8
    for index, candidate in enumerate(known):
        if candidate.version == version and buffer.startswith(candidate.prefix, at):
            if index:
                del known[index]
                known.insert(0, candidate)
            return candidate
    return None


def produce(
    broker: Broker, entry: KnownProduce, buffer: bytearray, start: int, end: int
) -> Answer | Literal[False]:
    """Append and answer, or False where the ordinary way has to be taken (nothing was judged then)."""
    at = start + 8 + len(entry.prefix)
    version = entry.version
    if version >= _FLEXIBLE_SINCE:
        shift = length = 0
        while True:
            if at >= end or shift > 28:
                return False
            byte = buffer[at]
            at += 1
            length |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
        records_end = at + length - 1
        if records_end + 3 != end or buffer[records_end:end] != _NO_TAGS:
            return False
    else:
        if at + 4 > end:
            return False
        (length,) = _RECORDS_LENGTH.unpack_from(buffer, at)
        at += 4
        records_end = at + length
        if records_end != end:
            return False
    partition = entry.partition
    with memoryview(buffer)[at:records_end] as records:
        header = parse_single_batch(records, version)
        if isinstance(header, Rejected) or header.is_transactional:
            return False
        now_ms = broker.clock.wall_ms()
        verdict = validate_batch(records, header, partition.log.config, now_ms)
        if isinstance(verdict, Rejected):
            return False
        outcome = partition.append(verdict, now_ms, all_in_sync=entry.acks == _ACKS_ALL)
    correlation_id = bytes(buffer[start + 4 : start + 8])
    if outcome.error is not ErrorCode.NONE:
        if entry.acks == 0:
            raise produce_api.unheard()
        return entry.refuse(broker, correlation_id, outcome)
    if entry.acks == 0:
        return None
    answer = entry.respond(
        correlation_id, outcome.base_offset, outcome.log_append_time_ms, outcome.log_start_offset
    )
    if entry.acks == _ACKS_ALL and (broker.settings.log.flush_acks_all or partition.replicated):
        return _when_committed(broker, entry, correlation_id, answer, outcome.next_offset)
    return [answer]


def _when_committed(
    broker: Broker, entry: KnownProduce, correlation_id: bytes, answer: bytearray, next_offset: int
) -> Answer:
    later: Deferred[Chunks | None] = Deferred()

    def committed(error: ErrorCode) -> None:
        if not later.done:
            timer.cancel()
            later.complete(
                [answer] if error is ErrorCode.NONE else entry.revoke(broker, correlation_id, error)
            )

    def expired() -> None:
        later.complete(entry.revoke(broker, correlation_id, ErrorCode.REQUEST_TIMED_OUT))

    timer = broker.timers.call_later(entry.timeout_ms, expired)
    entry.partition.when_committed(next_offset, committed)
    return later
