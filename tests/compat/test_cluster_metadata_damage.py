"""Bits flip in voters' metadata logs or quorum-states while they are stopped: one heals, and then it counts again.

Where too many are damaged to elect anybody all say so, and what docs/runbooks.md says mends it.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.compat.test_cluster_lost_votes import reason

from moldau_broker.testing.cluster import NoAnswer, ProcessCluster, ProcessNode
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.create_topics import CreatableTopic, CreateTopicsRequest
from moldau_broker.wire.messages.metadata import MetadataRequest

pytestmark = [pytest.mark.compat, pytest.mark.timeout(180)]

METADATA_FOLDER = "__cluster_metadata-0"
SEGMENT = "00000000000000000000.log"


def create_topic(node: ProcessNode, name: str) -> None:
    topic = CreatableTopic(name=name, num_partitions=1, replication_factor=1)
    request = CreateTopicsRequest(topics=[topic], timeout_ms=10_000)
    (result,) = node.ask(ApiKey.CREATE_TOPICS, 7, request, within=12).topics
    if result.error_code:
        raise NoAnswer(f"{name}: error {result.error_code} {result.error_message}")


def can_create(node: ProcessNode, name: str) -> bool:
    try:
        create_topic(node, name)
    except NoAnswer:
        return False
    return True


def topics(node: ProcessNode) -> set[str]:
    return {str(topic.name) for topic in node.ask(ApiKey.METADATA, 12, MetadataRequest(topics=None)).topics}


def flip(path: Path, position: int) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ 4]))


def damage(node: ProcessNode, what: str) -> Path:
    """In the body of a batch that has others behind it, or in the number of the epoch; the file."""
    folder = node.data_dir / METADATA_FOLDER
    if what == "quorum-state":
        path = folder / what
        flip(path, path.read_bytes().index(b"leaderEpoch") + len('leaderEpoch":'))
        return path
    path = folder / SEGMENT
    data, positions = path.read_bytes(), [0]
    while positions[-1] < len(data):
        positions.append(
            positions[-1] + 12 + int.from_bytes(data[positions[-1] + 8 : positions[-1] + 12], "big")
        )
    assert len(positions) > 6, "several batches"
    flip(path, positions[len(positions) // 2] + 61 + 3)
    return path


@pytest.mark.parametrize("what", ["log", "quorum-state"])
@pytest.mark.parametrize("leads", [True, False], ids=["leader", "follower"])
def test_damaged_voter_heals_and_then_counts_again(tmp_path: Path, what: str, leads: bool) -> None:
    """It starts, says what it does, fetches, has its vote back; with another one gone the quorum goes on."""
    with ProcessCluster(3, folder=tmp_path) as cluster:
        cluster.wait("three voters", lambda: cluster.voters() == {1, 2, 3})
        for number in range(4):
            create_topic(cluster.node(1), f"before{number}")
        leader = cluster.controller()
        victim = leader if leads else next(node_id for node_id in (1, 2, 3) if node_id != leader)
        other, third = (node_id for node_id in (1, 2, 3) if node_id != victim)
        node = cluster.node(victim)
        cluster.wait("it knows them", lambda: topics(node) >= {"before3"})
        cluster.kill(victim)
        path = damage(node, what)
        damaged = path.read_bytes()
        cluster.wait("the others go on", lambda: can_create(cluster.node(other), "meanwhile"))

        cluster.start(victim)
        (found,) = node.events("raft.damage_found")
        assert found["what"] == what
        cluster.wait("it has its voice back", lambda: node.events("raft.recovered"))
        assert (path.parent / f"{path.name}.damaged-1").read_bytes() == damaged
        assert not (path.parent / ".moldau-recovering").exists()
        cluster.wait("it knows everything", lambda: topics(node) >= {"before0", "before3", "meanwhile"})
        assert cluster.voters() == {1, 2, 3}

        cluster.kill(third)
        cluster.wait("the healed one's vote counts", lambda: can_create(node, "after"))
        cluster.start(third)
        cluster.wait("all know it", lambda: all(topics(one) >= {"after"} for one in cluster.nodes.values()))
        cluster.restart(victim)
        assert len(node.events("raft.damage_found")) == 1, "it is as whole as any"


def test_a_damaged_majority_says_so_and_is_mended_by_hand(tmp_path: Path) -> None:
    """Nobody can lead. A copy of the whole metadata log, and the mark taken away, and everything is there again."""
    with ProcessCluster(3, folder=tmp_path) as cluster:
        cluster.wait("three voters", lambda: cluster.voters() == {1, 2, 3})
        for number in range(4):
            create_topic(cluster.node(1), f"before{number}")
        cluster.wait(
            "all know it", lambda: all(topics(node) >= {"before3"} for node in cluster.nodes.values())
        )
        whole, damaged = cluster.node(cluster.controller()), []
        cluster.stop()
        for node in cluster.nodes.values():
            if node is not whole:
                damage(node, "log")
                (node.data_dir / ".kafka_cleanshutdown").unlink()  # or the log's end alone would be looked at
                damaged.append(node)
        cluster.start(wait=False)
        cluster.wait("the whole one names both", lambda: reason(whole).count("no vote until") == 1)
        assert all(f"node {node.id} (directory" in reason(whole) for node in damaged)
        assert "docs/runbooks.md" in reason(whole)
        assert all(node.events("raft.damage_found") for node in damaged)
        assert not any(node.events("raft.recovered") for node in damaged)

        cluster.kill()
        for node in damaged:
            folder = node.data_dir / METADATA_FOLDER
            shutil.rmtree(folder)
            shutil.copytree(whole.data_dir / METADATA_FOLDER, folder)
            assert not (folder / ".moldau-recovering").exists(), "the whole one has none"
        cluster.start()
        cluster.wait("three voters", lambda: cluster.voters() == {1, 2, 3})
        cluster.wait("it takes requests", lambda: can_create(damaged[0], "after"))
        kept = {f"before{number}" for number in range(4)} | {"after"}
        cluster.wait("all know it", lambda: all(topics(node) >= kept for node in cluster.nodes.values()))
        assert [reason(node) for node in cluster.nodes.values()] == ["", "", ""]
        assert not any(node.events("log.stray") for node in cluster.nodes.values()), (
            "partitions are all known"
        )
