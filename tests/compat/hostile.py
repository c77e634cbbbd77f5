"""What the tests of bad input share: a target, requests out of shape, and the proof that others are still served."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from moldau_broker.base.errors import ErrorCode
from moldau_broker.testing.broker import EmbeddedBroker
from moldau_broker.testing.raw import RawClient
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.batches import ATTRIBUTES_AT, CRC_AT, HEADER, BatchHeader
from moldau_broker.wire.checksums import crc32c
from moldau_broker.wire.messages.fetch import FetchPartition, FetchRequest, FetchTopic
from moldau_broker.wire.messages.produce import PartitionProduceData, ProduceRequest, TopicProduceData
from moldau_broker.wire.records import Record, build_batch, parse_header

PRODUCE_VERSION: Final = 9
FETCH_VERSION: Final = 12
NOW_MS: Final = 1_750_000_000_000


def records(
    *values: bytes | None, key: bytes | None = b"k", timestamp: int = NOW_MS, **options: Any
) -> bytearray:
    """A good batch; `options` are those of `build_batch`."""
    return build_batch(
        [Record(at, timestamp, key, value, []) for at, value in enumerate(values or (b"good",))], **options
    )


def patched(batch: bytes | bytearray, *, crc: int | None = None, **fields: int) -> bytearray:
    """`batch` with header fields (of `BatchHeader`) as given and a CRC to match, unless one is given too."""
    header = parse_header(batch)._replace(**fields)
    spoilt = bytearray(batch)
    HEADER.pack_into(spoilt, 0, *header)
    right = crc32c(memoryview(spoilt)[ATTRIBUTES_AT:])
    spoilt[CRC_AT:ATTRIBUTES_AT] = (right if crc is None else crc).to_bytes(4, "big")
    return spoilt


def with_body(header: BatchHeader, body: bytes) -> bytearray:
    """A batch of that header around `body`, with length and CRC to match."""
    head = bytearray(HEADER.size)
    HEADER.pack_into(head, 0, *header._replace(batch_length=HEADER.size - 12 + len(body)))
    return patched(head + body)


def produce_request(
    topic: str, data: bytes | bytearray | None, *, acks: int = -1, index: int = 0, **fields: Any
) -> ProduceRequest:
    """A Produce request of one partition; `fields` are the request's own."""
    partition = PartitionProduceData(index=index, records=None if data is None else memoryview(data))
    return ProduceRequest(
        acks=acks,
        timeout_ms=5_000,
        topic_data=[TopicProduceData(name=topic, partition_data=[partition])],
        **fields,
    )


def produce(
    client: RawClient,
    topic: str,
    data: bytes | bytearray | None,
    *,
    version: int = PRODUCE_VERSION,
    **options: Any,
) -> Any:
    """The partition's answer to `produce_request`."""
    response = client.call(ApiKey.PRODUCE, version, produce_request(topic, data, **options))
    ((answer,),) = [topic.partition_responses for topic in response.responses]
    return answer


def fetch(client: RawClient, topic: str, offset: int = 0, **fields: Any) -> Any:
    """The answer for partition 0 of `topic`."""
    partition = FetchPartition(partition=0, fetch_offset=offset, partition_max_bytes=1 << 20)
    wanted = FetchRequest(**{"topics": [FetchTopic(topic=topic, partitions=[partition])], **fields})
    response = client.call(ApiKey.FETCH, FETCH_VERSION, wanted)
    ((answer,),) = [topic.partitions for topic in response.responses]
    return answer


@contextmanager
def computed_within(seconds: float) -> Iterator[None]:
    """What is done inside costs this process, embedded broker included, no more processor time than that.

    Not time on the wall: that is also up to whatever else runs on the machine.
    """
    begun = time.process_time()
    yield
    spent = time.process_time() - begun
    assert spent < seconds, f"{spent:.2f} s of processor time"


class Target:
    """A broker under fire, and a client that behaves."""

    def __init__(self, broker: EmbeddedBroker) -> None:
        self.broker = broker
        self._topic = broker.create_topic("good", partitions=1)
        self._client = broker.connect(client_id="good")
        self._written = 0

    def still_serves(self) -> None:
        """The good client's old connection and a new one write, and read back what they wrote."""
        with self.broker.connect(client_id="good") as fresh:
            for client in (self._client, fresh):
                value = b"good %d" % self._written
                answer = produce(client, self._topic, records(value))
                assert (answer.error_code, answer.base_offset) == (ErrorCode.NONE, self._written)
                read = fetch(client, self._topic, self._written)
                assert read.error_code == ErrorCode.NONE
                assert value in bytes(read.records)
                self._written += 1

    def close(self) -> None:
        self._client.close()

    def refuses(
        self,
        *payloads: bytes,
        framed: bool = True,
        before: Sequence[bytes] = (),
        listener: str = "CLIENT",
    ) -> str:
        """Send each on a connection of its own, which must be closed without a byte; the one reason counted."""
        reasons = self.broker.close_reasons()
        for payload in payloads:
            with self.broker.connect(listener=listener) as client:
                for good in before:
                    client.send(good)
                (client.send_frame if framed else client.send)(payload)
                assert client.closed_by_peer(), f"not closed after {payload[:60]!r}"
        after = self.broker.close_reasons()
        grown = {reason: count - reasons.get(reason, 0) for reason, count in after.items()}
        ((reason, count),) = [(reason, count) for reason, count in grown.items() if count]
        assert count == len(payloads)
        return reason


def head(api: int, version: int, *, flexible: bool, client_id: bytes = b"\0\x03bad") -> bytes:
    """A request header."""
    return (
        api.to_bytes(2, "big", signed=True)
        + version.to_bytes(2, "big", signed=True)
        + b"\0\0\0\x07"
        + client_id
        + (b"\0" if flexible else b"")
    )


def uvarint(value: int) -> bytes:
    """An unsigned varint in as few bytes as possible."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))
