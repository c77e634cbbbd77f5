"""Peers that want more than there is: what it costs the broker's process in memory and in open files."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from tests.compat.conftest import BrokerProcess
from tests.compat.hostile import (
    FETCH_VERSION,
    fetch,
    produce,
    records,
    with_body,
)

from moldau_broker.base.errors import ErrorCode
from moldau_broker.testing.raw import ConnectionClosed, RawClient
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.compression import compress
from moldau_broker.wire.messages.fetch import FetchPartition, FetchRequest, FetchTopic
from moldau_broker.wire.messages.metadata import MetadataRequest
from moldau_broker.wire.records import parse_header

MIB = 1 << 20
GZIP, ZSTD = 1, 4


def rss(broker: BrokerProcess) -> int:
    """Resident bytes of the broker's process."""
    assert broker.process is not None
    return int(psutil.Process(broker.process.pid).memory_info().rss)


def peak(broker: BrokerProcess) -> int:
    """The most it ever was."""
    assert broker.process is not None
    status = Path(f"/proc/{broker.process.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def fill(client: RawClient, topic: str, count: int) -> None:
    for _ in range(count):
        assert produce(client, topic, records(bytes(1_000_000)), acks=1).error_code == ErrorCode.NONE


def test_answers_nobody_reads_do_not_gather_in_memory(make_broker: Callable[..., BrokerProcess]) -> None:
    """Ten peers ask for 50 MiB two thousand times each and read nothing: some answers are made, not gigabytes."""
    broker = make_broker()
    topic = broker.create_topic()
    with ExitStack() as stack:
        good = stack.enter_context(RawClient.to(broker.bootstrap))
        fill(good, topic, 60)
        before = peak(broker)
        partition = FetchPartition(partition=0, fetch_offset=0, partition_max_bytes=50 * MIB)
        request = FetchRequest(
            max_wait_ms=100,
            min_bytes=50 * MIB,
            max_bytes=50 * MIB,
            topics=[FetchTopic(topic=topic, partitions=[partition])],
        )
        for _ in range(10):
            greedy = stack.enter_context(RawClient.to(broker.bootstrap))
            greedy.send(greedy.frame(ApiKey.FETCH, FETCH_VERSION, request) * 2_000)
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline:
            assert fetch(good, topic).error_code == ErrorCode.NONE
        # one answer of 50 MiB each is what the protocol lets a client ask for; not two thousand
        assert peak(broker) - before < 10 * 60 * MIB
    assert_serves(broker)


def assert_serves(broker: BrokerProcess) -> None:
    topic = broker.create_topic()
    with RawClient.to(broker.bootstrap) as client:
        assert produce(client, topic, records()).error_code == ErrorCode.NONE
        assert fetch(client, topic).records


def test_bombs_cost_no_more_than_their_bound(make_broker: Callable[..., BrokerProcess]) -> None:
    """64 MiB decompressed, once; a hundred of them do not add up."""
    broker = make_broker()
    topic = broker.create_topic(record_validation="full")
    with RawClient.to(broker.bootstrap) as client:
        assert produce(client, topic, records()).error_code == ErrorCode.NONE
        before = peak(broker)
        for codec in (GZIP, ZSTD):
            header = parse_header(records(b"x", codec=codec))
            bomb = with_body(header, compress(codec, bytes(100 * MIB))[: MIB - 100])
            for _ in range(20):
                assert produce(client, topic, bomb).error_code in (
                    ErrorCode.MESSAGE_TOO_LARGE,
                    ErrorCode.INVALID_RECORD,
                )
        assert peak(broker) - before < 150 * MIB
    assert_serves(broker)


def test_large_frames_together_cost_no_more_than_the_budget(
    make_broker: Callable[..., BrokerProcess],
) -> None:
    """Two hundred peers begin frames of 16 MiB: the broker holds 64 MiB, not 3 GiB, and serves others."""
    broker = make_broker(connections_max_idle_ms="600000")
    topic = broker.create_topic()
    with ExitStack() as stack:
        good = stack.enter_context(RawClient.to(broker.bootstrap))
        fill(good, topic, 3)
        before = peak(broker)
        clients = [stack.enter_context(RawClient.to(broker.bootstrap)) for _ in range(200)]
        piece = (16 * MIB - 10).to_bytes(4, "big") + bytes(MIB)
        for client in clients:
            client.socket.setblocking(False)
        deadline = time.monotonic() + 1.5
        unsent = {client.socket: 15 * MIB for client in clients}
        while unsent and time.monotonic() < deadline:
            _, writable, _ = select.select([], list(unsent), [], 0.2)
            for one in writable:
                unsent[one] -= one.send(piece if unsent[one] == 15 * MIB else piece[4:])
                if unsent[one] <= 0:
                    del unsent[one]
        assert peak(broker) - before < 64 * MIB + 30 * MIB
        assert produce(good, topic, records()).error_code == ErrorCode.NONE
    assert_serves(broker)


@dataclass
class BrokerWithFewFiles(BrokerProcess):
    """May open 256 files, sockets included."""

    def command(self) -> list[str]:
        return ["sh", "-c", 'ulimit -n 256; exec "$@"', "sh", *super().command()]


@pytest.fixture
def few_files(tmp_path: Path) -> Iterator[BrokerProcess]:
    broker = BrokerWithFewFiles(tmp_path)
    yield broker.start()
    broker.close()


def test_connections_do_not_take_the_files_of_logs(few_files: BrokerProcess) -> None:
    """When descriptors are few, peers are turned away; no partition fails for want of one."""
    broker = few_files
    topic = broker.create_topic(partitions=40)
    with ExitStack() as stack:
        good = stack.enter_context(RawClient.to(broker.bootstrap))
        good.call(ApiKey.METADATA, 9, MetadataRequest())
        crowd = []
        for _ in range(400):
            try:
                crowd.append(stack.enter_context(RawClient.to(broker.bootstrap, timeout=2)))
            except OSError:
                break
        served = 0
        for client in crowd:
            try:
                client.call(ApiKey.METADATA, 9, MetadataRequest())
                served += 1
            except (ConnectionClosed, TimeoutError):
                pass
        assert 20 < served <= 80
        for index in range(40):
            answer = produce(good, topic, records(bytes(100_000)), index=index)
            assert answer.error_code == ErrorCode.NONE, (index, answer.error_message)
    topic = broker.create_topic(partitions=100)
    with RawClient.to(broker.bootstrap) as client:
        for index in range(100):
            assert produce(client, topic, records(), index=index).error_code == ErrorCode.NONE
