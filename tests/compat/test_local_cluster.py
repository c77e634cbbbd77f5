"""Three nodes from the quickstart as people run them: killed, emptied, grown, shrunk, while real clients work."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.compat.desk import QUICKSTART, Desk, at_a_desk, wait_until_gone
from tests.compat.writer import Writer, judge

pytestmark = [pytest.mark.compat, pytest.mark.timeout(180)]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A cluster of three nodes, not started yet."""
    with at_a_desk(tmp_path, 3) as desk:
        yield desk


def in_sync(desk: Desk) -> bool:
    """Whether every node serves and every replica is in sync."""
    status = desk.status()
    partitions = status["partitions"]
    return (
        all(node["state"] == "serving" for node in status["nodes"])
        and partitions is not None
        and (partitions["under_replicated"], partitions["offline"]) == (0, 0)
        and status["quorum"] is not None
        and len(status["quorum"]["voters"]) == len(status["nodes"])
    )


def nodes(desk: Desk) -> dict[int, dict[str, Any]]:
    return {node["id"]: node for node in desk.status()["nodes"]}


def test_the_quickstart_is_three_nodes(desk: Desk) -> None:
    """The verbatim example: everything replicated, one quorum of three; `up` again has nothing to change."""
    desk.file.write_bytes(QUICKSTART.read_bytes())
    done = desk.up()
    addresses = ",".join(f"127.0.0.1:{desk.port + number}" for number in range(3))
    assert done.stdout.splitlines()[-1] == f"demo serves at {addresses}"
    desk.eventually(lambda: in_sync(desk), "all in sync")
    status = desk.status()
    assert [(node["id"], node["state"], node["roles"]) for node in status["nodes"]] == [
        (number, "serving", ["broker", "controller"]) for number in range(3)
    ]
    assert [(one["name"], one["replicas"], one["state"]) for one in status["topics"]] == [
        ("orders", 3, "ready"),
        ("payments", 3, "ready"),
    ]
    assert [voter["id"] for voter in status["quorum"]["voters"]] == [0, 1, 2]
    assert status["quorum"]["leader"] in {0, 1, 2}
    assert all(node["leaders"] > 0 for node in status["nodes"]), "every broker leads something"
    again = desk.up()
    assert again.stdout.splitlines()[-1] == f"demo serves at {addresses}; nothing to change"


def test_any_broker_may_be_killed_while_a_client_works(desk: Desk) -> None:
    """kill -9 of each in turn, the leader of the quorum among them: writers go on, nothing acknowledged is lost."""
    desk.up()
    desk.eventually(lambda: in_sync(desk), "all in sync")
    with Writer(desk.status()["bootstrap"]) as writer:
        writer.wait_for_more()
        for node_id in (0, 1, 2):
            victim = nodes(desk)[node_id]
            os.kill(victim["pid"], signal.SIGKILL)
            wait_until_gone(victim["pid"])
            writer.wait_for_more()
            desk.eventually(lambda: in_sync(desk), f"all in sync after {node_id} was killed")
            back = nodes(desk)[node_id]
            assert (back["kafka"], back["pid"] != victim["pid"]) == (victim["kafka"], True)
        writer.wait_for_more()
    judge(writer)


def test_a_lost_data_folder_is_refilled_by_the_others(desk: Desk) -> None:
    """Another directory of the same node: it votes again, its replicas come back, nothing is lost."""
    desk.up()
    desk.eventually(lambda: in_sync(desk), "all in sync")
    with Writer(desk.status()["bootstrap"]) as writer:
        writer.wait_for_more()
        victim = nodes(desk)[1]
        before = (desk.folder / "nodes" / "1" / "data" / "meta.properties").read_text()
        os.kill(victim["pid"], signal.SIGSTOP)
        shutil.rmtree(desk.folder / "nodes" / "1" / "data")
        os.kill(victim["pid"], signal.SIGKILL)
        wait_until_gone(victim["pid"])
        writer.wait_for_more()
        desk.eventually(lambda: in_sync(desk), "all in sync again")
        writer.wait_for_more()
    after = (desk.folder / "nodes" / "1" / "data" / "meta.properties").read_text()
    assert after != before
    cluster = [line for line in before.splitlines() if line.startswith("cluster.id=")]
    assert set(cluster) <= set(after.splitlines()), "the same cluster"
    judge(writer)


def test_one_node_grows_to_three_and_shrinks_to_one(desk: Desk) -> None:
    """Raising replicas adds brokers and voters, lowering it drains them; the records are there all the time."""
    desk.scale(1)
    desk.up()
    with Writer(desk.status()["bootstrap"]) as writer:
        writer.wait_for_more()
        first = nodes(desk)[0]
        desk.scale(3)
        desk.up()
        desk.eventually(lambda: in_sync(desk), "three nodes in sync")
        grown = {"name": "orders", "partitions": 6, "replicas": 3, "state": "ready"}
        desk.eventually(lambda: desk.topic("orders") == grown, "three replicas")
        assert nodes(desk)[0]["kafka"] == first["kafka"]
        writer.wait_for_more()
        desk.scale(1)
        done = desk.up()
        assert "remove node 2" in done.stdout, done.stdout
        assert "remove node 1" in done.stdout, done.stdout
        desk.eventually(lambda: list(nodes(desk)) == [0] and in_sync(desk), "one node")
        writer.wait_for_more()
    assert sorted(path.name for path in (desk.folder / "nodes").iterdir()) == ["0"]
    assert desk.topic("orders")["replicas"] == 1
    judge(writer)
    again = desk.up()
    assert "nothing to change" in again.stdout


def test_fewer_nodes_than_replicas_are_refused_in_words(desk: Desk) -> None:
    """Which topic, and what to change; everything stays as it is."""
    config = desk.documents[0]["spec"]["config"]
    desk.edit("demo", config=config | {"default.replication.factor": 1, "min.insync.replicas": 1})
    desk.edit("payments", replicas=1)
    desk.up()
    before = {node_id: node["pid"] for node_id, node in nodes(desk).items()}
    desk.edit("demo", replicas=2)
    desk.write([one for one in desk.documents if one["metadata"]["name"] != "orders"])
    done = desk.up(code=1)
    assert "2 brokers would be left, but topic orders has up to 3 replicas" in done.stderr
    assert {node_id: node["pid"] for node_id, node in nodes(desk).items()} == before
    assert set(desk.admin().list_topics(timeout=10).brokers) == {0, 1, 2}


def test_settings_change_with_no_restart_where_they_can_and_one_by_one_where_not(desk: Desk) -> None:
    """What Kafka calls dynamic leaves every process alone; the rest rolls while a writer goes on."""
    desk.up()
    desk.eventually(lambda: in_sync(desk), "all in sync")
    config = desk.documents[0]["spec"]["config"]
    pids = {node_id: node["pid"] for node_id, node in nodes(desk).items()}
    desk.edit("demo", config=config | {"log.retention.bytes": 123_456_789})
    desk.up()
    assert {node_id: node["pid"] for node_id, node in nodes(desk).items()} == pids
    desk.eventually(
        lambda: desk.setting("orders", "retention.bytes") == "123456789", "whichever broker is asked knows"
    )
    with Writer(desk.status()["bootstrap"]) as writer:
        writer.wait_for_more()
        desk.edit("demo", config=config | {"log.retention.bytes": 123_456_789, "fetch.max.bytes": 12345678})
        desk.up()
        assert not set(pids.values()) & {node["pid"] for node in nodes(desk).values()}, (
            "every node was restarted"
        )
        writer.wait_for_more()
    desk.eventually(lambda: in_sync(desk), "all in sync")
    judge(writer)
