"""What `raft.healing` makes of a damaged folder, on the simulated disk; the light twin of that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moldau_broker.raft.errors import DamagedQuorum
from moldau_broker.raft.state import ElectionState
from moldau_broker.testing.sim.quorum_store import QUORUM_STATE, RECOVERING

if TYPE_CHECKING:
    from moldau_broker.testing.sim.quorum_store import QuorumStore


def is_damaged(store: QuorumStore) -> bool:
    """Whether its node cannot go on as it is."""
    return store.is_damaged or _has_lost_state(store)


def _has_lost_state(store: QuorumStore) -> bool:
    content = store.disk.files.get(QUORUM_STATE)
    if content is None:
        return False
    try:
        ElectionState.decode(content)
    except DamagedQuorum:
        return True
    return False


def heal(store: QuorumStore) -> None:
    """Before a folder is opened: the mark first."""
    disk = store.disk
    if not is_damaged(store):
        return
    lost_state = _has_lost_state(store)
    disk.operation()
    disk.files[RECOVERING] = True
    disk.operation()
    if store.is_damaged:
        store.begin_anew()
        store.is_damaged = False
        disk.operation()
    if lost_state:
        del disk.files[QUORUM_STATE]
        disk.operation()
