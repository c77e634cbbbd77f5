"""The metadata quorum alone: real Raft, a toy state machine, clients that propose values."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import Any
from zlib import crc32

from moldau_broker.raft.batches import decode_batches
from moldau_broker.raft.driver import RaftDriver
from moldau_broker.raft.quorum import VoterSet
from moldau_broker.raft.snapshot import BOOTSTRAP, SnapshotId, write_snapshot
from moldau_broker.raft.state import NO_LEADER, Role
from moldau_broker.raft.timing import RaftTiming
from moldau_broker.storage.errors import DiskFull
from moldau_broker.testing.sim import disk_faults, quorum_rot
from moldau_broker.testing.sim.cluster import CALM_MS, SimCluster
from moldau_broker.testing.sim.kernel import InvariantViolated
from moldau_broker.testing.sim.network import Answer
from moldau_broker.testing.sim.node import Layer, SimNode
from moldau_broker.testing.sim.proposers import Proposer
from moldau_broker.testing.sim.quorum_store import LOG, QuorumStore
from moldau_broker.testing.sim.raft_ghost import RaftGhost
from moldau_broker.testing.sim.raft_member import PORT_BASE, RaftMember, Seen, voter_of
from moldau_broker.testing.sim.swarm import EXTRAS, METADATA_ROT
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.add_raft_voter import AddRaftVoterRequest, Listener
from moldau_broker.wire.messages.remove_raft_voter import RemoveRaftVoterRequest
from moldau_broker.wire.schema import Struct

WALL_MS = 1_700_000_000_000


class QuorumCluster(SimCluster):
    """Nodes that are members of the quorum and nothing else.

    Attributes:
        ghost: what must hold for the quorum.
        members: of the nodes that are up, by id.
        buried: disks that were replaced, and what they held. A leader may still count on what such a voter had
            when it spoke last: no majority forms without the others who count.
    """

    counters: tuple[str, ...] = (
        *disk_faults.COUNTERS,
        *quorum_rot.COUNTERS,
        "leaders elected",
        "votes granted",
        "metadata batches committed",
        "metadata truncations",
        "metadata batches lost with power",
        "snapshots written",
        "snapshots installed",
        "voters added",
        "voters removed",
        "disks wiped",
        "power cuts",
        "kills",
        "crashes halfway",
        "messages lost",
        "messages duplicated",
        "messages slow",
        "connections reset",
        "flushes slow",
    )

    timing = RaftTiming()
    driver_class: type[RaftDriver] = RaftDriver

    def __init__(
        self, seed: int, trace: Any = None, world: Any = None, extras: frozenset[str] = EXTRAS
    ) -> None:
        super().__init__(seed, trace, world, extras)
        self._states: dict[int, tuple[int, int]] = {}
        self.ghost = RaftGhost(self.coverage)
        self.members: dict[int, RaftMember] = {}
        self.buried: list[Seen] = []
        self.rot = quorum_rot.QuorumRot(self, self.kernel.stream("metadata damage"))
        founders = 1 if self.kernel.stream("founders").random() < 0.2 else len(self.nodes)
        voters = VoterSet(voter_of(node) for node in self.nodes.values() if node.id <= founders)
        for node in self.nodes.values():
            store = QuorumStore(node.disk)
            if node.id <= founders:
                found_quorum(store, voters)

    # -- nodes --------------------------------------------------------------------------------------------

    def assemble(self, node: SimNode) -> tuple[list[Layer], dict[str, Layer]]:
        """A member with a log of values above it."""
        app = ValueLog(self, node)
        member = self.members[node.id] = RaftMember(self, node, app)
        app.member = member
        return [member], {"quorum": member, "propose": app}

    def bootstrap(self) -> list[tuple[str, int]]:
        """`controller.quorum.bootstrap.servers`."""
        return [(f"node{node_id}", PORT_BASE + node_id) for node_id in self.nodes]

    def after_crash(self, node: SimNode, *, power_cut: bool) -> None:
        """Of the metadata log's unsynced batches some are gone."""
        self.members.pop(node.id, None)
        _, lost = node.disk.logs[LOG].reopened(self._crash_rng, power_cut=power_cut)
        self.coverage.hit("metadata batches lost with power", lost)

    def wipe(self, node_id: int) -> None:
        """An empty disk: an observer that has to be made a voter again."""
        node = self.nodes[node_id]
        self.buried.append(Seen(voter_of(node).key, node.disk.logs[LOG]))
        super().wipe(node_id)
        QuorumStore(node.disk)
        self.coverage.hit("disks wiped")

    def same_state(self, applied: int, state: tuple[int, int]) -> None:
        """Whoever has applied as much is in the same state."""
        if self._states.setdefault(applied, state) != state:
            raise InvariantViolated(f"two nodes have applied {applied} offsets and differ")

    # -- work ---------------------------------------------------------------------------------------------

    def _play(self) -> None:
        if METADATA_ROT in self.extras:
            self.rot.begin(CALM_MS)
        super()._play()

    def begin_work(self) -> None:
        """Two clients propose values."""
        self.proposers = [Proposer(self, 100 + index) for index in range(2)]

    def end_work(self) -> None:
        """No new values."""
        for proposer in self.proposers:
            proposer.finishing = True

    def leader(self) -> RaftMember | None:
        """The member that leads the newest epoch, as it thinks."""
        leading = [member for member in self.members.values() if member.node.role is Role.LEADER]
        return max(leading, key=lambda member: member.node.epoch) if leading else None

    def leader_id(self) -> int | None:
        """Its node's id."""
        leader = self.leader()
        return None if leader is None else leader.key.node_id

    def not_converged(self) -> str | None:
        """Everybody follows one leader, has a vote, and has applied the whole log."""
        leader = self.leader()
        if leader is None:
            return "there is no leader"
        keys = {voter_of(node).key for node in self.nodes.values()}
        if set(leader.node.voters.keys) != keys:
            return (
                f"the voters are {sorted(key.node_id for key in leader.node.voters.keys)} and not all nodes"
            )
        end = leader.store.log_end_offset
        for node_id in self.nodes:
            member = self.members.get(node_id)
            if member is None:
                return f"node {node_id} is down"
            if member.node.recovering:
                return f"node {node_id} has no voice"
            if member.node.epoch != leader.node.epoch or member.node.leader_id != leader.key.node_id:
                return f"node {node_id} follows {member.node.leader_id} in epoch {member.node.epoch}"
            if member.node.high_watermark != end:
                return f"node {node_id} knows {member.node.high_watermark} of {end} offsets as committed"
        waiting = [proposer.host.id for proposer in self.proposers if proposer.busy]
        return f"clients {waiting} wait" if waiting else None

    def check_end(self) -> None:
        """Every acknowledged value is in the log."""
        found = set()
        for entry in self.ghost.committed:
            if not entry.control:
                found.update(values_in(entry.data))
        for proposer in self.proposers:
            for value in proposer.acked:
                if value not in found:
                    raise InvariantViolated(f"lost: {value!r} was acknowledged and is not in the log")

    # -- the nemesis --------------------------------------------------------------------------------------

    def whole(self) -> bool:
        """Whether every voice of the committed voter set is alive, and no other set may come into force."""
        return not self.rot.struck and self.is_whole_but_for(set())

    def is_whole_but_for(self, voiceless: set[int]) -> bool:
        """Likewise, of the others."""
        keys = {voter_of(node).key for node in self.nodes.values()}
        for node in self.nodes.values():
            if node.id in voiceless:
                continue
            history = node.disk.logs[LOG].history
            if not history or set(history[-1].voters.keys) != keys:
                return False
            if history[-1].offset >= max(1, self.ghost.end):
                return False
        return True

    def may_wipe(self, node_id: int) -> bool:
        """One voice at a time may fall silent for good."""
        return len(self.nodes) >= 3 and self.whole()

    def administer(self, kind: str, rng: Random) -> bool:
        """Remove a voter if all nodes are; else make one of the others a voter."""
        leader = self.leader()
        if kind != "membership" or leader is None:
            return False
        if self.whole():
            node = self.nodes[rng.choice(self.node_ids())]
            request = RemoveRaftVoterRequest(voter_id=node.id, voter_directory_id=node.directory_id)
            self._tell(leader, ApiKey.REMOVE_RAFT_VOTER, request)
            return True
        return self._add_voter(leader)

    def _add_voter(self, leader: RaftMember) -> bool:
        for node in self.nodes.values():
            voter = voter_of(node)
            if node.up and leader.node.voters.by_id(node.id) is None:
                listeners = [Listener(name=at.name, host=at.host, port=at.port) for at in voter.endpoints]
                request = AddRaftVoterRequest(
                    timeout_ms=1_000,
                    voter_id=node.id,
                    voter_directory_id=node.directory_id,
                    listeners=listeners,
                    ack_when_committed=False,
                )
                self._tell(leader, ApiKey.ADD_RAFT_VOTER, request)
                return True
        return False

    def _tell(self, leader: RaftMember, key: ApiKey, request: Struct) -> None:
        """An administrator at the leader's console."""

        def answered(response: Any) -> None:
            if response.error_code == 0:
                self.coverage.hit("voters added" if key is ApiKey.ADD_RAFT_VOTER else "voters removed")

        leader.host_node.run(leader.handle, "quorum", 0, ("quorum", key, request), answered)

    def mend(self) -> None:
        """After the chaos: whoever was removed is made a voter again."""
        leader = self.leader()
        if leader is not None:
            self._add_voter(leader)


def found_quorum(store: QuorumStore, voters: VoterSet) -> None:
    """Format a folder: the bootstrap snapshot names the voters."""
    pieces = write_snapshot(BOOTSTRAP, (), voters=voters, last_timestamp_ms=WALL_MS, now_ms=WALL_MS)
    store.snapshots[BOOTSTRAP] = b"".join(pieces)
    store.begin_with(BOOTSTRAP)


def values_in(data: bytes) -> list[bytes]:
    """The values of a metadata batch."""
    return [bytes(value or b"") for batch in decode_batches(data, LOG) for _, value in batch.records]


class ValueLog:
    """The toy state machine: a checksum over all values so far."""

    def __init__(self, cluster: QuorumCluster, node: SimNode) -> None:
        self._cluster = cluster
        self._node = node
        self.member: RaftMember | None = None
        self.applied = 0
        self.state = (0, 0)
        self._since_snapshot = 0
        self._waiting: list[tuple[int, int, Answer]] = []

    # -- raft.driver.Listener -----------------------------------------------------------------------------

    def on_commit(self, high_watermark: int) -> None:
        """Apply; answer; maybe write a snapshot."""
        member = self.member
        assert member is not None, "commits come from the member"
        for batch in member.driver.read(self.applied, high_watermark):
            if not batch.control:
                count, crc = self.state
                for _, value in batch.records:
                    count, crc = count + 1, crc32(value or b"", crc)
                    self._since_snapshot += 1
                self.state = (count, crc)
            self.applied = batch.next_offset
        self._cluster.same_state(self.applied, self.state)
        while self._waiting and self._waiting[0][0] <= high_watermark:
            end, epoch, answer = self._waiting.pop(0)
            answer(("ok", end) if member.node.epoch == epoch else ("unknown", NO_LEADER))
        if self._since_snapshot >= self._cluster.swarm.snapshot_records:
            self._since_snapshot = 0
            member.take_snapshot(self.applied, self._values())

    def _values(self) -> Iterable[bytes]:
        return [b"%d %d" % self.state]

    def on_role(self, role: Role, epoch: int) -> None:
        """Only a leader's word counts: who waits is told that nobody knows."""
        if role is not Role.LEADER:
            waiting, self._waiting = self._waiting, []
            for _, _, answer in waiting:
                answer(("unknown", NO_LEADER))

    def on_leader(self, leader_id: int, epoch: int) -> None:
        """Nothing to do."""

    def on_snapshot(self, snapshot: Any) -> None:
        """Begin anew from a snapshot."""
        self.load(snapshot.id, snapshot.content)

    def load(self, snapshot_id: SnapshotId, content: Any) -> None:
        """The state as of a snapshot's end."""
        for batch in content.batches:
            for _, value in batch.records:
                count, crc = bytes(value).split()
                self.state = (int(count), int(crc))
        self.applied = snapshot_id.end_offset
        self._cluster.same_state(self.applied, self.state)

    # -- clients ------------------------------------------------------------------------------------------

    @property
    def deadline_ms(self) -> int | None:
        """Nothing is timed."""
        return None

    def tick(self) -> None:
        """Nothing is timed."""

    def handle(self, kind: str, sender: int, message: Any, answer: Answer) -> None:
        """Propose a value."""
        member = self.member
        assert member is not None, "it was assembled"
        node = member.node
        if node.role is not Role.LEADER:
            answer(("not leader", node.leader_id))
            return
        epoch = node.epoch
        try:
            batch = member.propose([message[1]])
        except DiskFull:
            batch = None
        if batch is None:
            answer(("not leader", NO_LEADER))
        else:
            self._waiting.append((batch.next_offset, epoch, answer))
