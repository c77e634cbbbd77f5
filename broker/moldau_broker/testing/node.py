"""One broker in a process of its own: its ports, its files, what it says. `cluster` starts and ends it."""

from __future__ import annotations

import ctypes
import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError
from urllib.request import urlopen

from moldau_broker.testing.raw import ConnectionClosed, RawClient
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.describe_quorum import (
    DescribeQuorumRequest,
    DescribeQuorumRequestPartitionData,
    DescribeQuorumRequestTopicData,
    DescribeQuorumResponsePartitionData,
)
from moldau_broker.wire.messages.metadata import MetadataRequest
from moldau_broker.wire.schema import Struct

HOST: Final = "127.0.0.1"
ASK_S_MAX: Final = 6.0
"""For one question to one node: on a busy machine it may get no processor for some seconds."""
PAGE_S_MAX: Final = 10.0
"""For one page: the first one waits until the HTTP server is imported."""
_PORTS: Final = range(15_000, 32_000)
"""Below those the kernel gives to outgoing connections: a node that is started again finds its own still free."""
_BLOCK: Final = 50
_left: Final[list[int]] = []
"""Ports of the blocks this process has, not given yet. Each is given once: a node that does not run keeps its own."""
_PR_SET_PDEATHSIG: Final = 1


class NoAnswer(Exception):
    """A node, or every node, gave no answer."""


class ProcessNode:
    """One broker process, running or not.

    Attributes:
        id: its node.id.
        roles: its process.roles.
        data_dir, log_path: its folder, and what it has written to stdout and stderr since it first started.
        port, internal_port, controller_port, http_port: of its listeners; those that its roles lack are not bound.
        settings: beyond those every node has; changes act with the next start.
        paused: whether it was stopped with SIGSTOP.
    """

    def __init__(self, node_id: int, folder: Path, roles: str, settings: Mapping[str, str]) -> None:
        self.id = node_id
        self.roles = roles
        self.data_dir = folder / "data"
        self.log_path = folder / "broker.log"
        self.port, self.internal_port, self.controller_port, self.http_port = free_ports(4)
        self.settings = dict(settings)
        self.paused = False
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def is_broker(self) -> bool:
        """Whether clients are served."""
        return "broker" in self.roles.split(",")

    @property
    def is_controller(self) -> bool:
        """Whether it may be a voter."""
        return "controller" in self.roles.split(",")

    @property
    def running(self) -> bool:
        """Whether there is a process, paused or not."""
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        """Of the process that runs, or ran last."""
        assert self.process is not None, f"node {self.id} was never started"
        return self.process.pid

    @property
    def exit_code(self) -> int | None:
        """How the last process ended; None while it runs."""
        return self.process.poll() if self.process is not None else None

    @property
    def bootstrap(self) -> str:
        """`host:port` for clients."""
        return f"{HOST}:{self.port}"

    @property
    def controller_address(self) -> str:
        """`host:port` of its controller listener."""
        return f"{HOST}:{self.controller_port}"

    def events(self, name: str) -> list[dict[str, Any]]:
        """Its log lines of that event, oldest first."""
        lines = self.log_path.read_text(encoding="utf-8", errors="replace").splitlines()
        found = (json.loads(line) for line in lines if f'"event": "{name}"' in line and line.startswith("{"))
        return [line for line in found if line["event"] == name]

    def memory_kib(self) -> int:
        """Resident set of the process."""
        for line in Path(f"/proc/{self.pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise NoAnswer(f"node {self.id} does not run")

    def readyz(self) -> dict[str, Any]:
        """What `/readyz` says, ready or not.

        Raises:
            NoAnswer: nobody serves it.
        """
        try:
            with urlopen(f"http://{HOST}:{self.http_port}/readyz", timeout=PAGE_S_MAX) as answer:
                return dict(json.load(answer))
        except HTTPError as error:
            return dict(json.load(error))
        except OSError as error:
            raise NoAnswer(f"node {self.id}: {error}") from error

    def ask(
        self,
        api: ApiKey,
        version: int,
        request: Struct,
        *,
        controller: bool = False,
        within: float = ASK_S_MAX,
    ) -> Any:
        """One question over a connection of its own, to the controller listener where asked for.

        Raises:
            NoAnswer: it does not run, or says nothing.
        """
        if not self.running or self.paused:
            raise NoAnswer(f"node {self.id} does not run")
        try:
            port = self.controller_port if controller else self.port
            with RawClient(HOST, port, timeout=within) as client:
                return client.call(api, version, request)
        except (OSError, ConnectionClosed) as error:
            raise NoAnswer(f"node {self.id}: {error!r}") from error

    def quorum(self) -> DescribeQuorumResponsePartitionData:
        """The quorum, by the leader's word: a broker asks it, a controller without that role must be it.

        Raises:
            NoAnswer: it does not run, or nobody leads.
        """
        answer = self._describe_quorum()
        if answer.error_code:
            raise NoAnswer(f"node {self.id} knows no leader of the quorum: {answer}")
        return answer

    def leader_id(self) -> int:
        """Who leads the quorum as far as this node knows, -1 where it knows of nobody.

        Raises:
            NoAnswer: it does not run.
        """
        return self._describe_quorum().leader_id

    def _describe_quorum(self) -> DescribeQuorumResponsePartitionData:
        partition = DescribeQuorumRequestPartitionData(partition_index=0)
        topic = DescribeQuorumRequestTopicData(topic_name="__cluster_metadata", partitions=[partition])
        request = DescribeQuorumRequest(topics=[topic])
        answer = self.ask(ApiKey.DESCRIBE_QUORUM, 2, request, controller=not self.is_broker)
        if answer.error_code or not answer.topics:
            raise NoAnswer(f"node {self.id}: {answer}")
        found: DescribeQuorumResponsePartitionData = answer.topics[0].partitions[0]
        return found

    def broker_ids(self) -> set[int]:
        """The brokers that this one tells clients of: those which are not fenced.

        Raises:
            NoAnswer: it does not run.
        """
        answer = self.ask(ApiKey.METADATA, 12, MetadataRequest(topics=[]))
        return {broker.node_id for broker in answer.brokers}


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody listens on now, and that are given to nobody else, by other processes neither.

    Raises:
        OSError: processes that live have used all of them up.
    """
    found: list[int] = []
    while len(found) < count:
        if not _left:
            _left.extend(_block())
        port = _left.pop()
        if _nobody_listens(port):
            found.append(port)
    return found


def ports_in_a_row(count: int, twins: int = 0) -> int:
    """The first of so many neighbouring ports, like those of `free_ports`; with `twins`, also free so much further up.

    Raises:
        OSError: there are none.
    """
    assert count <= _BLOCK, "one block is enough"
    for start in _blocks():
        blocks = {start, start + twins}
        ports = [one + index for one in blocks for index in range(count)]
        if all(one in _PORTS and _hold(one) for one in blocks) and all(map(_nobody_listens, ports)):
            return start
    raise OSError(f"no {count} ports in a row from {_PORTS.start} to {_PORTS.stop} are free")


def _blocks() -> list[int]:
    """Where blocks begin, in a random order."""
    starts = list(_PORTS[::_BLOCK])
    random.SystemRandom().shuffle(starts)
    return starts


def _block() -> list[int]:
    """The ports of a block that no other process has."""
    for start in _blocks():
        if _hold(start):
            ports = list(range(start, start + _BLOCK))
            random.SystemRandom().shuffle(ports)
            return ports
    raise OSError(f"every block of ports from {_PORTS.start} to {_PORTS.stop} is taken")


def _hold(start: int) -> bool:
    """Keep a block until this process ends; whether it was still free.

    A port is free from here until its node binds it only if others look elsewhere meanwhile: a datagram socket at the
    block's first number, which no broker wants, says so.
    """
    holder = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        holder.bind((HOST, start))
    except OSError:
        holder.close()
        return False
    holder.detach()
    return True


def _nobody_listens(port: int) -> bool:
    with suppress(OSError), socket.create_server((HOST, port)):
        return True
    return False


def dies_with_its_parent() -> Callable[[], None] | None:
    """What a child runs before exec, so that no broker outlives the tests; None where the kernel has no such thing."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def ask_for_signal() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # a paused one would never see SIGTERM
        if os.getppid() != parent:  # it died between fork and prctl
            os._exit(1)

    return ask_for_signal
