"""Groups and the admin API on three real brokers: a coordinator that is killed, lag across brokers, draining."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from moldau_broker.base.errors import ErrorCode
from moldau_broker.client.admin_api import AdminApi
from moldau_broker.client.admin_api_answers import GroupReport, MayStop
from moldau_broker.client.errors import ClientError, RequestFailed
from moldau_broker.client.partitions import TopicPartition as Partition
from moldau_broker.testing.cluster import HOST, NoAnswer, ProcessCluster
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.find_coordinator import FindCoordinatorRequest
from moldau_broker.wire.messages.metadata import MetadataRequest, MetadataResponsePartition

pytestmark = pytest.mark.compat

T = TypeVar("T")
logger = logging.getLogger(__name__)

PRELOADED = 60_000
"""Records of 1 KiB in the topic that is moved."""
QUIET = {"log_level": 0, "reconnect.backoff.ms": 50, "reconnect.backoff.max.ms": 500}


@pytest.fixture(scope="module")
def cluster() -> Iterator[ProcessCluster]:
    """Three brokers; everything has two replicas, so that one broker can be emptied."""
    settings = {
        "default.replication.factor": "2",
        "min.insync.replicas": "1",
        "offsets.topic.replication.factor": "2",
        "offsets.topic.num.partitions": "6",
        "group.initial.rebalance.delay.ms": "0",
    }
    with ProcessCluster(3, settings=settings) as cluster:
        yield cluster


@pytest.fixture
def all_up(cluster: ProcessCluster) -> ProcessCluster:
    """The cluster with every broker running."""
    if any(not node.running for node in cluster.nodes.values()):
        cluster.start()
    return cluster


def _partitions(cluster: ProcessCluster, topic: str) -> list[MetadataResponsePartition]:
    """A topic's partitions as the first broker sees them that answers."""
    topics = cluster.running[0].ask(ApiKey.METADATA, 12, MetadataRequest(topics=None)).topics
    found = next((one for one in topics if one.name == topic), None)
    if found is None:
        raise NoAnswer(f"there is no {topic} yet")
    return sorted(found.partitions, key=lambda one: one.partition_index)


def _in_sync(cluster: ProcessCluster, *topics: str) -> bool:
    """Whether every partition has a leader and all its replicas in sync."""
    return all(
        one.leader_id >= 0 and set(one.isr_nodes) == set(one.replica_nodes)
        for topic in topics
        for one in _partitions(cluster, topic)
    )


def _coordinator(cluster: ProcessCluster, group: str) -> int:
    """The broker that coordinates the group."""
    request = FindCoordinatorRequest(key_type=0, coordinator_keys=[group])
    (found,) = cluster.running[0].ask(ApiKey.FIND_COORDINATOR, 4, request).coordinators
    if found.error_code:
        raise NoAnswer(ErrorCode(found.error_code).name)
    return int(found.node_id)


def _ask(cluster: ProcessCluster, node_id: int, question: Callable[[AdminApi], Awaitable[T]]) -> T:
    """One question to one broker's admin API."""

    async def ask() -> T:
        node = cluster.nodes[node_id]
        async with AdminApi((HOST, node.http_port), timeout_ms=15_000) as admin:
            return await question(admin)

    return asyncio.run(ask())


def _soon(question: Callable[[], T], holds: Callable[[T], bool], within: float = 60.0) -> T:
    """The first answer that `holds`; errors that pass are waited for."""
    deadline = time.monotonic() + within
    while True:
        try:
            found = question()
            if holds(found):
                return found
            said: object = found
        except ClientError as error:
            if not error.retriable:
                raise
            said = error
        assert time.monotonic() < deadline, f"not within {within} s: {said}"
        time.sleep(0.1)


def _create(cluster: ProcessCluster, name: str, partitions: int, replicas: int = 2) -> None:
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap, **QUIET})
    for future in admin.create_topics([NewTopic(name, partitions, replicas)]).values():
        future.result(30)
    cluster.wait(f"{name} is in sync", lambda: _in_sync(cluster, name))


class Load(threading.Thread):
    """An idempotent producer at 200 records a second; `acked` counts what was acknowledged, `failed` what was not."""

    def __init__(self, cluster: ProcessCluster, topic: str) -> None:
        super().__init__(daemon=True)
        self.topic = topic
        self.acked: list[bytes] = []
        self.failed: list[str] = []
        self._stop_asked = threading.Event()
        self._producer = Producer(
            {"bootstrap.servers": cluster.bootstrap, "enable.idempotence": True, "linger.ms": 1, **QUIET}
        )

    def run(self) -> None:
        at = 0
        while not self._stop_asked.is_set():
            self._producer.produce(self.topic, b"%d" % at, on_delivery=self._delivered)
            self._producer.poll(0.005)
            at += 1
        self._producer.flush(60)

    def _delivered(self, error: object, message: Any) -> None:
        if error is None:
            self.acked.append(message.value())
        else:
            self.failed.append(str(error))

    def finish(self) -> None:
        self._stop_asked.set()
        self.join(90)
        assert not self.is_alive()


@contextmanager
def _load(cluster: ProcessCluster, topic: str) -> Iterator[Load]:
    load = Load(cluster, topic)
    load.start()
    try:
        yield load
    finally:
        load.finish()


def _consumer(cluster: ProcessCluster, group: str, **more: Any) -> Consumer:
    settings = {
        "bootstrap.servers": cluster.bootstrap,
        "group.id": group,
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "session.timeout.ms": 30_000,
        "heartbeat.interval.ms": 500,
    }
    return Consumer({**settings, **QUIET, **more})


def _offsets(consumer: Consumer) -> list[int]:
    """The offsets of what there is to read now."""
    return [int(message.offset()) for message in consumer.consume(100, timeout=1.0) if not message.error()]


def _read_all(cluster: ProcessCluster, topic: str, partitions: int) -> list[bytes]:
    """Every value in the topic, from its partitions' starts to their ends."""
    consumer = _consumer(cluster, f"reader-{time.monotonic_ns()}")
    ends = {
        index: consumer.get_watermark_offsets(TopicPartition(topic, index), timeout=30)[1]
        for index in range(partitions)
    }
    consumer.assign([TopicPartition(topic, index, 0) for index in range(partitions)])
    values: list[bytes] = []
    deadline = time.monotonic() + 60
    at = dict.fromkeys(range(partitions), 0)
    while any(at[index] < end for index, end in ends.items()):
        assert time.monotonic() < deadline, (at, ends)
        for message in consumer.consume(1_000, timeout=1.0):
            if message.error() is None:
                values.append(message.value())
                at[message.partition()] = message.offset() + 1
    consumer.close()
    return values


def test_group_goes_on_when_its_coordinator_is_killed(all_up: ProcessCluster) -> None:
    """No commit that was acknowledged is lost, no member has to join again, and what was read is read once."""
    cluster, topic, group = all_up, "followed", "follower"
    _create(cluster, topic, 3)
    assignments: list[int] = []
    acknowledged: dict[int, int] = {}
    values: list[bytes] = []
    consumer = _consumer(cluster, group)
    consumer.subscribe([topic], on_assign=lambda _, assigned: assignments.append(len(assigned)))

    def read(seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for message in consumer.consume(500, timeout=0.05):
                assert message.error() is None, message.error()
                values.append(message.value())
            try:
                for place in consumer.commit(asynchronous=False) or ():
                    if place.error is None:
                        acknowledged[place.partition] = place.offset
            except KafkaException:
                continue  # nothing new, or nobody to commit to right now

    def read_until(what: str, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not holds():
            assert time.monotonic() < deadline, f"not within a minute: {what}"
            read(0.5)

    with _load(cluster, topic) as load:
        read_until("every partition has a commit", lambda: len(acknowledged) == 3)
        read(3)
        victim = _coordinator(cluster, group)
        cluster.kill(victim)
        killed = time.monotonic()
        before = dict(acknowledged)
        while time.monotonic() - killed < 30 and any(
            acknowledged[index] <= offset for index, offset in before.items()
        ):
            read(0.5)
        away = time.monotonic() - killed
        promised = dict(acknowledged)
        read(3)
    assert _coordinator(cluster, group) != victim
    survivor = next(node_id for node_id in cluster.nodes if node_id != victim)
    report = _soon(lambda: _ask(cluster, survivor, lambda admin: admin.group(group)), lambda _: True)
    stored = {one.partition.partition: one.committed_offset or 0 for one in report.offsets}
    logger.info(
        "commits went on %.1f s after kill -9 of broker %d; %d records read", away, victim, len(values)
    )
    assert all(stored[index] >= offset for index, offset in promised.items()), (stored, promised)
    assert all(promised[index] > offset for index, offset in before.items()), "the group went on everywhere"
    assert assignments == [3], "nobody had to join again"
    read_until("everything acknowledged is read", lambda: set(load.acked) <= set(values))
    read(1)
    consumer.close()
    assert load.failed == []
    assert len(values) == len(set(values)), "nothing was read twice"
    cluster.start(victim)
    cluster.wait("it is back", lambda: _in_sync(cluster, topic, "__consumer_offsets"))


def test_lag_in_seconds_is_the_truth_whichever_broker_is_asked(all_up: ProcessCluster) -> None:
    """Known timestamps, partitions led by different brokers, groups coordinated by different brokers."""
    cluster, topic = all_up, "aged"
    _create(cluster, topic, 3)
    producer = Producer({"bootstrap.servers": cluster.bootstrap, "linger.ms": 20, **QUIET})
    now_ms = int(time.time() * 1000)
    ages_s = {0: 40.0, 1: 25.0, 2: 10.0}
    for index, age in ages_s.items():
        for at in range(100):
            producer.produce(topic, b"x", partition=index, timestamp=now_ms - int(age * 1000) + 50 * at)
    assert producer.flush(30) == 0
    groups = [f"aged-{number}" for number in range(6)]
    for number, group in enumerate(groups):
        consumer = _consumer(cluster, group)
        at = 10 * number + 3
        consumer.commit(offsets=[TopicPartition(topic, index, at) for index in ages_s], asynchronous=False)
        consumer.close()
    assert len({_coordinator(cluster, group) for group in groups}) > 1
    for node_id in cluster.nodes:
        asked_s = time.time() - now_ms / 1000
        found = _ask(cluster, node_id, lambda admin: admin.groups(groups))
        answered_s = time.time() - now_ms / 1000
        assert found.incomplete == {}
        assert [report.id for report in found.groups] == groups
        for number, report in enumerate(found.groups):
            assert report.lag_records == 3 * (100 - 10 * number - 3)
            told = [(one.partition.partition, one.lag_seconds) for one in report.offsets]
            for index, lag_s in [(0, report.lag_seconds), *told]:
                assert lag_s is not None
                age_s = ages_s[index] - 0.05 * (
                    10 * number + 3
                )  # true at some time between question and answer
                assert age_s + asked_s - 1 <= lag_s <= age_s + answered_s + 1, report


def test_lag_is_absent_while_a_leader_is_away(all_up: ProcessCluster) -> None:
    """One replica, its broker dead: the lag of that partition and of the group is not known, and not zero."""
    cluster, topic, group = all_up, "lonely", "watcher"
    _create(cluster, topic, 3, replicas=1)
    consumer = _consumer(cluster, group)
    consumer.commit(offsets=[TopicPartition(topic, index, 0) for index in range(3)], asynchronous=False)
    consumer.close()
    victim = _partitions(cluster, topic)[0].leader_id
    survivor = next(node_id for node_id in cluster.nodes if node_id != victim)
    _soon(
        lambda: _ask(cluster, survivor, lambda admin: admin.group(group)),
        lambda known: (known.lag_records, known.lag_seconds) == (0, 0.0),
    )
    cluster.kill(victim)

    def unknown(report: GroupReport) -> bool:
        return report.lag_records is None and report.lag_seconds is None

    report = _soon(lambda: _ask(cluster, survivor, lambda admin: admin.group(group)), unknown)
    lags = {one.partition.partition: one.lag_records for one in report.offsets}
    assert lags[0] is None
    assert 0 in lags.values(), "the others are known"
    cluster.start(victim)
    cluster.wait("it is back", lambda: _in_sync(cluster, topic))


def test_reset_is_refused_while_members_are_active(all_up: ProcessCluster) -> None:
    """At whatever broker it is asked for; forced, the member is removed, joins again, and reads from there."""
    cluster, topic, group = all_up, "rewound", "rewinder"
    _create(cluster, topic, 1)
    producer = Producer({"bootstrap.servers": cluster.bootstrap, **QUIET})
    for at in range(100):
        producer.produce(topic, b"%d" % at)
    assert producer.flush(30) == 0
    consumer = _consumer(cluster, group)
    consumer.subscribe([topic])
    seen: list[int] = []
    deadline = time.monotonic() + 30
    while len(seen) < 100 and time.monotonic() < deadline:
        seen += _offsets(consumer)
    consumer.commit(asynchronous=False)
    elsewhere = next(node_id for node_id in cluster.nodes if node_id != _coordinator(cluster, group))
    for options in ({}, {"dry_run": True}):
        with pytest.raises(RequestFailed, match="1 members are active") as refused:
            _ask(cluster, elsewhere, lambda admin, o=options: admin.reset_offsets(group, "earliest", **o))  # type: ignore[misc]
        assert refused.value.code is ErrorCode.NON_EMPTY_GROUP
    done = _ask(
        cluster, elsewhere, lambda admin: admin.reset_offsets(group, {Partition(topic, 0): 60}, force=True)
    )
    assert [(move.old_offset, move.new_offset) for move in done.moves] == [(100, 60)]
    assert len(done.members_removed) == 1
    again: list[int] = []
    deadline = time.monotonic() + 60
    while len(again) < 40 and time.monotonic() < deadline:
        again += _offsets(consumer)
    consumer.close()
    assert again == list(range(60, 100))


def test_may_stop_tells_before_it_hurts(all_up: ProcessCluster) -> None:
    """Yes while everything is in sync; no once one broker is away, with the quorum and the partitions it would hurt."""
    cluster, topic = all_up, "precious"
    _create(cluster, topic, 3)
    cluster.wait("all in sync", lambda: _in_sync(cluster, topic))

    def verdict(node_id: int, broker_id: int) -> MayStop:
        return _ask(cluster, node_id, lambda admin: admin.may_stop(broker_id))

    settled = _soon(lambda: verdict(1, 2), lambda found: found.quorum_kept)
    assert not [one for one in settled.partitions if one.partition.topic == topic]
    cluster.kill(3)
    hurt = _soon(
        lambda: verdict(1, 2),
        lambda found: not found.quorum_kept and any(one.partition.topic == topic for one in found.partitions),
    )
    assert not hurt.allowed
    assert any("majority" in reason for reason in hurt.reasons)
    cluster.start(3)
    cluster.wait("it is back", lambda: _in_sync(cluster, topic))
    _soon(lambda: verdict(1, 2), lambda found: found.quorum_kept)


def test_drain_of_a_broker_under_load_ends_with_no_replica_on_it(all_up: ProcessCluster) -> None:
    """Everything acknowledged meanwhile is there, led by the others; the broker may stop then."""
    cluster, topic, leaving = all_up, "moved", 3
    _create(cluster, topic, 6)
    producer = Producer({"bootstrap.servers": cluster.bootstrap, **QUIET})
    for at in range(PRELOADED):
        producer.produce(topic, b"%01024d" % -at, partition=at % 6)
        producer.poll(0)
    assert producer.flush(60) == 0
    held = sum(one.size_bytes for one in _ask(cluster, leaving, lambda admin: admin.replicas()))
    assert held > PRELOADED * 1024 // 6
    with _load(cluster, topic) as load:
        time.sleep(2)
        begun = _ask(cluster, 1, lambda admin: admin.drain(leaving))
        assert begun.draining
        assert begun.replicas_left >= 2
        started = time.monotonic()
        _soon(
            lambda: _ask(cluster, 2, lambda admin: admin.drain(leaving)),
            lambda progress: progress.replicas_left == 0,
            within=120,
        )
        took = time.monotonic() - started
        time.sleep(1)
    progress = _ask(cluster, 2, lambda admin: admin.drain_progress(leaving))
    assert (progress.draining, progress.replicas_left, progress.bytes_left) == (False, 0, 0)
    logger.info(
        "%d replicas, %d bytes left broker %d in %.1f s; %d records were acknowledged meanwhile",
        begun.replicas_left,
        held,
        leaving,
        took,
        len(load.acked),
    )
    assert _soon(lambda: _ask(cluster, leaving, lambda admin: admin.replicas()), lambda held: not held) == ()
    report = _ask(cluster, 1, lambda admin: admin.cluster())
    (broker,) = [one for one in report.brokers if one.id == leaving]
    assert (broker.replicas, broker.leaders) == (0, 0)
    assert load.failed == []
    values = _read_all(cluster, topic, 6)
    assert set(load.acked) <= set(values)
    assert len(values) == len(set(values))
    verdict = _ask(cluster, 1, lambda admin: admin.may_stop(leaving))
    assert verdict.partitions == ()
