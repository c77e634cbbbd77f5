"""Whatever one client writes, with whatever codec, every other client reads byte for byte."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from tests.compat.clients import CODECS, Aiokafka, Client, Java, KafkaPython, Kcat, Librdkafka, Message, Read
from tests.compat.conftest import Broker

from moldau_broker.wire.records import iter_batches

pytestmark = [pytest.mark.compat, pytest.mark.xdist_group("cross-client")]

NAMES = ("librdkafka", "aiokafka", "kafka-python", "kcat", "java")
TIME_MS = 1_700_000_000_000


@pytest.fixture(scope="module")
def client_named(request: pytest.FixtureRequest) -> Callable[[str], Client]:
    def find(name: str) -> Client:
        if name == "kcat":
            return Kcat(request.getfixturevalue("kcat"))
        if name == "java":
            return Java(request.getfixturevalue("kafka_tools"))
        return {"librdkafka": Librdkafka, "aiokafka": Aiokafka, "kafka-python": KafkaPython}[name]()

    return find


def samples(client: Client) -> list[Message]:
    """Records with every odd part the client can express."""
    noise = b"\x00\xff\x80\r\n" if "binary" in client.can else "äöü €".encode()
    plain = (("writer", client.name.encode()),)
    odd = (*plain, ("twice", b"1"), ("twice", b"2"), ("größe", b"3"))
    if "empty" in client.can:
        odd = (*odd, ("empty", b""))
    if "null header" in client.can:
        odd = (*odd, ("null", None))
    messages = [
        Message(b"key", b"value", plain),
        Message(None, b"no key", plain),
        Message(b"tombstone", None, plain),
        Message(noise, noise + b"-" * 20_000 + noise, plain),
        *(Message(b"%d" % i, b"row %d" % i, plain) for i in range(50)),
    ]
    if "headers" in client.can:
        messages.append(Message(b"headers", b"many", odd))
    if "headers" in client.can and client.name != "java":
        messages.append(Message(b"headers", b"none"))
    if "empty" in client.can:
        messages.append(Message(b"", b"", plain))
    if "timestamp" in client.can:
        messages = [
            Message(m.key, m.value, m.headers, TIME_MS - 1000 * i) for i, m in enumerate(messages)
        ]  # backwards: the first record does not hold the largest
    return messages


@pytest.fixture(scope="module")
def written(
    shared_broker: Broker, client_named: Callable[[str], Client], request: pytest.FixtureRequest
) -> Callable[[str, str], tuple[str, list[Message], list[Read]]]:
    """(writer, codec) -> the topic, what was sent, and what librdkafka reads of it; each is written once."""
    made: dict[tuple[str, str], tuple[str, list[Message], list[Read]]] = {}

    def write(name: str, codec: str) -> tuple[str, list[Message], list[Read]]:
        if (name, codec) not in made:
            client = client_named(name)
            topic = shared_broker.create_topic()
            sent = samples(client)
            client.produce(shared_broker.bootstrap, topic, sent, codec)
            made[name, codec] = topic, sent, Librdkafka().consume(shared_broker.bootstrap, {topic: len(sent)})
        return made[name, codec]

    return write


@pytest.mark.parametrize(
    ("writer", "codec"),
    [
        pytest.param(name, codec, marks=[pytest.mark.java] if name == "java" else [])
        for name in NAMES
        for codec in (KafkaPython().codecs() if name == "kafka-python" else CODECS)
    ],
)
def test_records_are_stored_as_sent(
    writer: str,
    codec: str,
    shared_broker: Broker,
    written: Callable[[str, str], tuple[str, list[Message], list[Read]]],
) -> None:
    """Keys, values, nulls, headers and timestamps come back as they went in, in batches of the codec asked for."""
    topic, sent, read = written(writer, codec)

    assert [r.offset for r in read] == list(range(len(sent)))
    for expected, got in zip(sent, read, strict=True):
        stamp = expected.timestamp if expected.timestamp is not None else got.message.timestamp
        assert got.message == Message(expected.key, expected.value, expected.headers, stamp)
    if shared_broker.has_files:
        log = (shared_broker.data / f"{topic}-0" / f"{0:020d}.log").read_bytes()
        batches = list(iter_batches(log, 0, len(log)))
        assert {CODECS[header.codec] for _, header in batches} == {codec}


@pytest.mark.parametrize("reader", [*NAMES[1:-1], pytest.param("java", marks=pytest.mark.java)])
def test_every_client_reads_what_every_other_wrote(
    reader: str,
    client_named: Callable[[str], Client],
    shared_broker: Broker,
    written: Callable[[str, str], tuple[str, list[Message], list[Read]]],
) -> None:
    """Each reader sees the same offsets, bytes, headers and timestamps as librdkafka, whoever wrote them."""
    client = client_named(reader)
    topics: dict[str, int] = {}
    expected: Counter[Read] = Counter()
    for writer in NAMES:
        for codec in set(client.codecs()) & set(client_named(writer).codecs()):
            topic, sent, read = written(writer, codec)
            topics[topic] = len(sent)
            expected.update(read)

    assert Counter(client.consume(shared_broker.bootstrap, topics)) == expected
