"""What can happen to a cluster: each fault has a name, happens to an arena, and is healed again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.chaos.disks import batches
from tests.chaos.network import HOST_NUMBER
from tests.chaos.nodes import Cluster, NotNow
from tests.chaos.workload import GROUP, Workload

from moldau_broker.base.errors import ErrorCode
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.add_raft_voter import AddRaftVoterRequest, Listener
from moldau_broker.wire.messages.alter_partition_reassignments import (
    AlterPartitionReassignmentsRequest,
    ReassignablePartition,
    ReassignableTopic,
)
from moldau_broker.wire.messages.list_partition_reassignments import ListPartitionReassignmentsRequest
from moldau_broker.wire.messages.remove_raft_voter import RemoveRaftVoterRequest

SETTLE_S: Final = 4.0
"""How much longer than the session time-out a fault that silences a broker lasts."""


@dataclass
class Arena:
    """A cluster with clients at work, and one partition that faults aim at."""

    cluster: Cluster
    workload: Workload
    chance: random.Random
    target: str = "chaos-a-0"
    hit: list[int] = field(default_factory=list)
    """The nodes that the present fault has struck."""
    log: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        self.log.append(f"{time.monotonic_ns()} {text}")


Pick = Callable[[Arena], list[int]]


def _patiently(ask: Callable[[], int]) -> int:
    """An answer of the cluster, which may take a while to have one."""
    for _ in range(100):
        with suppress(NotNow):
            found = ask()
            if found >= 0:
                return found
        time.sleep(0.1)
    return ask()


def leader(arena: Arena) -> list[int]:
    return [_patiently(lambda: arena.cluster.leader(arena.target))]


def controller(arena: Arena) -> list[int]:
    return [_patiently(arena.cluster.controller)]


def coordinator(arena: Arena) -> list[int]:
    return [_patiently(lambda: arena.cluster.coordinator(GROUP))]


def follower(arena: Arena) -> list[int]:
    """Neither leads the target nor the quorum."""
    others = arena.cluster.nodes.keys() - set(leader(arena) + controller(arena))
    return [arena.chance.choice(sorted(others))]


def everyone(arena: Arena) -> list[int]:
    return list(arena.cluster.nodes)


class Fault:
    """Something that happens for a while.

    Attributes:
        needs: what the machine must be able to do: "network" or "small disk".
        nodes: how large the cluster is.
        kinds: the brokers it can happen to.
        settings: what the brokers are started with, by kind.
    """

    name = ""
    needs = ""
    nodes = 3
    kinds: tuple[str, ...] = ("moldau", "kafka")
    settings: Final[dict[str, str]] = {}

    def hold_s(self, cluster: Cluster) -> float:
        """How long it lasts."""
        return cluster.session_timeout_s + SETTLE_S

    def inject(self, arena: Arena) -> None:
        """Let it happen."""
        raise NotImplementedError

    def heal(self, arena: Arena) -> None:
        """Let it end: afterwards everything must become well by itself."""


class Kill(Fault):
    """SIGKILL, started again only after the survivors had time to take over."""

    def __init__(self, what: str, pick: Pick, hold_s: float | None = None) -> None:
        self.name, self.pick, self._hold_s = f"kill {what}", pick, hold_s

    def hold_s(self, cluster: Cluster) -> float:
        return super().hold_s(cluster) if self._hold_s is None else self._hold_s

    def inject(self, arena: Arena) -> None:
        arena.hit = self.pick(arena)
        arena.cluster.kill(*arena.hit)

    def heal(self, arena: Arena) -> None:
        for node in arena.hit:
            arena.cluster.start(node)


class Chase(Fault):
    """Five bounces, each of whoever leads the target by then."""

    name = "five bounces chasing the leader"
    bounces = 5

    def hold_s(self, cluster: Cluster) -> float:
        return 0.0

    def inject(self, arena: Arena) -> None:
        for _ in range(self.bounces):
            (node,) = leader(arena)
            arena.cluster.kill(node)
            arena.say(f"bounced {node}")
            time.sleep(arena.chance.uniform(0.0, 1.0))
            arena.cluster.start(node)
            deadline = time.monotonic() + arena.cluster.session_timeout_s + 10
            while time.monotonic() < deadline:
                with suppress(NotNow):
                    if arena.cluster.leader(arena.target, but=[node]) not in (node, -1):
                        break
                time.sleep(0.1)


class Pause(Fault):
    """SIGSTOP past the session time-out, then SIGCONT: it wakes up believing that nothing has changed."""

    def __init__(self, what: str, pick: Pick, hold_s: float | None = None) -> None:
        self.name, self.pick, self._hold_s = f"pause {what}", pick, hold_s

    def hold_s(self, cluster: Cluster) -> float:
        return super().hold_s(cluster) if self._hold_s is None else self._hold_s

    def inject(self, arena: Arena) -> None:
        arena.hit = self.pick(arena)
        for node in arena.hit:
            arena.cluster.pause(node)

    def heal(self, arena: Arena) -> None:
        for node in arena.hit:
            arena.cluster.resume(node)


class Stop(Fault):
    """SIGTERM to the leader, started again a little later."""

    name = "stop leader gracefully"

    def hold_s(self, cluster: Cluster) -> float:
        return 2.0

    def inject(self, arena: Arena) -> None:
        arena.hit = leader(arena)
        arena.say(f"stopped in {arena.cluster.terminate(arena.hit[0]):.2f} s")

    def heal(self, arena: Arena) -> None:
        arena.cluster.start(arena.hit[0])


class Roll(Fault):
    """Every node is restarted in an orderly way, each as soon as all replicas are in sync again."""

    name = "graceful roll"

    def hold_s(self, cluster: Cluster) -> float:
        return 0.0

    def inject(self, arena: Arena) -> None:
        cluster, topics = arena.cluster, arena.workload.topics
        for node in list(cluster.nodes):
            took = cluster.terminate(node)
            cluster.start(node)
            synced = cluster.wait("in sync", lambda: cluster.in_sync(topics), 90)
            arena.say(f"rolled {node}: stopped in {took:.2f} s, in sync after {synced:.1f} s")


class Cut(Fault):
    """A partition of the network. `ways` gives the (source, target) pairs that hear nothing."""

    needs = "network"

    def __init__(self, name: str, ways: Callable[[Arena], list[tuple[int, int]]]) -> None:
        self.name, self.ways = name, ways

    def hold_s(self, cluster: Cluster) -> float:
        return cluster.session_timeout_s + 2 * SETTLE_S

    def inject(self, arena: Arena) -> None:
        assert arena.cluster.network is not None
        ways = self.ways(arena)
        arena.say(f"cut {ways}")
        for source, target in ways:
            arena.cluster.network.cut_way(source, target)

    def heal(self, arena: Arena) -> None:
        assert arena.cluster.network is not None
        arena.cluster.network.heal()


class Flap(Cut):
    """The same cut, again and again for half a second."""

    def hold_s(self, cluster: Cluster) -> float:
        return 0.0

    def inject(self, arena: Arena) -> None:
        assert arena.cluster.network is not None
        for _ in range(10):
            super().inject(arena)
            time.sleep(0.5)
            arena.cluster.network.heal()
            time.sleep(arena.chance.uniform(0.2, 0.8))


def _both(pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    return pairs + [(target, source) for source, target in pairs]


def _others(arena: Arena, node: int) -> list[int]:
    return [other for other in arena.cluster.nodes if other != node]


def from_followers(arena: Arena) -> list[tuple[int, int]]:
    """The leader hears clients, but no other broker."""
    (node,) = arena.hit = leader(arena)
    return _both([(node, other) for other in _others(arena, node)])


def from_everybody(arena: Arena) -> list[tuple[int, int]]:
    """The leader is alone."""
    (node,) = arena.hit = leader(arena)
    return _both([(node, other) for other in [*_others(arena, node), HOST_NUMBER]])


def controller_from_brokers(arena: Arena) -> list[tuple[int, int]]:
    """The active controller hears clients, but no other broker."""
    (node,) = arena.hit = controller(arena)
    return _both([(node, other) for other in _others(arena, node)])


def ring(arena: Arena) -> list[tuple[int, int]]:
    """The leader and one follower do not hear each other; the third hears both: everybody sees a majority."""
    (node,) = arena.hit = leader(arena)
    return _both([(node, arena.chance.choice(_others(arena, node)))])


def leader_is_deaf(arena: Arena) -> list[tuple[int, int]]:
    """What brokers send to the leader is lost; what it sends arrives."""
    (node,) = arena.hit = leader(arena)
    return [(other, node) for other in _others(arena, node)]


def leader_is_mute(arena: Arena) -> list[tuple[int, int]]:
    """What the leader sends to brokers is lost; what they send arrives."""
    (node,) = arena.hit = leader(arena)
    return [(node, other) for other in _others(arena, node)]


class DiskFull(Fault):
    """A file takes all the space that the leader's disk has; later it is deleted."""

    name = "disk full"
    needs = "small disk"
    kinds = ("moldau",)

    def hold_s(self, cluster: Cluster) -> float:
        return 8.0

    def inject(self, arena: Arena) -> None:
        arena.hit = leader(arena)
        ballast = arena.cluster.nodes[arena.hit[0]].folder / "ballast"
        with suppress(OSError), ballast.open("wb", buffering=0) as file:
            for size in (1 << 20, 1 << 12, 1):
                with suppress(OSError):
                    while file.write(bytes(size)):
                        pass
        arena.say(f"ballast of {ballast.stat().st_size:,} bytes on {arena.hit[0]}")

    def heal(self, arena: Arena) -> None:
        (node,) = arena.hit
        (arena.cluster.nodes[node].folder / "ballast").unlink()
        if not arena.cluster.nodes[node].running:
            arena.say(f"node {node} had ended by itself")
            arena.cluster.start(node)


class Damage(Fault):
    """A node is killed, its files are damaged, and it is started again at once."""

    def __init__(self, name: str, pick: Pick, damage: Callable[[Arena, Path], str]) -> None:
        self.name, self.pick, self.damage = name, pick, damage

    def hold_s(self, cluster: Cluster) -> float:
        return 1.0

    def inject(self, arena: Arena) -> None:
        (node,) = arena.hit = self.pick(arena)
        arena.cluster.kill(node)
        data = arena.cluster.nodes[node].data
        for topic, at in arena.workload.partitions:
            arena.say(f"node {node} {topic}-{at}: {self.damage(arena, data / f'{topic}-{at}')}")

    def heal(self, arena: Arena) -> None:
        arena.cluster.start(arena.hit[0])


def tear(arena: Arena, folder: Path) -> str:
    """Cut the log somewhere in its last three batches."""
    last = max(folder.glob("*.log"))
    found = list(batches(folder))[-3:]
    size = last.stat().st_size
    cut = min(size, arena.chance.randint(1, max(1, sum(len(data) for _, _, data in found))))
    with last.open("r+b") as file:
        file.truncate(size - cut)
    return f"{cut} bytes cut off"


def flip(arena: Arena, folder: Path) -> str:
    """Flip one bit anywhere in the log."""
    last = max(folder.glob("*.log"))
    size = last.stat().st_size
    if not size:
        return "empty"
    at, bit = arena.chance.randrange(size), arena.chance.randrange(8)
    with last.open("r+b") as file:
        file.seek(at)
        (byte,) = file.read(1)
        file.seek(at)
        file.write(bytes([byte ^ 1 << bit]))
    return f"bit {bit} of byte {at} of {size} flipped"


class Wipe(Fault):
    """A node loses all that it has stored, and is started again under its own id."""

    kinds = ("moldau",)

    def __init__(self, what: str, pick: Pick) -> None:
        self.name, self.pick = f"wipe {what}", pick

    def hold_s(self, cluster: Cluster) -> float:
        return 1.0

    def inject(self, arena: Arena) -> None:
        (node,) = arena.hit = self.pick(arena)
        arena.cluster.kill(node)
        arena.cluster.wipe(node)

    def heal(self, arena: Arena) -> None:
        arena.cluster.start(arena.hit[0])


class Reassign(Fault):
    """Every partition moves to three of four nodes, chosen by chance, while clients work."""

    name = "reassignment under load"
    nodes = 4

    def hold_s(self, cluster: Cluster) -> float:
        return 0.0

    def inject(self, arena: Arena) -> None:
        cluster = arena.cluster
        moves: dict[str, list[ReassignablePartition]] = {}
        for topic, at in arena.workload.partitions:
            replicas = arena.chance.sample(sorted(cluster.nodes), 3)
            moves.setdefault(topic, []).append(ReassignablePartition(partition_index=at, replicas=replicas))
        request = AlterPartitionReassignmentsRequest(
            topics=[ReassignableTopic(name=topic, partitions=parts) for topic, parts in moves.items()]
        )
        answer = cluster.ask_any(ApiKey.ALTER_PARTITION_REASSIGNMENTS, 0, request)
        errors = [p for topic in answer.responses for p in topic.partitions if p.error_code]
        assert not answer.error_code, answer
        assert not errors, errors
        arena.say(f"moves {moves}")
        took = cluster.wait("reassigned", lambda: self._done(cluster), 90)
        arena.say(f"moved in {took:.1f} s")

    @staticmethod
    def _done(cluster: Cluster) -> bool:
        try:
            answer = cluster.ask_any(
                ApiKey.LIST_PARTITION_REASSIGNMENTS, 0, ListPartitionReassignmentsRequest(topics=None)
            )
        except NotNow:
            return False
        return not answer.error_code and not answer.topics


class Voters(Fault):
    """A voter that is not the leader, then the leader itself, is taken out of the quorum and put back."""

    name = "voters removed and added under load"

    def hold_s(self, cluster: Cluster) -> float:
        return 0.0

    def inject(self, arena: Arena) -> None:
        cluster = arena.cluster
        for pick in (follower, controller):
            (node,) = pick(arena)
            directory = next(
                voter.replica_directory_id
                for voter in cluster.quorum().current_voters
                if voter.replica_id == node
            )
            request = RemoveRaftVoterRequest(voter_id=node, voter_directory_id=directory, cluster_id=None)

            def removed(request: RemoveRaftVoterRequest = request) -> bool:
                """A quorum that has just elected or still changes says so, and is asked again, as admin clients do."""
                try:
                    answer = cluster.ask_any(ApiKey.REMOVE_RAFT_VOTER, 0, request)
                except NotNow:
                    return False
                if answer.error_code == ErrorCode.REQUEST_TIMED_OUT:
                    return False
                assert answer.error_code in {ErrorCode.NONE, ErrorCode.VOTER_NOT_FOUND}, answer
                return True

            cluster.wait("it may leave", removed, 60)
            arena.say(f"removed {node}")
            time.sleep(2)  # ours come back by themselves, Kafka's have to be asked
            home = cluster.nodes[node]
            listener = Listener(name="CONTROLLER", host=home.host, port=home.controller_port)
            add = AddRaftVoterRequest(
                cluster_id=None,
                timeout_ms=30_000,
                voter_id=node,
                voter_directory_id=directory,
                listeners=[listener],
            )

            def added(request: AddRaftVoterRequest = add) -> bool:
                try:
                    answer = cluster.ask_any(ApiKey.ADD_RAFT_VOTER, 0, request)
                except NotNow:
                    return False
                arena.say(f"added {request.voter_id}: {answer.error_code} {answer.error_message}")
                return request.voter_id in _voters(cluster)

            cluster.wait("it is back", added, 60)


def _voters(cluster: Cluster) -> set[int]:
    try:
        return {voter.replica_id for voter in cluster.quorum().current_voters}
    except NotNow:
        return set(cluster.nodes)


FAULTS: Final[tuple[Fault, ...]] = (
    Kill("leader", leader),
    Kill("controller", controller),
    Kill("coordinator", coordinator),
    Kill("follower", follower),
    Kill("all at once", everyone, 1.0),
    Chase(),
    Pause("leader", leader),
    Pause("controller", controller),
    Pause("leader for a second", leader, 1.0),
    Stop(),
    Roll(),
    Cut("leader cut from followers", from_followers),
    Cut("leader cut from everybody", from_everybody),
    Cut("controller cut from brokers", controller_from_brokers),
    Cut("majority ring", ring),
    Cut("leader hears no broker", leader_is_deaf),
    Cut("no broker hears the leader", leader_is_mute),
    Flap("flapping network", from_followers),
    DiskFull(),
    Damage("torn tail on a follower", follower, tear),
    Damage("torn tail on the leader", leader, tear),
    Damage("flipped bit on a follower", follower, flip),
    Damage("flipped bit on the leader", leader, flip),
    Wipe("follower", follower),
    Wipe("controller", controller),
    Reassign(),
    Voters(),
)
