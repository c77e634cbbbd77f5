"""Our files under Kafka's own tools and broker, and Kafka's files under our log.

Everything a real `kafka-dump-log` prints is also held against `moldau dump`, character by character.
Starting a JVM takes a second, so files are dumped many at a time.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

from moldau_broker.base.topic_config import TopicConfig
from moldau_broker.storage.compact_job import CleanerSettings, job_for
from moldau_broker.storage.compact_rewrite import Round
from moldau_broker.storage.compact_swap import Swap
from moldau_broker.storage.compaction import SegmentFacts, plan_clean
from moldau_broker.storage.disk import OsDisk
from moldau_broker.storage.log import Log
from moldau_broker.testing.logs import append, make_marker, open_at, read_all
from moldau_broker.wire.records import Record, build_batch, read_records
from moldau_cli.dump import dump

pytestmark = [pytest.mark.compat, pytest.mark.java, pytest.mark.timeout(300)]

NOW = 1_700_000_000_000
SEGMENTS = TopicConfig(segment_bytes=20_000, index_interval_bytes=500, delete_retention_ms=10**9)


# --- our files --------------------------------------------------------------------------------------------


def keyed(log: Log, rng: Random, codec: int, **options: Any) -> None:
    """Append a batch of a few records with keys from a small set, some without value."""
    at = log.log_end_offset
    records = [
        Record(
            n,
            NOW + at + n,
            b"k%d" % rng.randrange(40),
            None if rng.random() < 0.1 else rng.randbytes(rng.randint(0, 60)) + b"." * 60,
            [("trace", b"\1"), ("empty", None)] if rng.random() < 0.2 else [],
        )
        for n in range(rng.randint(1, 6))
    ]
    append(log, build_batch(records, codec=codec, **options), epoch=0, now_ms=NOW)


def fill(log: Log, *, transactions: bool) -> None:
    """All codecs, several segments, an idempotent producer and (if wanted) transactions of both ends."""
    rng = Random(5)
    sequence = 0
    for number in range(500):
        if number % 7 == 3:
            before = log.log_end_offset
            keyed(log, rng, number % 5, producer_id=11, producer_epoch=2, base_sequence=sequence)
            sequence += log.log_end_offset - before
        elif transactions and number % 11 == 5:
            at = log.log_end_offset
            keyed(
                log, rng, number % 5, producer_id=12, producer_epoch=0, base_sequence=at, transactional=True
            )
            append(log, make_marker(12, 0, commit=number % 2 == 0, timestamp=NOW + at), now_ms=NOW)
        else:
            keyed(log, rng, number % 5)


def compact(log: Log, disk: OsDisk, now_ms: int) -> None:
    """One cleaning round over all closed segments."""
    plan = plan_clean(
        [SegmentFacts(segment.base_offset, segment.size, 0) for segment in log.segments],
        log.config,
        checkpoint=None,
        log_start_offset=0,
        log_end_offset=log.log_end_offset,
        stable_offset=log.log_end_offset,
        now_ms=now_ms,
    )
    assert plan is not None
    work = Round(disk, job_for(log, plan, CleanerSettings(), now_ms), lambda _: None)
    work.index()
    for ready in work.groups():
        swap = Swap(log, ready)
        assert swap.begin()
        assert swap.install(now_ms)
        swap.finish()
    log.purge(now_ms + 10**9)
    assert work.done.records_written < work.done.records_read


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with a plain, a transactional, a compacted and a twice compacted log."""
    path = tmp_path_factory.mktemp("ours")
    disk = OsDisk(path)
    for topic, transactions, rounds in (
        ("plain", False, 0),
        ("transactional", True, 0),
        ("compacted", True, 1),
        ("again", True, 2),
    ):
        log = open_at(disk, SEGMENTS, topic=topic)
        fill(log, transactions=transactions)
        assert len(log.segments) > 4
        for number in range(rounds):
            compact(log, disk, NOW + number * 2 * 10**9)
        log.close(clean=True)
    return path


def contents(log: Log) -> list[Record]:
    """Every data record of a log, by fetching."""
    return [
        record for header, data in read_all(log) if not header.is_control for record in read_records(data)
    ]


def dump_both(tools: Any, *arguments: str | Path, files: list[Path]) -> tuple[list[str], list[str]]:
    """The tool's output and errors; `moldau dump` must print the same lines."""
    assert files
    options = [str(argument) for argument in arguments]
    theirs = tools.run("kafka-dump-log", *options, "--files", ",".join(map(str, files)))
    result = CliRunner().invoke(dump, [*options, *map(str, files)])
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines() == theirs.stdout.splitlines()
    assert sorted(result.stderr.splitlines()) == sorted(theirs.stderr.splitlines())
    return theirs.stdout.splitlines(), theirs.stderr.splitlines()


def copied(source: Path, target: Path) -> Path:
    """A copy for the tool to read: it cuts index files to whole entries as it opens them."""
    shutil.copytree(source, target)
    return target


def test_our_logs_are_read_by_kafka_dump_log(kafka_tools: Any, ours: Path, tmp_path: Path):
    """Every batch of every codec is valid, every record decodes; gaps are where compaction left them."""
    path = copied(ours, tmp_path / "ours")
    logs = sorted(path.glob("*-0/*.log"))
    shown, errors = dump_both(kafka_tools, "--print-data-log", files=logs)
    batches = [line for line in shown if line.startswith("baseOffset: ")]
    assert len(batches) > 1_000
    assert all(line.endswith(" isvalid: true") for line in batches)
    assert {line.partition("compresscodec: ")[2].split()[0] for line in batches} == {
        "none",
        "gzip",
        "snappy",
        "lz4",
        "zstd",
    }
    assert any("deleteHorizonMs: OptionalLong[" in line for line in batches)
    assert any(" count: 0 " in line for line in batches)
    assert not [line for line in shown if "invalid bytes" in line]
    whole = [str(log) for log in logs if log.parent.name == "plain-0" and log.stem == "0" * 20]
    assert not [line for line in errors if line.endswith(tuple(whole))]


def test_our_indexes_and_snapshots_are_read_by_kafka_dump_log(kafka_tools: Any, ours: Path, tmp_path: Path):
    """Each entry fits its log, compacted or not: the tool, which checks them, has no complaint."""
    path = copied(ours, tmp_path / "ours")
    kinds = ("index", "timeindex", "snapshot", "txnindex")
    files = [file for kind in kinds for file in sorted(path.glob(f"*-0/*.{kind}"))]
    shown, errors = dump_both(kafka_tools, files=files)
    assert errors == []
    assert sum(line.startswith("offset: ") for line in shown) > 100
    assert sum(line.startswith("timestamp: ") for line in shown) > 100
    assert any(line.startswith("producerId: 11 producerEpoch: 2 ") for line in shown)
    assert any(line.startswith("version: 0 producerId: 12 ") for line in shown)


def test_our_indexes_pass_the_sanity_check_of_a_starting_broker(kafka_tools: Any, ours: Path, tmp_path: Path):
    """--index-sanity-check is what decides whether a broker rebuilds an index."""
    path = copied(ours, tmp_path / "ours")
    files = [*sorted(path.glob("*-0/*.index")), *sorted(path.glob("*-0/*.timeindex"))]
    shown, errors = dump_both(kafka_tools, "--index-sanity-check", files=files)
    assert errors == []
    verdicts = [line for line in shown if not line.startswith("Dumping ")]
    assert len(verdicts) == len(files)
    assert all(line.endswith((" passed sanity check.", " is empty.")) for line in verdicts)


def test_our_broker_writes_groups_and_metadata_that_kafka_dump_log_decodes(
    kafka_tools: Any, make_broker: Any, tmp_path: Path
):
    """__consumer_offsets with --offsets-decoder, __cluster_metadata and its snapshots with theirs."""
    broker = make_broker()
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    for future in admin.create_topics([NewTopic("orders", 2, config={"cleanup.policy": "compact"})]).values():
        future.result(20)
    producer = Producer({"bootstrap.servers": broker.bootstrap, "enable.idempotence": True})
    for number in range(20):
        producer.produce("orders", key=f"k{number}", value="v")
    assert producer.flush(20) == 0
    group = Consumer(
        {"bootstrap.servers": broker.bootstrap, "group.id": "readers", "auto.offset.reset": "earliest"}
    )
    group.subscribe(["orders"])
    seen = 0
    while seen < 20:
        message = group.poll(10)
        assert message is not None
        assert message.error() is None
        seen += 1
    group.commit(asynchronous=False)
    group.close()
    assert broker.stop() == 0
    path = copied(broker.data, tmp_path / "data")
    logs = [log for log in path.glob("__consumer_offsets-*/*.log") if log.stat().st_size]
    shown, _ = dump_both(kafka_tools, "--offsets-decoder", files=logs)
    text = "\n".join(shown)
    assert 'key: {"type":"1","data":{"group":"readers","topic":"orders","partition":0}}' in text
    assert 'key: {"type":"2","data":{"group":"readers"}}' in text
    assert '"subscription":{"topics":["orders"]' in text
    assert "skipping" not in text
    metadata = path / "__cluster_metadata-0"
    files = [*metadata.glob("*.log"), *metadata.glob("*.checkpoint"), path / "bootstrap.checkpoint"]
    shown, _ = dump_both(kafka_tools, "--cluster-metadata-decoder", files=files)
    text = "\n".join(shown)
    assert '{"type":"TOPIC_RECORD","version":0,"data":{"name":"orders"' in text
    assert "KRaftVoters" in text
    assert "skipping" not in text


# --- Kafka's files ----------------------------------------------------------------------------------------


class Written(NamedTuple):
    """What a client wrote to Kafka and read back."""

    records: list[Record]
    by_time: dict[int, int]


class Kafka:
    """A real, one-node Apache Kafka, run by the launcher that MOLDAU_KAFKA_TOOLS names."""

    def __init__(self, launcher: str, path: Path) -> None:
        self.launcher = launcher
        self.path = path
        self.port = _free_pair()
        self.bootstrap = f"127.0.0.1:{self.port}"

    @property
    def data(self) -> Path:
        """Its data directory."""
        return self.path / "node1" / "data"

    def do(self, *arguments: str) -> None:
        """One verb of the launcher."""
        done = subprocess.run(
            [self.launcher, *arguments, "--dir", str(self.path)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"

    def up(self) -> None:
        """Format and start it, with a cleaner that does not wait."""
        settings = ("log.cleaner.backoff.ms=300", "log.initial.task.delay.ms=300")
        self.do("up", "--port", str(self.port), *(part for one in settings for part in ("--set", one)))

    def clear_checkpoints(self, *topics: str) -> None:
        """Take the topics' lines out of all checkpoints: what they say is about other files."""
        for file in self.data.glob("*-offset-checkpoint"):
            if not file.stat().st_size:
                continue  # made, and never written
            version, _, *lines = file.read_text().splitlines()
            kept = [line for line in lines if line.split(" ")[0] not in topics]
            file.write_text("\n".join([version, str(len(kept)), *kept, ""]))


def _free_pair() -> int:
    """A port that is free together with the one 10,000 above it, which the controller takes.

    Both below those that the kernel gives to outgoing connections: Kafka takes seconds to come back to them.
    """
    for port in Random().sample(range(15_000, 22_000), 100):
        try:
            with (
                socket.create_server(("127.0.0.1", port)),
                socket.create_server(("127.0.0.1", port + 10_000)),
            ):
                return port
        except OSError:
            continue
    raise AssertionError("no free pair of ports")


def produce(bootstrap: str, topic: str) -> None:
    """Batches of every codec, two MiB and more, so that there are several segments."""
    rng = Random(9)
    for codec in ("none", "gzip", "snappy", "lz4", "zstd") * 2:
        producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "compression.codec": codec,
                "enable.idempotence": codec != "none",
                "linger.ms": 20,
                "batch.size": 16_384,
            }
        )
        for number in range(150):
            producer.produce(
                topic,
                key=None if number % 9 == 0 and topic == "theirs" else f"key-{number % 60}",
                value=None if number % 25 == 24 else rng.randbytes(1_000) + bytes(500),
                headers=[("a", b"b"), ("n", None)] if number % 10 == 0 else None,
            )
        assert producer.flush(30) == 0


def consume(bootstrap: str, topic: str) -> Written:
    """Everything in partition 0, and where Kafka finds a few timestamps."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "unused", "enable.partition.eof": True})
    consumer.assign([TopicPartition(topic, 0, 0)])
    records: list[Record] = []
    while True:
        message = consumer.poll(20)
        assert message is not None
        if message.error():
            break
        headers = [(name, value) for name, value in message.headers() or ()]
        records.append(
            Record(message.offset(), message.timestamp()[1], message.key(), message.value(), headers or ())
        )
    consumer.close()
    admin = AdminClient({"bootstrap.servers": bootstrap})
    place = TopicPartition(topic, 0)
    asked = {
        timestamp: admin.list_offsets({place: OffsetSpec.for_timestamp(timestamp)})
        for record in records[:: len(records) // 20]
        for timestamp in (record.timestamp, record.timestamp + 1)
    }
    return Written(
        records, {timestamp: answer[place].result(20).offset for timestamp, answer in asked.items()}
    )


def append_one(bootstrap: str, topic: str) -> int:
    """Produce one more record; its offset."""
    offsets: list[int] = []
    producer = Producer({"bootstrap.servers": bootstrap})
    producer.produce(topic, key="new", value="one", on_delivery=lambda _, sent: offsets.append(sent.offset()))
    assert producer.flush(20) == 0
    return offsets[0]


@pytest.fixture(scope="module")
def kafka(kafka_tools: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """A running Kafka with the topics of these tests."""
    node = Kafka(kafka_tools.launcher, tmp_path_factory.mktemp("kafka"))
    try:
        node.up()
        make_topics(node)
        yield node
    finally:
        node.do("kill")
        node.do("down", "--wipe")


def make_topics(node: Kafka) -> None:
    admin = AdminClient({"bootstrap.servers": node.bootstrap})
    compacted = {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.01"}
    topics = [
        NewTopic("theirs", 1, config={"segment.bytes": "1048576", "index.interval.bytes": "2048"}),
        NewTopic("theirs-compacted", 1, config={"segment.bytes": "1048576", **compacted}),
        NewTopic("ours", 1, config={"retention.ms": "-1"}),
        NewTopic("ours-compacted", 1, config={"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "1"}),
    ]
    for future in admin.create_topics(topics).values():
        future.result(30)


def same_records(log: Log, written: Written) -> None:
    """Each record that Kafka served is here, at its offset, by offset and by time."""
    assert contents(log) == [
        record._replace(headers=list(record.headers) or ()) for record in written.records
    ]
    for record in written.records[::37]:
        first = read_records(bytes(log.read(record.offset, 1)))
        assert record.offset in {one.offset for one in first}
    for timestamp, offset in written.by_time.items():
        found = log.offset_for_timestamp(timestamp)
        assert (found.offset if found is not None else -1) == offset, timestamp


def test_partitions_written_by_kafka_open_here(kafka: Kafka, tmp_path: Path):
    """Plain and compacted, after a clean stop and without one: indexes and all, and every record is there."""
    written = {}
    for topic in ("theirs", "theirs-compacted"):
        produce(kafka.bootstrap, topic)
        written[topic] = consume(kafka.bootstrap, topic)
    killed = tmp_path / "killed"  # what the disk holds now is what a kill -9 would leave
    copied(
        kafka.data / "theirs-0", killed / "theirs-0"
    )  # no other: the cleaner renames files under a copy's hands
    kafka.do("stop")
    stopped = copied(kafka.data, tmp_path / "stopped")
    kafka.do("start")

    log = open_at(OsDisk(killed), topic="theirs", clean=False)
    assert len(log.segments) > 1
    same_records(log, written["theirs"])
    for clean in (True, False):
        for topic, expected in written.items():
            log = open_at(OsDisk(stopped), topic=topic, clean=clean)
            assert log.topic_id is not None
            assert log.recovery is not None
            assert log.recovery.rebuilt_indexes == 0
            assert log.recovery.cut_bytes == 0
            if topic == "theirs":
                same_records(log, expected)
                assert len(log.producers) == 8
                assert all(entry.last_sequence == 149 for entry in log.producers)
            else:
                last = {record.key: record for record in expected.records}
                assert {record.key: record for record in contents(log)} == {
                    key: record._replace(headers=list(record.headers) or ()) for key, record in last.items()
                }


def test_partitions_of_ours_are_served_by_kafka(kafka_tools: Any, kafka: Kafka, ours: Path):
    """Put under a stopped Kafka they are read back whole by its own consumer, and appended to."""
    disk = OsDisk(ours)
    expected = {
        "ours": contents(open_at(disk, SEGMENTS, topic="plain")),
        "ours-compacted": contents(open_at(disk, SEGMENTS, topic="compacted")),
    }
    kafka.do("stop")
    for topic, source in (("ours", "plain-0"), ("ours-compacted", "compacted-0")):
        folder = kafka.data / f"{topic}-0"
        identity = (folder / "partition.metadata").read_bytes()
        shutil.rmtree(folder)
        shutil.copytree(ours / source, folder)
        (folder / "partition.metadata").write_bytes(identity)
    kafka.clear_checkpoints("ours", "ours-compacted")
    kafka.do("start")
    for topic, records in expected.items():
        # A null value prints as "null" as well, so sizes of values are compared through the other client below.
        shown = kafka_tools.run(
            "kafka-console-consumer",
            "--bootstrap-server",
            kafka.bootstrap,
            "--topic",
            topic,
            "--from-beginning",
            "--max-messages",
            str(len(records)),
            "--timeout-ms",
            "20000",
            *(
                part
                for name in ("timestamp", "offset", "key", "headers")
                for part in ("--formatter-property", f"print.{name}=true")
            ),
            "--formatter-property",
            "print.value=false",
        ).stdout
        assert [line.split("\t") for line in shown.splitlines()] == [
            [
                f"CreateTime:{record.timestamp}",
                f"Offset:{record.offset}",
                "trace:\x01,empty:null" if record.headers else "NO_HEADERS",
                (record.key or b"").decode(),
            ]
            for record in records
        ]
        served = consume(kafka.bootstrap, topic)
        assert [record._replace(headers=()) for record in served.records] == [
            record._replace(headers=()) for record in records
        ]
        assert append_one(kafka.bootstrap, topic) > records[-1].offset
    kafka.do("stop")
    log = open_at(OsDisk(kafka.data), topic="ours")
    assert contents(log)[:-1] == expected["ours"]
    assert contents(log)[-1].value == b"one"
    server_log = (kafka.path / "node1" / "server.log").read_text()
    assert "CorruptRecordException" not in server_log
