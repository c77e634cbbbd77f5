"""What `make chaos` is made of: its faults, and what cannot happen here."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.faults import FAULTS
from tests.chaos.scenario import run, why_not


def test_every_fault_has_a_name_of_its_own() -> None:
    """The table that `make chaos` prints has a row for each; most can happen to Apache Kafka too."""
    names = [fault.name for fault in FAULTS]
    assert len(names) == len(set(names))
    assert all(names)
    assert sum("kafka" in fault.kinds for fault in FAULTS) > len(FAULTS) // 2


def test_a_fault_that_cannot_happen_is_skipped_with_its_reason(tmp_path: Path) -> None:
    """Nothing is started, and the table shows why."""
    wipe = next(fault for fault in FAULTS if "kafka" not in fault.kinds)
    result = run(wipe, "kafka", tmp_path / "run")
    assert result.skipped == why_not(wipe, "kafka") == "cannot be done to kafka"
    assert not (tmp_path / "run").exists()
