"""What every tier of tests shares: how hard hypothesis tries."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# `ci` tries the same examples on every run, so that a red build can be had again; `nightly` tries new ones.
# Examples have no deadline: machines under load are slow, and time that matters is measured by its own tests.
settings.register_profile(
    "ci",
    derandomize=True,
    deadline=None,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)
settings.register_profile("nightly", parent=settings.get_profile("ci"), derandomize=False, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

CLUSTERS = ("test_cluster_", "test_local_cluster", "test_process_cluster", "test_chaos")
"""Modules that start whole clusters of processes. They run one after the other, with both cores to themselves:
beside other tests a node may get no CPU for longer than a session lasts."""

ALLOWED_SKIPS = Path(__file__).with_name("allowed_skips.txt")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Brokers inside the tests' process collect garbage as a broker's own process does (`server.__main__`).

    With Python's usual thresholds a request of 100,000 partitions spent more time on that than on its answer.
    """
    from moldau_broker.server.__main__ import settle_garbage_collector

    settle_garbage_collector()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what starts whole clusters."""
    for item in items:
        if item.path.name.startswith(CLUSTERS):
            item.add_marker(pytest.mark.cluster)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI a skipped test is a failure, unless its reason is on the list: a tool that is missing must be noticed."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if not os.environ.get("CI") or reporter is None or hasattr(session.config, "workerinput"):
        return
    allowed = {line for line in ALLOWED_SKIPS.read_text().splitlines() if line and not line.startswith("#")}
    for report in reporter.stats.get("skipped", ()):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if reason.removeprefix("Skipped: ") not in allowed:
            reporter.write_line(f"skipped without leave: {report.nodeid}: {reason}", red=True)
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
