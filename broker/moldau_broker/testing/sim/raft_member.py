"""A member of the quorum in the simulator: the real core and driver on a simulated disk and network."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from moldau_broker.raft.driver import RaftDriver
from moldau_broker.raft.errors import NotLeader
from moldau_broker.raft.messages import Failure, LogBatch, Peer
from moldau_broker.raft.node import RaftNode
from moldau_broker.raft.ports import Listener
from moldau_broker.raft.quorum import Voter, VoterEndpoint, VoterKey
from moldau_broker.raft.snapshot import SnapshotId, read_snapshot, write_snapshot
from moldau_broker.raft.state import Role
from moldau_broker.storage.errors import DiskFull
from moldau_broker.testing.raft_node import features_of
from moldau_broker.testing.sim import quorum_damage
from moldau_broker.testing.sim.network import Answer, Broken
from moldau_broker.testing.sim.quorum_store import LOG, Entry, QuorumStore
from moldau_broker.wire.apis import API_SCHEMAS, ApiKey
from moldau_broker.wire.schema import Struct

if TYPE_CHECKING:
    from moldau_broker.testing.sim.node import SimNode
    from moldau_broker.testing.sim.quorum_cluster import QuorumCluster

PORT_BASE = 9000


def voter_of(node: SimNode) -> Voter:
    """How a node, with its present disk, is known to the quorum."""
    endpoint = VoterEndpoint("CONTROLLER", f"node{node.id}", PORT_BASE + node.id)
    return Voter(VoterKey(node.id, node.directory_id), (endpoint,))


class Seen(NamedTuple):
    """A node as the ghost sees it, up or down."""

    key: VoterKey
    store: QuorumStore


class App(Listener, Protocol):
    """The state machine above the log: `raft.driver.Listener`, and it begins from a snapshot."""

    def load(self, snapshot_id: SnapshotId, content: Any) -> None:
        """Take the state of a snapshot."""


class RaftMember:
    """One life of a member.

    Attributes:
        key, store: who it is, and its folder.
        driver: the real one.
    """

    def __init__(self, cluster: QuorumCluster, host_node: SimNode, app: App) -> None:
        self.cluster = cluster
        self.host_node = host_node
        self._ghost = cluster.ghost
        self._app = app
        self.store: QuorumStore = host_node.disk.logs[LOG]
        quorum_damage.heal(self.store)
        self.key = VoterKey(host_node.id, host_node.directory_id)
        self.store.watcher = self._log_changes
        self.store.before_save = lambda election: self._ghost.saves(self, election)
        self.store.on_recovered = self._recovered
        newest = self.store.newest_snapshot
        if newest is not None:
            app.load(newest, read_snapshot(self.store.snapshots[newest], newest.file_name))
        self.driver = self._drive()
        self.driver.on_progress = self._progressed
        self._deadline_ms: int | None = None

    def _drive(self) -> RaftDriver:
        host = self.host_node
        return self.cluster.driver_class(
            voter_of(host),
            self.store,  # type: ignore[arg-type] # its light twin
            host.disk,
            host.clock,
            self,
            self,
            host.rng,
            self.cluster.timing,
            cluster_id="sim",
            bootstrap=self.cluster.bootstrap(),
            auto_join=True,
        )

    @property
    def node(self) -> RaftNode:
        """The core."""
        return self.driver.node

    # -- a layer of the process ---------------------------------------------------------------------------

    @property
    def deadline_ms(self) -> int | None:
        """When the core wants to be ticked; asked anew only after it has done something."""
        if self._deadline_ms is None:
            self._deadline_ms = self.driver.next_deadline_ms
        return self._deadline_ms

    def _progressed(self) -> None:
        self._deadline_ms = None

    def tick(self) -> None:
        """Time has passed."""
        with contextlib.suppress(
            DiskFull
        ):  # as `transport.Ticker`: the core knows, and says when to try again
            self.driver.tick()

    def handle(self, kind: str, sender: int, message: Any, answer: Answer) -> None:
        """A request of the quorum's APIs."""
        _, key, request = message
        if key is ApiKey.API_VERSIONS:
            answer(features_of(self.node.me))
            return
        self.cluster.coverage.hit(f"request: {key.name.lower()}")

        def done(response: Struct) -> None:
            if key is ApiKey.VOTE:
                self._watch_vote(request, response)
            answer(response)

        self.driver.handle(key, API_SCHEMAS[key].last_version, request).on_complete(done)

    def propose(self, values: Sequence[bytes]) -> LogBatch | None:
        """Append as the leader; None if it is not."""
        try:
            return self.driver.propose(values)
        except NotLeader:
            return None

    def take_snapshot(self, end_offset: int, values: Iterable[bytes]) -> None:
        """Write a snapshot of the state as of `end_offset`, and drop what it makes needless."""
        last = self.store.entry_before(end_offset)
        epoch = last.epoch if last is not None else self.store.last_epoch
        snapshot_id = SnapshotId(end_offset, epoch)
        if snapshot_id in self.store.snapshots:
            return
        voters = self.node.history.at(end_offset)
        now_ms = self.host_node.clock.wall_ms()
        pieces = write_snapshot(snapshot_id, values, voters=voters, last_timestamp_ms=0, now_ms=now_ms)
        try:
            self.store.write_snapshot(snapshot_id, list(pieces))
        except DiskFull:
            return
        self.driver.snapshot_written()
        self.cluster.coverage.hit("snapshots written")

    # -- raft.driver.Transport ----------------------------------------------------------------------------

    def send(
        self, to: Peer, key: ApiKey, request: Struct, on_answer: Callable[[Struct | Failure], None]
    ) -> None:
        """Send; the answer enters the node like any other event."""
        self._watch_request(key, request)
        host = self.host_node

        def answered(got: Any) -> None:
            host.run(on_answer, Failure[got.name] if isinstance(got, Broken) else got)

        host.network.call(host.host, to.port - PORT_BASE, ("quorum", key, request), answered)

    # -- raft.driver.Listener -----------------------------------------------------------------------------

    def on_commit(self, high_watermark: int) -> None:
        """Check, then apply."""
        node = self.node
        # A leader's last commit may have ended its term.
        epoch = node.epoch if node.role in (Role.LEADER, Role.RESIGNED) else -1
        self._ghost.commits(self, high_watermark, self._everybody(), node.voters, epoch)
        self._app.on_commit(high_watermark)

    def on_role(self, role: Role, epoch: int) -> None:
        """Check, then tell."""
        if self.cluster.kernel.trace is not None:
            self.cluster.kernel.note(f"n{self.key.node_id} {role.value} in epoch {epoch}")
        if role is Role.LEADER:
            self._ghost.leads(self, epoch)
        self._app.on_role(role, epoch)

    def on_leader(self, leader_id: int, epoch: int) -> None:
        """Tell."""
        self._app.on_leader(leader_id, epoch)

    def on_snapshot(self, snapshot: Any) -> None:
        """Tell."""
        self.cluster.coverage.hit("snapshots installed")
        self._app.on_snapshot(snapshot)

    # -- watching -----------------------------------------------------------------------------------------

    def _everybody(self) -> Iterator[Seen]:
        for node in self.cluster.nodes.values():
            yield Seen(VoterKey(node.id, node.directory_id), node.disk.logs[LOG])
        yield from self.cluster.buried

    def _recovered(self) -> None:
        self._ghost.regains(self, self.node.epoch)
        self.cluster.coverage.hit("voices regained")
        self.cluster.kernel.note(f"n{self.key.node_id} has its voice back in epoch {self.node.epoch}")

    def _log_changes(self, entry: Entry | None, truncate_to: int | None) -> None:
        if entry is not None:
            self._ghost.entered(self, entry)
        elif truncate_to is not None and truncate_to < self.store.log_end_offset:
            self.cluster.coverage.hit("metadata truncations")
            self._ghost.truncating(self, truncate_to)

    def _watch_vote(self, request: Any, response: Any) -> None:
        if not response.topics or not response.topics[0].partitions[0].vote_granted:
            return
        asked = request.topics[0].partitions[0]
        if asked.pre_vote:
            return
        candidate = VoterKey(asked.replica_id, asked.replica_directory_id)
        self._ghost.votes(self, asked.replica_epoch, candidate)

    def _watch_request(self, key: ApiKey, request: Any) -> None:
        if key is ApiKey.VOTE:
            asked = request.topics[0].partitions[0]
            if not asked.pre_vote:
                self._ghost.speaks(self, asked.replica_epoch)
                self._ghost.votes(self, asked.replica_epoch, self.key)
        elif key is ApiKey.BEGIN_QUORUM_EPOCH:
            self._ghost.speaks(self, request.topics[0].partitions[0].leader_epoch)
        elif key is ApiKey.FETCH:
            self._ghost.speaks(self, request.topics[0].partitions[0].current_leader_epoch)
