"""Two thousand Topics at once: a handful of requests to the brokers, and a process that stays small."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

TOPICS = 2_000
RSS_MIB_MAX = 200
"""Promised for the operator alone; here the API server and the brokers are in the same process."""


@pytest.mark.timeout(300)
def test_two_thousand_topics_are_made_in_batches_by_a_small_process(request: pytest.FixtureRequest) -> None:
    """One request for five hundred of them; afterwards a look at all of them writes nothing."""
    script = request.path.parent / "many_topics.py"
    done = subprocess.run(
        [sys.executable, str(script), str(TOPICS)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["ready"] == TOPICS
    assert figures["creations"] == TOPICS / 500
    assert figures["passes"] <= 10
    assert figures["quiet_pass_writes"] == 0
    assert figures["rss_mib"] <= RSS_MIB_MAX, figures
