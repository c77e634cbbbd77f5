"""The loop of a running instance: wishes granted, failures survived, nobody kept waiting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from moldau_broker.base.clock import SystemClock
from moldau_broker.base.errors import ErrorCode
from moldau_operator.errors import AdminError, InstanceError, InstanceSilent
from moldau_operator.local import control
from moldau_operator.local.control import ControlServer
from moldau_operator.local.instance import LocalInstance
from moldau_operator.local.memory import Memory
from moldau_operator.local.snapshot import EventLine, Snapshot
from moldau_operator.local.source import read_local
from moldau_operator.local.state import hold, prepare
from moldau_operator.resources.located import ResourcesInvalid
from moldau_operator.seams.platform import NodeState
from moldau_operator.testing.brokers import FakeBrokers
from moldau_operator.testing.groups import FakeGroup
from moldau_operator.testing.platform import FakePlatform

QUICKSTART = (Path(__file__).parents[3] / "examples" / "quickstart.yaml").read_text()
BUNDLE = read_local(QUICKSTART, "quickstart.yaml")[1]


class Stage:
    """An instance on an in-memory platform."""

    def __init__(self, folder: Path) -> None:
        self.instance = prepare(folder, "demo", None)
        self.platform = FakePlatform()
        self.brokers = FakeBrokers(3, self.platform.disks)
        self.local = LocalInstance(
            self.instance,
            Memory(folder / "memory.json", SystemClock()),
            SystemClock(),
            lambda _on_change, _on_notice: self.platform,
            lambda _bootstrap, _http: self.brokers,
            resync_s=0.05,
            look_s=0.5,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[LocalInstance]:
        task = asyncio.create_task(self.local.run())
        try:
            async with asyncio.timeout(20):
                yield self.local
        finally:
            self.local.request_stop()
            await task


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """A fresh instance."""
    return Stage(tmp_path / "instance")


async def test_apply_returns_when_everything_is_there(stage: Stage) -> None:
    """With what was done; a second one has nothing to do."""
    async with stage.running() as local:
        applied = await local.apply(BUNDLE)
        assert (applied.failed, applied.stalled, len(applied.actions)) == ("", (), 3)
        assert {name: topic.partitions for name, topic in stage.brokers.topics.items()} == {
            "orders": 6,
            "payments": 3,
        }
        assert (await local.apply(BUNDLE)).actions == ()
        assert local.snapshot().state == "ready"
    assert stage.platform.stops == ["stop"]


async def test_apply_says_what_cannot_be_done(stage: Stage) -> None:
    """And returns all the same."""
    async with stage.running() as local:
        await local.apply(BUNDLE)
        smaller = read_local(QUICKSTART.replace("  partitions: 6", "  partitions: 2"), "f")[1]
        applied = await local.apply(smaller)
        assert [line.split(":")[0] for line in applied.stalled] == ["Topic orders"]
        assert local.snapshot().problems == applied.stalled


async def test_apply_fails_when_a_node_cannot_start(stage: Stage) -> None:
    """It does not wait for what will not come."""
    async with stage.running() as local:
        await local.apply(BUNDLE)
        node = stage.platform.nodes()[0]
        stage.platform.by_id[0] = replace(node, state=NodeState.DOWN, hopeless=True, message="stopped with 2")
        applied = await local.apply(BUNDLE)
        assert applied.failed == "node 0 does not start: it stopped with 2"


async def test_apply_ends_when_the_instance_is_stopped(stage: Stage) -> None:
    """A person pressed Ctrl-C while it was starting."""
    stage.brokers.unreachable = AdminError(ErrorCode.BROKER_NOT_AVAILABLE, "not yet")
    async with stage.running() as local:
        applying = asyncio.create_task(local.apply(BUNDLE))
        await asyncio.sleep(0)
        local.request_stop()
        assert (await applying).stopped


async def test_the_newer_of_two_applies_wins(stage: Stage) -> None:
    """And the older one is told."""
    stage.brokers.unreachable = AdminError(ErrorCode.BROKER_NOT_AVAILABLE, "not yet")
    async with stage.running() as local:
        first = asyncio.create_task(local.apply(BUNDLE))
        await asyncio.sleep(0.01)
        second = asyncio.create_task(local.apply(BUNDLE))
        assert (await first).failed == "another `moldau up` changed the resources meanwhile"
        stage.brokers.unreachable = None
        assert (await second).failed == ""


async def test_brokers_that_cannot_be_asked_are_told_once(stage: Stage) -> None:
    """One line, not one per pass; and one state for everything that cannot be seen."""
    events: list[EventLine] = []
    async with stage.running() as local:
        await local.apply(BUNDLE)
        local.listen(events.append)
        stage.brokers.unreachable = AdminError(ErrorCode.BROKER_NOT_AVAILABLE, "gone")
        for _ in range(3):
            snapshot = await local.look()
        assert [event.text for event in events] == ["cannot reconcile now: gone"]
        assert {topic.state for topic in snapshot.topics} == {"unavailable"}
        stage.brokers.unreachable = None
        assert {topic.state for topic in (await local.look()).topics} == {"ready"}


async def test_a_full_disk_under_the_memory_stops_nothing(stage: Stage) -> None:
    """The nodes are not ended for it, and it goes on when there is room."""
    async with stage.running() as local:
        memory = stage.instance.folder / "memory.json.tmp"
        memory.mkdir()
        applying = asyncio.create_task(local.apply(BUNDLE))
        with pytest.raises(IsADirectoryError):
            await applying
        memory.rmdir()
        assert (await local.apply(BUNDLE)).failed == ""
        memory.mkdir()
        stage.brokers.topics.pop("orders")
        assert "Is a directory" in (await local.look()).message
        memory.rmdir()
        snapshot = await local.look()
        assert {topic.name: topic.state for topic in snapshot.topics} == {
            "orders": "stalled",
            "payments": "ready",
        }
    assert stage.platform.stops == ["stop"]


async def test_a_listener_whose_pipe_is_gone_is_dropped(stage: Stage) -> None:
    """`moldau up | head -1` must not take the cluster down."""

    def broken(_event: EventLine) -> None:
        raise BrokenPipeError

    async with stage.running() as local:
        forget = local.listen(broken)
        assert (await local.apply(BUNDLE)).failed == ""
        forget()


async def test_a_look_does_not_wait_for_brokers_that_hang(stage: Stage) -> None:
    """Nodes are shown as they are now, the rest as it was."""
    async with stage.running() as local:
        await local.apply(BUNDLE)
        hanging = asyncio.Event()

        async def hang() -> None:
            await hanging.wait()

        stage.brokers.describe_cluster = hang  # type: ignore[method-assign, assignment]
        for node in stage.platform.nodes():
            down = replace(node, state=NodeState.DOWN, message="runs, but does not answer")
            stage.platform.by_id[node.node_id] = down
        await asyncio.sleep(0.1)
        snapshot = await local.look()
        hanging.set()
        assert (snapshot.nodes[0].state, snapshot.topics[0].state) == ("down", "unavailable")
        del stage.brokers.describe_cluster  # type: ignore[method-assign]


async def test_undeclared_topics_and_groups_are_shown_too(stage: Stage) -> None:
    """After the declared ones; internal topics are not."""
    stage.brokers.add_topic("stranger", 2)
    stage.brokers.groups["someone"] = FakeGroup("Stable", 3)
    async with stage.running() as local:
        await local.apply(BUNDLE)
        snapshot = await local.look()
    assert [(topic.name, topic.state) for topic in snapshot.topics] == [
        ("orders", "ready"),
        ("payments", "ready"),
        ("stranger", "unmanaged"),
    ]
    assert [(group.id, group.state, group.members) for group in snapshot.groups] == [
        ("billing", "Dead", 0),
        ("someone", "Stable", 3),
    ]


class TestControl:
    """The socket in the instance's folder."""

    @asynccontextmanager
    async def served(self, stage: Stage) -> AsyncIterator[None]:
        with hold(stage.instance):
            async with stage.running():
                server = ControlServer(stage.local)
                await server.open()
                try:
                    yield
                finally:
                    await server.close()

    async def test_apply_and_look_work_from_another_process(self, stage: Stage) -> None:
        """Events come as they happen, and a snapshot survives the wire."""
        events: list[str] = []
        async with self.served(stage):
            applied = await control.apply(
                stage.instance, QUICKSTART, "q.yaml", None, lambda event: events.append(event.text)
            )
            assert "create topic orders: declared, and not there yet" in events
            assert applied == replace(applied, failed="", stalled=())
            snapshot = await control.look(stage.instance)
            assert snapshot.as_json() == stage.local.snapshot().as_json()
            assert Snapshot.load(snapshot.dump()) == snapshot

    async def test_what_is_wrong_with_a_file_is_said_by_the_instance_too(self, stage: Stage) -> None:
        """Whoever sends it: a bad text, another cluster, another port."""

        async def refusal(text: str, port: int | None = None) -> str:
            return (await control.apply(stage.instance, text, "q.yaml", port, lambda _event: None)).failed

        async with self.served(stage):
            assert "q.yaml:10" in await refusal(QUICKSTART.replace("replicas: 3", "replicas: 0", 1))
            assert "holds cluster demo, not other" in await refusal(QUICKSTART.replace("demo", "other"))
            assert "run `moldau down` first to change --port" in await refusal(QUICKSTART, 9500)
        assert stage.brokers.topics == {}

    async def test_stop_ends_the_instance(self, stage: Stage) -> None:
        """As `moldau down` does."""
        async with self.served(stage):
            await control.stop(stage.instance)
            await stage.local.ended.wait()

    async def test_rubbish_on_the_socket_harms_nobody(self, stage: Stage) -> None:
        """The next caller is answered."""
        async with self.served(stage):
            for rubbish in (
                b"\n",
                b"{}\n",
                b"[1]\n",
                b'{"do": "dance"}\n',
                b"\xff\xfe\n",
                b'{"do": "apply"}\n',
            ):
                reader, writer = await asyncio.open_unix_connection(stage.instance.folder / "control.sock")
                writer.write(rubbish)
                assert await reader.read() == b""
                writer.close()
            assert (await control.look(stage.instance)).cluster == "demo"

    async def test_a_socket_of_a_killed_process_is_nobody(self, stage: Stage) -> None:
        """The file stays behind; only a connection tells."""
        assert not await control.is_listening(stage.instance)
        async with self.served(stage):
            assert await control.is_listening(stage.instance)
            left = stage.instance.folder / "control.sock"
            left.rename(left.with_name("kept"))
        left.with_name("kept").rename(left)
        assert left.is_socket()
        assert not await control.is_listening(stage.instance)

    async def test_no_answer_is_said_in_words(self, stage: Stage) -> None:
        """With what to do next."""
        with pytest.raises(
            InstanceSilent, match=r"does not answer .*; try again, or end it with `moldau down`"
        ):
            await control.look(stage.instance)
        assert issubclass(InstanceSilent, InstanceError)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "f: holds no resources; add one"),
        (QUICKSTART.replace("kind: Cluster", "kind: Topic").replace("name: demo", "name: d"), "known"),
        (QUICKSTART.split("---", 1)[1], "f: holds no Cluster"),
        (
            QUICKSTART + "---\n" + QUICKSTART.split("---")[0].replace("demo", "two"),
            "is a second Cluster besides demo",
        ),
        (
            QUICKSTART.replace("cluster: demo", "cluster: dmo", 1),
            "which is not in this file; did you mean demo?",
        ),
        (
            QUICKSTART.replace("name: orders", "name: orders\n  namespace: x"),
            "is x, but the Cluster is in default",
        ),
        (QUICKSTART.replace("replicas: 3", "replicas: 17", 1), "is 17, but more than 16 nodes"),
    ],
)
def test_what_this_platform_cannot_run_is_refused_at_its_line(text: str, words: str) -> None:
    """Beyond what every platform refuses."""
    with pytest.raises(ResourcesInvalid) as caught:
        read_local(text, "f")
    assert words in str(caught.value)
