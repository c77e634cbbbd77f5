"""What was acknowledged is there: after kill -9, torn tails, flipped bits, and on a disk without space.

Processes are killed and files are cut for real. A kill leaves the page cache, so what a power failure loses is the
business of the disk in memory (`tests/property/storage`).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from threading import Event, Thread

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from tests.compat.conftest import BrokerProcess
from tests.compat.hostile import fetch, produce, records

from moldau_broker.base.errors import ErrorCode
from moldau_broker.testing.broker import EmbeddedBroker
from moldau_broker.testing.raw import ConnectionClosed, RawClient
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.batches import iter_batches
from moldau_broker.wire.messages.create_topics import CreatableTopic, CreateTopicsRequest
from moldau_broker.wire.messages.list_offsets import (
    ListOffsetsPartition,
    ListOffsetsRequest,
    ListOffsetsTopic,
)

PARTITIONS = 3
NEVER_MS = str(10**12)
SEGMENT = "00000000000000000000.log"


def wait_until(condition: Callable[[], bool], within: float = 30) -> None:
    """Look again and again until it holds."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.01)


# --- kill -9 ----------------------------------------------------------------------------------------------


@dataclass
class Writer:
    """A librdkafka producer in a thread of its own: unique values, and which of them were acknowledged."""

    bootstrap: str
    topic: str
    prefix: str
    idempotent: bool
    acked: set[bytes] = field(default_factory=set)
    failed: int = 0
    sent: int = 0
    stopping: Event = field(default_factory=Event)

    def run(self) -> None:
        producer = Producer(
            {
                "bootstrap.servers": self.bootstrap,
                "acks": "all",
                "enable.idempotence": self.idempotent,
                "linger.ms": 1,
                "batch.num.messages": 20,
                "reconnect.backoff.ms": 20,
                "reconnect.backoff.max.ms": 100,
                "retry.backoff.ms": 20,
                "message.timeout.ms": 60_000,
                "log_level": 0,
            }
        )

        def told(error: KafkaError | None, message: object) -> None:
            if error is None:
                self.acked.add(message.value())  # type: ignore[attr-defined]
            else:
                self.failed += 1

        while not self.stopping.is_set():
            if len(producer) < 500:
                value = b"%s-%d" % (self.prefix.encode(), self.sent)
                producer.produce(self.topic, value, partition=self.sent % PARTITIONS, on_delivery=told)
                self.sent += 1
                producer.poll(0)
            else:
                producer.poll(0.005)
        assert producer.flush(75) == 0


def read_everything(bootstrap: str, topic: str) -> list[bytes]:
    """Every value of every partition, in order of offsets."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "reads-everything",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
        }
    )
    values = []
    try:
        consumer.assign([TopicPartition(topic, index, 0) for index in range(PARTITIONS)])
        ended = 0
        while ended < PARTITIONS:
            message = consumer.poll(20)
            assert message is not None, "nothing came for 20 s"
            error = message.error()
            if error is None:
                values.append(message.value())
            elif error.code() == KafkaError._PARTITION_EOF:
                ended += 1
            else:
                raise KafkaException(error)
    finally:
        consumer.close()
    return values


def kill_and_restart(make_broker: Callable[..., BrokerProcess], rounds: int, seed: int) -> str:
    """Load, kill -9, restart, again and again; then everything acknowledged must be there. Gives the counts."""
    rng = Random(seed)
    broker = make_broker(log_segment_bytes="1048576")
    topic = broker.create_topic(PARTITIONS)
    writers = [
        Writer(broker.bootstrap, topic, "once", idempotent=True),
        Writer(broker.bootstrap, topic, "again", idempotent=False),
    ]
    threads = [Thread(target=writer.run) for writer in writers]
    for thread in threads:
        thread.start()
    try:
        for _ in range(rounds):
            before = [len(writer.acked) for writer in writers]
            wait_until(
                lambda before=before: all(  # type: ignore[misc]
                    len(writer.acked) > count + 100 for writer, count in zip(writers, before, strict=True)
                ),
                within=60,
            )
            time.sleep(rng.uniform(0.0, 0.3))
            broker.kill()
            broker.start()
    finally:
        for writer in writers:
            writer.stopping.set()
        for thread in threads:
            thread.join(90)
    seen = Counter(read_everything(broker.bootstrap, topic))
    acked = set().union(*(writer.acked for writer in writers))
    once, again = writers
    assert all(writer.failed == 0 for writer in writers)
    assert len(acked) > 200 * rounds
    lost = acked - seen.keys()
    assert not lost, f"{len(lost)} of {len(acked)} acknowledged are lost: {sorted(lost)[:5]}"
    duplicates = {value for value, count in seen.items() if count > 1}
    assert not [value for value in duplicates if value.startswith(b"once-")], "idempotent, and written twice"
    in_order = [value for value in read_everything(broker.bootstrap, topic) if value.startswith(b"once-")]
    for index in range(PARTITIONS):
        numbers = [int(value[5:]) for value in in_order if int(value[5:]) % PARTITIONS == index]
        assert numbers == sorted(numbers), "idempotent, and out of order"
    return (
        f"{rounds} kills: 0 lost of {len(acked)} acknowledged ({len(once.acked)} idempotent with 0 duplicates, "
        f"{len(again.acked)} others with {len(duplicates)} duplicates), {sum(seen.values())} records read"
    )


def test_acknowledged_records_survive_kill_9(make_broker: Callable[..., BrokerProcess]) -> None:
    """acks=all under load from librdkafka, four kills: lost = 0, and idempotent duplicates = 0."""
    print(kill_and_restart(make_broker, rounds=4, seed=1))  # noqa: T201 - a zero with its sample size


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_acknowledged_records_survive_many_kills(make_broker: Callable[..., BrokerProcess]) -> None:
    """A hundred kills at moments nobody chose."""
    print(kill_and_restart(make_broker, rounds=100, seed=time.time_ns()))  # noqa: T201 - as above


# --- torn tails -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def left_behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """The data of a broker that was killed: (folder, topic). Twelve batches; nothing was made durable on purpose."""
    home = tmp_path_factory.mktemp("killed")
    broker = BrokerProcess(home).start()
    try:
        topic = broker.create_topic(1)
        with RawClient.to(broker.bootstrap) as client:
            for at in range(12):
                batch = records(b"batch %d" % at, b"x" * 40, codec=at % 3)
                assert produce(client, topic, batch, acks=1).error_code == ErrorCode.NONE
        broker.kill()
        yield broker.data, topic
    finally:
        broker.close()


def check_torn(data: Path, topic: str, into: Path, change: Callable[[Path], int]) -> None:
    """A copy with its log changed opens to the last whole batch, says so, serves it, and goes on from there."""
    shutil.copytree(data, into)
    log = into / f"{topic}-0" / SEGMENT
    whole = log.read_bytes()
    batches = [(at, header) for at, header in iter_batches(whole, 0, len(whole))]
    intact = change(log)
    size = log.stat().st_size
    kept = [(at, header) for at, header in batches if at + header.size <= intact]
    end = kept[-1][1].next_offset
    kept_bytes = kept[-1][0] + kept[-1][1].size
    with EmbeddedBroker(data_dir=into) as broker, broker.connect() as client:
        report = broker.ask(lambda inside: inside.replicas.partition(topic, 0).log.recovery)  # type: ignore[union-attr]
        assert report is not None
        assert report.cut_bytes == size - kept_bytes
        assert bytes(fetch(client, topic).records) == whole[:kept_bytes]
        assert produce(client, topic, records(b"after")).base_offset == end
    with EmbeddedBroker(data_dir=into) as broker:
        assert broker.end_offset(topic) == end + 1, "and it stays so"
    shutil.rmtree(into)


def tail_positions(data: Path, topic: str) -> list[int]:
    """Every byte position in the last three batches."""
    whole = (data / f"{topic}-0" / SEGMENT).read_bytes()
    third_last = [at for at, _ in iter_batches(whole, 0, len(whole))][-3]
    return list(range(third_last, len(whole)))


def cut(position: int) -> Callable[[Path], int]:
    def change(log: Path) -> int:
        os.truncate(log, position)
        return position

    return change


def overwrite_with(junk: Callable[[int], bytes], position: int) -> Callable[[Path], int]:
    """Everything from `position` on is something else, as long as before."""

    def change(log: Path) -> int:
        whole = log.read_bytes()
        changed = whole[:position] + junk(len(whole) - position)
        log.write_bytes(changed)
        same = [one == other for one, other in zip(whole, changed, strict=True)]
        return same.index(False) if False in same else len(whole)

    return change


def test_a_torn_tail_recovers_to_the_last_whole_batch(left_behind: tuple[Path, str], tmp_path: Path) -> None:
    """Cut at some of the bytes of the last three batches (at every one in the nightly tier)."""
    positions = tail_positions(*left_behind)
    for position in positions[:: max(1, len(positions) // 10)]:
        check_torn(*left_behind, tmp_path / "copy", cut(position))


@pytest.mark.slow
def test_a_torn_tail_recovers_wherever_it_is_cut(left_behind: tuple[Path, str], tmp_path: Path) -> None:
    """At every byte of the last three batches."""
    for position in tail_positions(*left_behind):
        check_torn(*left_behind, tmp_path / "copy", cut(position))


@pytest.mark.parametrize(
    "junk",
    [bytes, os.urandom, lambda size: b"\xff" * size, lambda size: (bytes(61) + os.urandom(size))[:size]],
    ids=["zeros", "noise", "ones", "zeros and noise"],
)
def test_a_tail_of_junk_is_cut_away(
    left_behind: tuple[Path, str], tmp_path: Path, junk: Callable[[int], bytes]
) -> None:
    """What a file system may leave where a write was under way: the length is there, the data is not."""
    positions = tail_positions(*left_behind)
    for position in positions[:: max(1, len(positions) // 4)]:
        check_torn(*left_behind, tmp_path / "copy", overwrite_with(junk, position))


def test_lost_indexes_and_checkpoints_are_made_anew(left_behind: tuple[Path, str], tmp_path: Path) -> None:
    """Everything but the log itself and the partition's name tag may be gone, empty or junk."""
    data, topic = left_behind
    for spoil in (
        Path.unlink,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(os.urandom(33)),
    ):
        into = tmp_path / "copy"
        shutil.copytree(data, into)
        for path in (into / f"{topic}-0").iterdir():
            if path.suffix in {".index", ".timeindex", ".snapshot"} or path.name == "leader-epoch-checkpoint":
                spoil(path)
        with EmbeddedBroker(data_dir=into) as broker, broker.connect() as client:
            assert broker.end_offset(topic) == 24
            assert bytes(fetch(client, topic).records) == (data / f"{topic}-0" / SEGMENT).read_bytes()
        shutil.rmtree(into)


# --- damage -----------------------------------------------------------------------------------------------


def flip(path: Path, position: int) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        (byte,) = file.read(1)
        file.seek(position)
        file.write(bytes([byte ^ 0x10]))


def test_a_flipped_bit_in_durable_data_is_reported_and_never_cut(
    make_broker: Callable[..., BrokerProcess],
) -> None:
    """Its partition answers KAFKA_STORAGE_ERROR, this time and the next; the others serve; no byte is changed."""
    broker = make_broker(replica_high_watermark_checkpoint_interval_ms="100")
    damaged, healthy = broker.create_topic(1), broker.create_topic(1)
    with RawClient.to(broker.bootstrap) as client:
        for topic in (damaged, healthy):
            for at in range(5):
                assert produce(client, topic, records(b"durable %d" % at)).error_code == ErrorCode.NONE
    checkpoint = broker.data / "recovery-point-offset-checkpoint"
    wait_until(lambda: checkpoint.exists() and f"{damaged} 0 5" in checkpoint.read_text())
    broker.kill()
    log = broker.data / f"{damaged}-0" / SEGMENT
    whole = log.read_bytes()
    fourth = [at for at, _ in iter_batches(whole, 0, len(whole))][3]
    flip(log, fourth + 70)
    spoilt = log.read_bytes()
    for ending in (broker.kill, broker.stop, broker.stop):
        broker.start()
        with RawClient.to(broker.bootstrap) as client:
            assert produce(client, damaged, records()).error_code == ErrorCode.KAFKA_STORAGE_ERROR
            assert fetch(client, damaged).error_code == ErrorCode.KAFKA_STORAGE_ERROR
            wanted = ListOffsetsTopic(name=damaged, partitions=[ListOffsetsPartition(timestamp=-1)])
            offsets = client.call(ApiKey.LIST_OFFSETS, 7, ListOffsetsRequest(replica_id=-1, topics=[wanted]))
            assert offsets.topics[0].partitions[0].error_code == ErrorCode.KAFKA_STORAGE_ERROR
            assert produce(client, healthy, records()).error_code == ErrorCode.NONE
            assert fetch(client, healthy).records
        ending()
        assert log.read_bytes() == spoilt
    assert "log.offline" in broker.log.read_text()
    assert damaged in broker.log.read_text()


def test_durable_data_that_is_gone_is_reported(make_broker: Callable[..., BrokerProcess]) -> None:
    """A log shorter than what was promised is not a torn tail, neither cut by a batch nor emptied."""
    broker = make_broker(replica_high_watermark_checkpoint_interval_ms="100")
    topics = [broker.create_topic(1) for _ in range(3)]
    with RawClient.to(broker.bootstrap) as client:
        for topic in topics:
            for at in range(5):
                assert produce(client, topic, records(b"durable %d" % at)).error_code == ErrorCode.NONE
    checkpoint = broker.data / "recovery-point-offset-checkpoint"
    wait_until(
        lambda: checkpoint.exists() and all(f"{topic} 0 5" in checkpoint.read_text() for topic in topics)
    )
    broker.kill()
    shorter, emptied, healthy = topics
    log = broker.data / f"{shorter}-0" / SEGMENT
    os.truncate(log, log.stat().st_size - 10)
    os.truncate(broker.data / f"{emptied}-0" / SEGMENT, 0)
    broker.start()
    with RawClient.to(broker.bootstrap) as client:
        for topic in (shorter, emptied):
            assert produce(client, topic, records()).error_code == ErrorCode.KAFKA_STORAGE_ERROR
        assert produce(client, healthy, records()).base_offset == 5


# --- full disk --------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB of its own."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small file system")
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"needs root to mount a small file system: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("acks", [-1, 1])
def test_a_full_disk_is_told_and_heals(small_disk: Path, tmp_path: Path, acks: int) -> None:
    """KAFKA_STORAGE_ERROR while there is no space; afterwards everything goes on, nothing acknowledged is lost."""
    broker = BrokerProcess(tmp_path, {"log.dirs": str(small_disk / "data"), "log.segment.bytes": "1048576"})
    with ExitStack() as stack:
        stack.callback(broker.close)
        broker.start()
        topic, other = broker.create_topic(1), broker.create_topic(1)
        client = stack.enter_context(RawClient.to(broker.bootstrap, timeout=20))
        ballast = small_disk / "ballast"
        ballast.write_bytes(bytes(8 << 20))
        acked: list[int] = []
        refused = 0
        number = 0
        while refused < 30:
            assert number < 1_000, "the disk does not fill"
            value = b"%d" % number + bytes(100_000 if number % 3 else 3_000)
            answer = produce(client, topic, records(value), acks=acks)
            if answer.error_code == ErrorCode.NONE:
                assert answer.base_offset == len(acked)
                acked.append(number)
            else:
                assert answer.error_code == ErrorCode.KAFKA_STORAGE_ERROR
                refused += 1
            number += 1
        assert fetch(client, topic).records, "what is there can be read"
        wanted = CreatableTopic(name="no-room", num_partitions=1, replication_factor=1)
        try:
            client.call(ApiKey.CREATE_TOPICS, 5, CreateTopicsRequest(topics=[wanted], timeout_ms=5_000))
        except (ConnectionClosed, TimeoutError):
            pytest.fail("an admin request has an answer even without space")
        ballast.unlink()
        healed = None
        deadline = time.monotonic() + 30
        while healed is None:
            assert time.monotonic() < deadline, "it does not heal"
            answer = produce(client, topic, records(b"%d" % number + bytes(1_000)), acks=acks)
            if answer.error_code == ErrorCode.NONE:
                healed = answer.base_offset
        acked.append(number)
        assert healed == len(acked) - 1
        assert produce(client, other, records(), acks=acks).error_code == ErrorCode.NONE
        assert read_numbers(client, topic) == acked
        assert broker.create_topic(1)
        assert broker.stop() == 0
        broker.start()
        with RawClient.to(broker.bootstrap) as again:
            assert read_numbers(again, topic) == acked


def read_numbers(client: RawClient, topic: str) -> list[int]:
    """The numbers at the beginning of each record's value, by offset."""
    from moldau_broker.wire.records import read_records

    numbers: list[int] = []
    while True:
        data = bytes(fetch(client, topic, len(numbers)).records)
        if not data:
            return numbers
        for at, _ in iter_batches(data, 0, len(data)):
            numbers += [int((record.value or b"").rstrip(b"\0")) for record in read_records(data, at)]
