"""Scenarios of the quorum as text: commands in, what happened out; the files are reviewed like code.

A file is a row of blocks: command lines, `----`, the expected trace, an empty line. `MOLDAU_RECORD=1` writes
the files anew; read the diff. Commands stand in `COMMANDS`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from moldau_broker.raft.messages import Leader
from moldau_broker.raft.protocol import end_request
from moldau_broker.testing.raft import CLUSTER_ID, RaftCluster
from moldau_broker.testing.transcript import check_transcript
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.add_raft_voter import AddRaftVoterRequest, Listener
from moldau_broker.wire.messages.remove_raft_voter import RemoveRaftVoterRequest

FOLDER: Final = Path(__file__).parents[2] / "transcripts" / "raft"
FILES: Final = sorted(FOLDER.glob("*.txt"))


class Stage:
    """A cluster and the words that move it."""

    def __init__(self) -> None:
        self.cluster = RaftCluster()
        self.asked: list[tuple[str, int]] = []
        self.said = 0

    def run(self, line: str) -> list[str]:
        """Carry out a command; the lines it made."""
        words = line.split()
        COMMANDS[words[0]](self, words[1:])
        lines, self.said = self.cluster.trace[self.said :], len(self.cluster.trace)
        for name, number in list(self.asked):
            answer = self.cluster.answers.get(number)
            if answer is not None:
                self.asked.remove((name, number))
                text = getattr(answer, "error_message", None)
                lines.append(f"{name}: error {answer.error_code}{f' ({text})' if text else ''}")  # type: ignore[attr-defined]
        return lines

    def voters(self, words: list[str]) -> None:
        """`voters 1 2 3`: these nodes form a quorum, and start."""
        ids = [int(word) for word in words]
        for node_id in ids:
            self.cluster.add(node_id, voters=ids)

    def observer(self, words: list[str]) -> None:
        """`observer 4 [join]`: an empty node that asks node 1 for the leader, and to become a voter."""
        self.cluster.add(int(words[0]), bootstrap=[("n1", 9001)], auto_join="join" in words)

    def run_ms(self, words: list[str]) -> None:
        """`run 500`: milliseconds pass."""
        self.cluster.run(int(words[0]))

    def levels(self, words: list[str]) -> None:
        """`levels 4 2 3`: node 4 says from now on that it can run kraft.version 2 to 3."""
        member = self.cluster.members[int(words[0])]
        member.me = member.me._replace(kraft_versions=(int(words[1]), int(words[2])))

    def settle(self, _: list[str]) -> None:
        """`settle`: everything is delivered, no time passes."""
        self.cluster.settle()

    def propose(self, words: list[str]) -> None:
        """`propose 1 value`, or `propose leader value`."""
        node_id = self.cluster.leader() if words[0] == "leader" else int(words[0])
        self.cluster.propose(node_id, words[1].encode())

    def crash(self, words: list[str]) -> None:
        """`crash 1`."""
        self.cluster.crash(int(words[0]))

    def start(self, words: list[str]) -> None:
        """`start 1 [join]`."""
        if "join" in words:
            self.cluster.members[int(words[0])].options = {"bootstrap": [("n1", 9001)], "auto_join": True}
        self.cluster.start(int(words[0]))

    def wipe(self, words: list[str]) -> None:
        """`wipe 1`: its disk is replaced by an empty one."""
        self.cluster.wipe(int(words[0]))

    def hold(self, words: list[str]) -> None:
        """`hold 1`: its flushes wait. `flush 1`: they are done."""
        self.cluster.hold(int(words[0]))

    def flush(self, words: list[str]) -> None:
        """The other half of `hold`."""
        self.cluster.hold(int(words[0]), held=False)

    def isolate(self, words: list[str]) -> None:
        """`isolate 1`: nothing passes to or from it."""
        self.cluster.isolate(int(words[0]))

    def cut(self, words: list[str]) -> None:
        """`cut 1 2`: nothing passes from 1 to 2."""
        self.cluster.cut.add((int(words[0]), int(words[1])))

    def heal(self, _: list[str]) -> None:
        """`heal`: everything passes again."""
        self.cluster.cut.clear()

    def resign(self, words: list[str]) -> None:
        """`resign 1`."""
        self.cluster.resign(int(words[0]))

    def snapshot(self, words: list[str]) -> None:
        """`snapshot 1`: of what is committed there."""
        self.cluster.snapshot(int(words[0]))

    def add(self, words: list[str]) -> None:
        """`add 4 at 1`: ask node 1 to make node 4 a voter."""
        voter = self.cluster.members[int(words[0])].me
        request = AddRaftVoterRequest(
            cluster_id=CLUSTER_ID,
            timeout_ms=5_000,
            voter_id=voter.key.node_id,
            voter_directory_id=voter.key.directory_id,
            listeners=tuple(Listener(name=at.name, host=at.host, port=at.port) for at in voter.endpoints),
        )
        number = self.cluster.ask(int(words[2]), ApiKey.ADD_RAFT_VOTER, request)
        self.asked.append((f"add {words[0]}", number))

    def remove(self, words: list[str]) -> None:
        """`remove 4 at 1`."""
        key = self.cluster.members[int(words[0])].me.key
        request = RemoveRaftVoterRequest(
            cluster_id=CLUSTER_ID, voter_id=key.node_id, voter_directory_id=key.directory_id
        )
        number = self.cluster.ask(int(words[2]), ApiKey.REMOVE_RAFT_VOTER, request)
        self.asked.append((f"remove {words[0]}", number))

    def end_epoch(self, words: list[str]) -> None:
        """`end-epoch 3 at 2`: a late EndQuorumEpoch of leader 1 in epoch 3 reaches node 2."""
        request = end_request(CLUSTER_ID, Leader(1, int(words[0])), ())
        self.cluster.ask(int(words[2]), ApiKey.END_QUORUM_EPOCH, request)

    def status(self, _: list[str]) -> None:
        """`status`: a line per node."""
        self.cluster.trace += self.cluster.status()

    def log(self, words: list[str]) -> None:
        """`log 1`: its data records with their epochs."""
        records = " ".join(f"{value.decode()}@{epoch}" for epoch, value in self.cluster.log(int(words[0])))
        self.cluster.trace.append(f"{words[0]}: {records or 'nothing'}")


COMMANDS: Final[dict[str, Callable[[Stage, list[str]], None]]] = {
    "voters": Stage.voters,
    "observer": Stage.observer,
    "levels": Stage.levels,
    "run": Stage.run_ms,
    "settle": Stage.settle,
    "propose": Stage.propose,
    "crash": Stage.crash,
    "start": Stage.start,
    "wipe": Stage.wipe,
    "hold": Stage.hold,
    "flush": Stage.flush,
    "isolate": Stage.isolate,
    "cut": Stage.cut,
    "heal": Stage.heal,
    "resign": Stage.resign,
    "snapshot": Stage.snapshot,
    "add": Stage.add,
    "remove": Stage.remove,
    "end-epoch": Stage.end_epoch,
    "status": Stage.status,
    "log": Stage.log,
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_transcript_is_what_happens(path: Path) -> None:
    """The trace of the commands is the recorded one, line by line."""
    check_transcript(path, Stage().run)


def test_transcripts_are_there() -> None:
    """A folder that was moved must not pass by holding nothing."""
    assert len(FILES) >= 8
