"""What the controller of several brokers writes, as Apache Kafka's own kafka-dump-log reads it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from moldau_broker.metadata.drain import drain_broker
from moldau_broker.metadata.image import MetadataImage
from moldau_broker.metadata.records import encode
from moldau_broker.raft.batches import encode_batch
from moldau_broker.testing.control import ControlBench
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.unregister_broker import UnregisterBrokerRequest
from moldau_broker.wire.schema import Struct

pytestmark = pytest.mark.java


def test_records_of_a_cluster_are_read_by_kafka_dump_log(tmp_path: Path, kafka_tools: Any) -> None:
    """Every record decodes, and the fields of ELR, moves, recovery and leaving say what was written."""
    log = bytearray()
    written: list[Struct] = []

    def keep(before: MetadataImage, records: tuple[Struct, ...], after: MetadataImage) -> None:
        values = [(None, encode(record)) for record in records]
        log.extend(
            encode_batch(
                values, base_offset=before.offset + 1, epoch=1, timestamp_ms=1_700_000_000_000, control=False
            )
        )
        written.extend(records)

    bench = ControlBench()
    bench.observe = keep
    bench.add_brokers(1, 2, 3, 4)
    bench.create_topic("t", [[1, 2, 3]], min_insync_replicas="2")
    bench.create_topic("cheap", [[1, 2]], unclean_leader_election_enable="true")
    bench.run(lambda view: drain_broker(view, 3))
    bench.alter_isr("cheap", [1])
    for broker in (1, 2, 3):
        bench.kill(broker)
    bench.restart(2, clean=True)
    bench.heartbeat(2, want_shut_down=True)
    bench.ask(ApiKey.UNREGISTER_BROKER, UnregisterBrokerRequest(broker_id=1))
    # The batches begin where the bootstrap records of the bench end.
    path = tmp_path / f"{2:020}.log"
    path.write_bytes(log)

    dump = kafka_tools.run("kafka-dump-log", "--cluster-metadata-decoder", "--files", str(path)).stdout
    assert "isvalid: false" not in dump
    assert not re.search(r"(?i)exception|could not|unknown", dump)
    payloads = [json.loads(line) for line in re.findall(r"payload: (\{.*\})\s*$", dump, re.MULTILINE)]
    assert len(payloads) == len(written)
    changes = [one["data"] for one in payloads if one["type"] == "PARTITION_CHANGE_RECORD"]
    assert any(change.get("eligibleLeaderReplicas") == [2, 3] for change in changes)
    assert any(change.get("lastKnownElr") == [3] for change in changes)
    assert any(change.get("leaderRecoveryState") == 1 for change in changes)
    assert any(
        change.get("addingReplicas") == [4] and change["removingReplicas"] == [3] for change in changes
    )
    registrations = [one["data"] for one in payloads if one["type"] == "BROKER_REGISTRATION_CHANGE_RECORD"]
    assert any(change.get("inControlledShutdown") == 1 for change in registrations)
    assert any(one["type"] == "UNREGISTER_BROKER_RECORD" for one in payloads)
