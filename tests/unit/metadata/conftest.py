"""What the tests of the metadata layer share."""

from __future__ import annotations

import pytest

from moldau_broker.testing.controller import ControllerBench


@pytest.fixture
def bench() -> ControllerBench:
    """A new node's data directory."""
    return ControllerBench()
