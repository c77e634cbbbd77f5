"""The simulator is tested as well: it must find bugs that are put into the cores on purpose."""

from __future__ import annotations

import pytest
from tests.sim.disk_mutations import DISKS
from tests.sim.group_mutations import GROUPS
from tests.sim.member_mutations import SHARED
from tests.sim.mutations import MUTATIONS, Mutation
from tests.sim.recovery_mutations import RECOVERY
from tests.sim.topic_mutations import TOPICS

import moldau_broker.testing.sim.run as run
from moldau_broker.testing.sim.outcome import Outcome


def run_seed(seed: int, mutation: Mutation) -> Outcome:
    return run.run_seed(seed, layer=mutation.layer, world=mutation.world, extras=mutation.extras)


@pytest.mark.parametrize(
    "mutation", [*MUTATIONS, *DISKS, *TOPICS, *GROUPS, *SHARED, *RECOVERY], ids=lambda mutation: mutation.name
)
def test_deliberate_bug_is_found(mutation: Mutation, record_property: pytest.RecordProperty) -> None:
    """With one check dropped some seed turns red soon; without the bug the same seeds are green."""
    with mutation.apply():
        for seed in range(mutation.seeds_max):
            outcome = run_seed(seed, mutation)
            if outcome.failure is not None:
                break
    assert outcome.failure is not None, f"not found in {mutation.seeds_max} seeds"
    record_property("seeds", seed + 1)
    healthy = run_seed(seed, mutation)
    assert healthy.failure is None, healthy.failure
