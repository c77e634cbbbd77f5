"""The short way of repeated Produce requests: never another answer, never another log than the ordinary way.

The property below runs the same requests through two brokers, one of which takes the ordinary way always, and
compares every answer and every log byte by byte.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from moldau_broker.base.errors import ErrorCode
from moldau_broker.server.fast_produce import REMEMBERED_MAX
from moldau_broker.testing.dispatch import DispatchBench, Reply
from moldau_broker.testing.logs import make_batch
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.framing import encode_request, is_flexible
from moldau_broker.wire.messages.produce import PartitionProduceData, ProduceRequest, TopicProduceData
from moldau_broker.wire.records import Record, build_batch

VERSIONS = range(3, 14)


def make_bench(*settings: str) -> DispatchBench:
    bench = DispatchBench(*settings)
    bench.create_topic("plain", partitions=3)
    bench.create_topic("stamped", message_timestamp_type="LogAppendTime")
    bench.create_topic("compacted", cleanup_policy="compact")
    bench.create_topic("strict", min_insync_replicas="2")
    bench.publish(bench.topic("strict", replicas=(1, 2)))
    return bench


def request_for(
    bench: DispatchBench,
    version: int,
    topic: str = "plain",
    index: int = 0,
    *,
    records: bytes | None = None,
    acks: int = 1,
    transactional_id: str | None = None,
    timeout_ms: int = 1_000,
) -> ProduceRequest:
    known = bench.image.topics.get(topic)
    data = PartitionProduceData(
        index=index, records=memoryview(make_batch((b"v",)) if records is None else records)
    )
    return ProduceRequest(
        acks=acks,
        timeout_ms=timeout_ms,
        transactional_id=transactional_id,
        topic_data=[
            TopicProduceData(
                name=topic, topic_id=known.topic_id if known else bytes(16), partition_data=[data]
            )
        ],
    )


def partition_answer(reply: Reply) -> Any:
    return reply.response().responses[0].partition_responses[0]


# --- it is taken, and what it may be taken for ------------------------------------------------------------


@pytest.mark.parametrize("acks", [-1, 0, 1])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_repeated_request_goes_past_its_handler(version: int, acks: int) -> None:
    """The handler sees the first; the others are appended where the first was, in every version."""
    bench = make_bench()
    for at in range(5):
        reply = bench.send(
            ApiKey.PRODUCE, version, request_for(bench, version, index=2, acks=acks), correlation_id=at
        )
        bench.committer.flush_all()
        if acks:
            assert partition_answer(reply).base_offset == at
            assert (reply.data or b"")[4:8] == at.to_bytes(4, "big")
        else:
            assert (reply.data, reply.closed) == (None, None)
    assert bench.handled[ApiKey.PRODUCE] == 1
    assert [bench.partition("plain", index).log_end_offset for index in range(3)] == [0, 0, 5]
    assert bench.dispatcher.stats.apis[ApiKey.PRODUCE].count == 5


@pytest.mark.parametrize("version", [3, 8, 9, 12, 13])
def test_partitions_are_remembered_apart(version: int) -> None:
    """Requests that differ in nothing but a partition index, interleaved."""
    bench = make_bench()
    for _ in range(4):
        for index in (2, 0, 1):
            bench.send(ApiKey.PRODUCE, version, request_for(bench, version, index=index))
    assert bench.handled[ApiKey.PRODUCE] == 3
    assert [bench.partition("plain", index).log_end_offset for index in range(3)] == [4, 4, 4]


def test_versions_are_remembered_apart() -> None:
    """Their requests may be the same but for the version's number; their answers are not."""
    streams = [Stream(version, "plain", 0, 1, "c", None) for version in VERSIONS]
    once = [Step(stream, "good", None, "plain", "nothing") for stream in streams]
    assert compare(once * 3) == 2 * len(once)


@pytest.mark.parametrize("version", [7, 12])
def test_what_was_refused_is_not_remembered(version: int) -> None:
    """However often it comes: legal acks, no transaction, a batch, a topic."""
    bench = make_bench()
    bad: list[tuple[ProduceRequest, ErrorCode]] = [
        (request_for(bench, version, acks=5), ErrorCode.INVALID_REQUIRED_ACKS),
        (request_for(bench, version, transactional_id="t"), ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED),
        (request_for(bench, version, records=b""), ErrorCode.INVALID_RECORD),
        (request_for(bench, version, topic="nowhere"), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
        (request_for(bench, version, index=9), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
        (request_for(bench, version, topic="compacted"), ErrorCode.INVALID_RECORD),
    ]
    for request, error in bad * 3:
        assert partition_answer(bench.send(ApiKey.PRODUCE, version, request)).error_code == error
    assert bench.peer.known_produces == []
    assert all(partition.log_end_offset == 0 for partition in bench.replicas.partitions())


def test_a_refused_batch_is_judged_once() -> None:
    """The short way had the ordinary one judge it again: of the four gaps that a refusal explains it explained two."""
    bench = make_bench()
    partition = bench.partition("plain", 0)

    def write(sequence: int) -> int:
        batch = make_batch((b"v",), producer_id=7, producer_epoch=0, base_sequence=sequence)
        request = request_for(bench, 9, records=bytes(batch))
        return partition_answer(bench.send(ApiKey.PRODUCE, 9, request)).error_code

    assert [write(0), write(1)] == [ErrorCode.NONE] * 2
    assert bench.peer.known_produces
    partition._gaps.refused(7, ErrorCode.NOT_ENOUGH_REPLICAS)
    told = [write(3) for _ in range(5)]
    assert told == [ErrorCode.NOT_ENOUGH_REPLICAS] * 4 + [ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER]
    assert (partition.produces, partition.failed_produces) == (7, 5)


def test_internal_topics_are_not_remembered() -> None:
    """Kafka's admin tools may write them, by their name, which others could borrow with the same bytes."""
    bench = make_bench()
    bench.create_topic("__consumer_offsets")
    for client_id, error in (("__admin_client", 0), ("other", 17), ("__admin_client", 0), ("other", 17)):
        request = request_for(bench, 9, "__consumer_offsets")
        reply = bench.send(ApiKey.PRODUCE, 9, request, client_id=client_id)
        assert partition_answer(reply).error_code == error
    assert bench.handled[ApiKey.PRODUCE] == 4


def test_a_connection_remembers_so_many_and_the_latest() -> None:
    """Bounded; the one least used is forgotten."""
    bench = DispatchBench()
    bench.create_topic("t", partitions=REMEMBERED_MAX + 1)
    for index in range(REMEMBERED_MAX + 1):
        bench.send(ApiKey.PRODUCE, 9, request_for(bench, 9, "t", index))
        bench.send(
            ApiKey.PRODUCE, 9, request_for(bench, 9, "t", 1) if index else request_for(bench, 9, "t", 0)
        )
    assert len(bench.peer.known_produces) == REMEMBERED_MAX
    before = bench.handled[ApiKey.PRODUCE]
    bench.send(ApiKey.PRODUCE, 9, request_for(bench, 9, "t", 1))
    assert bench.handled[ApiKey.PRODUCE] == before
    bench.send(ApiKey.PRODUCE, 9, request_for(bench, 9, "t", 0))
    assert bench.handled[ApiKey.PRODUCE] == before + 1


@pytest.mark.parametrize("version", [3, 12, 13])
def test_a_topic_made_anew_is_not_written_under_its_old_name(version: int) -> None:
    """The remembered partition is gone; by name the new one is found, by id nothing."""
    bench = make_bench()
    request = request_for(bench, version)
    for _ in range(3):
        bench.send(ApiKey.PRODUCE, version, request)
    old = bench.partition("plain")
    bench.publish(without=["plain"])
    bench.create_topic("plain", partitions=3)
    answer = partition_answer(bench.send(ApiKey.PRODUCE, version, request))
    if version < 13:
        assert (answer.error_code, answer.base_offset) == (ErrorCode.NONE, 0)
        assert bench.partition("plain").log_end_offset == 1
    else:
        assert answer.error_code == ErrorCode.UNKNOWN_TOPIC_ID
        assert bench.partition("plain").log_end_offset == 0
    assert old.log_end_offset == 3


def test_a_lost_leadership_is_answered_as_ever() -> None:
    """And the request goes the short way again when the leadership is back."""
    bench = make_bench()
    for _ in range(2):
        bench.send(ApiKey.PRODUCE, 9, request_for(bench, 9))
    bench.publish(bench.topic("plain", 3, replicas=(1, 2), leader=2, epoch=1))
    reply = bench.send(ApiKey.PRODUCE, 9, request_for(bench, 9))
    assert partition_answer(reply).error_code == ErrorCode.NOT_LEADER_OR_FOLLOWER
    bench.publish(bench.topic("plain", 3, replicas=(1, 2), leader=1, epoch=2))
    before = bench.handled[ApiKey.PRODUCE]
    assert partition_answer(bench.send(ApiKey.PRODUCE, 9, request_for(bench, 9))).base_offset == 2
    assert bench.handled[ApiKey.PRODUCE] == before


def hint_of(reply: Reply) -> tuple[int, int, list[tuple[int, str, int]]]:
    leader = partition_answer(reply).current_leader
    nodes = [(at.node_id, at.host, at.port) for at in reply.response().node_endpoints]
    return leader.leader_id, leader.leader_epoch, nodes


@pytest.mark.parametrize("version", [9, 10, 12, 13])
@pytest.mark.parametrize("acks", [-1, 1])
def test_a_lost_leadership_is_answered_with_who_leads_now(version: int, acks: int) -> None:
    """From v10 on, with its address. Reference: KIP-951."""
    bench = make_bench()
    bench.meet_broker(2, 9094)
    bench.publish(bench.topic("plain", 3, replicas=(1, 2), leader=2, epoch=1))
    reply = bench.send(ApiKey.PRODUCE, version, request_for(bench, version, acks=acks))
    assert partition_answer(reply).error_code == ErrorCode.NOT_LEADER_OR_FOLLOWER
    assert hint_of(reply) == ((2, 1, [(2, "192.0.2.2", 9094)]) if version >= 10 else (-1, -1, []))


@pytest.mark.parametrize("repeated", [False, True])
def test_a_leadership_lost_before_the_commit_is_answered_with_who_leads_now(repeated: bool) -> None:
    """Also on the short way, whose ready-made answer has no room for it."""
    bench = make_bench()
    bench.meet_broker(2, 9094)
    bench.publish(bench.topic("plain", 3, replicas=(1, 2), leader=1, epoch=1))
    for at in range(1 + repeated):
        reply = bench.send(ApiKey.PRODUCE, 12, request_for(bench, 12, acks=-1), correlation_id=at)
    assert not reply.done
    assert bench.handled[ApiKey.PRODUCE] == 1
    bench.publish(bench.topic("plain", 3, replicas=(1, 2), leader=2, epoch=2))
    assert partition_answer(reply).error_code == ErrorCode.NOT_LEADER_OR_FOLLOWER
    assert hint_of(reply) == (2, 2, [(2, "192.0.2.2", 9094)])
    assert reply.data is not None
    assert int.from_bytes(reply.data[4:8], "big") == repeated


@pytest.mark.parametrize("version", [8, 9])
def test_a_request_that_is_not_durable_in_time_says_so(version: int) -> None:
    """REQUEST_TIMED_OUT with no offset; the data stays, and the late commit disturbs nobody."""
    bench = make_bench()
    request = request_for(bench, version, acks=-1, timeout_ms=200)
    first = bench.send(ApiKey.PRODUCE, version, request)
    bench.committer.flush()
    assert first.done
    assert bench.timers.pending == 0
    second = bench.send(ApiKey.PRODUCE, version, request)
    assert bench.handled[ApiKey.PRODUCE] == 1
    bench.timers.advance(199)
    assert not second.done
    bench.timers.advance(1)
    answer = partition_answer(second)
    assert (answer.error_code, answer.base_offset) == (ErrorCode.REQUEST_TIMED_OUT, -1)
    bench.committer.flush_all()
    assert bench.partition("plain").log_end_offset == 2


def test_a_repeated_request_is_timed_until_its_answer() -> None:
    """With acks=all it is over when it is committed, so what its disk and its followers take is in its time."""
    bench = make_bench()
    request = request_for(bench, 9, acks=-1)
    bench.send(ApiKey.PRODUCE, 9, request)
    bench.committer.flush_all()
    produced = bench.dispatcher.stats.apis[ApiKey.PRODUCE]
    assert produced.count == 1
    second = bench.send(ApiKey.PRODUCE, 9, request)
    assert bench.handled[ApiKey.PRODUCE] == 1
    assert (second.done, produced.count) == (False, 1)
    bench.committer.flush_all()
    assert (second.done, produced.count) == (True, 2)


def test_controls_can_switch_it_off() -> None:
    """What stands before the handlers then sees every request."""
    bench = make_bench()
    bench.dispatcher.learns_produces = False
    for _ in range(3):
        bench.send(ApiKey.PRODUCE, 9, request_for(bench, 9))
    assert bench.handled[ApiKey.PRODUCE] == 3


# --- the property -----------------------------------------------------------------------------------------


GOOD = make_batch((b"v",))
KEYED = make_batch((b"v", b"w"), timestamp=1_700_000_000_000, codec=1)
BATCHES: dict[str, bytes | bytearray] = {
    "good": GOOD,
    "compressed": KEYED,
    "keyed": build_batch([Record(0, 1_700_000_000_000, b"k", b"v", [])]),
    "large": make_batch((bytes(3_000),)),
    "crc": GOOD[:-1] + b"\xff",
    "two": GOOD + GOOD,
    "cut": GOOD[:-1],
    "short": GOOD[:20],
    "empty": b"",
    "old": GOOD[:16] + b"\1" + GOOD[17:],
    "transactional": make_batch(
        (b"v",), producer_id=1, producer_epoch=0, base_sequence=0, transactional=True
    ),
    "future": make_batch((b"v",), timestamp=2**50),
    "codec 5": GOOD[:22] + b"\5" + GOOD[23:],
    "nested": make_batch((bytes(2) + GOOD,)),
}


HAPPENINGS: dict[str, Callable[[DispatchBench], None]] = {
    "nothing": lambda bench: None,
    "flush": lambda bench: bench.committer.flush_all(),
    "expire": lambda bench: bench.timers.advance(1_000),
    "recreate": lambda bench: (bench.publish(without=["plain"]), bench.publish(bench.topic("plain", 3)))[0],
    "leader": lambda bench: bench.publish(bench.topic("plain", 3, replicas=(1, 2), leader=2, epoch=9)),
    "shrink": lambda bench: bench.publish(bench.topic("strict", replicas=(1, 2), isr=(1,))),
    "settings": lambda bench: bench.publish(configs={(2, "plain"): {"max.message.bytes": "400"}}),
}


@dataclass(frozen=True)
class Stream:
    """What a producer keeps saying: all of a request but its records."""

    version: int
    topic: str
    index: int
    acks: int
    client_id: str | None
    transactional_id: str | None


@dataclass(frozen=True)
class Step:
    """One request of a stream, the same for both brokers; and something that happens before it."""

    stream: Stream
    batch: str
    sequence: int | None
    shape: str
    happens: str


streams = st.builds(
    Stream,
    version=st.sampled_from(VERSIONS),
    topic=st.sampled_from(["plain", "plain", "plain", "stamped", "compacted", "strict", "nowhere", ""]),
    index=st.sampled_from([0, 0, 0, 1, 2, 3, -1]),
    acks=st.sampled_from([1, 1, -1, -1, 0, 5]),
    client_id=st.sampled_from(["c", "c", "c", None, "__admin_client"]),
    transactional_id=st.sampled_from([None] * 6 + ["", "t"]),
)


@st.composite
def runs(draw: st.DrawFn) -> list[Step]:
    """Some producers on one connection, most of what they send being good; versions may differ in nothing else."""
    some = draw(st.lists(streams, min_size=1, max_size=3))
    some += [replace(some[0], version=draw(st.sampled_from(VERSIONS)))]
    step = st.builds(
        Step,
        stream=st.sampled_from(some),
        batch=st.sampled_from(["good"] * 8 + [*BATCHES]),
        sequence=st.sampled_from([None] * 6 + [0, 1, 2, 7]),
        shape=st.sampled_from(["plain"] * 12 + ["tags", "trailing", "zeros", "wasteful", "twice"]),
        happens=st.sampled_from(["nothing"] * 12 + ["flush", "flush", *HAPPENINGS]),
    )
    return draw(st.lists(step, min_size=1, max_size=40))


def payload(bench: DispatchBench, step: Step) -> bytes:
    """The frame of a step, without its size."""
    records = BATCHES[step.batch]
    if step.sequence is not None:
        records = make_batch((b"s",), producer_id=5, producer_epoch=0, base_sequence=step.sequence)
    stream = step.stream
    request = request_for(
        bench,
        stream.version,
        stream.topic,
        stream.index,
        records=records,
        acks=stream.acks,
        transactional_id=stream.transactional_id,
    )
    if step.shape == "twice":
        request = ProduceRequest(
            acks=stream.acks, timeout_ms=1_000, topic_data=[request.topic_data[0], request.topic_data[0]]
        )
    frame = encode_request(ApiKey.PRODUCE, stream.version, 77, stream.client_id, request)[4:]
    if step.shape == "trailing":
        return frame + b"left over"
    if step.shape == "zeros":
        return frame + bytes(3)
    if is_flexible(ApiKey.PRODUCE, stream.version):
        if step.shape == "tags":
            return frame[:-1] + b"\x01\x09\x03\0\0\0"
        if step.shape == "wasteful" and records:
            length = _uvarint(len(records) + 1)
            at = frame.rindex(length + bytes(records))
            return frame[:at] + _wasteful(length) + frame[at + len(length) :]
    return frame


def _uvarint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def _wasteful(varint: bytes) -> bytes:
    """The same number in one byte more."""
    return varint[:-1] + bytes([varint[-1] | 0x80, 0])


def outcome(reply: Reply) -> tuple[bool, bytes | None, str | None]:
    return reply.done, reply.data, reply.closed


def compare(run: list[Step]) -> int:
    """Both ways, the same answers and the same logs; gives how many requests went past their handler."""
    short, ordinary = make_bench(), make_bench()
    ordinary.dispatcher.learns_produces = False
    replies: list[tuple[Reply, Reply]] = []
    for step in run:
        pair = []
        for bench in (short, ordinary):
            HAPPENINGS[step.happens](bench)
            bench.clock.advance(3)
            pair.append(bench.send_bytes(ApiKey.PRODUCE, step.stream.version, payload(bench, step)))
            if pair[-1].closed:
                bench.peer.known_produces.clear()  # a new connection
        replies.append((pair[0], pair[1]))
        assert outcome(pair[0]) == outcome(pair[1]), step
    for bench in (short, ordinary):
        bench.timers.advance(500)
        bench.committer.flush_all()
        bench.timers.advance(10_000)
    for one, other in replies:
        assert outcome(one) == outcome(other)
    for mine, theirs in zip(short.replicas.partitions(), ordinary.replicas.partitions(), strict=True):
        assert (mine.topic, mine.index, mine.log_end_offset) == (
            theirs.topic,
            theirs.index,
            theirs.log_end_offset,
        )
        if mine.log_end_offset:
            assert bytes(mine.log.read(0, 1 << 30)) == bytes(theirs.log.read(0, 1 << 30))
    assert short.dispatcher.stats.with_trailing_bytes == ordinary.dispatcher.stats.with_trailing_bytes
    assert ordinary.handled[ApiKey.PRODUCE] == len(run)
    return len(run) - short.handled[ApiKey.PRODUCE]


@settings(max_examples=max(200, settings().max_examples))
@given(runs())
def test_both_ways_give_the_same_answers_and_the_same_logs(run: list[Step]) -> None:
    """Whatever comes, in whatever order, whatever happens in between."""
    note(f"{compare(run)} of {len(run)} went past their handler")


@pytest.mark.parametrize("acks", [-1, 0, 1])
@pytest.mark.parametrize("version", [3, 5, 9, 13])
def test_anything_odd_after_good_ones_is_answered_as_ever(version: int, acks: int) -> None:
    """Each kind of batch, shape and event by itself, between requests that go the short way."""
    for topic, usual in (("plain", "good"), ("stamped", "good"), ("strict", "good"), ("compacted", "keyed")):
        stream = Stream(version, topic, 0, acks, "c", None)
        good = Step(stream, usual, None, "plain", "nothing")
        odd = [
            *(replace(good, batch=batch) for batch in BATCHES),
            *(replace(good, sequence=sequence) for sequence in (0, 1, 7)),
            *(replace(good, shape=shape) for shape in ("tags", "trailing", "zeros", "wasteful", "twice")),
            *(replace(good, happens=happens) for happens in HAPPENINGS),
        ]
        past = sum(compare([good, good, one, one, good, good]) for one in odd)
        assert past >= len(odd), "or this compares the ordinary way with itself"


@pytest.mark.parametrize("shape", ["plain", "tags", "trailing", "zeros", "wasteful", "twice"])
@pytest.mark.parametrize("version", [8, 9, 13])
def test_only_frames_in_our_own_encoding_are_remembered(version: int, shape: str) -> None:
    """Anything else might put the records elsewhere than the remembered prefix says."""
    bench = make_bench()
    step = Step(Stream(version, "plain", 0, 1, "c", None), "good", None, shape, "nothing")
    for _ in range(3):
        reply = bench.send_bytes(ApiKey.PRODUCE, version, payload(bench, step))
        assert partition_answer(reply).error_code == ErrorCode.NONE
    plain = shape == "plain" or (version < 9 and shape in {"tags", "wasteful"})
    assert len(bench.peer.known_produces) == int(plain)
    assert bench.handled[ApiKey.PRODUCE] == (1 if plain else 3)
    assert bench.partition("plain").log_end_offset == (6 if shape == "twice" else 3)
