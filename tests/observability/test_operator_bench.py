"""The operator that the live tests make trouble for is the real one: it starts, works and is scraped."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from tests.observability.operator_bench import OperatorBench
from tests.observability.prometheus import eventually

from moldau_broker.testing.cluster import HOST


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_operator_beside_the_tests_reconciles_and_tells() -> None:
    """A Cluster gets a status, and its rollout is on the page."""
    with OperatorBench() as bench:
        bench.put("Cluster", "demo", replicas=3, storage={"size": "1Gi"})

        def page() -> str:
            command = ["curl", "-sf", f"http://{HOST}:{bench.port}/metrics"]
            return subprocess.run(command, capture_output=True, check=True, text=True).stdout

        active = 'moldau_operator_rollout_active{namespace="team",name="demo"} 0'
        eventually(lambda: active in page(), "the Cluster is on the page", within=60)
        eventually(
            lambda: "status" in bench.do(lambda world: world.api.of("Cluster")["demo"]), "a status", 60
        )
