"""The process platform with real child processes that stand in for brokers."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from moldau_broker.base.clock import SystemClock
from moldau_broker.base.properties import parse_properties
from moldau_operator.adapters.lifecycle import Patience
from moldau_operator.adapters.orphans import ProcessNote, end, read_note, write_note
from moldau_operator.adapters.ports import HOST
from moldau_operator.adapters.processes import ProcessPlatform
from moldau_operator.adapters.supervision import last_words
from moldau_operator.errors import PlatformError
from moldau_operator.resources.cluster import Cluster
from moldau_operator.seams.platform import (
    EnsurePool,
    NodeState,
    ObservedNode,
    PoolSpec,
    RestartNode,
    RetireNode,
)
from moldau_operator.specs.nodes import controllers_of, pool_specs

FAST = Patience(backoff_ms_min=20, probe_ms=50, probe_starting_ms=20, stop_ms=500)
"""Quick where nothing depends on it. What is called hung keeps its default: a node that gets no CPU for a second on a
busy machine must not be restarted where a test counts restarts."""
IMPATIENT = replace(FAST, probe_timeout_ms=200, misses_hung=20)
MakeCluster = Callable[..., Cluster]
PATIENCE_S = 60.0


class Bed:
    """A platform on a folder of its own."""

    def __init__(self, folder: Path, command: tuple[str, ...], port: int) -> None:
        self.folder = folder
        self.command = command
        self.port = port
        self.notices: list[str] = []
        self.changes = asyncio.Event()

    @asynccontextmanager
    async def platform(self, patience: Patience = FAST) -> AsyncIterator[ProcessPlatform]:
        platform = ProcessPlatform(
            self.folder,
            self.port,
            SystemClock(),
            on_change=self.changes.set,
            on_notice=self.notices.append,
            command=self.command,
            patience=patience,
        )
        try:
            yield platform
        finally:
            platform.kill()
            await platform.stop()

    async def until(
        self,
        platform: ProcessPlatform,
        wanted: Callable[[ObservedNode], bool],
        patience_s: float = PATIENCE_S,
    ) -> ObservedNode:
        """The first node, as soon as it is as wanted."""
        async with asyncio.timeout(patience_s):
            while True:
                self.changes.clear()
                (node,) = platform.nodes()
                if wanted(node):
                    return node
                await self.changes.wait()

    async def serving(self, platform: ProcessPlatform) -> ObservedNode:
        return await self.until(platform, lambda node: node.state is NodeState.SERVING)

    def behave(self, **behaviour: object) -> None:
        """How the next start behaves."""
        folder = self.folder / "nodes" / "0"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "behaviour.json").write_text(json.dumps(behaviour))


@pytest.fixture
def bed(tmp_path: Path, fake_node: tuple[str, ...], free_port: int) -> Bed:
    """An instance's folder, fake brokers, and a free port."""
    folder = tmp_path / "instance"
    folder.mkdir()
    return Bed(folder, fake_node, free_port)


@pytest.fixture
def pool(make_cluster: MakeCluster) -> PoolSpec:
    """One node."""
    return pool_specs(make_cluster(config={"num.partitions": "3"}))[0]


def alive(pid: int) -> bool:
    return ProcessNote.of(pid) is not None


async def gone(pid: int, patience_s: float = PATIENCE_S) -> None:
    async with asyncio.timeout(patience_s):
        while alive(pid):  # noqa: ASYNC110 - not our child, so nothing can be awaited
            await asyncio.sleep(0.02)


async def test_a_node_is_started_with_its_settings_and_serves(bed: Bed, pool: PoolSpec) -> None:
    """The properties file holds the spec's settings, addresses and folders; its own output goes to its log."""
    bed.behave(say="hello")
    async with bed.platform() as platform:
        await platform.apply(EnsurePool(pool=pool, reason="test"))
        node = await bed.serving(platform)
        assert node.pid is not None
        assert (node.kafka, node.running, node.restarts) == (f"{HOST}:{bed.port}", pool.nodes[0].revision, 0)
        folder = bed.folder / "nodes" / "0"
        settings = parse_properties((folder / "server.properties").read_text())
        assert settings["listeners"].startswith(f"CLIENT://{HOST}:{bed.port},INTERNAL://{HOST}:")
        assert (settings["num.partitions"], settings["node.id"]) == ("3", "0")
        assert settings["log.dirs"] == str(folder / "data")
        assert (folder / "broker.log").read_text() == "hello\n"
        assert os.getpgid(node.pid) == node.pid, "a process group of its own"
    assert not alive(node.pid)


async def test_a_nodes_settings_come_from_the_resource_alone(
    bed: Bed, pool: PoolSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MOLDAU_... in the environment configures brokers, and would override what is declared."""
    monkeypatch.setenv("MOLDAU_NUM_PARTITIONS", "99")
    async with bed.platform() as platform:
        await platform.apply(EnsurePool(pool=pool, reason="test"))
        await bed.serving(platform)
    environment = json.loads((bed.folder / "nodes" / "0" / "environment.json").read_text())
    assert "MOLDAU_NUM_PARTITIONS" not in environment


async def test_a_killed_node_comes_back(bed: Bed, pool: PoolSpec) -> None:
    """Another process, same ports, and the restart counted."""
    async with bed.platform() as platform:
        await platform.apply(EnsurePool(pool=pool, reason="test"))
        first = await bed.serving(platform)
        assert first.pid is not None
        os.kill(first.pid, signal.SIGKILL)
        second = await bed.until(
            platform, lambda node: node.state is NodeState.SERVING and node.pid != first.pid
        )
        assert (second.kafka, second.http, second.restarts) == (first.kafka, first.http, 1)


async def test_a_hung_node_is_noticed_and_replaced(bed: Bed, pool: PoolSpec) -> None:
    """SIGSTOP: down while it is silent, then killed and started again."""
    async with bed.platform(IMPATIENT) as platform:
        await platform.apply(EnsurePool(pool=pool, reason="test"))
        first = await bed.serving(platform)
        assert first.pid is not None
        os.kill(first.pid, signal.SIGSTOP)
        down = await bed.until(platform, lambda node: node.message == "runs, but does not answer")
        assert (down.pid, down.state) == (first.pid, NodeState.DOWN)
        second = await bed.until(
            platform, lambda node: node.state is NodeState.SERVING and node.pid != first.pid
        )
        assert second.restarts == 1


async def test_a_recovering_node_shows_its_progress(bed: Bed, pool: PoolSpec) -> None:
    """It does not answer clients yet, so /readyz is asked."""
    bed.behave(state="recovering")
    async with bed.platform(replace(FAST, young_ms=0)) as platform:
        await platform.apply(EnsurePool(pool=pool, reason="test"))
        node = await bed.until(platform, lambda node: node.state is NodeState.RECOVERING)
        assert node.message == "logs 3/9"


async def test_a_node_that_cannot_start_is_hopeless_with_its_last_words(bed: Bed, pool: PoolSpec) -> None:
    """What it wrote last says why; it is tried again all the same."""
    bed.behave(exit=1, say="moldau broker: the disk is on fire")
    async with bed.platform() as platform:
        await platform.apply(EnsurePool(pool=pool, reason="test"))
        node = await bed.until(platform, lambda node: node.hopeless)
        assert node.message == "stopped with exit status 1: moldau broker: the disk is on fire"
        bed.behave()
        assert (await bed.serving(platform)).hopeless is False


async def test_a_mended_node_need_not_wait(bed: Bed, pool: PoolSpec) -> None:
    """`up` again tries at once and starts counting anew."""
    bed.behave(exit=2)
    slow = replace(FAST, backoff_ms_min=60_000, backoff_ms_max=60_000)
    async with bed.platform(slow) as platform:
        await platform.apply(EnsurePool(pool=pool, reason="test"))
        await bed.until(platform, lambda node: node.hopeless)
        bed.behave()
        platform.retry()
        assert platform.nodes()[0].hopeless is False
        await bed.serving(platform)


async def test_a_node_that_ignores_sigterm_is_killed(bed: Bed, pool: PoolSpec) -> None:
    """After its time is over."""
    bed.behave(ignore_term=True)
    async with bed.platform() as platform:
        await platform.apply(EnsurePool(pool=pool, reason="test"))
        node = await bed.serving(platform)
        assert node.pid is not None
        async with asyncio.timeout(PATIENCE_S):
            await platform.stop()
        assert not alive(node.pid)


async def test_a_restart_takes_the_new_settings(bed: Bed, pool: PoolSpec) -> None:
    """EnsurePool leaves a running node alone; RestartNode makes it run what its pool says."""
    async with bed.platform() as platform:
        await platform.apply(EnsurePool(pool=pool, reason="test"))
        first = await bed.serving(platform)
        spec = replace(
            pool.nodes[0], settings={**pool.nodes[0].settings, "num.partitions": "9"}, revision="new"
        )
        await platform.apply(EnsurePool(pool=replace(pool, nodes=(spec,)), reason="test"))
        (told,) = platform.nodes()
        assert (told.pid, told.wanted, told.running) == (first.pid, "new", pool.nodes[0].revision)
        await platform.apply(RestartNode(node_id=0, reason="test"))
        second = await bed.until(
            platform, lambda node: node.running == "new" and node.state is NodeState.SERVING
        )
        assert second.pid != first.pid
        assert "num.partitions=9" in (bed.folder / "nodes" / "0" / "server.properties").read_text()


async def test_ports_stay_the_same_unless_they_are_taken(bed: Bed, pool: PoolSpec) -> None:
    """The second start has the first one's; a taken one is named and replaced."""
    addresses = []
    for _ in range(2):
        async with bed.platform() as platform:
            await platform.apply(EnsurePool(pool=pool, reason="test"))
            addresses.append((await bed.serving(platform)).kafka)
    assert addresses[0] == addresses[1]
    assert bed.notices == []
    with socket.create_server((HOST, bed.port)):
        async with bed.platform() as platform:
            await platform.apply(EnsurePool(pool=pool, reason="test"))
            moved = await bed.serving(platform)
    assert moved.kafka == f"{HOST}:{bed.port + 1}"
    assert bed.notices == [
        f"node 0 had port {bed.port}, which is taken now",
        f"port {bed.port} taken; node 0 listens on {bed.port + 1}",
    ]


async def test_a_port_taken_between_two_starts_is_named_and_waited_for(bed: Bed, pool: PoolSpec) -> None:
    """Clients know the port, so a running instance does not move."""
    async with bed.platform() as platform:
        await platform.apply(EnsurePool(pool=pool, reason="test"))
        node = await bed.serving(platform)
        assert node.pid is not None
        bed.behave(exit=1)
        os.kill(node.pid, signal.SIGKILL)
        await gone(node.pid)
        with socket.create_server((HOST, bed.port)):
            blocked = await bed.until(platform, lambda one: "taken by another process" in one.message)
            assert blocked.message == f"port {bed.port} is taken by another process; stop that one"
            bed.behave()
        assert (await bed.serving(platform)).kafka == node.kafka


ORPHANING = """
import asyncio, sys
from pathlib import Path
from moldau_broker.base.clock import SystemClock
from moldau_operator.adapters.processes import ProcessPlatform
from moldau_operator.seams.platform import EnsurePool, NodeState, NodeSpec, PoolSpec

async def main(folder, port, *command):
    platform = ProcessPlatform(Path(folder), int(port), SystemClock(), command=command)
    node = NodeSpec(node_id=0, pool="p", roles=frozenset(), settings={}, revision="r")
    await platform.apply(EnsurePool(pool=PoolSpec(name="p", nodes=(node,)), reason="test"))
    while platform.nodes()[0].state is not NodeState.SERVING:
        await asyncio.sleep(0.02)
    print(platform.nodes()[0].pid, flush=True)
    await asyncio.sleep(600)

asyncio.run(main(*sys.argv[1:]))
"""


async def orphan(bed: Bed, *, stopped: bool) -> int:
    """A node whose supervisor was killed with SIGKILL; gives its pid. `stopped`: it was under SIGSTOP."""
    keeper = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        ORPHANING,
        str(bed.folder),
        str(bed.port),
        *bed.command,
        stdout=asyncio.subprocess.PIPE,
    )
    assert keeper.stdout is not None
    pid = int(await asyncio.wait_for(keeper.stdout.readline(), PATIENCE_S))
    if stopped:
        os.kill(pid, signal.SIGSTOP)
    keeper.kill()
    await keeper.wait()
    return pid


async def test_no_node_outlives_a_killed_supervisor(bed: Bed) -> None:
    """The kernel sends it SIGTERM when its supervisor dies."""
    await gone(await orphan(bed, stopped=False))


async def test_a_node_that_survived_is_ended_by_the_next_supervisor(bed: Bed, pool: PoolSpec) -> None:
    """One that hung, say: it is recognised by the note in its folder, and its ports are free again."""
    pid = await orphan(bed, stopped=True)
    assert alive(pid)
    async with bed.platform() as platform:
        assert await platform.end_orphans() == [pid]
        assert not alive(pid)
        await platform.apply(EnsurePool(pool=pool, reason="test"))
        assert (await bed.serving(platform)).kafka == f"{HOST}:{bed.port}"


async def test_a_pid_that_belongs_to_somebody_else_is_left_alone(bed: Bed) -> None:
    """The note also holds the start time."""
    (bed.folder / "nodes" / "0").mkdir(parents=True)
    stranger = await asyncio.create_subprocess_exec("sleep", "600")
    try:
        note = ProcessNote.of(stranger.pid)
        assert note is not None
        write_note(bed.folder / "nodes" / "0" / "process.json", replace(note, started="another boot:1"))
        async with bed.platform() as platform:
            assert await platform.end_orphans() == []
        assert alive(stranger.pid)
        assert await end(note, PATIENCE_S)
        assert not await end(note, PATIENCE_S)
    finally:
        if stranger.returncode is None:
            stranger.kill()
        await stranger.wait()


def test_a_damaged_note_is_no_note(tmp_path: Path) -> None:
    """Nothing is killed on its account."""
    path = tmp_path / "process.json"
    for text in ("", "{}", '{"pid": "x", "started": 1}', "[]"):
        path.write_text(text)
        assert read_note(path) is None


def test_last_words_are_the_last_line_since_the_start(tmp_path: Path) -> None:
    """Not what an earlier run wrote."""
    log = tmp_path / "log"
    log.write_text("old run\n")
    start = log.stat().st_size
    assert last_words(log, start) == ""
    log.write_text("old run\nnew: a\nnew: b\n\n")
    assert last_words(log, start) == "new: b"
    assert last_words(tmp_path / "nothing", 0) == ""


class TestSeveralNodes:
    """Three processes of one cluster."""

    @pytest.fixture
    def three(self, make_cluster: MakeCluster) -> EnsurePool:
        """A pool of three controllers with the cluster's id."""
        pools = pool_specs(make_cluster(replicas=3), "id-1")
        return EnsurePool(pool=pools[0], reason="test", controllers=controllers_of(pools))

    async def all_serving(self, bed: Bed, platform: ProcessPlatform, count: int = 3) -> list[ObservedNode]:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                bed.changes.clear()
                nodes = list(platform.nodes())
                if len(nodes) == count and all(node.state is NodeState.SERVING for node in nodes):
                    return nodes
                await bed.changes.wait()

    def settings(self, bed: Bed, node_id: int) -> dict[str, str]:
        return parse_properties((bed.folder / "nodes" / str(node_id) / "server.properties").read_text())

    async def test_each_is_told_where_all_controllers_will_be(self, bed: Bed, three: EnsurePool) -> None:
        """In node order, before any of them runs; addresses are each node's own."""
        async with bed.platform() as platform:
            await platform.apply(three)
            nodes = await self.all_serving(bed, platform)
            found = [self.settings(bed, node.node_id) for node in nodes]
        controllers = [one["listeners"].split("CONTROLLER://")[1] for one in found]
        assert {one["controller.quorum.bootstrap.servers"] for one in found} == {",".join(controllers)}
        assert [one["cluster.id"] for one in found] == ["id-1"] * 3
        assert len({one["listeners"] for one in found} | {one["http.port"] for one in found}) == 6
        assert [node.roles for node in nodes] == [frozenset({"broker", "controller"})] * 3

    async def test_they_start_side_by_side(self, bed: Bed, three: EnsurePool) -> None:
        """A quorum needs most of them, so none may wait for another."""
        async with bed.platform() as platform:
            await platform.apply(three)
            async with asyncio.timeout(PATIENCE_S):
                while any(node.pid is None for node in platform.nodes()):
                    bed.changes.clear()
                    await bed.changes.wait()
            assert {node.restarts for node in platform.nodes()} == {0}

    async def test_addresses_stay_when_nodes_are_added(self, bed: Bed, make_cluster: MakeCluster) -> None:
        """The first one is not even restarted; it learns of the others at its next start."""
        async with bed.platform() as platform:
            one = pool_specs(make_cluster(), "id-1")
            await platform.apply(EnsurePool(pool=one[0], reason="test", controllers=controllers_of(one)))
            (before,) = await self.all_serving(bed, platform, 1)
            more = pool_specs(make_cluster(replicas=3), "id-1")
            await platform.apply(EnsurePool(pool=more[0], reason="test", controllers=controllers_of(more)))
            after = await self.all_serving(bed, platform)
        assert (after[0].pid, after[0].kafka, after[0].running) == (before.pid, before.kafka, before.wanted)
        founder = self.settings(bed, 0)["controller.quorum.bootstrap.servers"]
        assert self.settings(bed, 2)["controller.quorum.bootstrap.servers"].split(",")[0] == founder

    async def test_one_that_is_killed_leaves_the_others_alone(self, bed: Bed, three: EnsurePool) -> None:
        """It alone is started again."""
        async with bed.platform() as platform:
            await platform.apply(three)
            before = await self.all_serving(bed, platform)
            assert before[1].pid is not None
            os.kill(before[1].pid, signal.SIGKILL)
            async with asyncio.timeout(PATIENCE_S):
                while platform.nodes()[1].restarts == 0:
                    bed.changes.clear()
                    await bed.changes.wait()
            after = await self.all_serving(bed, platform)
        assert [node.pid == old.pid for node, old in zip(after, before, strict=True)] == [True, False, True]

    async def test_a_lost_folder_is_the_same_node_of_the_same_cluster(
        self, bed: Bed, three: EnsurePool
    ) -> None:
        """Its data comes back from the others; nobody may begin a new cluster for it."""
        async with bed.platform() as platform:
            await platform.apply(three)
            before = await self.all_serving(bed, platform)
            for node in before:
                write_meta(bed, node.node_id)
            assert await platform.volumes() == {0: "id-1", 1: "id-1", 2: "id-1"}
            shutil.rmtree(bed.folder / "nodes" / "1" / "data")
            assert before[1].pid is not None
            os.kill(before[1].pid, signal.SIGKILL)
            async with asyncio.timeout(PATIENCE_S):
                while platform.nodes()[1].restarts == 0:
                    bed.changes.clear()
                    await bed.changes.wait()
            after = await self.all_serving(bed, platform)
            assert await platform.volumes() == {0: "id-1", 2: "id-1"}
        assert (after[1].kafka, self.settings(bed, 1)["cluster.id"]) == (before[1].kafka, "id-1")
        assert (bed.folder / "nodes" / "1" / "data").is_dir()

    async def test_a_retired_node_leaves_nothing_behind(self, bed: Bed, three: EnsurePool) -> None:
        """Stopped in good order, its folder and its ports given back."""
        async with bed.platform() as platform:
            await platform.apply(three)
            nodes = await self.all_serving(bed, platform)
            write_meta(bed, 2)
            await platform.apply(RetireNode(node_id=2, reason="test"))
            assert await platform.volumes() == {}, "it counts for nothing from then on"
            with pytest.raises(PlatformError, match="node 2 is still being removed"):
                await platform.apply(three)
            left = await self.all_serving(bed, platform, 2)
            assert [node.node_id for node in left] == [0, 1]
            assert nodes[2].pid is not None
            assert not alive(nodes[2].pid)
            assert sorted(path.name for path in (bed.folder / "nodes").iterdir()) == ["0", "1"]
            await platform.apply(RestartNode(node_id=0, reason="test"))
            async with asyncio.timeout(PATIENCE_S):
                while platform.nodes()[0].restarts == 0:
                    bed.changes.clear()
                    await bed.changes.wait()
            assert self.settings(bed, 0)["controller.quorum.bootstrap.servers"].count(":") == 2
            await platform.apply(three)
            again = await self.all_serving(bed, platform)
            assert again[2].kafka == nodes[2].kafka


async def test_the_only_node_without_its_data_begins_another_cluster(
    bed: Bed, make_cluster: MakeCluster
) -> None:
    """There is no copy to come back from, and an empty cluster must not pass for the one that was."""
    async with bed.platform() as platform:
        (pool,) = pool_specs(make_cluster(), "id-1")
        await platform.apply(EnsurePool(pool=pool, reason="test", controllers=(0,)))
        first = await bed.serving(platform)
        assert first.pid is not None
        properties = bed.folder / "nodes" / "0" / "server.properties"
        assert parse_properties(properties.read_text())["cluster.id"] == "id-1"
        os.kill(first.pid, signal.SIGKILL)
        await bed.until(platform, lambda node: node.restarts == 1 and node.state is NodeState.SERVING)
        assert "cluster.id" not in parse_properties(properties.read_text())


@pytest.mark.parametrize("text", ["version=1\n", "\\u12", ""])
async def test_a_damaged_name_card_is_its_nodes_affair(bed: Bed, text: str) -> None:
    """The node refuses to start and says why; whoever looks after it goes on."""
    async with bed.platform() as platform:
        (bed.folder / "nodes" / "0" / "data").mkdir(parents=True)
        (bed.folder / "nodes" / "0" / "data" / "meta.properties").write_text(text)
        assert await platform.volumes() == {}


def write_meta(bed: Bed, node_id: int) -> None:
    """What a broker leaves in its log directory when it formats it."""
    path = bed.folder / "nodes" / str(node_id) / "data" / "meta.properties"
    path.write_text(f"version=1\ncluster.id=id-1\nnode.id={node_id}\n")
