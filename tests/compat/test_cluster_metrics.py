"""Metrics of three real brokers: every series from one of them, whatever happens, and lag that is true."""

from __future__ import annotations

import random
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Self
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from confluent_kafka import Consumer, ElectionType, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from prometheus_client.parser import text_string_to_metric_families

from moldau_broker.base.errors import ErrorCode
from moldau_broker.telemetry.table import LINT_EXCEPTIONS, METRICS, Teller
from moldau_broker.testing.cluster import HOST, NoAnswer, ProcessCluster
from moldau_broker.testing.node import ProcessNode
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.find_coordinator import FindCoordinatorRequest
from moldau_broker.wire.messages.metadata import MetadataRequest

pytestmark = [pytest.mark.compat, pytest.mark.timeout(400)]

QUIET = {"log_level": 0, "reconnect.backoff.ms": 50, "reconnect.backoff.max.ms": 500}
VISIBLE_S = 5.0
"""How soon a change shows in metrics, by the broker's own clock, which `tests/unit/server/metrics/test_lag_watch.py`
turns itself. Here a change is waited for as long as a busy machine takes."""
SCRAPE_S = 0.2
PAGE_AGE_S = 1.5
TOGETHER_S = 0.8
"""Pages that took longer to come are not of one moment: a new leader tells its series after two seconds, and a page of
the one before is served for one."""
ACTIVE = "kafka_controller_kafkacontroller_activecontrollercount"

Series = tuple[str, tuple[tuple[str, str], ...]]
"""A sample's name and labels."""


def series(name: str, **labels: str) -> Series:
    return name, tuple(sorted(labels.items()))


def page_of(node: ProcessNode) -> str:
    with urlopen(f"http://{HOST}:{node.http_port}/metrics", timeout=20) as answer:
        return str(answer.read().decode())


def samples(page: str) -> dict[Series, float]:
    """Every sample of a page. The parser refuses one with a metric that begins twice."""
    found: dict[Series, float] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            key = series(sample.name, **sample.labels)
            assert key not in found, f"twice on one page: {key}"
            found[key] = sample.value
    return found


def scrape_once(cluster: ProcessCluster) -> dict[int, dict[Series, float]] | None:
    """Every node that answers, all at the same time; None where some answer came much later than the others."""

    def ask(node: ProcessNode) -> str:
        try:
            return page_of(node)
        except (URLError, OSError):
            return ""  # it was killed meanwhile

    nodes = cluster.running
    begun = time.monotonic()
    with ThreadPoolExecutor(max(len(nodes), 1)) as pool:
        pages = list(pool.map(ask, nodes))
    if time.monotonic() - begun > TOGETHER_S:
        return None
    return {node.id: samples(page) for node, page in zip(nodes, pages, strict=True) if page}


def scrape_all(cluster: ProcessCluster) -> dict[int, dict[Series, float]]:
    """Pages of one moment; a busy machine may need several attempts to get them."""
    for _ in range(50):
        pages = scrape_once(cluster)
        if pages is not None:
            return pages
    raise AssertionError(f"pages take longer than {TOGETHER_S} s, always")


def told_by_one(key: Series) -> bool:
    """Whether the table says that only one node may tell this series."""
    metric = METRICS.get(key[0])
    return metric is not None and metric.teller not in (Teller.NODE, Teller.REPLICA)


def together(pages: dict[int, dict[Series, float]]) -> dict[Series, float]:
    """All nodes' samples that one node tells; fails where two do."""
    found: dict[Series, float] = {}
    for page in pages.values():
        for key, value in page.items():
            if told_by_one(key):
                assert key not in found, f"told twice: {key}"
                found[key] = value
    return found


class Watcher:
    """Scrapes all nodes over and over and notes whatever is told twice or is below zero.

    Other scrapers ask each node at moments of their own, as several Prometheus servers do: so the pages that are
    compared are of different ages, up to the second for which a page is served.
    """

    def __init__(self, cluster: ProcessCluster) -> None:
        self._cluster = cluster
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, name="scraper"),
            *(threading.Thread(target=self._disturb, args=(node,)) for node in cluster.nodes.values()),
        ]
        self.rounds = 0
        self.told = 0
        self.wrong: list[str] = []
        self.tellers: dict[Series, set[int]] = {}

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _disturb(self, node: ProcessNode) -> None:
        rng = random.Random(node.id)
        while not self._ended.wait(rng.uniform(0.1, 0.9)):
            if node.running and not node.paused:
                with suppress(OSError):
                    page_of(node)

    def _run(self) -> None:
        while not self._ended.wait(SCRAPE_S):
            try:
                pages = scrape_once(self._cluster)
                if pages is not None:
                    self._look(pages)
            except AssertionError as error:
                self.wrong.append(f"round {self.rounds}: {error}")

    def _look(self, pages: dict[int, dict[Series, float]]) -> None:
        self.rounds += 1
        self.told += len(together(pages))
        for node_id, page in pages.items():
            for key, value in page.items():
                if told_by_one(key):
                    self.tellers.setdefault(key, set()).add(node_id)
                    if "lag" in key[0]:
                        assert value >= 0, f"below zero: {key} {value}"
        assert sum(page.get(series(ACTIVE), 0) for page in pages.values()) <= 1, "two controllers"


@pytest.fixture(scope="module")
def cluster() -> Iterator[ProcessCluster]:
    """Three brokers that fence a silent one after three seconds."""
    settings = {
        "default.replication.factor": "3",
        "min.insync.replicas": "1",
        "offsets.topic.replication.factor": "3",
        "offsets.topic.num.partitions": "6",
        "group.initial.rebalance.delay.ms": "0",
        "broker.session.timeout.ms": "3000",
        "auto.leader.rebalance.enable": "false",
        "metrics.topics.deny": "hidden-*",
        "metrics.groups.deny": "hidden-*",
    }
    with ProcessCluster(3, settings=settings) as made:
        yield made


@pytest.fixture(autouse=True)
def _all_up(cluster: ProcessCluster) -> None:
    if any(not node.running for node in cluster.nodes.values()):
        cluster.start()


def make_topic(cluster: ProcessCluster, name: str, partitions: int = 1, replicas: int = 3) -> None:
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap, **QUIET})
    admin.create_topics([NewTopic(name, partitions, replicas)])[name].result(20)


def produce(
    cluster: ProcessCluster, topic: str, stamps: list[int], partition: int = 0, **config: object
) -> None:
    producer = Producer({"bootstrap.servers": cluster.bootstrap, "linger.ms": 50, **QUIET, **config})
    for stamp in stamps:
        producer.produce(topic, b"x" * 20, partition=partition, timestamp=stamp)
    assert producer.flush(30) == 0


def commit(cluster: ProcessCluster, group: str, topic: str, offsets: dict[int, int]) -> None:
    """Commit as a client that is in no group."""
    consumer = Consumer({"bootstrap.servers": cluster.bootstrap, "group.id": group, **QUIET})
    wanted = [TopicPartition(topic, index, offset) for index, offset in offsets.items()]
    deadline = time.monotonic() + 30
    while True:
        try:
            consumer.commit(offsets=wanted, asynchronous=False)
            break
        except KafkaException:  # the coordinator is being elected
            assert time.monotonic() < deadline
            time.sleep(0.2)
    consumer.close()


@contextmanager
def member(cluster: ProcessCluster, group: str, topic: str) -> Iterator[Consumer]:
    """A member of the group that polls now and then and commits nothing by itself."""
    settings = {
        "bootstrap.servers": cluster.bootstrap,
        "group.id": group,
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "session.timeout.ms": 6000,
        **QUIET,
    }
    consumer = Consumer(settings)
    consumer.subscribe([topic])
    ended = threading.Event()

    def poll() -> None:
        while not ended.is_set():
            with suppress(KafkaException):
                consumer.poll(0.2)

    thread = threading.Thread(target=poll)
    thread.start()
    try:
        yield consumer
    finally:
        ended.set()
        thread.join()
        consumer.close()


def eventually(
    cluster: ProcessCluster, holds: Callable[[dict[Series, float]], object], within: float = 90.0
) -> tuple[dict[Series, float], float]:
    """The samples told by one node, as soon as `holds` accepts them, and the seconds it took."""
    begun = time.monotonic()
    while True:
        found = together(scrape_all(cluster))
        took = time.monotonic() - begun
        if holds(found):
            return found, took
        assert took < within, f"not within {within} s; last seen: {sorted(found.items())}"
        time.sleep(0.3)


def leaders(cluster: ProcessCluster, topic: str) -> dict[int, int]:
    topics = cluster.running[0].ask(ApiKey.METADATA, 12, MetadataRequest(topics=None)).topics
    found = next((one for one in topics if one.name == topic), None)
    if found is None:
        raise NoAnswer(f"there is no {topic} yet")
    return {one.partition_index: one.leader_id for one in found.partitions}


def coordinator(cluster: ProcessCluster, group: str) -> int:
    request = FindCoordinatorRequest(key_type=0, coordinator_keys=[group])
    (found,) = cluster.running[0].ask(ApiKey.FIND_COORDINATOR, 4, request).coordinators
    if found.error_code:
        raise NoAnswer(ErrorCode(found.error_code).name)
    return int(found.node_id)


def test_every_series_comes_from_one_broker(cluster: ProcessCluster) -> None:
    """Through a killed controller, leaderships that move between the living, a zombie and rebalances: nothing twice."""
    make_topic(cluster, "orders", 6)
    for index in range(6):
        produce(cluster, "orders", [int(time.time() * 1000)] * 10, index)
    commit(cluster, "billing", "orders", dict.fromkeys(range(6), 4))
    wanted = {
        series(name, partition=str(index), topic="orders", **labels)
        for index in range(6)
        for name, labels in (
            ("kafka_topic_partition_current_offset", {}),
            ("kafka_consumergroup_lag", {"consumergroup": "billing"}),
        )
    } | {series("kafka_brokers"), series("kafka_topic_partitions", topic="orders")}

    def complete(found: dict[Series, float]) -> bool:
        return wanted <= found.keys()

    with Watcher(cluster) as watcher:
        found, _ = eventually(cluster, complete)
        assert found[series("kafka_topic_partitions", topic="orders")] == 6
        assert found[series("kafka_brokers")] == 3
        # a broker that leads, coordinates and controls is killed
        killed = cluster.controller()
        cluster.kill(killed)
        found, _ = eventually(cluster, lambda found: complete(found) and found[series("kafka_brokers")] == 2)
        assert sum(page[series(ACTIVE)] for page in scrape_all(cluster).values()) == 1
        # it comes back, and leaderships move between brokers that all live; so they do as one after the other stops
        cluster.start(killed)
        _give_leaderships_back(cluster, killed)
        eventually(cluster, complete)
        for node_id in cluster.nodes:
            cluster.stop(node_id)
            cluster.start(node_id)
            _give_leaderships_back(cluster, node_id)
        eventually(cluster, complete)
        # members come and go
        with member(cluster, "billing", "orders"):
            eventually(cluster, lambda found: found.get(_members("billing")) == 1)
            with member(cluster, "billing", "orders"):
                eventually(cluster, lambda found: found.get(_members("billing")) == 2)
        eventually(cluster, lambda found: found.get(_members("billing")) == 0)
        # a leader stands still for longer than its session, and wakes as a zombie
        cluster.wait("there is a coordinator", lambda: coordinator(cluster, "billing"))
        zombie = coordinator(cluster, "billing")
        cluster.pause(zombie)
        eventually(cluster, lambda found: complete(found) and found[series("kafka_brokers")] == 2)
        cluster.resume(zombie)
        eventually(cluster, lambda found: complete(found) and found[series("kafka_brokers")] == 3)
    assert watcher.wrong == []
    assert watcher.rounds >= 20
    moved = [key for key, nodes in watcher.tellers.items() if len(nodes) > 1 and key in wanted]
    assert moved, "nothing was told by one broker after another: the test has shown nothing"


def _give_leaderships_back(cluster: ProcessCluster, node_id: int) -> None:
    """Every partition to its first replica, a moment after the pages before were made."""
    cluster.wait("all replicas are in sync", lambda: _all_in_sync(cluster, "orders"))
    time.sleep(3)  # so that whoever leads now is heard
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap, **QUIET})

    def given_back() -> bool:
        admin.elect_leaders(ElectionType.PREFERRED, None).result(20)
        return node_id in leaders(cluster, "orders").values()

    cluster.wait(f"node {node_id} leads again", given_back)
    time.sleep(2)


def _members(group: str) -> Series:
    return series("kafka_consumergroup_members", consumergroup=group)


def _all_in_sync(cluster: ProcessCluster, topic: str) -> bool:
    topics = cluster.running[0].ask(ApiKey.METADATA, 12, MetadataRequest(topics=None)).topics
    return all(
        len(one.isr_nodes) == len(one.replica_nodes)
        for found in topics
        if found.name == topic
        for one in found.partitions
    )


def _lag(group: str, topic: str, partition: int = 0) -> Series:
    return series("kafka_consumergroup_lag", consumergroup=group, topic=topic, partition=str(partition))


def _seconds(cluster: ProcessCluster, group: str, topic: str, partition: int = 0) -> Series:
    return series(
        "kafka_consumergroup_group_lag_seconds",
        cluster_name=cluster.cluster_id,
        group=group,
        topic=topic,
        partition=str(partition),
    )


@pytest.mark.parametrize("codec", ["none", "lz4"])
def test_lag_is_true_in_records_and_seconds(cluster: ProcessCluster, codec: str) -> None:
    """Records dated one minute apart, in one batch: each commit shows the age of what follows it, within a second."""
    topic, group = f"dated-{codec}", f"reader-{codec}"
    make_topic(cluster, topic)
    now = int(time.time() * 1000)
    stamps = [now - 600_000 + 60_000 * number for number in range(10)]
    produce(cluster, topic, stamps, **{"compression.type": codec})
    for committed in (0, 3, 9, 10):
        commit(cluster, group, topic, {0: committed})
        eventually(cluster, lambda found, left=10 - committed: found.get(_lag(group, topic)) == left)
        before = time.time()
        found = together(scrape_all(cluster))
        seconds = found[_seconds(cluster, group, topic)]
        if committed == 10:
            assert seconds == 0
        else:  # a page is up to a second old, and was made in some part of another
            written = stamps[committed] / 1000
            assert before - written - PAGE_AGE_S <= seconds <= time.time() - written
        exporter = {"consumergroup": group, "topic": topic}
        assert found[series("kafka_consumergroup_lag_sum", **exporter)] == 10 - committed
        assert found[series("kafka_consumergroup_current_offset_sum", **exporter)] == committed
        lag_exporter = {"cluster_name": cluster.cluster_id, "group": group}
        assert found[series("kafka_consumergroup_group_sum_lag", **lag_exporter)] == 10 - committed
        assert found[series("kafka_consumergroup_group_max_lag_seconds", **lag_exporter)] == seconds
    written = int(time.time() * 1000) / 1000 - 30
    produce(cluster, topic, [int(written * 1000)])
    eventually(cluster, lambda found: found.get(_lag(group, topic)) == 1)
    before = time.time()
    found = together(scrape_all(cluster))
    assert before - written - PAGE_AGE_S <= found[_seconds(cluster, group, topic)] <= time.time() - written


def test_lag_is_never_negative_while_everything_moves(cluster: ProcessCluster) -> None:
    """A group commits what was written a moment ago, a thousand times; commits are read before log ends."""
    make_topic(cluster, "busy")
    producer = Producer({"bootstrap.servers": cluster.bootstrap, "acks": "1", "linger.ms": 0, **QUIET})
    consumer = Consumer({"bootstrap.servers": cluster.bootstrap, "group.id": "chaser", **QUIET})
    ends = time.monotonic() + 12
    written: list[int] = []

    def delivered(error: object, message: object) -> None:
        if error is None:
            written.append(message.offset())  # type: ignore[attr-defined]

    commit(cluster, "chaser", "busy", {0: 0})
    with Watcher(cluster) as watcher:
        while time.monotonic() < ends:
            producer.produce("busy", b"x", partition=0, on_delivery=delivered)
            producer.flush(10)
            consumer.commit(offsets=[TopicPartition("busy", 0, written[-1] + 1)], asynchronous=False)
    consumer.close()
    assert watcher.wrong == []
    assert watcher.rounds >= 5
    assert _lag("chaser", "busy") in watcher.tellers
    assert len(written) > 50


def test_groups_without_members_or_commits(cluster: ProcessCluster) -> None:
    """Nothing committed: the group is there and has no lag. Nobody in it: its lag stays, with no members."""
    make_topic(cluster, "quiet", 2)
    produce(cluster, "quiet", [int(time.time() * 1000)] * 5)
    with member(cluster, "watcher", "quiet"):
        found, _ = eventually(cluster, lambda found: found.get(_members("watcher")) == 1)
        assert not [
            key
            for key in found
            if key[0] != _members("watcher")[0]
            and ("consumergroup", "watcher") in key[1]
            and key[0] != "moldau_group_state"
        ]
    commit(cluster, "left", "quiet", {0: 2})
    found, _ = eventually(cluster, lambda found: _lag("left", "quiet") in found)
    assert found[_members("left")] == 0
    assert found[_lag("left", "quiet")] == 3
    assert _lag("left", "quiet", 1) not in found, "partition 1 has no commit"


def test_deleted_topic_takes_its_commits_along(cluster: ProcessCluster) -> None:
    """A topic that is made again under its name has no commits of the one before."""
    make_topic(cluster, "phoenix")
    produce(cluster, "phoenix", [int(time.time() * 1000)] * 5)
    commit(cluster, "ash", "phoenix", {0: 2})
    eventually(cluster, lambda found: found.get(_lag("ash", "phoenix")) == 3)
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap, **QUIET})
    admin.delete_topics(["phoenix"])["phoenix"].result(20)
    eventually(cluster, lambda found: not [key for key in found if ("topic", "phoenix") in key[1]])
    make_topic(cluster, "phoenix")
    produce(cluster, "phoenix", [int(time.time() * 1000)] * 7)
    end = series("kafka_topic_partition_current_offset", topic="phoenix", partition="0")
    found, _ = eventually(cluster, lambda found: found.get(end) == 7)
    time.sleep(VISIBLE_S)
    found = together(scrape_all(cluster))
    assert _lag("ash", "phoenix") not in found
    commit(cluster, "ash", "phoenix", {0: 6})
    eventually(cluster, lambda found: found.get(_lag("ash", "phoenix")) == 1)


def test_lag_is_absent_while_a_leader_is_unknown(cluster: ProcessCluster) -> None:
    """A partition whose only replica is down has a commit and no lag, nor has the sum; with its leader both return."""
    group, topic = "orphan", "single"
    make_topic(cluster, topic, 3, 1)
    for index in range(3):
        produce(cluster, topic, [int(time.time() * 1000)] * 5, index)
    commit(cluster, group, topic, dict.fromkeys(range(3), 2))
    total = series("kafka_consumergroup_lag_sum", consumergroup=group, topic=topic)
    eventually(cluster, lambda found: found.get(total) == 9)
    led = leaders(cluster, topic)
    index, victim = next((index, node) for index, node in led.items() if node != coordinator(cluster, group))
    cluster.kill(victim)
    offset = series(
        "kafka_consumergroup_current_offset", consumergroup=group, topic=topic, partition=str(index)
    )
    found, _ = eventually(
        cluster,
        lambda found: offset in found and _lag(group, topic, index) not in found and total not in found,
    )
    others = [other for other, node in led.items() if node != victim]
    assert all(found[_lag(group, topic, other)] == 3 for other in others)
    cluster.start(victim)
    eventually(cluster, lambda found: found.get(total) == 9)


def test_denied_topics_and_groups_have_no_series(cluster: ProcessCluster) -> None:
    """metrics.topics.deny and metrics.groups.deny take series away, and nothing else."""
    make_topic(cluster, "hidden-1")
    make_topic(cluster, "shown-1")
    commit(cluster, "hidden-group", "shown-1", {0: 0})
    commit(cluster, "shown-group", "hidden-1", {0: 0})
    found, _ = eventually(cluster, lambda found: _members("shown-group") in found)
    values = {value for page in scrape_all(cluster).values() for _, labels in page for _, value in labels}
    assert not [value for value in values if value.startswith("hidden-")]
    assert series("kafka_topic_partitions", topic="shown-1") in found


def test_promtool_finds_no_fault(cluster: ProcessCluster) -> None:
    """`promtool check metrics` says nothing of our own names, and of public ones only what is known and kept."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    make_topic(cluster, "linted")
    produce(cluster, "linted", [int(time.time() * 1000)] * 5)
    commit(cluster, "linter", "linted", {0: 2})
    eventually(cluster, lambda found: _lag("linter", "linted") in found)
    said: set[str] = set()
    for node in cluster.running:
        checked = subprocess.run(
            [promtool, "check", "metrics"], input=page_of(node), text=True, capture_output=True, timeout=60
        )
        said |= {line.split()[0] for line in (checked.stderr + checked.stdout).splitlines() if line.strip()}
    assert said == set(LINT_EXCEPTIONS)
