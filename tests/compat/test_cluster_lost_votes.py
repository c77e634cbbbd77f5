"""A voter's disk is lost where its vote was needed: both nodes say so, and what docs/runbooks.md says mends it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from moldau_broker.testing.cluster import NoAnswer, ProcessCluster, ProcessNode
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.create_topics import CreatableTopic, CreateTopicsRequest
from moldau_broker.wire.messages.metadata import MetadataRequest

pytestmark = pytest.mark.timeout(180)

METADATA_FOLDER = "__cluster_metadata-0"


def create_topic(node: ProcessNode, name: str) -> None:
    topic = CreatableTopic(name=name, num_partitions=1, replication_factor=2)
    request = CreateTopicsRequest(topics=[topic], timeout_ms=10_000)
    (result,) = node.ask(ApiKey.CREATE_TOPICS, 7, request, within=12).topics
    assert not result.error_code, result


def topics(node: ProcessNode) -> set[str]:
    return {str(topic.name) for topic in node.ask(ApiKey.METADATA, 12, MetadataRequest(topics=None)).topics}


def identity(node: ProcessNode) -> dict[str, str]:
    """Its meta.properties."""
    lines = (node.data_dir / "meta.properties").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines)


def reason(node: ProcessNode) -> str:
    """Why it is not ready."""
    return str(node.readyz().get("reason", ""))


@pytest.mark.parametrize("wiped", [1, 2])
def test_two_voters_of_which_one_lost_its_disk_say_so_and_are_mended_by_hand(
    tmp_path: Path, wiped: int
) -> None:
    """They neither hang without a word nor found another quorum; a copy of the other one's log brings the vote back."""
    with ProcessCluster(2, folder=tmp_path) as cluster:
        cluster.wait("two voters", lambda: cluster.voters() == {1, 2})
        create_topic(cluster.node(1), "kept")
        lost, survivor = cluster.node(wiped), cluster.node(3 - wiped)
        former = identity(lost)
        cluster.kill(wiped)
        cluster.wait("nobody leads any more", lambda: not leads(survivor))
        cluster.wipe(wiped)
        cluster.start(wiped, wait=False)

        words = f"directory {former['directory.id']}"
        cluster.wait("the survivor names the disk", lambda: words in reason(survivor))
        assert f"node {wiped} ({words})" in reason(survivor)
        assert "docs/runbooks.md" in reason(survivor)
        cluster.wait("the wiped one knows that it is its own", lambda: words in reason(lost))
        assert survivor.events("raft.votes_lost")
        assert identity(lost)["directory.id"] != former["directory.id"]
        assert not leads(survivor)

        cluster.kill()
        shutil.rmtree(lost.data_dir)
        lost.data_dir.mkdir()
        (lost.data_dir / "meta.properties").write_text(
            "".join(f"{key}={value}\n" for key, value in former.items())
        )
        shutil.copytree(survivor.data_dir / METADATA_FOLDER, lost.data_dir / METADATA_FOLDER)
        cluster.start()
        cluster.wait("two voters", lambda: cluster.voters() == {1, 2})
        assert topics(lost) >= {"kept"}
        create_topic(lost, "new")
        cluster.wait(
            "both know it", lambda: all(topics(node) >= {"kept", "new"} for node in (lost, survivor))
        )
        assert reason(survivor) == reason(lost) == ""


def leads(node: ProcessNode) -> bool:
    """Whether it knows of a leader."""
    try:
        return node.quorum().leader_id >= 0
    except NoAnswer:
        return False


def test_the_last_of_three_that_stop_together_does_not_wait_for_a_controller() -> None:
    """None of them is left to let it go; as far as its patience goes it could wait for a minute."""
    with ProcessCluster(3, settings={"controlled.shutdown.max.ms": "60000"}) as cluster:
        cluster.wait("three voters", lambda: cluster.voters() == {1, 2, 3})
        create_topic(cluster.node(1), "t")
        assert cluster.stop() < 25
        assert all(node.exit_code == 0 for node in cluster.nodes.values())
