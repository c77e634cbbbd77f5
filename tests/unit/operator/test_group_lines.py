"""Groups as `moldau status` shows them: lag in both units, and what each may be behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from moldau_cli.status import say_budget
from moldau_operator.local.memory import Memory
from moldau_operator.local.overview import look_around
from moldau_operator.local.snapshot import GroupLine
from moldau_operator.resources.bundle import Bundle
from moldau_operator.seams.broker_admin import GroupAge, Partition
from moldau_operator.testing.brokers import FakeBrokers
from moldau_operator.testing.groups import FakeGroup
from moldau_operator.testing.platform import FakeClock


async def test_groups_are_behind_in_records_and_in_seconds(tmp_path: Path) -> None:
    """What a coordinator tells of; nothing of a group that nobody tells of, or that has committed nothing."""
    brokers = FakeBrokers()
    brokers.add_topic("orders", 1).logs[0] = (0, 10)
    place = Partition("orders", 0)
    brokers.groups = {
        "billing": FakeGroup(committed={place: 4}, age=GroupAge(seconds=2.5)),
        "silent": FakeGroup(committed={place: 4}),
        "new": FakeGroup(age=GroupAge(seconds=9.0)),
    }
    memory = Memory(tmp_path / "memory.json", FakeClock())
    seen = await look_around(brokers, Bundle(source="none"), memory)
    assert {line.id: (line.lag, line.lag_seconds) for line in seen.groups} == {
        "billing": (6, 2.5),
        "silent": (6, None),
        "new": (None, None),
    }


@pytest.mark.parametrize(
    ("records", "seconds", "words"),
    [(None, None, None), (1, None, "1 record"), (None, 90, "1 min 30 s"), (5000, 5, "5,000 records, 5 s")],
)
def test_budgets_are_said_in_their_units(records: int | None, seconds: int | None, words: str | None) -> None:
    """In both, in one, or not at all."""
    line = GroupLine(id="g", state="Stable", members=1, lag=0, budget=records, budget_seconds=seconds)
    assert say_budget(line) == words
