"""Fetch from frame to answer: long polls, sessions, bounds, cold data, and leaders that change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import Uuid
from moldau_broker.base.limits import FETCH_ANSWER_BYTES_ENOUGH, WAITING_FETCHES_MAX
from moldau_broker.metadata.image import BrokerImage, ResourceType
from moldau_broker.replication.waiting import DelayedFetch
from moldau_broker.server.handlers.spec import ListenerKind
from moldau_broker.testing.dispatch import DispatchBench, Peer, Reply
from moldau_broker.testing.logs import make_batch
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.batches import iter_batches
from moldau_broker.wire.messages.fetch import (
    FetchPartition,
    FetchRequest,
    FetchTopic,
    ForgottenTopic,
    ReplicaState,
)

VERSIONS = range(4, 19)


@pytest.fixture
def bench() -> DispatchBench:
    bench = DispatchBench()
    bench.create_topic("t", partitions=3)
    return bench


def write(bench: DispatchBench, *values: bytes, topic: str = "t", index: int = 0) -> int:
    """Append one batch; gives its size."""
    batch = make_batch(values or (b"v",))
    partition = bench.partition(topic, index)
    assert partition.append(bench.accepted(batch), bench.clock.wall_ms(), all_in_sync=True).error == 0
    return len(batch)


def wanted(
    bench: DispatchBench,
    offsets: dict[int, int],
    *,
    topic: str = "t",
    max_bytes: int = 1 << 20,
    **fields: int,
) -> FetchTopic:
    known = bench.image.topics.get(topic)
    return FetchTopic(
        topic=topic,
        topic_id=known.topic_id if known else bytes(16),
        partitions=[
            FetchPartition(partition=index, fetch_offset=offset, partition_max_bytes=max_bytes, **fields)
            for index, offset in offsets.items()
        ],
    )


def fetch(
    bench: DispatchBench,
    *topics: FetchTopic,
    version: int = 12,
    peer: Peer | None = None,
    **fields: Any,
) -> Reply:
    options = {"max_wait_ms": 500, "min_bytes": 1, "max_bytes": 1 << 20, **fields}
    return bench.send(ApiKey.FETCH, version, FetchRequest(topics=list(topics), **options), peer=peer)


def got(reply: Reply) -> dict[int, int]:
    """Batches by partition index."""
    return {
        one.partition_index: len(list(iter_batches(bytes(one.records or b""), 0, len(one.records or b""))))
        for topic in reply.response().responses
        for one in topic.partitions
    }


def errors(reply: Reply) -> dict[int, int]:
    """Error codes by partition index."""
    return {
        one.partition_index: one.error_code
        for topic in reply.response().responses
        for one in topic.partitions
    }


# --- what is there ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_there_is_answered_at_once_in_every_version(bench: DispatchBench, version: int) -> None:
    """Records, an offset out of range and a partition that does not exist, side by side."""
    write(bench, b"1")
    write(bench, b"2")
    reply = fetch(bench, wanted(bench, {0: 0, 1: 5, 7: 0}), version=version)
    assert reply.done
    assert errors(reply) == {
        0: ErrorCode.NONE,
        1: ErrorCode.OFFSET_OUT_OF_RANGE,
        7: ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
    }
    assert got(reply) == {0: 2, 1: 0, 7: 0}
    (topic,) = reply.response().responses
    assert (topic.topic or topic.topic_id) == ("t" if version < 13 else bench.image.topics["t"].topic_id)
    assert topic.partitions[0].high_watermark == 2


def test_partitions_share_the_answers_bytes_in_the_order_asked(bench: DispatchBench) -> None:
    """The first that has data gets a batch however large (KIP-74), the others what is left."""
    size = write(bench, bytes(1_000), index=1)
    write(bench, bytes(1_000), index=2)
    wish = wanted(bench, {0: 0, 1: 0, 2: 0})
    assert got(fetch(bench, wish, max_bytes=10)) == {0: 0, 1: 1, 2: 0}
    assert got(fetch(bench, wish, max_bytes=2 * size)) == {0: 0, 1: 1, 2: 1}
    assert got(fetch(bench, wanted(bench, {2: 0, 1: 0}), max_bytes=10)) == {2: 1, 1: 0}


def test_an_answer_is_not_larger_than_useful(bench: DispatchBench) -> None:
    """About a mebibyte, so that reading and sending overlap; more only where more is waited for."""
    for _ in range(40):
        write(bench, bytes(100_000))
    small = fetch(bench, wanted(bench, {0: 0}, max_bytes=50 << 20), max_bytes=50 << 20)
    assert len(small.data or b"") <= FETCH_ANSWER_BYTES_ENOUGH + 1_000
    large = fetch(bench, wanted(bench, {0: 0}, max_bytes=50 << 20), max_bytes=50 << 20, min_bytes=3 << 20)
    assert 2_900_000 < len(large.data or b"") <= (3 << 20) + 1_000


# --- long polls -------------------------------------------------------------------------------------------


def test_a_fetch_waits_for_its_minimum(bench: DispatchBench) -> None:
    """Bytes already visible count, and so does every byte that becomes visible, in any of its partitions."""
    size = write(bench, bytes(100))
    reply = fetch(bench, wanted(bench, {0: 0, 1: 0}), min_bytes=3 * size)
    assert not reply.done
    write(bench, bytes(100), index=2)
    assert not reply.done, "that partition was not asked for"
    write(bench, bytes(100), index=1)
    assert not reply.done
    write(bench, bytes(100))
    assert got(reply) == {0: 2, 1: 1}
    assert bench.timers.pending == 0
    assert bench.broker.waiting_fetches == set()


def test_a_fetch_waits_no_longer_than_it_says(bench: DispatchBench) -> None:
    """Then it gets what there is, also nothing."""
    write(bench, b"1")
    enough, nothing = (
        fetch(bench, wanted(bench, {0: 0}), min_bytes=10_000),
        fetch(bench, wanted(bench, {1: 0}), max_wait_ms=700),
    )
    bench.timers.advance(499)
    assert not enough.done
    bench.timers.advance(1)
    assert got(enough) == {0: 1}
    assert not nothing.done
    bench.timers.advance(200)
    assert got(nothing) == {1: 0}


@pytest.mark.parametrize(
    "fields", [{"max_wait_ms": 0}, {"max_wait_ms": -1}, {"min_bytes": 0}, {"min_bytes": -1}]
)
def test_a_fetch_that_does_not_want_to_wait_does_not(bench: DispatchBench, fields: dict[str, int]) -> None:
    """No time, or no minimum."""
    assert got(fetch(bench, wanted(bench, {0: 0}), **fields)) == {0: 0}


def test_an_error_is_not_waited_with(bench: DispatchBench) -> None:
    """The client has to act on it."""
    reply = fetch(bench, wanted(bench, {0: 0, 1: 9}))
    assert errors(reply) == {0: ErrorCode.NONE, 1: ErrorCode.OFFSET_OUT_OF_RANGE}


def test_a_fetch_hears_at_once_when_its_topic_goes(bench: DispatchBench) -> None:
    """Or when another leads it; in newer versions it is told who (KIP-951)."""
    bench.meet_broker(2, 9092)
    for change, error in (
        (
            lambda: bench.publish(bench.topic("t", 3, replicas=(1, 2), leader=2, epoch=4)),
            ErrorCode.NOT_LEADER_OR_FOLLOWER,
        ),
        (lambda: bench.publish(without=["t"]), ErrorCode.NOT_LEADER_OR_FOLLOWER),
    ):
        if "t" not in bench.image.topics:
            bench.create_topic("t", partitions=3)
        bench.publish(bench.topic("t", 3, epoch=3))
        reply = fetch(bench, wanted(bench, {0: 0}), version=16)
        assert not reply.done
        change()
        assert errors(reply) == {0: error}
        leader = reply.response().responses[0].partitions[0].current_leader
        if "t" in bench.image.topics:
            assert (leader.leader_id, leader.leader_epoch) == (2, 4)


def test_a_fetch_whose_connection_goes_leaves_nothing_behind(bench: DispatchBench) -> None:
    """No timer, no place in a list, no reading for nobody."""
    peer = Peer()
    reply = fetch(bench, wanted(bench, {0: 0, 1: 0}), peer=peer)
    peer.close()
    assert bench.timers.pending == 0
    assert bench.broker.waiting_fetches == set()
    assert bench.partition("t").fetch_waiters == []
    write(bench, b"1")
    assert not reply.done


def test_a_stopping_broker_answers_who_waits(bench: DispatchBench) -> None:
    """With what there is."""
    replies = [fetch(bench, wanted(bench, {0: 0})) for _ in range(3)]
    bench.broker.finish_fetches()
    assert [got(reply) for reply in replies] == [{0: 0}] * 3
    assert bench.broker.waiting_fetches == set()


def test_a_crowd_of_waiting_fetches_is_bounded(bench: DispatchBench) -> None:
    """Beyond the bound they are answered at once, empty, which costs their clients a round trip."""
    bench.broker.waiting_fetches = {DelayedFetch([], 1, lambda: None) for _ in range(WAITING_FETCHES_MAX)}
    assert fetch(bench, wanted(bench, {0: 0})).done
    bench.broker.waiting_fetches.pop()
    assert not fetch(bench, wanted(bench, {0: 0})).done


def test_a_waiting_fetch_holds_back_its_connection(bench: DispatchBench) -> None:
    """Its answer may be large, so the next request is not looked at before; an immediate one holds nothing."""
    write(bench, b"1")
    now, later = Peer(), Peer()
    fetch(bench, wanted(bench, {0: 0}), peer=now)
    fetch(bench, wanted(bench, {1: 0}), peer=later)
    assert now.awaited is None
    assert later.awaited is not None


# --- cold data --------------------------------------------------------------------------------------------


def test_cold_data_is_read_by_a_helper_and_then_answered(bench: DispatchBench) -> None:
    """The loop never waits for the disk: only what is not in the page cache takes the long way."""
    for _ in range(18):
        write(bench, bytes(1_000_000))
    write(bench, b"hot", index=1)
    bench.disk.cold = True
    reply = fetch(bench, wanted(bench, {0: 0, 1: 0}), max_bytes=3 << 20)
    assert not reply.done
    assert bench.readers.asked == 1
    bench.readers.run()
    assert got(reply)[0] >= 1
    assert errors(reply) == {0: ErrorCode.NONE, 1: ErrorCode.NONE}


def test_no_more_cold_data_is_read_than_the_answer_can_hold(bench: DispatchBench) -> None:
    """A follower that catches up on a thousand partitions must not wait for a mebibyte of each."""
    for index in range(3):
        for _ in range(18):
            write(bench, bytes(1_000_000), index=index)
    bench.disk.cold = True
    reply = fetch(bench, wanted(bench, {0: 0, 1: 0, 2: 0}), max_bytes=1_500_000)
    read: list[int] = []
    before = bench.disk.reading

    def reading(path: str) -> None:
        read.append(int(path[2]))
        before(path)

    bench.disk.reading = reading  # type: ignore[method-assign]
    bench.readers.run()
    assert 0 in read
    assert 2 not in read, "neither by the helper nor, worse, by the event loop"
    assert got(reply) == {0: 1, 1: 0, 2: 0}


def test_cold_data_whose_topic_goes_meanwhile_is_an_error(bench: DispatchBench) -> None:
    """Decisions are made when the data is there, not when it was asked for."""
    for _ in range(18):
        write(bench, bytes(1_000_000))
    bench.disk.cold = True
    reply = fetch(bench, wanted(bench, {0: 0}))
    bench.publish(bench.topic("t", 3, replicas=(1, 2), leader=2, epoch=4))
    bench.readers.run()
    assert errors(reply) == {0: ErrorCode.NOT_LEADER_OR_FOLLOWER}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("session_epoch", [-1, 0])
def test_a_fetch_is_told_who_leads_and_where(bench: DispatchBench, version: int, session_epoch: int) -> None:
    """From v16 on, each leader's address once. Reference: KIP-951."""
    bench.meet_broker(2, 9094, rack="b")
    bench.publish(bench.topic("t", 2, replicas=(1, 2), leader=2, epoch=4))
    fields = {"session_epoch": session_epoch} if version >= 7 else {}
    reply = fetch(bench, wanted(bench, {0: 0, 1: 0}), version=version, max_wait_ms=0, **fields)
    assert set(errors(reply).values()) == {ErrorCode.NOT_LEADER_OR_FOLLOWER}
    answer = reply.response()
    told = [
        (one.current_leader.leader_id, one.current_leader.leader_epoch)
        for topic in answer.responses
        for one in topic.partitions
    ]
    nodes = [(at.node_id, at.host, at.port, at.rack) for at in answer.node_endpoints]
    assert told == ([(2, 4)] * 2 if version >= 16 else [(-1, -1)] * 2)
    assert nodes == ([(2, "192.0.2.2", 9094, "b")] if version >= 16 else [])


def test_a_fetch_of_what_lives_elsewhere_is_told_where(bench: DispatchBench) -> None:
    """A broker that never had a replica, or has it no more, knows where they are all the same."""
    bench.meet_broker(3, 9093)
    bench.publish(bench.topic("far", replicas=(3,), leader=3, epoch=2))
    reply = fetch(bench, wanted(bench, {0: 0}, topic="far"), version=18)
    assert errors(reply) == {0: ErrorCode.NOT_LEADER_OR_FOLLOWER}
    assert [at.node_id for at in reply.response().node_endpoints] == [3]


@pytest.mark.parametrize("leader", [-1, 2])
def test_a_fetch_is_told_of_no_leader_that_cannot_be_reached(bench: DispatchBench, leader: int) -> None:
    """Nobody leads, or who does has no address that is known: the client asks for metadata as ever."""
    bench.publish(bench.topic("t", 3, replicas=(1, 2), leader=leader, epoch=4))
    reply = fetch(bench, wanted(bench, {0: 0}), version=16)
    assert errors(reply) == {0: ErrorCode.NOT_LEADER_OR_FOLLOWER}
    assert reply.response().responses[0].partitions[0].current_leader.leader_id == -1
    assert list(reply.response().node_endpoints) == []


def test_a_leader_that_is_cut_off_does_not_name_itself(bench: DispatchBench) -> None:
    """Its own image says that it leads; a client that trusted that would come back at once."""
    bench.meet_broker(1, 9092)
    bench.publish(bench.topic("t", 3, replicas=(1, 2), epoch=4))
    bench.partition("t").is_cut_off = True
    reply = fetch(bench, wanted(bench, {0: 0}), version=16)
    assert errors(reply) == {0: ErrorCode.NOT_LEADER_OR_FOLLOWER}
    assert reply.response().responses[0].partitions[0].current_leader.leader_id == -1


# --- sessions ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [7, 12, 13, 18])
def test_a_session_tells_only_what_is_new(bench: DispatchBench, version: int) -> None:
    """KIP-227: the full fetch names everything, the next ones only what has data or has changed."""
    write(bench, b"1")
    first = fetch(bench, wanted(bench, {0: 0, 1: 0, 2: 0}), version=version, session_epoch=0)
    session_id = first.response().session_id
    assert session_id > 0
    assert got(first) == {0: 1, 1: 0, 2: 0}
    on = {"session_id": session_id, "max_wait_ms": 0, "version": version}
    assert got(fetch(bench, wanted(bench, {0: 1}), session_epoch=1, **on)) == {}
    write(bench, b"2", index=1)
    assert got(fetch(bench, session_epoch=2, **on)) == {1: 1}
    assert got(fetch(bench, wanted(bench, {1: 1}), session_epoch=3, **on)) == {}


def test_a_session_forgets_what_it_is_told_to(bench: DispatchBench) -> None:
    """And takes up what is added."""
    session_id = (
        fetch(bench, wanted(bench, {0: 0, 1: 0}), session_epoch=0, max_wait_ms=0).response().session_id
    )
    for index in range(3):
        write(bench, b"1", index=index)
    reply = fetch(
        bench,
        wanted(bench, {2: 0}),
        session_id=session_id,
        session_epoch=1,
        forgotten_topics_data=[ForgottenTopic(topic="t", partitions=[0])],
    )
    assert got(reply) == {1: 1, 2: 1}


def test_a_session_gives_every_partition_its_turn(bench: DispatchBench) -> None:
    """With little room per answer, who got data goes to the end of the line."""
    for index in range(3):
        for _ in range(3):
            write(bench, bytes(500), index=index)
    first = fetch(bench, wanted(bench, {0: 0, 1: 0, 2: 0}), session_epoch=0, max_bytes=700)
    session_id = first.response().session_id
    served = [index for index, count in got(first).items() if count]
    for epoch in (1, 2):
        reply = fetch(bench, session_id=session_id, session_epoch=epoch, max_bytes=700)
        served += [index for index, count in got(reply).items() if count]
    assert served == [0, 1, 2]


def test_a_session_is_ended_or_replaced_by_its_reader(bench: DispatchBench) -> None:
    """Epoch -1 ends it and is answered without one; epoch 0 with an id begins another."""
    wish = wanted(bench, {0: 0})
    session_id = fetch(bench, wish, session_epoch=0, max_wait_ms=0).response().session_id
    again = fetch(bench, wish, session_id=session_id, session_epoch=0, max_wait_ms=0).response().session_id
    assert again not in (0, session_id)
    assert len(bench.broker.fetch_sessions) == 1
    ended = fetch(bench, wish, session_id=again, session_epoch=-1, max_wait_ms=0).response()
    assert (ended.session_id, ended.error_code, len(bench.broker.fetch_sessions)) == (0, 0, 0)


@pytest.mark.parametrize(
    ("version", "epoch", "error"),
    [
        (12, 2, ErrorCode.INVALID_FETCH_SESSION_EPOCH),
        (13, 1, ErrorCode.FETCH_SESSION_TOPIC_ID_ERROR),
        (12, 1, ErrorCode.NONE),
    ],
)
def test_a_session_that_does_not_fit_is_refused(
    bench: DispatchBench, version: int, epoch: int, error: ErrorCode
) -> None:
    """An epoch out of turn, or topic ids where it began with names; the error is the whole answer."""
    session_id = fetch(bench, wanted(bench, {0: 0}), session_epoch=0, max_wait_ms=0).response().session_id
    reply = fetch(
        bench, session_id=session_id, session_epoch=epoch, version=version, max_wait_ms=0
    ).response()
    assert reply.error_code == error
    assert not reply.responses


# --- epochs -----------------------------------------------------------------------------------------------


def test_a_reader_in_another_epoch_is_fenced_and_told_the_leader(bench: DispatchBench) -> None:
    """Of this very broker, in its newer epoch; who knows more than we do needs no advice (KIP-320, KIP-951)."""
    bench.meet_broker(1, 9092)
    bench.publish(bench.topic("t", 3, epoch=5))
    for known, error in ((4, ErrorCode.FENCED_LEADER_EPOCH), (6, ErrorCode.UNKNOWN_LEADER_EPOCH)):
        reply = fetch(bench, wanted(bench, {0: 0}, current_leader_epoch=known), version=16)
        assert errors(reply) == {0: error}
        leader = reply.response().responses[0].partitions[0].current_leader
        fenced = error is ErrorCode.FENCED_LEADER_EPOCH
        assert (leader.leader_id, leader.leader_epoch) == ((1, 5) if fenced else (-1, -1))


@pytest.mark.parametrize(
    ("offset", "epoch", "diverging"),
    [(2, 0, None), (3, 0, (0, 2)), (3, 5, None), (3, 4, (0, 2)), (1, 5, None), (4, 5, (5, 3))],
)
def test_a_reader_whose_log_left_ours_is_told_where(
    bench: DispatchBench, offset: int, epoch: int, diverging: tuple[int, int] | None
) -> None:
    """KIP-595: epoch 0 ends at 2, epoch 5 at 3."""
    write(bench, b"1")
    write(bench, b"2")
    bench.publish(bench.topic("t", 3, epoch=5))
    write(bench, b"3")
    reply = fetch(bench, wanted(bench, {0: offset}, last_fetched_epoch=epoch), max_wait_ms=0)
    (answer,) = reply.response().responses[0].partitions
    assert (answer.diverging_epoch.epoch, answer.diverging_epoch.end_offset) == (diverging or (-1, -1))


# --- parted logs, followers and racks -----------------------------------------------------------------------


def test_a_session_tells_where_logs_part_although_nothing_else_is_new(bench: DispatchBench) -> None:
    """And at once: who waits to hear that would fetch the same in vain for ever."""
    for _ in range(3):
        write(bench)
    first = fetch(bench, wanted(bench, {0: 3}, last_fetched_epoch=0), session_epoch=0, max_wait_ms=0)
    bench.publish(bench.topic("t", 3, epoch=1))
    reply = fetch(
        bench,
        wanted(bench, {0: 5}, last_fetched_epoch=0),
        session_id=first.response().session_id,
        session_epoch=1,
    )
    assert reply.done
    ((answer,),) = [topic.partitions for topic in reply.response().responses]
    assert (answer.diverging_epoch.epoch, answer.diverging_epoch.end_offset) == (0, 3)


def a_replica(
    bench: DispatchBench, *, internal: bool = True, indexes: Sequence[int] = (0,), **fields: Any
) -> Reply:
    """What broker 2 gets when it fetches partition 0, or these, from offset 0 as a follower."""
    peer = Peer("INTERNAL", ListenerKind.INTERNAL) if internal else Peer()
    state = ReplicaState(replica_id=2, replica_epoch=-1)
    wish = wanted(bench, dict.fromkeys(indexes, 0))
    return fetch(bench, wish, version=17, peer=peer, replica_state=state, **fields)


def test_followers_fetch_from_the_internal_listener_only(bench: DispatchBench) -> None:
    """They see what is not visible yet; on a client's listener nobody may say that it is one (CVE-2018-1288)."""
    bench.publish(bench.topic("t", 3, replicas=(1, 2), epoch=1))
    write(bench)
    assert errors(a_replica(bench, internal=False)) == {0: ErrorCode.TOPIC_AUTHORIZATION_FAILED}
    assert got(fetch(bench, wanted(bench, {0: 0}), max_wait_ms=0)) == {0: 0}
    assert got(a_replica(bench)) == {0: 1}


def test_a_follower_gets_what_it_asks_for_of_many_partitions(bench: DispatchBench) -> None:
    """It flushes once for each answer: replica.fetch.response.max.bytes binds, and the leader's fetch.max.bytes."""
    bench.publish(bench.topic("t", 3, replicas=(1, 2), epoch=1))
    for index in range(3):
        for _ in range(30):
            write(bench, bytes(100_000), index=index)
    sizes = {}
    for max_bytes in (10 << 20, 2 << 20):
        reply = a_replica(bench, indexes=(0, 1, 2), max_bytes=max_bytes)
        sizes[max_bytes] = [
            len(one.records or b"") for topic in reply.response().responses for one in topic.partitions
        ]
    assert all((1 << 20) - 101_000 < size <= 1 << 20 for size in sizes[10 << 20])
    assert len(sizes[10 << 20]) == 3
    assert (2 << 20) - 101_000 < sum(sizes[2 << 20]) <= 2 << 20


def test_a_follower_that_waits_is_answered_in_the_turn_of_the_append(bench: DispatchBench) -> None:
    """Though consumers see nothing yet."""
    bench.publish(bench.topic("t", 3, replicas=(1, 2), epoch=1))
    waiting, consumer = a_replica(bench), fetch(bench, wanted(bench, {0: 0}))
    assert not waiting.done
    write(bench)
    assert (waiting.done, consumer.done) == (True, False)
    assert got(waiting) == {0: 1}


RACKS = "replica.selector.class=org.apache.kafka.common.replica.RackAwareReplicaSelector"


def test_a_follower_serves_consumers_that_know_it_may() -> None:
    """Up to the high watermark it knows, where replicas may be chosen (KIP-392); others are sent to the leader."""
    for settings, version, error in (
        ((RACKS,), 11, ErrorCode.NONE),
        ((RACKS,), 10, ErrorCode.NOT_LEADER_OR_FOLLOWER),
        ((), 11, ErrorCode.NOT_LEADER_OR_FOLLOWER),
    ):
        bench = DispatchBench(*settings)
        bench.publish(bench.topic("t", replicas=(1, 2), leader=2, epoch=1))
        assert errors(fetch(bench, wanted(bench, {0: 0}), version=version, max_wait_ms=0)) == {0: error}


def test_a_leader_sends_consumers_to_their_rack() -> None:
    """To an in-sync follower there that has what they want; not the leader's own neighbours."""
    bench = DispatchBench(RACKS)
    brokers = {
        node: BrokerImage(node, 100 + node, Uuid(bytes(16)), False, False, rack, {})
        for node, rack in ((1, "a"), (2, "b"))
    }
    bench.follow(bench.image._replace(brokers=brokers))
    bench.publish(bench.topic("t", replicas=(1, 2), epoch=1))
    bench.follow(bench.image._replace(brokers=brokers))
    write(bench)

    def preferred(rack: str) -> int:
        reply = fetch(bench, wanted(bench, {0: 0}), version=11, max_wait_ms=0, rack_id=rack)
        ((answer,),) = [topic.partitions for topic in reply.response().responses]
        return int(answer.preferred_read_replica)

    assert preferred("b") == -1, "it has not fetched yet"
    bench.partition("t").fetched_by(2, 102, 0, 0)
    assert [preferred(rack) for rack in ("a", "b", "c", "")] == [-1, 2, -1, -1]


@pytest.mark.parametrize("in_session", [False, True])
def test_a_throttled_follower_is_not_woken_for_an_empty_answer(
    bench: DispatchBench, *, in_session: bool
) -> None:
    """Out of sync and over the rate it gets no records and waits its whole time; later it gets them."""
    session = {"session_id": 0, "session_epoch": -1}

    def a_replica_again() -> Reply:
        reply = a_replica(bench, **session)
        session["session_epoch"] += in_session
        return reply

    rate, names = "leader.replication.throttled.rate", "leader.replication.throttled.replicas"
    bench.publish(
        bench.topic("t", 3, replicas=(1, 2), isr=(1,), epoch=1),
        configs={
            (int(ResourceType.TOPIC), "t"): {names: "0:1"},
            (int(ResourceType.BROKER), ""): {rate: "10"},
        },
    )
    size = write(bench)
    session["session_epoch"] += in_session
    first = a_replica_again()
    session["session_id"] = first.response().session_id
    assert bool(session["session_id"]) == in_session
    assert got(first) == {0: 1}, "the rate is exceeded by what was sent, never before"
    waiting = a_replica_again()
    write(bench)
    assert not waiting.done
    bench.timers.advance(100_000)
    assert waiting.done
    assert got(waiting) == ({} if in_session else {0: 0})
    bench.clock.advance(size * 100)
    assert got(a_replica_again()) == {0: 2}
