"""The metadata quorum of real processes: who founds it, how it grows and shrinks, what it survives."""

from __future__ import annotations

import asyncio
import itertools
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any, Self

import pytest

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import random_uuid
from moldau_broker.client.admin.quorum import remove_voter
from moldau_broker.client.cluster import Cluster
from moldau_broker.metadata.features import SUPPORTED
from moldau_broker.testing.cluster import HOST, SERVE_S_MAX, NoAnswer, ProcessCluster, ProcessNode
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.broker_heartbeat import BrokerHeartbeatRequest
from moldau_broker.wire.messages.broker_registration import BrokerRegistrationRequest, Feature
from moldau_broker.wire.messages.broker_registration import Listener as RegisteredListener
from moldau_broker.wire.messages.create_topics import CreatableTopic, CreateTopicsRequest
from moldau_broker.wire.messages.metadata import MetadataRequest

pytestmark = pytest.mark.timeout(180)

METADATA_FOLDER = "__cluster_metadata-0"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[ProcessCluster]:
    """Three empty nodes that do not run yet."""
    made = ProcessCluster(3, folder=tmp_path)
    yield made
    made.close()


def create_topic(
    node: ProcessNode, name: str, *, partitions: int = 1, replication: int = 1, timeout_ms: int = 1_500
) -> None:
    """Create a topic through one node.

    Raises:
        NoAnswer: it could not.
    """
    topic = CreatableTopic(name=name, num_partitions=partitions, replication_factor=replication)
    request = CreateTopicsRequest(topics=[topic], timeout_ms=timeout_ms)
    (result,) = node.ask(ApiKey.CREATE_TOPICS, 7, request, within=max(2.0, timeout_ms / 1000 + 1)).topics
    if result.error_code:
        raise NoAnswer(f"{name}: error {result.error_code} {result.error_message}")


def topics(node: ProcessNode) -> set[str]:
    """The topics that a node knows."""
    return {str(topic.name) for topic in node.ask(ApiKey.METADATA, 12, MetadataRequest(topics=None)).topics}


def remove(cluster: ProcessCluster, node_id: int) -> None:
    """RemoveRaftVoter through the client."""
    (directory,) = [
        voter.replica_directory_id for voter in cluster.quorum().current_voters if voter.replica_id == node_id
    ]

    async def ask() -> None:
        bootstrap = ",".join(node.bootstrap for node in cluster.running if node.is_broker)
        async with Cluster(bootstrap) as client:
            await client.refresh([])
            await remove_voter(client, node_id, directory)

    asyncio.run(ask())
    assert node_id not in cluster.voters()


def wait_for_voters(cluster: ProcessCluster, *node_ids: int) -> float:
    """Until these and no others are voters."""
    return cluster.wait(f"voters {node_ids}", lambda: cluster.voters() == set(node_ids))


def say(text: str) -> None:
    """A figure, for those who run with -s."""
    sys.stdout.write(f"\n  {text}\n")


class Probe:
    """Creates topics without a pause, each through the next node of those that serve.

    Attributes:
        nodes: whom it asks.
        created: their names.
        gap_s: the longest time between two that were created.
        failures: what was said instead, where a request was refused or lost.
    """

    def __init__(self, cluster: ProcessCluster) -> None:
        self.created: list[str] = []
        self.failures: list[str] = []
        self.gap_s = 0.0
        self.nodes = cluster.running
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="probe")

    def _run(self) -> None:
        last = time.monotonic()
        for number in itertools.count():
            if self._over.is_set():
                return
            try:
                create_topic(self.nodes[number % len(self.nodes)], f"probe-{number}", timeout_ms=10_000)
            except NoAnswer as error:
                self.failures.append(str(error))
                self._over.wait(0.02)
                continue
            now = time.monotonic()
            self.gap_s, last = max(self.gap_s, now - last), now
            self.created.append(f"probe-{number}")
            self._over.wait(0.02)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


# -- founding ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", list(itertools.permutations((1, 2, 3))), ids=str)
def test_quorum_is_founded_once_whoever_starts_first(cluster: ProcessCluster, order: tuple[int, ...]) -> None:
    """Empty nodes that start one after the other form one quorum of three, founded by the first in the list."""
    for node_id in order:
        cluster.start(node_id, wait=False)
        time.sleep(0.2)
    cluster.wait_serving()
    wait_for_voters(cluster, 1, 2, 3)
    assert [
        node.id for node in cluster.nodes.values() if (node.data_dir / "bootstrap.checkpoint").exists()
    ] == [1]


def test_quorum_founder_waits_for_everybody_and_says_so(cluster: ProcessCluster) -> None:
    """Until each listed node has said that it knows no quorum there is none: refused or silent is not a no."""
    cluster.start(1, wait=False)
    first, second, third = (cluster.node(node_id) for node_id in (1, 2, 3))

    def waits_for(*addresses: str) -> bool:
        page = first.readyz()
        assert page["ready"] is False
        reason = str(page.get("reason", ""))
        return "must say first that it knows none" in reason and all(at in reason for at in addresses)

    cluster.wait("waits for both", lambda: waits_for(second.controller_address, third.controller_address))
    cluster.start(3, wait=False)
    cluster.wait("the third has said no", lambda: third.controller_address not in first.readyz()["reason"])
    assert waits_for(second.controller_address)
    cluster.start(2, wait=False)
    cluster.wait_serving()
    wait_for_voters(cluster, 1, 2, 3)
    cluster.wait("ready", lambda: all(node.readyz()["ready"] for node in cluster.running))


def test_quorum_founder_takes_silence_for_a_yes(cluster: ProcessCluster) -> None:
    """A paused node may know a quorum: the founder goes on waiting, and founds when it has spoken."""
    for node_id in (2, 3):
        cluster.start(node_id, wait=False)
    cluster.wait("they listen", lambda: all(node.readyz() for node in cluster.running))
    cluster.pause(2)
    cluster.start(1, wait=False)
    first, second = cluster.node(1), cluster.node(2)
    cluster.wait(
        "waits for the paused one alone",
        lambda: _reason(first).startswith(f"to found the quorum, {second.controller_address} must"),
    )
    assert not (first.data_dir / METADATA_FOLDER / "quorum-state").exists()
    cluster.resume(2)
    cluster.wait_serving()
    wait_for_voters(cluster, 1, 2, 3)


def _reason(node: ProcessNode) -> str:
    return str(node.readyz().get("reason", ""))


def test_quorum_founder_with_a_wiped_disk_rejoins(cluster: ProcessCluster) -> None:
    """It founds no second quorum beside its own; it comes back under another directory id, and nothing is lost."""
    cluster.start()
    wait_for_voters(cluster, 1, 2, 3)
    create_topic(cluster.node(1), "kept")
    before = {voter.replica_id: voter.replica_directory_id for voter in cluster.quorum().current_voters}
    cluster.kill(1)
    cluster.wipe(1)
    cluster.start(1)

    def replaced() -> bool:
        now = {voter.replica_id: voter.replica_directory_id for voter in cluster.quorum().current_voters}
        return set(now) == {1, 2, 3} and now[1] != before[1] and now[2] == before[2]

    took = cluster.wait("the new disk votes, the old one does not", replaced)
    say(f"a wiped voter votes again {took:.2f} s after it serves")
    assert "kept" in topics(cluster.node(1))
    create_topic(cluster.node(1), "later")


def test_quorum_wiped_founder_waits_while_the_others_are_away(cluster: ProcessCluster) -> None:
    """Alone with an empty disk it cannot know whether there is a quorum, so it makes none."""
    cluster.start()
    wait_for_voters(cluster, 1, 2, 3)
    create_topic(cluster.node(2), "kept")
    cluster.kill()
    cluster.wipe(1)
    cluster.start(1, wait=False)
    cluster.wait("it says so", lambda: "must say first" in _reason(cluster.node(1)))
    cluster.start()
    wait_for_voters(cluster, 1, 2, 3)
    assert "kept" in topics(cluster.node(1))


# -- membership -------------------------------------------------------------------------------------------


def test_quorum_grows_to_five_and_shrinks_to_one_while_topics_are_created(tmp_path: Path) -> None:
    """From one voter to three, five, three and one; every admin request is answered, none waits long."""
    with ProcessCluster(1, folder=tmp_path) as cluster:
        cluster.wait("voter", lambda: cluster.voters() == {1})
        with Probe(cluster) as probe:
            for node_id in (2, 3, 4, 5):
                probe.nodes = [*probe.nodes, cluster.add_node()]
                wait_for_voters(cluster, *range(1, node_id + 1))
            grown = probe.gap_s
            for node_id in (5, 4, 3):
                remove(cluster, node_id)
            leader = cluster.controller()
            last = 1 if leader == 1 else 2
            remove(cluster, 3 - last)
            cluster.wait("one voter leads", lambda: cluster.controller() == last)
            time.sleep(0.5)
        say(
            f"{len(probe.created)} topics; longest wait while growing {grown:.2f} s, in all {probe.gap_s:.2f} s"
        )
        assert not probe.failures
        assert cluster.voters() == {last}
        for node in cluster.running:
            cluster.wait("all topics are known", lambda node=node: set(probe.created) <= topics(node))
        assert probe.gap_s < 5


def test_quorum_leader_that_is_removed_hands_over(cluster: ProcessCluster) -> None:
    """Removing the leader makes another one lead; it goes on as a broker and does not come back by itself."""
    cluster.start()
    wait_for_voters(cluster, 1, 2, 3)
    leader = cluster.controller()
    with Probe(cluster) as probe:
        remove(cluster, leader)
        cluster.wait("another one leads", lambda: cluster.controller() != leader)
        time.sleep(1)
    assert not probe.failures
    assert leader not in cluster.voters()
    cluster.wait_serving()
    create_topic(cluster.node(leader), "through-the-removed-one")


def test_single_node_folder_opens_and_grows_to_three(tmp_path: Path) -> None:
    """What one node wrote alone, with no list of servers, becomes the first of three without a change."""
    alone = ProcessCluster(1, folder=tmp_path, settings={"controller.quorum.bootstrap.servers": ""})
    with alone:
        create_topic(alone.node(1), "old", partitions=3)
        assert alone.stop() < 8, "it does not wait ten seconds for a controller that stops with it"
    cluster = ProcessCluster(3, folder=tmp_path)
    cluster.cluster_id = alone.cluster_id
    with cluster:
        wait_for_voters(cluster, 1, 2, 3)
        for node in cluster.running:
            assert "old" in topics(node)
        cluster.kill(1)
        cluster.wait("goes on without it", lambda: cluster.controller() != 1)
        create_topic(cluster.node(2), "new")


# -- failures ---------------------------------------------------------------------------------------------


@contextmanager
def measured(what: str) -> Iterator[None]:
    begun = time.monotonic()
    yield
    say(f"{what}: {time.monotonic() - begun:.3f} s")


def creatable(cluster: ProcessCluster, name: str) -> None:
    """Until a topic could be created through some node."""

    def attempt() -> bool:
        node = cluster.running[0]
        create_topic(node, name)
        return True

    cluster.wait(f"{name} can be created", attempt)


def test_quorum_goes_on_after_the_controller_is_killed(cluster: ProcessCluster) -> None:
    """SIGKILL of the leader, five times over: the time until a topic can be created is a pause, not an outage.

    No time-out of the quorum runs out within the test: that its connections are reset is how a death is noticed.
    """
    cluster.settings["controller.quorum.fetch.timeout.ms"] = str(int(10 * SERVE_S_MAX * 1000))
    cluster.start()
    wait_for_voters(cluster, 1, 2, 3)
    for round_number in range(5):
        leader = cluster.controller()
        cluster.kill(leader)
        begun = time.monotonic()
        creatable(cluster, f"round-{round_number}")
        say(f"controller killed, topic created after {time.monotonic() - begun:.3f} s")
        cluster.start(leader)
        wait_for_voters(cluster, 1, 2, 3)
    for node in cluster.running:
        assert {f"round-{number}" for number in range(5)} <= topics(node)


def test_quorum_goes_on_while_the_controller_is_paused(cluster: ProcessCluster) -> None:
    """SIGSTOP of the leader: another one after the fetch time-out; resumed it follows, and keeps nothing of its own."""
    cluster.start()
    wait_for_voters(cluster, 1, 2, 3)
    leader = cluster.controller()
    cluster.pause(leader)
    with measured("controller paused, topic created after"):
        creatable(cluster, "during")
    cluster.resume(leader)
    cluster.wait("it follows", lambda: cluster.node(leader).quorum().leader_id != leader)
    cluster.wait("it knows", lambda: "during" in topics(cluster.node(leader)))
    cluster.wait_serving()


def test_quorum_comes_back_after_all_are_killed(cluster: ProcessCluster) -> None:
    """SIGKILL of all three at once: all that was answered is there, and one leads again."""
    cluster.start()
    wait_for_voters(cluster, 1, 2, 3)
    for number in range(20):
        create_topic(cluster.node(1 + number % 3), f"t{number}")
    cluster.kill()
    with measured("all killed, all serve again after"):
        cluster.start()
    for node in cluster.running:
        assert {f"t{number}" for number in range(20)} <= topics(node)


def test_quorum_without_a_majority_takes_nothing(cluster: ProcessCluster) -> None:
    """One of three cannot commit: the request is answered with an error in its time, and works when another is back."""
    cluster.start()
    wait_for_voters(cluster, 1, 2, 3)
    cluster.kill(2, 3)
    with pytest.raises(NoAnswer, match=r"error 41|error 7|timed out"):
        create_topic(cluster.node(1), "lonely", timeout_ms=1_000)
    cluster.start(2)
    creatable(cluster, "again")


# -- roles ------------------------------------------------------------------------------------------------


def test_roles_may_be_dedicated(tmp_path: Path) -> None:
    """Three controllers and two brokers: only controllers vote, only brokers serve clients; a kill is survived."""
    roles = ["controller"] * 3 + ["broker"] * 2
    with ProcessCluster(folder=tmp_path, roles=roles) as cluster:
        wait_for_voters(cluster, 1, 2, 3)
        brokers = [node for node in cluster.nodes.values() if node.is_broker]
        assert {observer.replica_id for observer in cluster.quorum().observers} == {4, 5}
        create_topic(brokers[0], "t", replication=2)
        cluster.wait("the other one knows", lambda: "t" in topics(brokers[1]))
        leader = cluster.controller()
        cluster.kill(leader)
        with measured("dedicated controller killed, topic created after"):
            cluster.wait("created", lambda: create_topic(brokers[1], "u") is None)
        cluster.start(leader)
        wait_for_voters(cluster, 1, 2, 3)
        cluster.wait("all are ready", lambda: all(node.readyz()["ready"] for node in cluster.running))
        say(f"memory of controllers: {[cluster.node(id_).memory_kib() for id_ in (1, 2, 3)]} KiB")


# -- files ------------------------------------------------------------------------------------------------

SNAPSHOTS = {"metadata.log.max.record.bytes.between.snapshots": "2000"}


def metadata_files(node: ProcessNode, suffix: str) -> list[Path]:
    return sorted((node.data_dir / METADATA_FOLDER).glob(f"*{suffix}"))


def snapshots(node: ProcessNode) -> list[Path]:
    """All but the one with the founder's voters, 0-0."""
    return [path for path in metadata_files(node, ".checkpoint") if not path.name.startswith("0" * 20)]


def starts_at(node: ProcessNode) -> int:
    """The first offset of its metadata log."""
    return min(int(path.name.split(".")[0]) for path in metadata_files(node, ".log"))


class PretendedBroker:
    """A registered broker without files: what metadata costs the controller alone."""

    def __init__(
        self,
        cluster: ProcessCluster,
        controller: ProcessNode,
        node_id: int,
        incarnation: int = 0,
        *,
        long_names: int = 0,
    ) -> None:
        """`long_names`: so many listeners at hosts with names of 30,000 letters make a record of that size."""
        self._controller = controller
        self._id = node_id
        self._port = socket.create_server((HOST, 0))  # the controller looks whether somebody is there
        listeners = [
            RegisteredListener(
                name="CLIENT", host=HOST, port=self._port.getsockname()[1], security_protocol=0
            ),
            *(
                RegisteredListener(name=f"L{number}", host="h" * 30_000, port=1, security_protocol=0)
                for number in range(long_names)
            ),
        ]
        registration = BrokerRegistrationRequest(
            broker_id=node_id,
            cluster_id=cluster.cluster_id,
            incarnation_id=random_uuid(Random(incarnation)),
            listeners=listeners,
            features=[
                Feature(name=name, min_supported_version=levels.lowest, max_supported_version=levels.highest)
                for name, levels in SUPPORTED.items()
            ],
            log_dirs=[random_uuid(Random(-node_id))],
        )
        self._epoch = -1

        def registered() -> bool:
            answer = controller.ask(ApiKey.BROKER_REGISTRATION, 4, registration, controller=True, within=30)
            self._epoch = answer.broker_epoch
            return bool(answer.error_code == ErrorCode.NONE)

        cluster.wait("it is registered", registered)

    def close(self) -> None:
        """Be gone."""
        self._port.close()

    def beat(self) -> None:
        """Say that it lives and has caught up."""
        request = BrokerHeartbeatRequest(
            broker_id=self._id, broker_epoch=self._epoch, current_metadata_offset=self._epoch + 1_000_000
        )
        answer = self._controller.ask(ApiKey.BROKER_HEARTBEAT, 1, request, controller=True, within=30)
        assert answer.error_code == 0, answer

    def create_topic(self, name: str, partitions: int) -> None:
        """As a broker passes the request on."""
        topic = CreatableTopic(name=name, num_partitions=partitions, replication_factor=1)
        request = CreateTopicsRequest(topics=[topic], timeout_ms=30_000)
        answer = self._controller.ask(ApiKey.CREATE_TOPICS, 7, request, controller=True, within=30)
        assert answer.topics[0].error_code == 0, answer


def test_new_node_begins_with_a_snapshot(tmp_path: Path) -> None:
    """The log before the snapshot is gone, so the newcomer downloads one, follows from there and votes."""
    settings = {"metadata.log.max.record.bytes.between.snapshots": "3000000"}
    with ProcessCluster(1, folder=tmp_path, settings=settings) as cluster:
        first = cluster.node(1)
        for number in range(20):
            create_topic(first, f"t{number}", partitions=2)
        for incarnation in range(36):
            PretendedBroker(cluster, first, 7, incarnation, long_names=30).close()
        cluster.wait("the log is shortened", lambda: starts_at(first) > 0)
        node = cluster.add_node()
        wait_for_voters(cluster, 1, 2)
        assert {f"t{number}" for number in range(20)} <= topics(node)
        assert snapshots(node)
        assert starts_at(node) > 0
        cluster.kill(2)
        cluster.start(2)
        assert {f"t{number}" for number in range(20)} <= topics(node)


@pytest.fixture
def with_snapshots(tmp_path: Path) -> Iterator[ProcessCluster]:
    """One node that has taken snapshots."""
    with ProcessCluster(1, folder=tmp_path, settings=SNAPSHOTS) as made:
        for number in range(40):
            create_topic(made.node(1), f"t{number}", partitions=2)
        made.wait("snapshots", lambda: snapshots(made.node(1)))
        yield made


@pytest.mark.java
def test_followers_metadata_is_read_by_kafkas_tools(with_snapshots: ProcessCluster, kafka_tools: Any) -> None:
    """kafka-dump-log and kafka-metadata-shell read what a follower downloaded, fetched and wrote itself."""
    cluster = with_snapshots
    node = cluster.add_node()
    wait_for_voters(cluster, 1, 2)
    for number in range(40):
        create_topic(node, f"u{number}", partitions=2)
    cluster.wait("a snapshot of its own", lambda: len(snapshots(node)) > 1)
    leader = cluster.controller()
    follower = cluster.node(3 - leader)
    cluster.stop()
    files = [*metadata_files(follower, ".log"), *snapshots(follower)]
    named = ",".join(map(str, files))
    dump = kafka_tools.run("kafka-dump-log", "--cluster-metadata-decoder", "--files", named).stdout
    assert "isvalid: false" not in dump
    for kind in ("KRaftVoters", "SnapshotHeader", "SnapshotFooter", '"TOPIC_RECORD"', '"PARTITION_RECORD"'):
        assert kind in dump
    newest = str(snapshots(follower)[-1])

    def shows() -> bool:
        arguments = ("--snapshot", newest, "ls", "/image/topics/byName")
        return "t7" in kafka_tools.run("kafka-metadata-shell", *arguments, check=False).stdout.split()

    cluster.wait("the shell shows a topic", shows, 60)


@pytest.mark.java
def test_kafka_metadata_quorum_changes_voters(cluster: ProcessCluster, kafka_tools: Any) -> None:
    """`kafka-metadata-quorum` shows voters and observers, removes a controller, and adds it again."""
    cluster.settings["controller.quorum.auto.join.enable"] = "false"
    cluster.start()

    def tool(*arguments: str) -> str:
        return str(
            kafka_tools.run(
                "kafka-metadata-quorum", "--bootstrap-server", cluster.bootstrap, *arguments
            ).stdout
        )

    def add(node: ProcessNode) -> None:
        config = cluster.folder / f"add{node.id}.properties"
        config.write_text(
            "".join(f"{name}={value}\n" for name, value in cluster.node_settings(node).items())
            + f"advertised.listeners=CLIENT://{node.bootstrap},CONTROLLER://{node.controller_address}\n"
            "controller.listener.names=CONTROLLER\ninter.broker.listener.name=INTERNAL\n"
            "listener.security.protocol.map=CLIENT:PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT\n"
        )
        arguments = ("--command-config", str(config), "--bootstrap-server", cluster.bootstrap)
        kafka_tools.run("kafka-metadata-quorum", *arguments, "add-controller")

    cluster.wait("observers", lambda: {one.replica_id for one in cluster.quorum().observers} == {2, 3})
    assert cluster.voters() == {1}
    for node_id in (2, 3):
        add(cluster.node(node_id))
        assert node_id in cluster.voters()
    status = tool("describe", "--status")
    assert "LeaderId:               1" in status
    assert all(f'"id": {node_id}' in status for node_id in (1, 2, 3))
    replication = tool("describe", "--replication", "--human-readable")
    assert replication.count("Follower") == 2
    (directory,) = [
        line.split()[1] for line in tool("describe", "--replication").splitlines() if line.startswith("3")
    ]
    tool("remove-controller", "--controller-id", "3", "--controller-directory-id", directory)
    assert cluster.voters() == {1, 2}


def test_ten_thousand_partitions_load_in_two_seconds(tmp_path: Path) -> None:
    """From the log and from a snapshot: a controller with 10,000 partitions leads soon after its start."""
    settings = {"max.partitions.per.broker": "20000", "broker.session.timeout.ms": "60000"}
    with ProcessCluster(folder=tmp_path, roles=["controller"], settings=settings) as cluster:
        node = cluster.node(1)
        empty = restarted(cluster)
        broker = PretendedBroker(cluster, node, 7)
        broker.beat()
        for number in range(20):
            broker.create_topic(f"t{number}", 500)
        assert not snapshots(node)
        from_log = restarted(cluster)
        node.settings.update(SNAPSHOTS)
        cluster.restart(1)
        broker.close()
        broker = PretendedBroker(cluster, node, 7, 1)
        broker.beat()
        broker.create_topic("more", 500)
        broker.close()
        cluster.wait("a snapshot", lambda: snapshots(node))
        from_snapshot = restarted(cluster)
        size = snapshots(node)[-1].stat().st_size
        say(
            f"exec until it leads: empty {empty:.2f} s; with 10,000 partitions in the log {from_log:.2f} s, "
            f"in a snapshot of {size >> 10} KiB {from_snapshot:.2f} s; {node.memory_kib() >> 10} MiB"
        )
        assert max(from_log, from_snapshot) - empty < 2


def restarted(cluster: ProcessCluster) -> float:
    """The shortest of three starts of node 1: seconds from exec until it leads."""
    took = []
    for _ in range(3):
        cluster.stop(1)
        begun = time.monotonic()
        cluster.start(1, wait=False)
        cluster.wait("it leads", lambda: cluster.node(1).quorum().leader_id == 1)
        took.append(time.monotonic() - begun)
    return min(took)
