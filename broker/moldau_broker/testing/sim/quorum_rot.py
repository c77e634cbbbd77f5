"""Bits that flip in a member's metadata log or quorum-state while it is down. What becomes of that: `quorum_damage`.

A nemesis of its own, with its own stream of chance. It damages a minority at a time, and only where every other voter
has what it should have: damage to all copies of what was committed is nobody's bug. The batch it damages has others
behind it, as what ends a log cannot be told from what a crash tears.
"""

from __future__ import annotations

import copy
from random import Random
from typing import TYPE_CHECKING, Final

from moldau_broker.raft.errors import DamagedQuorum, RaftError
from moldau_broker.raft.state import ElectionState
from moldau_broker.testing.sim.quorum_damage import is_damaged
from moldau_broker.testing.sim.quorum_store import LOG, QUORUM_STATE, RECOVERING, QuorumStore
from moldau_broker.testing.sim.raft_member import Seen, voter_of

if TYPE_CHECKING:
    from moldau_broker.testing.sim.node import SimNode
    from moldau_broker.testing.sim.quorum_cluster import QuorumCluster

COUNTERS: Final = ("metadata logs damaged", "quorum-states damaged", "voices regained")
_DOWN_MS_MAX: Final = 3_000


class QuorumRot:
    """Damages members' disks while there is chaos."""

    def __init__(self, cluster: QuorumCluster, rng: Random) -> None:
        self._cluster = cluster
        self._rng = rng

    @property
    def struck(self) -> set[int]:
        """Nodes that have no voice, or will have none once they start."""
        nodes = self._cluster.nodes.values()
        return {node.id for node in nodes if RECOVERING in node.disk.files or is_damaged(node.disk.logs[LOG])}

    def begin(self, after_ms: int) -> None:
        """The first time comes some while after `after_ms`."""
        self._cluster.kernel.after(after_ms + self._gap(), self._strike)

    def _gap(self) -> int:
        return 1 + int(self._rng.expovariate(1 / self._cluster.swarm.rot_gap_ms))

    def _strike(self) -> None:
        cluster, rng = self._cluster, self._rng
        if not cluster.chaos:
            return
        node = cluster.nodes[rng.choice(cluster.node_ids())]
        if not cluster.is_fragile() and self._may_strike(node):
            if node.up:
                cluster.crash(node.id)
            self._damage(node)
            cluster.kernel.after(50 + int(rng.random() ** 2 * _DOWN_MS_MAX), cluster.restart, node.id)
        cluster.kernel.after(self._gap(), self._strike)

    def _may_strike(self, node: SimNode) -> bool:
        cluster, struck = self._cluster, self.struck
        minority = (len(cluster.nodes) - 1) // 2
        return node.id not in struck and len(struck) < minority and cluster.is_whole_but_for(struck)

    def _damage(self, node: SimNode) -> None:
        cluster, store = self._cluster, node.disk.logs[LOG]
        state = node.disk.files.get(QUORUM_STATE)
        both = self._rng.random() < 0.2
        log_first = self._rng.random() < 0.5
        if state is not None and (both or not log_first):
            node.disk.files[QUORUM_STATE] = _with_a_flipped_bit(state, self._rng)
            cluster.coverage.hit("quorum-states damaged")
        if len(store.entries) > 1 and (both or log_first):
            store.is_damaged = True
            cluster.coverage.hit("metadata logs damaged")
            # Its leader may still count on what it had when it spoke last: no majority forms without that leader.
            cluster.buried.append(Seen(voter_of(node).key, _as_it_was(store)))
        cluster.kernel.note(f"FAULT metadata damage: n{node.id}")


def _with_a_flipped_bit(content: bytes, rng: Random) -> bytes:
    """One of the flips that are noticed: nearly all are, and the others change nothing, or the format's version."""
    while True:
        at = rng.randrange(len(content))
        flipped = content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]
        try:
            ElectionState.decode(flipped)
        except DamagedQuorum:
            return flipped
        except RaftError:
            continue


def _as_it_was(store: QuorumStore) -> QuorumStore:
    kept = copy.copy(store)
    kept.entries, kept.watcher, kept.before_save = list(store.entries), None, None
    kept._bases = list(store._bases)
    return kept
