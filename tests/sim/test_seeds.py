"""A few seeds of every layer in every test run; `make sim` runs a thousand."""

from __future__ import annotations

import pytest

from moldau_broker.testing.sim.outcome import ACKED_MIN, FAULTS_MIN, RUN_MS_MIN
from moldau_broker.testing.sim.run import LAYERS, run_seed


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("seed", range(5))
def test_seed_holds_every_invariant(layer: str, seed: int) -> None:
    """Under faults nothing that must not happen does, and afterwards everything converges."""
    outcome = run_seed(seed, layer=layer)
    assert outcome.failure is None, f"{outcome.failure}; replay: make sim SEED={seed} LAYER={layer}"
    assert outcome.virtual_ms >= RUN_MS_MIN
    assert outcome.acked >= ACKED_MIN
    assert outcome.faults >= FAULTS_MIN


@pytest.mark.parametrize("layer", LAYERS)
def test_seed_gives_the_same_history_again(layer: str) -> None:
    """A seed is all it takes to see a history again, with or without its trace; another seed gives another."""
    lines: list[str] = []
    plain, traced = run_seed(11, layer=layer), run_seed(11, layer=layer, trace=lines.append)
    assert plain._replace(cpu_s=0) == traced._replace(cpu_s=0)
    assert any("FAULT" in line for line in lines)
    assert run_seed(12, layer=layer).digest != plain.digest
