"""In-sync replicas as transcripts: who has what, who is in sync, what is acknowledged, step by step."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from moldau_broker.base.errors import ErrorCode
from moldau_broker.testing.replica_cluster import ReplicaCluster
from moldau_broker.testing.transcript import check_transcript

FOLDER = Path(__file__).resolve().parents[2] / "transcripts" / "replication"
FILES = sorted(FOLDER.glob("*.txt"))


class Story:
    """Three brokers with one replicated partition, t-0, whose topic wants two replicas in sync."""

    def __init__(self) -> None:
        self.cluster = ReplicaCluster()
        self.cluster.create_topic("t", min_insync_replicas="2")
        self.lines: list[str] = []

    def run(self, command: str) -> list[str]:
        """Carry out one line; what happened."""
        self.lines = []
        name, *words = command.split()
        method: Callable[..., None] = getattr(self, f"do_{name}")
        method(*words)
        return self.lines

    def do_write(self, value: str, node: str = "") -> None:
        """Append with acks=all, at the leader or at who is named."""
        leader = int(node) if node else self.cluster.image.topics["t"].partitions[0].leader
        outcome = self.cluster.write("t", value.encode(), node_id=leader)
        if outcome.error is not ErrorCode.NONE:
            self.lines.append(f"{value} refused by {leader}: {outcome.error.name}")
            return
        self.lines.append(f"{value} at offset {outcome.base_offset} of {leader}")
        self.cluster.partition("t", leader).when_committed(outcome.next_offset, partial(self._told, value))

    def _told(self, value: str, error: ErrorCode) -> None:
        word = "acknowledged" if error is ErrorCode.NONE else error.name
        self.lines.append(f"{value} {word}")

    def do_fetch(self, node: str) -> None:
        """One question and its answer; what came is not on disk yet."""
        changed = self.cluster.fetch("t", int(node))
        self.cluster.partition("t", int(node)).request_commit()
        if not changed:
            self.lines.append(f"{node} took nothing")

    def do_flush(self, *nodes: str) -> None:
        self.cluster.flush(*map(int, nodes))

    def do_replicate(self, *nodes: str) -> None:
        """Until nothing moves among those, or all."""
        self.cluster.replicate(only=tuple(map(int, nodes)) or None)

    def do_wait(self, ms: str) -> None:
        for bench in self.cluster.nodes.values():
            bench.clock.advance(int(ms))

    def do_tick(self) -> None:
        for bench in self.cluster.nodes.values():
            bench.replicas.tick()

    def do_decide(self, error: str = "NONE") -> None:
        """The controller answers what leaders asked for."""
        for isr in self.cluster.decide(ErrorCode[error]):
            self.lines.append(f"asked for isr {','.join(map(str, isr))}: {error}")

    def do_lead(self, node: str, isr: str) -> None:
        self.cluster.change("t", leader=int(node), isr=tuple(map(int, isr.split(","))))

    def do_power(self, node: str) -> None:
        """Gone and back, without what was not fsynced."""
        self.cluster.restart(int(node), power_failure=True)

    def do_show(self) -> None:
        for node in self.cluster.nodes:
            one = self.cluster.partition("t", node)
            role = (
                f"leads, isr {','.join(map(str, one.isr))}" if one.is_leader else f"follows {one.leader_id}"
            )
            ready = "" if one.is_ready or not one.is_leader else ", not ready"
            self.lines.append(
                f"{node} {role} in epoch {one.leader_epoch}: end {one.log_end_offset}, "
                f"fsynced {one.log.durable_offset}, high watermark {one.high_watermark}{ready}"
            )


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_in_sync_replicas_behave_as_written_down(path: Path) -> None:
    """Commands in, trace out; the files are reviewed like code."""
    check_transcript(path, Story().run)


def test_there_are_transcripts() -> None:
    """A folder that was not found would pass in silence."""
    assert len(FILES) >= 2
