"""The pytest plugin as other projects meet it: there when asked for, unnoticed when not."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest_plugins = ["pytester"]


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """As a project of its own: a process of its own, without our settings."""
    return pytester.runpytest_subprocess("-q", "-p", "no:cacheprovider", "-p", "no:asyncio", *arguments)


def test_every_test_gets_a_fresh_broker(pytester: pytest.Pytester) -> None:
    """Two tests, two brokers; the shared one is the same for both; settings reach the broker."""
    pytester.makepyfile(
        """
        from moldau_broker.testing.broker import ApiKey, ErrorCode

        met, shared = set(), set()

        def test_first(moldau_broker, moldau_bootstrap, moldau_shared_broker):
            assert moldau_bootstrap == moldau_broker.bootstrap
            met.add(moldau_broker.cluster_id)
            shared.add(moldau_shared_broker.cluster_id)
            moldau_broker.create_topic("mine")
            moldau_broker.fail(ApiKey.PRODUCE, ErrorCode.KAFKA_STORAGE_ERROR)

        def test_second(moldau_broker, moldau_shared_broker):
            met.add(moldau_broker.cluster_id)
            shared.add(moldau_shared_broker.cluster_id)
            moldau_broker.create_topic("mine")
            assert (len(met), len(shared)) == (2, 1)

        def test_settings(moldau_broker_factory):
            one = moldau_broker_factory({"num.partitions": "7"}, http=True)
            two = moldau_broker_factory()
            topic = one.create_topic(partitions=-1)
            assert one.end_offset(topic, 6) == 0
            assert one.ports["http"] and "http" not in two.ports
        """
    )
    run(pytester, "-W", "error").assert_outcomes(passed=3)


def test_the_plugin_is_announced_with_its_fixtures(pytester: pytest.Pytester) -> None:
    """`pytest --fixtures` tells what there is, and what for."""
    result = run(pytester, "--fixtures")
    for name in ("moldau_broker", "moldau_bootstrap", "moldau_broker_factory", "moldau_shared_broker"):
        result.stdout.fnmatch_lines([f"{name}*pytest_plugin.py*"])


def test_a_project_that_does_not_use_it_pays_nothing(pytester: pytest.Pytester) -> None:
    """Nothing of ours is imported but the plugin's own module, nor asyncio through it."""
    pytester.makepyfile(
        """
        import sys

        def test_nothing_of_ours_is_here():
            ours = {name for name in sys.modules if name.startswith("moldau")}
            assert ours <= {"moldau_broker", "moldau_broker.testing", "moldau_broker.testing.pytest_plugin"}
        """
    )
    run(pytester).assert_outcomes(passed=1)


def test_importing_the_plugin_imports_no_broker() -> None:
    """Whoever has pytest running has all that it needs."""
    code = (
        "import sys, pytest; before = set(sys.modules); import moldau_broker.testing.pytest_plugin;"
        "print(sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [
        "['moldau_broker',",
        "'moldau_broker.testing',",
        "'moldau_broker.testing.pytest_plugin']",
    ]
