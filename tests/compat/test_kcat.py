"""kcat: listing, producing, consuming by offset and time, a balanced group, queries."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable

import pytest
from tests.compat.conftest import Broker

pytestmark = pytest.mark.compat

Run = Callable[..., str]


@pytest.fixture
def run(kcat: str, shared_broker: Broker) -> Run:
    """`run("-L")`: what kcat printed."""

    def start(*arguments: str, text: str = "") -> str:
        done = subprocess.run(
            [kcat, "-b", shared_broker.bootstrap, *arguments],
            input=text,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return start


def test_metadata_is_listed(run: Run, shared_broker: Broker) -> None:
    """-L shows broker, controller, topic and partitions."""
    topic = shared_broker.create_topic(2)
    listed = json.loads(run("-L", "-J"))
    assert listed["brokers"] == [{"id": 1, "name": shared_broker.bootstrap}]
    assert listed["controllerid"] == 1
    (found,) = [row for row in listed["topics"] if row["topic"] == topic]
    assert [(p["partition"], p["leader"]) for p in found["partitions"]] == [(0, 1), (1, 1)]


def test_reading_by_offset_and_time(run: Run, shared_broker: Broker) -> None:
    """From an offset, from the tail, and by `s@`; `-Q` answers an offset for a time."""
    topic = shared_broker.create_topic()
    run("-P", "-t", topic, text="one\ntwo\nthree\n")
    assert run("-C", "-t", topic, "-p", "0", "-o", "1", "-e", "-q") == "two\nthree\n"
    assert run("-C", "-t", topic, "-p", "0", "-o", "-1", "-e", "-q") == "three\n"
    assert run("-C", "-t", topic, "-p", "0", "-o", "s@0", "-e", "-q") == "one\ntwo\nthree\n"
    assert "offset 0" in run("-Q", "-t", f"{topic}:0:0")
    assert "offset 3" in run("-Q", "-t", f"{topic}:0:-1")


def test_a_balanced_group_commits(run: Run, kcat: str, shared_broker: Broker) -> None:
    """-G joins a group, is given partitions and goes on behind its commit the next time."""
    topic = shared_broker.create_topic(2)
    run("-P", "-t", topic, "-p", "1", text="one\ntwo\n")
    reader = subprocess.Popen(
        [kcat, "-b", shared_broker.bootstrap, "-G", f"g-{topic}", "-q", "-u", "-o", "beginning", topic],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with reader:
        assert reader.stdout is not None
        assert [reader.stdout.readline(), reader.stdout.readline()] == ["one\n", "two\n"]
        reader.send_signal(signal.SIGINT)
        reader.wait(20)
    run("-P", "-t", topic, "-p", "1", text="three\n")
    again = subprocess.Popen(
        [kcat, "-b", shared_broker.bootstrap, "-G", f"g-{topic}", "-q", "-u", topic],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with again:
        assert again.stdout is not None
        assert again.stdout.readline() == "three\n"
        again.send_signal(signal.SIGINT)
        again.wait(20)
