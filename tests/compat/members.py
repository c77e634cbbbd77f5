"""Handles to group members that run as processes: ours in `member.py`, and Kafka's verifiable consumer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

ASSIGNORS: Final = {
    "librdkafka": ("range", "roundrobin", "cooperative-sticky"),
    "aiokafka": ("range", "roundrobin", "sticky"),
    "kafka-python": ("range", "roundrobin", "sticky", "cooperative-sticky"),
    "java": ("range", "roundrobin", "sticky", "cooperative-sticky"),
}
"""The assignors each family of clients brings along."""

_JAVA_ASSIGNORS: Final = {
    "range": "RangeAssignor",
    "roundrobin": "RoundRobinAssignor",
    "sticky": "StickyAssignor",
    "cooperative-sticky": "CooperativeStickyAssignor",
}


def eventually(what: str, condition: Callable[[], Any], patience_s: float = 60) -> Any:
    """The first true value of the condition, or a failure that says what did not come about."""
    deadline = time.monotonic() + patience_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {patience_s} s: {what}"
        time.sleep(0.02)


@dataclass
class Member:
    """One member; what it said so far, and what follows from it."""

    name: str
    process: subprocess.Popen[str]
    events: list[dict[str, Any]] = field(default_factory=list)
    other_output: list[str] = field(default_factory=list)
    dismissed: bool = False

    def __post_init__(self) -> None:
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            try:
                self.events.append(json.loads(line))
            except ValueError:
                self.other_output.append(line)

    def said(self, name: str) -> list[dict[str, Any]]:
        return [event for event in list(self.events) if event["name"] == name]

    @property
    def assignment(self) -> frozenset[int]:
        """The partitions it holds by its own account."""
        held: set[int] = set()
        for event in list(self.events):
            named = {row["partition"] for row in event.get("partitions", ()) if "partition" in row}
            if event["name"] == "partitions_assigned":
                held |= named
            elif event["name"] == "partitions_revoked":
                held -= named
        return frozenset(held)

    @property
    def read(self) -> list[tuple[int, int]]:
        """(partition, offset) of every record it was given, in order."""
        found = []
        for event in list(self.events):
            if event["name"] == "records":
                for partition, offsets in event["offsets"].items():
                    found += [(int(partition), offset) for offset in offsets]
            elif event["name"] == "records_consumed":
                for row in event["partitions"]:
                    found += [
                        (row["partition"], offset) for offset in range(row["minOffset"], row["maxOffset"] + 1)
                    ]
        return found

    @property
    def failed_commits(self) -> list[str]:
        return [str(event["error"]) for event in self.said("offsets_committed") if not event["success"]]

    @property
    def ended_by_itself(self) -> bool:
        return not self.dismissed and self.process.poll() is not None

    def leave(self) -> None:
        """SIGTERM: it leaves the group and ends."""
        self.dismissed = True
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)
        self._reader.join(10)

    def crash(self) -> None:
        """SIGKILL: the group learns of it by the session timeout."""
        self.dismissed = True
        self.process.kill()
        self.process.wait(30)
        self._reader.join(10)

    def pause(self) -> None:
        """SIGSTOP: alive to the kernel, silent to the group."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(30)
        self._reader.join(10)
        if self.process.stdout is not None:
            self.process.stdout.close()


def start_member(
    client: str,
    bootstrap: str,
    *,
    group: str,
    topic: str,
    assignor: str,
    folder: Path,
    tools: Any = None,
    session_ms: int = 30_000,
    heartbeat_ms: int = 200,
    instance: str | None = None,
) -> Member:
    """Start a member; `tools` is needed for Java ones. Only one that is to be missed soon needs a short session."""
    if client == "java":
        properties = folder / f"java-{time.monotonic_ns()}.properties"
        properties.write_text(f"heartbeat.interval.ms={heartbeat_ms}\nfetch.max.wait.ms=100\n")
        arguments = [
            *("--bootstrap-server", bootstrap, "--topic", topic, "--group-id", group),
            *("--session-timeout", str(session_ms), "--command-config", str(properties)),
            *("--assignment-strategy", f"org.apache.kafka.clients.consumer.{_JAVA_ASSIGNORS[assignor]}"),
            *(("--group-instance-id", instance) if instance else ()),
        ]
        return Member(client, tools.popen("kafka-verifiable-consumer", arguments))
    options = {
        "client": client,
        "bootstrap": bootstrap,
        "group": group,
        "topic": topic,
        "assignor": assignor,
        "session_ms": session_ms,
        "heartbeat_ms": heartbeat_ms,
        "instance": instance,
    }
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("member.py")), json.dumps(options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    return Member(client, process)
