"""A real Prometheus scrapes a real cluster: through load, a lagging group, a broker that is killed, a disk that fills.

One cluster for the whole file; the tests are its story, in order. Rules are quickened (see `prometheus.quicken`):
what is compared with what stays as it is.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import NewTopic
from tests.observability.load import Load, alter_topic, change_topic, create_topics
from tests.observability.operator_bench import OperatorBench
from tests.observability.prometheus import Prometheus, Target, eventually, why_not
from tests.observability.queries import CONSTANT, MOMENTARY, PUBLIC_NAMES, panel_queries
from tests.observability.stall import stalled

from moldau_broker.base.errors import ErrorCode
from moldau_broker.testing.cluster import HOST, ProcessCluster
from moldau_operator.errors import AdminError
from moldau_operator.seams.broker_admin import Partition, PartitionView
from moldau_operator.testing.kube_world import KubeWorld

ROOT = Path(__file__).resolve().parents[2]
ALERTS = [ROOT / "alerts" / f"{name}.yaml" for name in ("brokers", "groups", "operator", "kminion-names")]
DISK_MEGABYTES = 256
CLUSTER: dict[str, Any] = {
    "replicas": 3,
    "storage": {"size": "1Gi"},
    "balance": {"mode": "Auto", "approval": "Auto"},
}
MACHINE = {
    "MoldauEventLoopSlow": "one turn of 0.1 s among a thousand within ten seconds: other processes have the cores",
    "MoldauFlushSlow": "one flush in a hundred within ten seconds waits for what others write to the same disk",
    "MoldauProduceSlow": "waits for both of the above, on three nodes that share the machine",
    "MoldauDiskFillsUp": "any growth at all fills a volume within a day where the trend of ten seconds is taken",
}
"""Alerts that others on this machine may cause, and why: with windows of seconds the rules see what they do not see
with the minutes and hours that they really have."""

pytestmark = [
    pytest.mark.observe,
    pytest.mark.timeout(300),
    pytest.mark.skipif(why_not() is not None, reason=why_not() or ""),
]


class Scene:
    """Everything that runs.

    Attributes:
        slow, free, stuck, gone: records a tick that the groups of these names read; -1 sends their members away.
        commits: whether group stuck commits what it reads.
    """

    def __init__(
        self,
        cluster: ProcessCluster,
        prometheus: Prometheus,
        bench: OperatorBench,
        load: Load,
        faults: Path,
    ) -> None:
        self.cluster = cluster
        self.prometheus = prometheus
        self.bench = bench
        self.load = load
        self._faults = faults
        self.slow = self.free = self.stuck = self.gone = 200
        self.commits = True
        self._operators: Future[None] | None = None
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="operator-story")
        load.consumer("fast", "orders", lambda: 500, commits=lambda: True)
        load.consumer("slow", "orders", lambda: self.slow, commits=lambda: True)
        load.consumer("free", "payments", lambda: self.free, commits=lambda: True)
        load.consumer("stuck", "payments", lambda: self.stuck, commits=lambda: self.commits)
        load.consumer("gone", "payments", lambda: self.gone, commits=lambda: True)

    def operators(self) -> Future[None]:
        """The operator's troubles, which go on beside the brokers': neither is seen by the other."""
        if self._operators is None:
            self._operators = self._pool.submit(_operator_story, self)
        return self._operators

    @contextmanager
    def fault(self, node: int, name: str) -> Iterator[None]:
        """One of faults/sitecustomize.py, while entered."""
        path = self._faults / f"{node}.{name}"
        path.touch()
        try:
            yield
        finally:
            path.unlink()

    def fires(self, *names: str, within: float = 60) -> None:
        """Every one of these alerts fires, and says so in words."""

        def all_fire() -> bool:
            return set(names) <= set(self.prometheus.firing())

        try:
            eventually(all_fire, f"{names} fire", within)
        except AssertionError as error:
            raise AssertionError(f"{error}; firing: {sorted(self.prometheus.firing())}") from None
        for name in names:
            for alert in self.prometheus.firing()[name]:
                words = " ".join(alert["annotations"].values())
                assert "error" not in words, words
                assert "<no value>" not in words, words

    def clears(self, *names: str, within: float = 60, instance: str = "") -> None:
        """None of these alerts fires any more (for that instance, where the alert names one)."""

        def left() -> set[str]:
            return {
                name
                for name, alerts in self.prometheus.firing().items()
                if any(
                    alert["labels"].get("instance", instance) == instance or not instance for alert in alerts
                )
            }

        eventually(
            lambda: not set(names) & left(),
            f"{names} clear",
            within,
        )


def _labels(job: str) -> dict[str, str]:
    return {"namespace": "team", **({"kafka_cluster": "demo"} if job == "moldau" else {})}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("observe")
    settings = {
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",
        "replica.lag.time.max.ms": "3000",
        "offsets.topic.num.partitions": "6",
        "offsets.topic.replication.factor": "3",
        "group.initial.rebalance.delay.ms": "200",
        "log.segment.bytes": "1048576",
        "leader.imbalance.check.interval.seconds": "5",
    }
    mounted = _mount_small_disk(folder / "cluster" / "node3")
    faults = folder / "faults"
    faults.mkdir()
    patch = pytest.MonkeyPatch()
    patch.setenv("MOLDAU_FAULTS", str(faults))
    patch.setenv("PYTHONPATH", str(Path(__file__).parent / "faults"), prepend=os.pathsep)
    try:
        with (
            ProcessCluster(3, folder=folder / "cluster", settings=settings) as cluster,
            OperatorBench() as bench,
        ):
            three, low = {"min.insync.replicas": "2"}, {"min.insync.replicas": "1"}
            create_topics(
                cluster.bootstrap,
                NewTopic("orders", 6, 3, config=three),
                NewTopic("payments", 3, 3, config=three),
                NewTopic("strict", 3, 3, config={"min.insync.replicas": "3"}),
                NewTopic("single", num_partitions=3, replica_assignment=[[1], [2], [3]], config=low),
                NewTopic(
                    "risky",
                    num_partitions=1,
                    replica_assignment=[[3, 2]],
                    config={**low, "unclean.leader.election.enable": "true"},
                ),
            )
            bench.put("Cluster", "demo", **CLUSTER)
            bench.do(lambda world: _lay_unevenly(world, "uneven"))
            bench.put("Topic", "orders", cluster="demo", partitions=6, replicas=3)
            bench.put(
                "ConsumerGroup", "slow", cluster="demo", groupId="slow", maxLag={"records": 500, "seconds": 5}
            )
            targets = [
                Target("moldau", f"broker-{node.id}", node.http_port, _labels("moldau"))
                for node in cluster.nodes.values()
            ]
            targets.append(
                Target("moldau-operator", "operator", bench.port, _labels("op"), honor_labels=True)
            )
            with (
                Prometheus(folder / "prometheus", targets, ALERTS) as prometheus,
                Load(cluster.bootstrap) as load,
            ):
                yield Scene(cluster, prometheus, bench, load, faults)
    finally:
        patch.undo()
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder / "cluster" / "node3")], check=False)


def _mount_small_disk(target: Path) -> bool:
    target.mkdir(parents=True)
    if os.geteuid() != 0:
        return False
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MEGABYTES}m", "moldau-observe", str(target)]
    return subprocess.run(command, check=False).returncode == 0


def test_every_panel_has_data_under_load(scene: Scene) -> None:
    """All queries of all dashboards, as Grafana sends them."""
    queries = list(panel_queries())
    create_topics(scene.cluster.bootstrap, NewTopic("later", 1, 3))
    assert len(queries) > 90
    scene.bench.do(lambda world: setattr(world.api, "refuse", _refuse_once()))
    missing, rolls = queries, False
    deadline = time.monotonic() + 150
    while missing and time.monotonic() < deadline:
        time.sleep(2)
        _touch(scene)
        missing = [query for query in missing if not scene.prometheus.query(query.expr)]
        if not rolls and not any("_balance_" in query.expr for query in missing):
            rolls = True  # not before: nothing is balanced while a broker is away
            scene.bench.do(_copy_again)
            _let_node_2_rest(scene)
            scene.bench.put("Cluster", "demo", **CLUSTER, rollout={"restartedAt": "once"})
    scene.bench.do(_copy_again)
    scene.bench.do(lambda world: setattr(world, "ready", lambda _pod: True))
    assert [str(query) for query in missing] == []


def _let_node_2_rest(scene: Scene) -> None:
    """Its pod does not get ready any more."""
    scene.bench.do(
        lambda world: setattr(world, "ready", lambda pod: not pod["metadata"]["name"].endswith("-2"))
    )


def _lay_unevenly(world: KubeWorld, topic: str) -> None:
    """A topic that lies on the operator's brokers 0 and 1 alone, and brokers that do not copy what moves."""
    vars(world.brokers)["finish_moves"] = lambda *_: None
    replicas = [(index % 2, 1 - index % 2) for index in range(12)]
    world.brokers.add_topic(topic, 12, 2).placement[:] = [PartitionView(one[0], one, one) for one in replicas]
    for index in range(12):
        world.brokers.sizes[Partition(topic, index)] = 100 * 2**20


def _copy_again(world: KubeWorld) -> None:
    """What moves arrives."""
    vars(world.brokers).pop("finish_moves", None)


def _refuse_once() -> Any:
    """One write is refused, as happens when two write at the same time."""
    from moldau_operator.seams.api_server import ApiError

    left = [3]

    def refuse(call: Any) -> ApiError | None:
        if call.verb == "apply" and left[0]:
            left[0] -= 1
            return ApiError(409, "the object has been modified")
        return None

    return refuse


def _touch(scene: Scene) -> None:
    """Something for the operator to do: a topic that grows."""
    current = scene.bench.do(lambda world: world.api.of("Topic")["orders"]["spec"]["partitions"])
    scene.bench.put("Topic", "orders", cluster="demo", partitions=current + 1, replicas=3)


@pytest.mark.parametrize("expression", PUBLIC_NAMES)
def test_names_of_public_dashboards_have_data(scene: Scene, expression: str) -> None:
    """kafka_exporter's, kafka-lag-exporter's, Strimzi's and (by recording rules) kminion's."""

    def found() -> bool:
        if (
            "commit_latency" in expression
        ):  # as in Kafka: of the commits of the last while, and without any none
            alter_topic(scene.cluster.bootstrap, "later", "retention.ms", str(time.time_ns() // 1_000_000))
        return bool(scene.prometheus.query(expression))

    eventually(found, expression, within=30)


def test_sums_over_all_brokers_count_nothing_twice(scene: Scene) -> None:
    """Each partition and each group once: 6 + 3 + 3 + 3 + 1 + 1 of ours, and the offsets topic's 6."""
    counts = {
        "count(kafka_topic_partition_current_offset)": 23,
        "max(count by (consumergroup) (kafka_consumergroup_members))": 1,
        "sum(kafka_controller_kafkacontroller_activecontrollercount)": 1,
    }
    for expression, wanted in counts.items():
        # A scrape that came too late is missing for a moment; nothing is ever too much.
        eventually(lambda e=expression, w=wanted: scene.prometheus.value(e) == w, expression)
        values = [float(value) for one in scene.prometheus.history(expression) for _, value in one["values"]]
        assert max(values) <= wanted, expression


def test_operator_page_is_clean(scene: Scene) -> None:
    """By promtool's linter; the brokers' pages have a test of their own."""
    page = subprocess.run(
        ["curl", "-sf", f"http://{HOST}:{scene.bench.port}/metrics"], capture_output=True, check=True
    ).stdout
    linted = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, check=False)
    assert linted.returncode == 0, linted.stderr.decode() + linted.stdout.decode()


def test_no_alert_fires_while_all_is_well(scene: Scene) -> None:
    """Ten seconds of load without a single alert, but for those that other work on this machine may cause."""
    eventually(lambda: not set(scene.prometheus.firing()) - set(MACHINE), "the start is over", within=60)
    until = time.monotonic() + 10
    while time.monotonic() < until:
        assert set(scene.prometheus.firing()) - set(MACHINE) == set()
        time.sleep(1)
    scene.operators()


def test_lagging_groups_are_told_and_their_end_too(scene: Scene) -> None:
    """Behind its budget in both units; far behind without one; with members but no commits; without members."""
    scene.slow, scene.commits, scene.gone = 1, False, -1
    scene.fires(
        "MoldauGroupOverBudgetRecords",
        "MoldauGroupOverBudgetSeconds",
        "MoldauGroupStalled",
        "MoldauGroupNobodyConsumes",
    )
    scene.fires("MoldauGroupFarBehind", within=90)
    scene.slow, scene.commits = 1000, True
    scene.load.consumer("gone", "payments", lambda: 500, commits=lambda: True)
    scene.clears(
        "MoldauGroupOverBudgetRecords",
        "MoldauGroupOverBudgetSeconds",
        "MoldauGroupStalled",
        "MoldauGroupNobodyConsumes",
        "MoldauGroupFarBehind",
    )


def test_killed_broker_is_told_and_its_return_too(scene: Scene) -> None:
    """Node 2, with a partition that only it has and one that needs all three replicas."""
    scene.cluster.kill(2)
    names = (
        "MoldauBrokerUnreachable",
        "MoldauBrokerFenced",
        "MoldauUnderReplicatedPartitions",
        "MoldauUnderMinIsrPartitions",
        "MoldauOfflinePartitions",
    )
    scene.fires(*names)
    scene.cluster.start(2)
    scene.clears(*names)


def test_lost_majority_is_told_and_its_return_too(scene: Scene) -> None:
    """Two of three nodes are gone; the third knows no controller, and when it is started anew it waits for one."""
    scene.cluster.kill(1, 2)
    scene.fires("MoldauNoActiveController")
    scene.cluster.kill(3)
    scene.cluster.start(3, wait=False)
    scene.fires("MoldauBrokerNotReady")
    scene.cluster.start(1, 2)
    scene.clears("MoldauNoActiveController", "MoldauBrokerNotReady", "MoldauOfflinePartitions")


def test_unclean_election_is_told(scene: Scene) -> None:
    """The only replica in sync is lost, the other one comes back: it leads, and that is told."""
    scene.cluster.kill(2)
    isr = 'kafka_cluster_partition_insyncreplicascount{topic="risky"}'
    eventually(lambda: scene.prometheus.value(isr) == 1, "node 2 has left the ISR")
    scene.cluster.kill(3)
    scene.cluster.start(2)
    scene.fires("MoldauUncleanElection")
    scene.cluster.start(3)
    scene.clears("MoldauUncleanElection", "MoldauUnderReplicatedPartitions", "MoldauBrokerFenced")


def test_stuck_event_loop_is_told(scene: Scene) -> None:
    """One thread of a broker, the one with the loop, hangs for seconds; then it often hangs for a moment."""
    node = scene.cluster.node(1)
    assert node.process is not None
    with stalled(node.process.pid):
        time.sleep(2.5)
    scene.fires("MoldauEventLoopStuck")
    log = node.log_path.read_text(errors="replace")
    assert "event_loop.stalled" in log
    deadline = time.monotonic() + 30
    while "MoldauEventLoopSlow" not in scene.prometheus.firing():
        assert time.monotonic() < deadline
        with stalled(node.process.pid):
            time.sleep(0.4)
        time.sleep(0.2)
    assert "event_loop.resumed" in node.log_path.read_text(errors="replace")
    scene.clears("MoldauEventLoopStuck", "MoldauEventLoopSlow")


def test_slow_follower_makes_writes_slow_and_is_told(scene: Scene) -> None:
    """acks=all waits for a follower that stands still again and again, for less than what puts it out of the ISR."""
    deadline = time.monotonic() + 60
    while "MoldauProduceSlow" not in scene.prometheus.firing():
        assert time.monotonic() < deadline
        scene.cluster.pause(2)
        time.sleep(1.6)
        scene.cluster.resume(2)
        time.sleep(0.3)
    scene.clears("MoldauProduceSlow")


def test_slow_disk_is_told(scene: Scene) -> None:
    """One node's disk takes 0.8 s for every flush; its neighbours' take what they took."""
    with scene.fault(1, "slow-disk"):
        scene.fires("MoldauFlushSlow")
        eventually(
            lambda: (
                {one["labels"]["instance"] for one in scene.prometheus.firing()["MoldauFlushSlow"]}
                >= {"broker-1"}
            ),
            "the node whose disk it is",
        )
    scene.clears("MoldauFlushSlow", "MoldauProduceSlow", instance="broker-1")


def test_lost_metadata_disk_is_told(scene: Scene) -> None:
    """A node whose metadata log cannot be flushed any more lives on without news, until it is started anew."""
    controller = (
        scene.cluster.controller()
    )  # who follows: a leader resigns, and the others elect one meanwhile
    number = next(node for node in (1, 2) if node != controller)
    try:
        with scene.fault(number, "lost-flushes"):
            change_topic(scene.cluster.bootstrap, "later", 1_100)
            scene.fires("MoldauQuorumNodeBehind")
            behind = scene.prometheus.firing()["MoldauQuorumNodeBehind"]
            assert {one["labels"]["instance"] for one in behind} == {f"broker-{number}"}
            assert "raft.flush_failed" in scene.cluster.node(number).log_path.read_text(errors="replace")
    finally:
        scene.cluster.kill(number)
        scene.cluster.start(number)
    scene.clears("MoldauQuorumNodeBehind", "MoldauUnderReplicatedPartitions", "MoldauBrokerFenced")


def test_lag_that_nobody_looks_at_is_told(scene: Scene) -> None:
    """A coordinator's look at the positions of its groups hangs: what it last saw gets old."""
    (told,) = scene.prometheus.query('kafka_consumergroup_members{consumergroup="fast"}')
    coordinator = told["metric"]["instance"]
    with scene.fault(int(coordinator.removeprefix("broker-")), "deaf-lag"):
        scene.fires("MoldauLagNotKnown")
        blind = scene.prometheus.firing()["MoldauLagNotKnown"]
        assert coordinator in {one["labels"]["instance"] for one in blind}
    scene.clears("MoldauLagNotKnown")


def test_flapping_elections_are_told(scene: Scene) -> None:
    """Whoever leads the quorum stands still for longer than its followers wait, six times in a minute."""
    deadline = time.monotonic() + 150
    while "MoldauElectionsFlap" not in scene.prometheus.firing():
        assert time.monotonic() < deadline
        active = scene.prometheus.query("kafka_controller_kafkacontroller_activecontrollercount == 1")
        if not active:
            time.sleep(0.5)
            continue
        number = int(str(active[0]["metric"]["instance"]).removeprefix("broker-"))
        scene.cluster.pause(number)
        time.sleep(2.5)
        scene.cluster.resume(number)
        time.sleep(3)  # until the next one tells that it is active
    scene.clears("MoldauElectionsFlap", within=120)


def test_full_disk_is_told_and_room_too(scene: Scene) -> None:
    """A volume fills within seconds, up to the last byte; then there is room again."""
    home = scene.cluster.node(3).data_dir
    if not os.path.ismount(home.parent) and not os.path.ismount(home):
        pytest.skip("needs root to mount a small file system")
    ballast = home.parent / "ballast"
    with ballast.open("wb", buffering=0) as file:
        while _free_share(home) > 0.45:
            file.write(b"\0" * 2**20)
        while _free_share(home) > 0.1:
            file.write(b"\0" * 2**20)
            time.sleep(0.12)
        scene.fires("MoldauDiskSpaceLow", "MoldauDiskFillsUp", within=20)
        while _free_share(home) > 0.02:
            file.write(b"\0" * 2**18)
        scene.fires("MoldauDiskSpaceCritical", within=20)
        try:
            while True:
                file.write(b"\0" * 2**14)
        except OSError:
            pass
    scene.fires("MoldauUnderReplicatedPartitions")
    ballast.unlink()
    scene.cluster.kill(3)  # as the runbook says: the metadata log may have failed to grow, which is final
    scene.cluster.start(3)
    scene.clears(
        "MoldauDiskSpaceLow",
        "MoldauDiskFillsUp",
        "MoldauDiskSpaceCritical",
        "MoldauUnderReplicatedPartitions",
        instance="broker-3",
    )


def test_damaged_log_is_told_and_its_replacement_too(scene: Scene) -> None:
    """Half of the only copy of a partition is gone when its broker comes back: it is out, until it is put back."""
    node = scene.cluster.node(2)
    scene.cluster.stop(2)
    folder, backup = node.data_dir / "single-1", node.data_dir.parent / "backup"
    shutil.copytree(folder, backup)
    segment = max(folder.glob("*.log"))
    os.truncate(segment, segment.stat().st_size // 2)
    (node.data_dir / ".kafka_cleanshutdown").unlink()  # or nothing would be scanned
    scene.cluster.start(2, wait=False)
    scene.fires("MoldauReplicaOutOfService")
    scene.cluster.stop(2)
    shutil.rmtree(folder)
    shutil.move(backup, folder)
    scene.cluster.start(2)
    scene.clears("MoldauReplicaOutOfService", "MoldauUnderReplicatedPartitions", "MoldauBrokerFenced")


def _free_share(folder: Path) -> float:
    there = os.statvfs(folder)
    return there.f_bavail / there.f_blocks


def test_two_clusters_under_the_same_labels_are_told(scene: Scene) -> None:
    """A second cluster's controller is scraped as if it were the first one's, as a wrong selector does it."""
    with ProcessCluster(1) as other:
        target = Target("moldau", "stranger", other.node(1).http_port, _labels("moldau"))
        scene.prometheus.scrape(target)
        try:
            scene.fires("MoldauSeveralActiveControllers")
        finally:
            scene.prometheus.scrape_no_more(target)
    scene.clears("MoldauSeveralActiveControllers")


@pytest.mark.timeout(600)
def test_operator_troubles_are_told_and_their_end_too(scene: Scene) -> None:
    """See `_operator_story`, which has gone on since all was well."""
    scene.operators().result(580)


def _operator_story(scene: Scene) -> None:
    """One trouble after the other, in the operator's own process; each is told and cleared."""
    bench = scene.bench
    # A plan whose moves do not arrive, a deaf watch, a Topic that another one is already.
    slowly = {**CLUSTER, "balance": {**CLUSTER["balance"], "throttleBytesPerSecond": 20 * 2**20}}
    bench.put("Cluster", "demo", **slowly)
    bench.do(lambda world: _lay_unevenly(world, "uneven-again"))
    bench.do(lambda _world: bench.watches.deaf.add("topics"))
    _touch(scene)
    bench.put("Topic", "bad", cluster="demo", topicName="orders", partitions=6, replicas=3)
    scene.fires("MoldauOperatorWatchBehind", "MoldauResourceNotAsDeclared", "MoldauBalanceStuck", within=150)
    bench.do(lambda _world: bench.watches.deaf.clear())
    bench.do(lambda world: world.api.remove("Topic", "team", "bad"))
    bench.do(_copy_again)
    scene.clears("MoldauOperatorWatchBehind", "MoldauResourceNotAsDeclared", "MoldauBalanceStuck")

    # A pod that does not stay ready; then a roll that waits for it.
    _let_node_2_rest(scene)
    scene.fires("MoldauClusterNotReady", within=120)
    bench.put("Cluster", "demo", **CLUSTER, rollout={"restartedAt": "again"})
    scene.fires("MoldauRollStuck", within=120)
    bench.do(lambda world: setattr(world, "ready", lambda _pod: True))
    scene.clears("MoldauClusterNotReady", "MoldauRollStuck")

    # Somebody else writes the same field, and does not give up.
    until = time.monotonic() + 90
    while "MoldauOperatorWritesWithoutEnd" not in scene.prometheus.firing():
        assert time.monotonic() < until
        bench.do(_forget_status)
        time.sleep(0.3)
    scene.clears("MoldauOperatorWritesWithoutEnd")

    # Brokers that do not answer; lists that never come; a Lease that somebody else has.
    refused = AdminError(ErrorCode.BROKER_NOT_AVAILABLE, "nobody answers")
    bench.do(lambda world: setattr(world.brokers, "unreachable", refused))
    scene.fires("MoldauOperatorFails")
    bench.do(lambda world: setattr(world.brokers, "unreachable", None))
    scene.clears("MoldauOperatorFails")
    bench.do(lambda _world: setattr(bench.api, "hangs", True))
    scene.fires("MoldauOperatorHangs")
    bench.do(lambda _world: setattr(bench.api, "hangs", False))
    scene.clears("MoldauOperatorHangs")
    bench.do(_take_lease)
    scene.fires("MoldauOperatorHasNoLeader")
    scene.clears("MoldauOperatorHasNoLeader")


def _forget_status(world: KubeWorld) -> None:
    """A tool that puts back a Topic as it was applied, without the status that the operator gave it."""
    topic = world.api.of("Topic")["orders"]
    world.api.put({key: value for key, value in topic.items() if key != "status"})


def _take_lease(world: KubeWorld) -> None:
    """Somebody else has it, and does not renew it: it is free again after its 15 seconds."""
    lease = world.api.of("Lease")["moldau-operator"]
    taken = {**lease, "spec": {**lease["spec"], "holderIdentity": "somebody else"}}
    world.api.put(taken)


def test_values_moved(scene: Scene) -> None:
    """Over the whole story every panel showed a change, but for those that have no reason to."""
    moved: dict[tuple[str, str], bool] = {}
    for query in panel_queries():
        found = scene.prometheus.history(query.expr)
        assert found, str(query)
        panel = (query.dashboard, query.panel)
        changes = any(len({value for _, value in one["values"]}) > 1 for one in found)
        moved[panel] = moved.get(panel, False) or changes
    still = {panel for panel, changes in moved.items() if not changes}
    assert still - set(MOMENTARY) == set(CONSTANT), "what moves need not be excused, what does not has to be"
    assert scene.load.ended_early == []


@pytest.mark.skipif("MOLDAU_PICTURES" not in os.environ, reason="no pictures are wanted")
@pytest.mark.timeout(600)
def test_pictures_are_drawn(scene: Scene) -> None:
    """Every dashboard over the whole story, into the folder that MOLDAU_PICTURES names."""
    from dashboards.__main__ import DASHBOARDS
    from tests.observability.pictures import draw  # matplotlib only where it is wanted

    for dashboard in DASHBOARDS:
        path = Path(os.environ["MOLDAU_PICTURES"]) / f"{dashboard.uid}.png"
        draw(dashboard, scene.prometheus, path)
        assert path.stat().st_size > 20_000
