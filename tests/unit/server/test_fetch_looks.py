"""A session looks at the partitions where something has happened: never another answer than if it looked at all.

The property runs the same story through two brokers. In the second every request looks at everything, by naming a rack
that means nothing there.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, TypeAlias

import pytest

from moldau_broker.base.ids import Uuid
from moldau_broker.replication.fetch_session import Key, ReplicaSession
from moldau_broker.replication.follower import Ask
from moldau_broker.replication.partition import Partition
from moldau_broker.server import fetch_sessions
from moldau_broker.server.handlers.spec import ListenerKind
from moldau_broker.testing.dispatch import DispatchBench, Peer, Reply
from moldau_broker.testing.logs import make_batch
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.fetch import FetchRequest, FetchResponse
from moldau_broker.wire.records import iter_batches
from moldau_broker.wire.schema import replace

VERSION = 17
WAIT_MS = 500
PARTITIONS = 4
Told: TypeAlias = dict[tuple[bytes, int], tuple[Any, ...]]


class Reader:
    """A follower (its id) or a consumer (-1) with a session, and what it has of each partition."""

    def __init__(self, bench: DispatchBench, replica: int, *, everything: bool) -> None:
        self.bench = bench
        self.replica = replica
        self.everything = everything
        self.reply: Reply | None = None
        self.asks: dict[Key, Ask] = {}
        self._begin()

    def _begin(self) -> None:
        self.session = ReplicaSession()
        kind = ListenerKind.CLIENT if self.replica < 0 else ListenerKind.INTERNAL
        self.peer = Peer(listener=kind.name, listener_kind=kind)

    def want(self, partition: Partition, offset: int) -> None:
        """Ask for what follows `offset` from now on."""
        key = (partition.topic_id, partition.index)
        epoch = -1 if self.replica < 0 else partition.leader_epoch
        self.asks[key] = Ask(epoch, offset, -1, 0)

    def fetch(self) -> None:
        """One request, unless one waits."""
        if self.reply is not None and not self.reply.done:
            return
        request = self.session.request(
            self.asks,
            node_id=self.replica,
            broker_epoch=-1,
            max_wait_ms=WAIT_MS,
            min_bytes=1,
            max_bytes=1 << 24,
            partition_bytes=1 << 20,
        )
        if self.everything:
            request = replace(request, rack_id="nowhere")
        self.reply = self.bench.send(ApiKey.FETCH, VERSION, request, peer=self.peer)

    def hear(self, rng: Random) -> Told | None:
        """What it was told, if it was; records are kept most times."""
        if self.reply is None or not self.reply.done:
            return None
        response: FetchResponse = self.reply.response()
        self.reply = None
        if not self.session.understood(response):
            return {(b"session", 0): (response.error_code,)}
        told: Told = {}
        for topic in response.responses:
            for data in topic.partitions:
                at = (topic.topic_id, data.partition_index)
                records = bytes(data.records or b"")
                told[at] = (
                    data.error_code,
                    data.high_watermark,
                    data.last_stable_offset,
                    data.log_start_offset,
                    records,
                )
        for at in sorted(told):
            key = (Uuid(at[0]), at[1])
            records, keeps = told[at][-1], rng.random() < 0.8
            if records and keeps and key in self.asks:
                *_, (_, last) = iter_batches(records)
                end = last.base_offset + last.last_offset_delta + 1
                ahead = self.replica >= 0 and rng.random() < 0.4
                ask = self.asks[key]
                self.asks[key] = (
                    ask._replace(read_from=end) if ahead else ask._replace(offset=end, read_from=-1)
                )
        return told

    def sync(self) -> None:
        """All that it has is on its disk."""
        for key, ask in self.asks.items():
            self.asks[key] = ask._replace(offset=max(ask.offset, ask.read_from), read_from=-1)

    def hang_up(self) -> None:
        """Its connection goes, and its session is gone on with on another (which Kafka allows)."""
        self.peer.close()
        self.reply = None
        session = self.session
        self._begin()
        self.session = session


class StepTurn:
    """A turn that ends with the step, so that the order in which one event tells of several partitions is no matter."""

    def __init__(self) -> None:
        self._ready: list[Callable[[], None]] = []

    def soon(self, callback: Callable[[], None]) -> None:
        """See `server.turn.Turn`."""
        self._ready.append(callback)

    def end(self) -> None:
        """Do what was left for the end."""
        while self._ready:
            self._ready.pop(0)()


class World:
    """One of the two brokers, its readers, and what happens to it."""

    def __init__(self, *, everything: bool) -> None:
        self.bench = DispatchBench()
        self.turn = StepTurn()
        self.bench.broker.turn = self.turn  # type: ignore[assignment]
        self.readers = [Reader(self.bench, replica, everything=everything) for replica in (2, 3, -1, -1)]
        self.epochs: dict[str, int] = {}
        self.make("a")
        self.make("b")

    def make(self, name: str) -> None:
        """A topic that leads here, if there is none, and everybody wants it."""
        if name in self.bench.image.topics:
            return
        self.publish(name)
        for reader in self.readers:
            for index in range(PARTITIONS):
                reader.want(self.bench.partition(name, index), 0)

    def publish(self, name: str, leader: int = 1) -> None:
        """In a new leader epoch."""
        epoch = self.epochs[name] = self.epochs.get(name, -1) + 1
        self.bench.publish(self.bench.topic(name, PARTITIONS, leader=leader, epoch=epoch, replicas=(1, 2, 3)))

    def step(self, rng: Random) -> list[Told | None]:
        """One thing happens; gives what each reader was told."""
        bench = self.bench
        name, index = rng.choice("abc"), rng.randrange(PARTITIONS)
        reader = rng.choice(self.readers)
        what = rng.choices(
            ["append", "fetch", "time", "flush", "delete", "lead", "remove", "make", "forget", "hang up"],
            [9, 12, 3, 5, 1, 0.6, 0.2, 0.4, 0.3, 0.3],
        )[0]
        hosted = bench.replicas.partition(name, index)
        if what == "append" and hosted is not None and hosted.is_leader:
            hosted.append(bench.accepted(make_batch((rng.randbytes(20),))), 0, all_in_sync=False)
        elif what == "fetch":
            if rng.random() < 0.5:
                reader.sync()
            reader.fetch()
        elif what == "time":
            bench.timers.advance(rng.choice([1, WAIT_MS]))
        elif what == "flush":
            bench.committer.flush_all()
        elif what == "delete" and hosted is not None:
            hosted.delete_records(-1)
        elif what == "lead" and name in bench.image.topics:
            self.publish(name, leader=rng.choice([1, 1, 2]))
            for one in self.readers[:2]:  # followers hear of it as well
                for number in range(PARTITIONS):
                    key = (bench.image.topics[name].topic_id, number)
                    if key in one.asks:
                        one.asks[key] = one.asks[key]._replace(leader_epoch=self.epochs[name])
        elif what == "remove" and name in bench.image.topics:
            bench.publish(without=[name])
        elif what == "make":
            self.make(name)
        elif what == "forget" and reader.asks:
            del reader.asks[rng.choice(sorted(reader.asks))]
        elif what == "hang up":
            reader.hang_up()
        self.turn.end()
        return [one.hear(rng) for one in self.readers]


@pytest.mark.parametrize("seed", range(60))
def test_answers_are_the_same_as_if_everything_were_looked_at(seed: int) -> None:
    """Time stands still, so that nothing is found by the look at all that comes now and then."""
    one, other = World(everything=False), World(everything=True)
    first, second = Random(seed), Random(seed)
    answers = 0
    for number in range(400):
        told, expected = one.step(first), other.step(second)
        assert told == expected, f"step {number}"
        assert first.getstate() == second.getstate()
        answers += sum(bool(answer) for answer in told)
    assert answers > 40


def test_a_follower_that_reads_ahead_is_counted_for_what_is_on_its_disk() -> None:
    """It gets what comes after all it has; beyond the leader's end it gets what comes after its disk (ADR 0020)."""
    bench, session = DispatchBench(), ReplicaSession()
    bench.create_topic("a")
    bench.publish(bench.topic("a", replicas=(1, 2)))
    partition = bench.partition("a")
    for _ in range(3):
        partition.append(bench.accepted(make_batch()), 0, all_in_sync=False)
    bench.committer.flush_all()
    peer = Peer(listener="INTERNAL", listener_kind=ListenerKind.INTERNAL)
    key = (partition.topic_id, 0)
    for read_from, first in ((2, 2), (1, 1), (4, 1)):
        request = session.request(
            {key: Ask(partition.leader_epoch, 1, partition.leader_epoch, 0, read_from)},
            node_id=2,
            broker_epoch=-1,
            max_wait_ms=0,
            min_bytes=1,
            max_bytes=1 << 20,
            partition_bytes=1 << 20,
        )
        response = bench.send(ApiKey.FETCH, VERSION, request, peer=peer).response()
        assert session.understood(response)
        ((_, batch), *_) = iter_batches(response.responses[0].partitions[0].records)
        assert batch.base_offset == first
        assert partition.high_watermark == 1


def request_of(bench: DispatchBench, names: dict[str, int], session: ReplicaSession) -> FetchRequest:
    """A consumer's, of the first partitions of these topics at these offsets."""
    asks = {(bench.partition(name).topic_id, 0): Ask(-1, offset, -1, 0) for name, offset in names.items()}
    return session.request(
        asks,
        node_id=-1,
        broker_epoch=-1,
        max_wait_ms=WAIT_MS,
        min_bytes=1,
        max_bytes=1 << 20,
        partition_bytes=1 << 20,
    )


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> tuple[DispatchBench, ReplicaSession, Peer]:
    """A consumer's session of two topics, all of which it has read; and reads are counted no more than needed."""
    bench, session, peer = DispatchBench(), ReplicaSession(), Peer()
    for name in ("a", "b"):
        bench.create_topic(name)
    reply = bench.send(ApiKey.FETCH, VERSION, request_of(bench, {"a": 0, "b": 0}, session), peer=peer)
    bench.timers.advance(WAIT_MS)
    session.understood(reply.response())
    return bench, session, peer


def waiting(bench: DispatchBench) -> int:
    """Who listens to the two topics."""
    return sum(len(bench.partition(name).fetch_waiters) for name in ("a", "b"))


def test_a_session_listens_for_as_long_as_its_connection(
    quiet: tuple[DispatchBench, ReplicaSession, Peer],
) -> None:
    """A thousand sessions that nobody uses would otherwise hear of every append."""
    bench, session, peer = quiet
    assert waiting(bench) == 2
    peer.close()
    assert waiting(bench) == 0
    again = Peer()
    bench.send(ApiKey.FETCH, VERSION, request_of(bench, {"a": 0, "b": 0}, session), peer=again)
    assert waiting(bench) == 2


def test_a_connection_listens_for_one_session(quiet: tuple[DispatchBench, ReplicaSession, Peer]) -> None:
    """Whoever begins one after the other on it is heard for the last."""
    bench, _, peer = quiet
    for _ in range(3):
        bench.send(ApiKey.FETCH, VERSION, request_of(bench, {"a": 0}, ReplicaSession()), peer=peer)
        bench.timers.advance(WAIT_MS)
    assert waiting(bench) == 1
    assert len(bench.broker.fetch_sessions) == 4


def test_what_is_forgotten_is_not_listened_to(quiet: tuple[DispatchBench, ReplicaSession, Peer]) -> None:
    """Nor what is closed."""
    bench, session, peer = quiet
    bench.send(ApiKey.FETCH, VERSION, request_of(bench, {"b": 0}, session), peer=peer)
    assert [len(bench.partition(name).fetch_waiters) for name in ("a", "b")] == [0, 1]
    for session_id in list(bench.broker.fetch_sessions._sessions):
        bench.broker.fetch_sessions.close(session_id)
    assert waiting(bench) == 0


def test_everything_is_looked_at_now_and_then(
    quiet: tuple[DispatchBench, ReplicaSession, Peer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should something ever happen that a session is not told of."""
    bench, session, peer = quiet
    monkeypatch.setattr(fetch_sessions.Watch, "on_visible_bytes", lambda *_: None)
    bench.partition("a").append(bench.accepted(make_batch()), 0, all_in_sync=False)
    for passed, found in ((fetch_sessions.FULL_LOOK_MS - 1, 0), (1, 1)):
        bench.clock.advance(passed)
        reply = bench.send(ApiKey.FETCH, VERSION, request_of(bench, {"a": 0, "b": 0}, session), peer=peer)
        bench.timers.advance(WAIT_MS)
        response = reply.response()
        session.understood(response)
        assert len(response.responses) == found
