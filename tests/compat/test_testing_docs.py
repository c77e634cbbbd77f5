"""The examples of docs/testing.md, run as they stand, by a project of its own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

_DOCS = Path(__file__).parents[2] / "docs" / "testing.md"


def test_every_example_of_the_testing_guide_runs(pytester: pytest.Pytester) -> None:
    """Copied out of the page, with nothing around them but the plugin."""
    examples = re.findall(r"```python\n(.*?)```", _DOCS.read_text(), re.DOTALL)
    assert len(examples) == 3
    pytester.makeini("[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n")
    pytester.makepyfile(**{f"test_example_{at}": text for at, text in enumerate(examples)})
    result = pytester.runpytest_subprocess("-q", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=4)
