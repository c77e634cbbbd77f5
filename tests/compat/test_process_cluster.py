"""Clusters of real processes for tests: what is said of them holds, and nothing outlives them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from moldau_broker.testing.cluster import HOST, NoAnswer, ProcessCluster, free_ports

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def cluster() -> Iterator[ProcessCluster]:
    with ProcessCluster(3, node_settings={2: {"broker.rack": "b"}}) as made:
        yield made


def runs(pid: int) -> bool:
    """Whether there is such a process, zombies aside."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in {"Z", "X"}


def test_cluster_serves_with_all_brokers(cluster: ProcessCluster) -> None:
    """When it has started, every broker names all three, under the one cluster id; each has a pid, ports and a log."""
    for node in cluster.nodes.values():
        assert node.broker_ids() == {1, 2, 3}
        assert runs(node.pid)
        assert node.events("broker.serving")
        assert node.readyz()["ready"] is True
    assert cluster.bootstrap == ",".join(f"{HOST}:{cluster.node(id_).port}" for id_ in (1, 2, 3))
    assert cluster.controller() in {1, 2, 3}
    assert "broker.rack" in cluster.node_settings(cluster.node(2))
    assert "broker.rack" not in cluster.node_settings(cluster.node(1))


def test_node_killed_and_started_again(cluster: ProcessCluster) -> None:
    """SIGKILL ends one process, the others go on, and a start brings it back on its ports with its data."""
    before = cluster.node(3).pid
    cluster.kill(3)
    assert cluster.node(3).exit_code == -signal.SIGKILL
    with pytest.raises(NoAnswer):
        cluster.node(3).broker_ids()
    cluster.wait("the others fence it", lambda: cluster.node(1).broker_ids() == {1, 2})
    cluster.start(3)
    assert cluster.node(3).pid != before
    assert cluster.node(3).broker_ids() == {1, 2, 3}


def test_node_stops_in_order(cluster: ProcessCluster) -> None:
    """SIGTERM ends a node with status 0; `restart` does it and brings the node back."""
    cluster.restart(2)
    assert cluster.node(2).events("broker.stopped")
    assert cluster.node(2).broker_ids() == {1, 2, 3}
    cluster.stop(2)
    assert cluster.node(2).exit_code == 0
    cluster.start(2)


def test_paused_node_says_nothing_until_it_is_resumed(cluster: ProcessCluster) -> None:
    """A paused node is running for the kernel and silent for everybody; resumed it serves again."""
    cluster.pause(1)
    assert cluster.node(1).running
    with pytest.raises(NoAnswer):
        cluster.node(1).broker_ids()
    assert cluster.node(1) not in cluster.running
    cluster.resume(1)
    cluster.wait_serving()


def test_wiped_node_comes_back(cluster: ProcessCluster) -> None:
    """What a stopped node has stored can be deleted; it starts as a new one and finds its cluster."""
    cluster.kill(3)
    cluster.wipe(3)
    assert not cluster.node(3).data_dir.exists()
    cluster.start(3)
    assert cluster.node(3).broker_ids() == {1, 2, 3}


def test_start_that_fails_shows_the_log(tmp_path: Path) -> None:
    """A node that ends while the others wait for it fails the start at once, with what it wrote."""
    cluster = ProcessCluster(1, folder=tmp_path, settings={"process.roles": "gardener"})
    with pytest.raises(AssertionError, match=r"node 1 ended with 2: .*process.roles=gardener"):
        cluster.start()
    cluster.close()


def test_cluster_ends_what_it_started_and_keeps_a_given_folder(tmp_path: Path) -> None:
    """Leaving the `with` ends every process, paused ones included; a folder of one's own stays."""
    with ProcessCluster(2, folder=tmp_path) as cluster:
        pids = [node.pid for node in cluster.nodes.values()]
        cluster.pause(2)
    assert not any(runs(pid) for pid in pids)
    assert (tmp_path / "node1" / "data" / "meta.properties").exists()
    cluster.close()


def test_brokers_die_with_the_process_that_started_them(tmp_path: Path) -> None:
    """A test process that is killed leaves no broker behind."""
    text = (
        "import sys, time\n"
        "from moldau_broker.testing.cluster import ProcessCluster\n"
        "cluster = ProcessCluster(2, folder=sys.argv[1]).start(wait=False)\n"
        "print(*(node.pid for node in cluster.nodes.values()), flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", text, str(tmp_path)], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert all(runs(pid) for pid in pids)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 10
    while any(runs(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(runs(pid) for pid in pids)


def test_added_node_joins(tmp_path: Path) -> None:
    """A node can be added to a cluster that runs, with the next free id."""
    with ProcessCluster(1, folder=tmp_path) as cluster:
        node = cluster.add_node()
        assert node.id == 2
        assert cluster.node(1).broker_ids() == {1, 2}


def test_free_ports_are_distinct() -> None:
    """So many ports, no two alike however often one asks, outside what the kernel gives to outgoing connections."""
    ports = [port for _ in range(300) for port in free_ports(4)]
    assert len(set(ports)) == 1_200
    assert all(15_000 <= port < 32_000 for port in ports)


def test_free_ports_are_nobody_elses() -> None:
    """Two processes that choose ports at the same time never choose the same, though neither listens yet."""
    text = (
        "import sys\n"
        "from moldau_broker.testing.cluster import free_ports\n"
        "print(*free_ports(2_000), flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        theirs = {int(port) for port in other.stdout.readline().split()}
        ours = set(free_ports(2_000))
        other.stdin.close()
    assert len(theirs) == len(ours) == 2_000
    assert not theirs & ours
