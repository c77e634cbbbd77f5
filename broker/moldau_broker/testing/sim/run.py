"""Runs one seed on one layer of the stack."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Final

from moldau_broker.testing.sim.broker_cluster import BrokerCluster
from moldau_broker.testing.sim.cluster import SimCluster
from moldau_broker.testing.sim.controller_cluster import ControllerCluster
from moldau_broker.testing.sim.outcome import Outcome
from moldau_broker.testing.sim.quorum_cluster import QuorumCluster
from moldau_broker.testing.sim.swarm import EXTRAS, Swarm

_CLUSTERS: Final[dict[str, type[SimCluster]]] = {
    "quorum": QuorumCluster,
    "controller": ControllerCluster,
    "broker": BrokerCluster,
}
LAYERS: Final = tuple(_CLUSTERS)


def run_seed(
    seed: int,
    *,
    layer: str = LAYERS[-1],
    trace: Callable[[str], None] | None = None,
    world: Callable[[Swarm], Swarm] | None = None,
    extras: frozenset[str] = EXTRAS,
) -> Outcome:
    """The outcome of a seed.

    Args:
        seed: which.
        layer: how much of a node is real.
        trace: takes the lines of its story.
        world: changes the world that the seed has drawn; for tests that look for something.
        extras: what its world may have of `swarm.EXTRAS`; seeds found before there was such a thing go without.
    """
    collects = gc.isenabled()
    gc.disable()  # a seed lives for half a second in 30 MB, of which little is garbage: looking for it costs a fifth
    try:
        return _CLUSTERS[layer](seed, trace, world, extras).run()
    finally:
        if collects:
            gc.enable()
            gc.collect()


def run_work(work: tuple[int, str]) -> Outcome:
    """`run_seed` of (seed, layer), for another process."""
    return run_seed(work[0], layer=work[1])


def declared(layer: str) -> tuple[str, ...]:
    """Counters that must not be zero over many seeds."""
    return _CLUSTERS[layer].counters
