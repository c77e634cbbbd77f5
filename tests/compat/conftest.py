"""A real broker process for tests with real clients, and where the third-party tools are."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from moldau_broker.testing.node import free_ports


@dataclass
class Broker:
    """A broker to test against, wherever it runs."""

    has_files = False
    """Whether its log folder can be looked into."""

    @property
    def bootstrap(self) -> str:
        raise NotImplementedError

    @property
    def data(self) -> Path:
        raise NotImplementedError

    def create_topic(self, partitions: int = 1, **settings: str) -> str:
        """A new topic with a name of its own; settings are Kafka's, with _ for the dots."""
        name = f"topic-{uuid.uuid4().hex[:12]}"
        config = {key.replace("_", "."): value for key, value in settings.items()}
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        try:
            admin.create_topics([NewTopic(name, partitions, 1, config=config)])[name].result(60)
        except TimeoutError:
            raise AssertionError(f"no answer from the broker, which said:\n{self.said()}") from None
        return name

    def said(self) -> str:
        """What it logged, where that is known."""
        return ""


@dataclass
class RealKafka(Broker):
    """A running Apache Kafka in place of our broker, to test the tests: set MOLDAU_COMPAT_ORACLE=host:port."""

    address: str

    @property
    def bootstrap(self) -> str:
        return self.address


@dataclass
class BrokerProcess(Broker):
    """One `python -m moldau_broker.server`, with its data and its log."""

    has_files = True

    folder: Path
    settings: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=lambda: free_ports(1)[0])
    http_port: int = field(default_factory=lambda: free_ports(1)[0])
    process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.folder / "broker.log"

    def said(self) -> str:
        return self.log.read_text()

    def command(self) -> list[str]:
        settings = {
            "log.dirs": str(self.data),
            "listeners": f"CLIENT://127.0.0.1:{self.port},INTERNAL://127.0.0.1:0,CONTROLLER://127.0.0.1:0",
            "http.port": str(self.http_port),
            "group.initial.rebalance.delay.ms": "0",
            "offsets.topic.num.partitions": "4",
            **self.settings,
        }
        sets = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
        return [sys.executable, "-m", "moldau_broker.server", *sets]

    def start(self) -> BrokerProcess:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(
                    f"the broker ended with {self.process.returncode}:\n{self.log.read_text()}"
                )
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return self
        self.close()
        raise AssertionError(f"the broker does not listen:\n{self.log.read_text()}")

    def stop(self) -> int:
        """SIGTERM, and the exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def kill(self) -> None:
        """SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(60)

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(60)


@pytest.fixture
def make_broker(tmp_path: Path) -> Iterator[Callable[..., BrokerProcess]]:
    """Make brokers with settings of their own; all are ended after the test."""
    made: list[BrokerProcess] = []

    def make(**settings: str) -> BrokerProcess:
        folder = tmp_path / f"broker-{len(made)}"
        folder.mkdir()
        named = {name.replace("_", "."): value for name, value in settings.items()}
        made.append(BrokerProcess(folder, named))
        return made[-1].start()

    yield make
    for broker in made:
        broker.close()


@pytest.fixture
def broker(make_broker: Callable[..., BrokerProcess]) -> BrokerProcess:
    """A fresh broker with default settings, for one test."""
    return make_broker()


@pytest.fixture(scope="module")
def broker_settings() -> dict[str, str]:
    """Settings of the module's shared broker; modules override this."""
    return {}


@pytest.fixture(scope="module")
def shared_broker(
    tmp_path_factory: pytest.TempPathFactory, broker_settings: dict[str, str]
) -> Iterator[Broker]:
    """One broker for all tests of a module; each uses topics and groups of its own."""
    oracle = os.environ.get("MOLDAU_COMPAT_ORACLE")
    if oracle:
        yield RealKafka(oracle)
        return
    broker = BrokerProcess(tmp_path_factory.mktemp("broker"), broker_settings).start()
    yield broker
    broker.close()


class KafkaTools:
    """The command-line tools of a real Apache Kafka, through the launcher named by MOLDAU_KAFKA_TOOLS."""

    QUICK_START: Final = "-XX:TieredStopAtLevel=1 -Xlog:disable -Xlog:all=error:stderr"
    """Programs that live for a second are not worth the JVM's second compiler: a third less CPU."""

    def __init__(self, launcher: str, class_archive: Path | None = None) -> None:
        self.launcher = launcher
        self._class_archive = class_archive

    def _environment(self, *, makes_archive: bool = False) -> dict[str, str]:
        """The first tool that runs to its end leaves its loaded classes in a file from which the others start."""
        options = self.QUICK_START
        if self._class_archive is not None:
            if self._class_archive.exists():
                options += f" -XX:SharedArchiveFile={self._class_archive}"
            elif makes_archive:
                options += f" -XX:ArchiveClassesAtExit={self._class_archive}"
        return {**os.environ, "KAFKA_OPTS": options}

    def run_bytes(self, tool: str, *arguments: str, timeout: float = 90) -> bytes:
        """Run one tool to its end; the bytes it printed."""
        done = subprocess.run(
            [self.launcher, "run", tool, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            check=False,
            env=self._environment(makes_archive=True),
        )
        assert done.returncode == 0, f"{tool} {' '.join(arguments)}\n{done.stdout!r}\n{done.stderr.decode()}"
        return done.stdout

    def run(
        self, tool: str, *arguments: str, text: str | None = None, timeout: float = 90, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run one tool to its end, with `text` as its input."""
        done = subprocess.run(
            [self.launcher, "run", tool, *arguments],
            input=text,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env=self._environment(makes_archive=True),
        )
        if check:
            assert done.returncode == 0, f"{tool} {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
        return done

    def popen(self, tool: str, arguments: Sequence[str]) -> subprocess.Popen[str]:
        """Start a tool that runs until it is ended."""
        return subprocess.Popen(
            [self.launcher, "run", tool, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self._environment(),
        )


@pytest.fixture(scope="session")
def kafka_tools(tmp_path_factory: pytest.TempPathFactory) -> KafkaTools:
    """Kafka's own tools; without them their tests are skipped, which CI allows only for this reason."""
    launcher = os.environ.get("MOLDAU_KAFKA_TOOLS")
    if not launcher:
        pytest.skip("MOLDAU_KAFKA_TOOLS is not set")
    return KafkaTools(launcher, tmp_path_factory.mktemp("java") / "classes.jsa")


@pytest.fixture(scope="session")
def kcat() -> str:
    """The kcat program."""
    found = shutil.which("kcat")
    if found is None:
        pytest.skip("kcat is not installed")
    return found
