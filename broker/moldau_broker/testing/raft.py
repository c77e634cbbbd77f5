"""Raft nodes in memory: the pure cores, a network that delivers in order, disks that forget what was not flushed.

    cluster = RaftCluster()
    for node_id in (1, 2, 3):
        cluster.add(node_id, voters=(1, 2, 3))
    cluster.run(1_000)
    cluster.propose(cluster.leader(), b"value")

Nothing takes time except waiting: `run` delivers everything, then moves the clock to the next deadline of any
node. Messages go through the wire's codec. `trace` says what happened, for transcripts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from random import Random
from typing import Any, NamedTuple

from moldau_broker.base.ids import Uuid
from moldau_broker.raft.answers import with_error, with_piece, with_records
from moldau_broker.raft.batches import encode_batch
from moldau_broker.raft.messages import (
    Answer,
    Answered,
    Event,
    Failure,
    FlushFailed,
    LogFlushed,
    LogRange,
    Ready,
    Request,
    SnapshotInstalled,
    SnapshotRange,
    SnapshotsChanged,
    Truncated,
    Unanswered,
)
from moldau_broker.raft.node import RaftNode
from moldau_broker.raft.quorum import Voter, VoterEndpoint, VoterKey, VoterSet
from moldau_broker.raft.snapshot import BOOTSTRAP, SnapshotId, read_snapshot, write_snapshot
from moldau_broker.raft.state import Role
from moldau_broker.raft.timing import RaftTiming
from moldau_broker.testing.raft_disk import MemoryDisk
from moldau_broker.testing.raft_node import Member, features_of
from moldau_broker.testing.raft_trace import describe_answer, describe_request, short_name
from moldau_broker.wire.apis import API_SCHEMAS, ApiKey
from moldau_broker.wire.codec import decode, encode
from moldau_broker.wire.schema import Struct

WALL_MS = 1_700_000_000_000
CLUSTER_ID = "cluster"
_TURNS_MAX = 20_000  # of one `run`; far more means that two nodes talk without end


class _Message(NamedTuple):
    kind: str  # "request", "answer", "failure", "flush"
    sender: int
    receiver: int
    content: Any
    life: int = 0


class RaftCluster:
    """Nodes and the network between them.

    Attributes:
        members: by node id.
        now_ms: monotonic time of all.
        trace: what happened, a line each.
        answers: of requests sent by `ask`, by number.
        cut: pairs (from, to) between which nothing passes.
    """

    def __init__(self, *, seed: int = 1, timing: RaftTiming | None = None) -> None:
        self.members: dict[int, Member] = {}
        self.now_ms = 0
        self.trace: list[str] = []
        self.answers: dict[int, Struct] = {}
        self.cut: set[tuple[int, int]] = set()
        self.timing = timing or RaftTiming()
        self.leaders: dict[int, int] = {}
        self._seed = seed
        self._queue: deque[_Message] = deque()
        self._under_way: dict[tuple[int, int, int], int] = {}
        self._asked = 0

    # -- nodes --------------------------------------------------------------------------------------------

    def voter(self, node_id: int, disk: str = "a", port: int = 0) -> Voter:
        """A node's identity: disk "a" is its first."""
        directory = Uuid(f"{disk}{node_id}".encode().ljust(16, b"."))
        return Voter(
            VoterKey(node_id, directory),
            (VoterEndpoint("CONTROLLER", f"n{node_id}", port or 9000 + node_id),),
        )

    def add(self, node_id: int, *, voters: Iterable[int] = (), **options: Any) -> Member:
        """A node with an empty log; with `voters`, all of them know each other from a snapshot 0-0."""
        member = self.members[node_id] = Member(self.voter(node_id))
        named = VoterSet(self.voter(one) for one in voters)
        if len(named):
            pieces = write_snapshot(BOOTSTRAP, (), voters=named, last_timestamp_ms=0, now_ms=0)
            member.disk.snapshots[BOOTSTRAP] = b"".join(pieces)
        member.options = options
        self.start(node_id)
        return member

    def start(self, node_id: int) -> None:
        """Start a node from what its disk holds."""
        member = self.members[node_id]
        member.life += 1
        member.held = False
        rng = Random(self._seed * 1_000 + node_id * 100 + member.life)  # noqa: S311 - to be repeated, not to be secret
        member.node = RaftNode(
            member.me,
            member.disk.initial(),
            self.timing,
            rng,
            self.now_ms,
            cluster_id=CLUSTER_ID,
            **member.options,
        )
        member.node.tick(self.now_ms, WALL_MS + self.now_ms)
        self._carry_out(node_id)

    def add_voters(self, size: int) -> None:
        """Nodes 1 to `size`, which found the quorum together."""
        voters = tuple(range(1, size + 1))
        for node_id in voters:
            self.add(node_id, voters=voters)

    def crash(self, node_id: int) -> None:
        """End a node; what was not flushed is gone, its connections break."""
        member = self.members[node_id]
        member.node = None
        member.disk.truncate(member.disk.durable)
        for (sender, sent_id, life), receiver in list(self._under_way.items()):
            if receiver == node_id and sender != node_id:
                del self._under_way[sender, sent_id, life]
                failure = Unanswered(sent_id, Failure.LOST)
                self._queue.append(_Message("failure", node_id, sender, failure, life))

    def wipe(self, node_id: int) -> None:
        """Give a crashed node a new, empty disk, under a new directory id."""
        member = self.members[node_id]
        assert member.node is None, "crash it first"
        member.disk = MemoryDisk()
        member.me = self.voter(node_id, chr(ord("a") + member.life))

    def leader(self) -> int:
        """The leader of the highest epoch."""
        return max(
            (one.epoch, node_id)
            for node_id, member in self.members.items()
            if (one := member.node) is not None and one.role is Role.LEADER
        )[1]

    # -- what tests do ------------------------------------------------------------------------------------

    def propose(self, node_id: int, value: bytes) -> None:
        """Append a record at a leader."""
        self.members[node_id].alive.propose([value], WALL_MS + self.now_ms)
        self._carry_out(node_id)

    def ask(self, node_id: int, key: ApiKey, request: Struct) -> int:
        """Send a request as a tool; `answers` has the answer under this number once there is one."""
        self._asked += 1
        self.step(node_id, Request(("tool", self._asked, 0), key, request))
        return self._asked

    def snapshot(self, node_id: int) -> SnapshotId:
        """Write a snapshot of what is committed, and drop the log below it."""
        member = self.members[node_id]
        node, disk = member.alive, member.disk
        end = node.high_watermark
        epoch = next(one.epoch for one in reversed(disk.batches) if one.next_offset <= end)
        snapshot_id = SnapshotId(end, epoch)
        pieces = write_snapshot(
            snapshot_id, [b"state"], voters=node.history.at(end), last_timestamp_ms=0, now_ms=0
        )
        disk.snapshots = {snapshot_id: b"".join(pieces)}
        disk.start = end
        disk.batches = [one for one in disk.batches if one.base_offset >= end]
        self.step(node_id, SnapshotsChanged((snapshot_id,), end))
        return snapshot_id

    def resign(self, node_id: int) -> None:
        """The leader hands over."""
        self.members[node_id].alive.resign()
        self._carry_out(node_id)

    def hold(self, node_id: int, *, held: bool = True) -> None:
        """Let a node's flushes wait, or make up for them."""
        member = self.members[node_id]
        member.held = held
        if not held:
            self._queue.append(_Message("flush", node_id, node_id, None, member.life))

    def fail_flush(self, node_id: int) -> None:
        """The disk of a node refuses an fsync."""
        self.step(node_id, FlushFailed("EIO"))

    def isolate(self, node_id: int) -> None:
        """Nothing passes to or from a node."""
        for other in self.members:
            if other != node_id:
                self.cut |= {(node_id, other), (other, node_id)}

    def run(self, for_ms: int) -> None:
        """Deliver and let time pass."""
        until = self.now_ms + for_ms
        for _ in range(_TURNS_MAX):
            self.settle()
            deadlines = [one.node.next_deadline_ms for one in self.members.values() if one.node is not None]
            following = max(min(deadlines, default=until + 1), self.now_ms)
            if following > until:
                self.now_ms = until
                return
            self.now_ms = following
            for node_id, member in sorted(self.members.items()):
                if member.node is not None and member.node.next_deadline_ms <= self.now_ms:
                    member.node.tick(self.now_ms, WALL_MS + self.now_ms)
                    self._carry_out(node_id)
        raise AssertionError(f"time stands still at {self.now_ms} ms")

    def settle(self) -> None:
        """Deliver until nothing is under way that needs no time."""
        for _ in range(_TURNS_MAX):
            if not self._queue:
                return
            self._deliver(self._queue.popleft())
        raise AssertionError("messages without end")

    def step(self, node_id: int, event: Event) -> None:
        """Feed an event."""
        self.members[node_id].alive.step(event, self.now_ms, WALL_MS + self.now_ms)
        self._carry_out(node_id)

    def log(self, node_id: int) -> list[tuple[int, bytes]]:
        """(epoch, value) of the data records in a node's log."""
        return [
            (batch.epoch, bytes(value or b""))
            for batch in self.members[node_id].disk.records()
            if not batch.control
            for _, value in batch.records
        ]

    # -- the network --------------------------------------------------------------------------------------

    def _deliver(self, message: _Message) -> None:
        member = self.members.get(message.receiver)
        if message.kind == "flush":
            if (
                member is not None
                and member.node is not None
                and member.life == message.life
                and not member.held
            ):
                member.disk.durable = member.disk.end
                self.step(message.receiver, LogFlushed(member.disk.durable))
            return
        if (message.sender, message.receiver) in self.cut:
            return
        if message.kind == "request":
            self._deliver_request(message, member)
        elif member is not None and member.node is not None and member.life == message.life:
            self.step(message.receiver, message.content)

    def _deliver_request(self, message: _Message, member: Member | None) -> None:
        sent_id, key, request = message.content
        token = message.sender, sent_id, message.life
        if member is None or member.node is None:
            failure = Unanswered(sent_id, Failure.REFUSED)
            self._queue.append(_Message("failure", message.receiver, message.sender, failure, message.life))
            return
        self._under_way[token] = message.receiver
        if key is ApiKey.API_VERSIONS:  # which in a server is not the quorum's to answer
            self._give(message.receiver, Answer((*token, message.receiver, key), features_of(member.me)))
            return
        self.step(message.receiver, Request((*token, message.receiver, key), key, request))

    def _through_wire(self, key: ApiKey, message: Struct) -> Struct:
        version = API_SCHEMAS[key].last_version
        decoded: Struct = decode(type(message), version, encode(message, version))[0]
        return decoded

    # -- carrying out -------------------------------------------------------------------------------------

    def _carry_out(self, node_id: int) -> None:
        member = self.members[node_id]
        node = member.alive
        while (ready := node.ready()) is not None:
            self._write(member, ready)
            for answer in ready.answers:
                self._give(node_id, answer)
            for send in ready.sends:
                receiver = send.to.port - 9_000
                request = self._through_wire(send.key, send.request)
                self._say(describe_request(node_id, receiver, send.key, request))
                content = send.id, send.key, request
                self._queue.append(_Message("request", node_id, receiver, content, member.life))
            self._note(node_id, ready)

    def _write(self, member: Member, ready: Ready) -> None:
        disk, node = member.disk, member.alive
        if ready.election is not None:
            disk.election = ready.election
        if ready.truncate is not None:
            self._say(f"{member.me.key.node_id}: cuts its log from {disk.end} to {ready.truncate}")
            disk.truncate(ready.truncate)
            node.step(Truncated(disk.end), self.now_ms, WALL_MS + self.now_ms)
        for batch in ready.batches:
            disk.append(
                bytes(
                    encode_batch(
                        batch.records,
                        base_offset=batch.base_offset,
                        epoch=batch.epoch,
                        timestamp_ms=batch.timestamp_ms,
                        control=batch.control,
                    )
                )
            )
        if ready.fetched is not None:
            disk.append(bytes(ready.fetched.data))
        if ready.batches or ready.fetched is not None:
            self._queue.append(_Message("flush", 0, member.me.key.node_id, None, member.life))
        if ready.piece is not None:
            disk.download = (disk.download if ready.piece.position else bytearray()) + bytes(ready.piece.data)
            if ready.piece.last:
                content = read_snapshot(bytes(disk.download), "test")
                disk.snapshots = {ready.piece.id: bytes(disk.download)}
                disk.batches.clear()
                disk.start = disk.durable = ready.piece.id.end_offset
                self._say(f"{member.me.key.node_id}: begins at snapshot {ready.piece.id.end_offset}")
                installed = SnapshotInstalled(ready.piece.id, content.voters)
                node.step(installed, self.now_ms, WALL_MS + self.now_ms)

    def _give(self, node_id: int, answer: Answer) -> None:
        response, disk = answer.response, self.members[node_id].disk
        match answer.data:
            case LogRange():
                response = with_records(response, disk.read(answer.data))
            case SnapshotRange(snapshot_id, position, max_bytes):
                data = disk.snapshots[snapshot_id]
                response = with_piece(response, data[position : position + max_bytes], len(data))
                if position >= len(data):
                    response = with_error(response, 99)
        if answer.token[0] == "tool":
            self.answers[answer.token[1]] = response
            return
        sender, sent_id, life, receiver, key = answer.token
        if self._under_way.pop((sender, sent_id, life), None) is None:
            return
        response = self._through_wire(key, response)
        line = describe_answer(receiver, sender, key, response)
        if line:
            self._say(line)
        self._queue.append(_Message("answer", receiver, sender, Answered(sent_id, response), life))

    def _note(self, node_id: int, ready: Ready) -> None:
        node = self.members[node_id].alive
        if ready.recovered:
            self.members[node_id].disk.recovering = False
            self._say(f"{node_id}: has its voice back")
        if ready.role is not None:
            self._say(f"{node_id}: {ready.role.value} in epoch {node.epoch}")
            if ready.role is Role.LEADER:
                other = self.leaders.setdefault(node.epoch, node_id)
                assert other == node_id, f"epoch {node.epoch} has two leaders: {other} and {node_id}"
        if ready.high_watermark is not None:
            self.members[node_id].committed = ready.high_watermark
            self._say(f"{node_id}: commits {ready.high_watermark}")

    def _say(self, line: str | None) -> None:
        if line:
            self.trace.append(line)

    def status(self) -> list[str]:
        """A line per node."""
        lines = []
        for node_id, member in sorted(self.members.items()):
            node = member.node
            if node is None:
                lines.append(f"{node_id}: down, log ends at {member.disk.end}")
                continue
            names = ",".join(short_name(key) for key in node.voters.keys)
            lines.append(
                f"{node_id}: {node.role.value} in epoch {node.epoch}, leader {node.leader_id}, log {node.log_start}"
                f"..{node.log_end}, committed {node.high_watermark}, voters {names or 'unknown'}"
            )
        return lines
