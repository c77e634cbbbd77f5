"""The demo in examples/ keeps its promises against our broker."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

DEMO = Path(__file__).parents[2] / "examples" / "delivery_demo.py"

pytestmark = pytest.mark.compat


def test_delivery_demo(broker: Any) -> None:
    """It checks itself: spread without keys, together with keys, everything to every team."""
    done = subprocess.run(
        [sys.executable, str(DEMO), "--bootstrap-server", broker.bootstrap],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Everything was delivered as promised." in done.stdout
    for words in ("billing-1", "shipping-2", "PARTITION  PARCELS", "1 2 3 4 5 6"):
        assert words in done.stdout


def test_delivery_demo_without_a_cluster() -> None:
    """It says how to get one."""
    done = subprocess.run(
        [sys.executable, str(DEMO), "-b", "127.0.0.1:1"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 3
    assert "moldau up" in done.stderr
