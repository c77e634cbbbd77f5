"""The brokers under load: ours and, where MOLDAU_KAFKA_TOOLS names a launcher, Apache Kafka."""

from __future__ import annotations

import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path

import psutil


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def metadata_answer(port: int, timeout: float = 0.25) -> bool:
    """Whether a Metadata v1 request for no topic is answered."""
    body = struct.pack(">hhih", 3, 1, 7, -1) + struct.pack(">i", 0)
    try:
        with socket.create_connection(("127.0.0.1", port), timeout) as connection:
            connection.settimeout(timeout)
            connection.sendall(struct.pack(">i", len(body)) + body)
            return len(connection.recv(8)) == 8
    except OSError:
        return False


class Peer(ABC):
    """One broker, running."""

    name: str
    port: int
    replication = 1

    def __init__(self, folder: Path) -> None:
        self.folder = folder / self.name
        self.port = free_port()

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    @abstractmethod
    def launch(self) -> None:
        """Start the process; need not wait."""

    @abstractmethod
    def pid(self) -> int:
        """The broker's own process."""

    @abstractmethod
    def stop(self) -> None:
        """End it."""

    @abstractmethod
    def prepare(self) -> None:
        """What has to be done once before the first start."""

    def start(self) -> float:
        """Start and wait for the first Metadata answer; gives the seconds that took."""
        self.prepare()
        begun = time.perf_counter()
        self.launch()
        while not metadata_answer(self.port):
            if time.perf_counter() - begun > 60:
                raise RuntimeError(f"{self.name} does not answer")
            time.sleep(0.002)
        return time.perf_counter() - begun

    def processes(self) -> list[psutil.Process]:
        """The node's processes, helpers included."""
        main = psutil.Process(self.pid())
        return [main, *main.children(recursive=True)]

    def cpu_seconds(self) -> float:
        return sum(sum(process.cpu_times()[:2]) for process in self.processes())

    def rss_mb(self) -> float:
        return sum(process.memory_info().rss for process in self.processes()) / 1e6


class Moldau(Peer):
    name = "moldau"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.process: subprocess.Popen[bytes] | None = None

    def prepare(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

    def launch(self) -> None:
        settings = {
            "log.dirs": str(self.folder / "data"),
            "listeners": f"CLIENT://127.0.0.1:{self.port},INTERNAL://127.0.0.1:0,CONTROLLER://127.0.0.1:0",
            "http.port": "0",
            "log.retention.check.interval.ms": "300000",
        }
        sets = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "moldau_broker.server", *sets], stdout=log, stderr=log, env=environment
            )

    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(30)
            self.process = None


class Kafka(Peer):
    name = "kafka"

    def __init__(self, folder: Path, launcher: str) -> None:
        super().__init__(folder)
        self.launcher = launcher
        self.process: subprocess.Popen[bytes] | None = None

    def launch(self) -> None:
        """The command that the launcher itself would run, so that start times compare exec with exec."""
        node = json.loads((self.folder / "cluster.json").read_text())["nodes"][0]
        self.process = subprocess.Popen(node["start"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def prepare(self) -> None:
        if not self.folder.exists():
            prepare = [self.launcher, "up", "--port", str(self.port), "--dir", str(self.folder), "--prepare"]
            subprocess.run(prepare, check=True, stdout=subprocess.DEVNULL)

    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(60)
            self.process = None


def peers(folder: Path) -> list[Peer]:
    """Ours, and Kafka if there is one."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    launcher = os.environ.get("MOLDAU_KAFKA_TOOLS")
    return [Moldau(folder), *([Kafka(folder, launcher)] if launcher else [])]
