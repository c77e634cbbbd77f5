"""A broker's folder as a release leaves it behind, for later releases to open: made once for each, then kept.

`python -m tests.compat.release_data` writes `tests/data/releases/<version>.tar.xz`: the folder after a clean stop, and
`expected.json` with everything that was put into it. A release's archive is never made again by later code.
"""

from __future__ import annotations

import io
import json
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from confluent_kafka import Consumer, Producer, TopicPartition

from moldau_broker.metadata.image import ResourceType
from moldau_broker.testing.broker import EmbeddedBroker

RELEASES: Final = Path(__file__).parents[1] / "data" / "releases"
CODECS: Final = ("none", "gzip", "snappy", "lz4", "zstd")
KEPT: Final = {"retention.ms": "-1"}
"""Records of an old release are old; a topic that forgets them would be an empty fixture."""

Contents = dict[str, Any]


def write_contents(folder: Path) -> Contents:
    """Run a broker on an empty folder, put something of everything into it, stop it; gives what is in it."""
    with EmbeddedBroker({"num.partitions": "3"}, data_dir=folder) as broker:
        broker.create_topic("orders", partitions=3, settings=KEPT)
        broker.create_topic(
            "latest", settings={"cleanup.policy": "compact", "min.compaction.lag.ms": str(1 << 50)}
        )
        broker.create_topic("empty", partitions=2, settings=KEPT)
        for number, codec in enumerate(CODECS):
            _produce(broker, "orders", codec, number * 40)
        broker.restart()  # what a start leaves behind, recovery points and all, is part of the folder
        _produce(broker, "latest", "zstd", 0)
        _commit(broker, "billing", {("orders", 0): 7, ("orders", 2): 21})
        _commit(broker, "audit", {("latest", 0): 3})
        return {
            "version": version("moldau"),
            "cluster_id": broker.cluster_id,
            "topics": read_topics(broker),
            "groups": {group: read_commits(broker, group) for group in ("audit", "billing")},
        }


def read_topics(broker: EmbeddedBroker) -> Contents:
    """Every topic of ours: id, settings of its own, and the records of each partition."""
    image = broker.ask(lambda app: app.metadata.image)
    found: Contents = {}
    for name in ("empty", "latest", "orders"):
        topic = image.topics[name]
        found[name] = {
            "id": str(topic.topic_id),
            "settings": dict(image.config(ResourceType.TOPIC, name)),
            "partitions": [read_records(broker, name, number) for number in range(len(topic.partitions))],
        }
    return found


def read_records(broker: EmbeddedBroker, topic: str, partition: int) -> list[list[Any]]:
    """Offset, time, key, value and headers of every record, in order."""
    end = broker.end_offset(topic, partition)
    consumer = Consumer(
        {"bootstrap.servers": broker.bootstrap, "group.id": "nobody", "enable.auto.commit": False}
    )
    consumer.assign([TopicPartition(topic, partition, 0)])
    found: list[list[Any]] = []
    while len(found) < end:
        message = consumer.poll(20)
        assert message is not None, f"{topic}-{partition} ends after {len(found)} of {end} records"
        assert message.error() is None, message.error()
        headers = [[name, value.decode()] for name, value in message.headers() or ()]
        key, value = message.key(), message.value()
        text = [None if part is None else part.decode() for part in (key, value)]
        found.append([message.offset(), message.timestamp()[1], *text, headers])
    consumer.close()
    return found


def read_commits(broker: EmbeddedBroker, group: str) -> dict[str, int]:
    """What a group has committed, by partition."""
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": group})
    asked = [TopicPartition("orders", number) for number in range(3)] + [TopicPartition("latest", 0)]
    committed = consumer.committed(asked, timeout=20)
    consumer.close()
    return {f"{one.topic}-{one.partition}": one.offset for one in committed if one.offset >= 0}


def pack(folder: Path, contents: Contents, archive: Path) -> None:
    """Folder and contents into one small file."""
    with tarfile.open(archive, "w:xz", preset=9) as tar:
        tar.add(folder, "data")
        text = json.dumps(contents, indent=1).encode()
        line = tarfile.TarInfo("expected.json")
        line.size = len(text)
        tar.addfile(line, io.BytesIO(text))


def unpack(archive: Path, folder: Path) -> tuple[Path, Contents]:
    """The broker's folder and what should be in it."""
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    contents: Contents = json.loads((folder / "expected.json").read_text())
    return folder / "data", contents


def _produce(broker: EmbeddedBroker, topic: str, codec: str, first: int) -> None:
    producer = Producer(
        {"bootstrap.servers": broker.bootstrap, "compression.type": codec, "enable.idempotence": True}
    )
    for number in range(first, first + 40):
        producer.produce(
            topic,
            None
            if number % 11 == 10 and topic != "latest"
            else None
            if number == 39
            else f"{codec} {number} " * 9,
            key=f"key-{number % 8}",
            timestamp=1_700_000_000_000 + number,
            headers=[("codec", codec.encode())] if number % 2 else None,
        )
    assert producer.flush(30) == 0


def _commit(broker: EmbeddedBroker, group: str, offsets: dict[tuple[str, int], int]) -> None:
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": group})
    places = [TopicPartition(*place, offset) for place, offset in offsets.items()]
    consumer.commit(offsets=places, asynchronous=False)
    consumer.close()


def main() -> None:
    """Make the archive of the version that is installed."""
    archive = RELEASES / f"{version('moldau')}.tar.xz"
    if archive.exists():
        sys.exit(f"{archive.name} is there; what a release left behind is not made again")
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        data.mkdir()
        contents = write_contents(data)
        pack(data, contents, archive)
    sys.stdout.write(f"{archive.name}: {archive.stat().st_size:,} bytes\n")


if __name__ == "__main__":
    main()
