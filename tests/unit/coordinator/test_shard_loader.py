"""A shard read back from its log."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from moldau_broker.coordinator.config import GroupConfig
from moldau_broker.coordinator.records import EncodedRecord
from moldau_broker.coordinator.shard import GroupShard
from moldau_broker.coordinator.shard_loader import LoadFailed, load_steps
from moldau_broker.coordinator.shard_state import Now
from moldau_broker.testing.coordinator import MemoryLog
from moldau_broker.testing.groups import GroupBench
from moldau_broker.wire.errors import WireError
from moldau_broker.wire.messages.offset_fetch import OffsetFetchRequestGroup, OffsetFetchRequestTopics
from moldau_broker.wire.records import Record, build_batch

KAFKA_LOG = Path(__file__).parents[2] / "data" / "kafka" / "consumer_offsets.log"
"""Written by Apache Kafka 4.3.1 for confluent-kafka clients: groups, a static member, a deleted group, transactions."""
ABORT, COMMIT = b"\x00\x00\x00\x00", b"\x00\x00\x00\x01"


def _append(
    log: MemoryLog, records: Iterable[EncodedRecord], *, codec: int = 0, producer_id: int = -1
) -> None:
    log.append(
        build_batch(
            [Record(at, 1_000, key, value) for at, (key, value) in enumerate(records)],
            codec=codec,
            producer_id=producer_id,
            transactional=producer_id >= 0,
        )
    )


def _end(log: MemoryLog, producer_id: int, key: bytes) -> None:
    log.append(
        build_batch(
            [Record(0, 1_000, key, bytes(6))], producer_id=producer_id, control=True, transactional=True
        )
    )


def _load(log: MemoryLog) -> GroupShard:
    shard = GroupShard(GroupConfig(), lambda: "x")
    for _ in load_steps(log, shard, lambda: Now(0, 0)):
        pass
    return shard


def _commits(*offsets: tuple[str, int]) -> list[EncodedRecord]:
    """The records of commits of group "g"."""
    bench = GroupBench()
    for topic, offset in offsets:
        bench.commit("g", {(topic, 0): offset})
    return bench.log


def _committed(shard: GroupShard, topic: str) -> tuple[int, int]:
    """(offset, error) as a reader that wants stable offsets sees them."""
    asked = OffsetFetchRequestGroup(
        group_id="g", topics=[OffsetFetchRequestTopics(name=topic, partition_indexes=[0])]
    )
    (found,) = shard.fetch(asked, require_stable=True).topics[0].partitions
    return found.committed_offset, found.error_code


def test_loading_gives_what_the_log_says() -> None:
    """Groups with members and offsets, as they were; over several batches."""
    bench = GroupBench()
    (only,) = bench.stable_group(1)
    bench.commit("g", {("t", 0): 5}, only, 1)
    bench.commit("simple", {("t", 0): 6})
    log = MemoryLog()
    for record in bench.log:
        _append(log, [record])
    shard = _load(log)
    assert shard.view("g") == bench.view("g")
    assert shard.view("simple") == bench.view("simple")
    assert shard.next_deadline() == 10_000, "the member's session has begun"


@pytest.mark.parametrize("codec", [0, 1, 2, 3, 4])
def test_loading_opens_compressed_batches(codec: int) -> None:
    """Kafka's `offsets.topic.compression.codec` may have been set."""
    log = MemoryLog()
    _append(log, _commits(("t", 1), ("t", 2)), codec=codec)
    assert _committed(_load(log), "t") == (2, 0)


def test_loading_skips_records_below_the_log_start() -> None:
    """The first batch may begin before it (DeleteRecords)."""
    log = MemoryLog()
    _append(log, _commits(("t", 1), ("u", 2)))
    log.log_start_offset = 1
    shard = _load(log)
    assert (_committed(shard, "t"), _committed(shard, "u")) == ((-1, 0), (2, 0))


def test_loading_settles_transactions() -> None:
    """Committed ones count, aborted ones do not, open ones are unstable until their end is known."""
    log = MemoryLog()
    _append(log, _commits(("plain", 1)))
    for producer_id, topic in ((1, "committed"), (2, "aborted"), (3, "open")):
        _append(log, _commits((topic, 9)), producer_id=producer_id)
    _end(log, 1, COMMIT)
    _end(log, 2, ABORT)
    shard = _load(log)
    assert _committed(shard, "plain") == (1, 0)
    assert _committed(shard, "committed") == (9, 0)
    assert _committed(shard, "aborted") == (-1, 0)
    assert _committed(shard, "open") == (-1, 88)


def test_loading_refuses_a_damaged_batch() -> None:
    """A shard with offsets missing would let consumers skip or repeat; better none."""
    log = MemoryLog()
    _append(log, _commits(("t", 1)))
    log.batches[0][-1] ^= 1
    with pytest.raises(LoadFailed, match="offset 0"):
        _load(log)


def test_loading_refuses_records_from_the_future() -> None:
    """A version we cannot read may hold anything."""
    log = MemoryLog()
    (key, _), *_ = _commits(("t", 1))
    _append(log, [EncodedRecord(key, b"\x00\x63")])
    with pytest.raises(WireError):
        _load(log)


def test_loading_refuses_a_log_that_gives_nothing() -> None:
    """It would never end otherwise."""
    log = MemoryLog()
    log.log_end_offset = 5
    with pytest.raises(LoadFailed, match="nothing can be read"):
        _load(log)


def test_loading_goes_in_steps() -> None:
    """At least one for each batch and each key that is left, so that the loop gets its turns."""
    log = MemoryLog()
    for index in range(20):
        _append(log, _commits((f"t{index}", 1)))
    steps = sum(1 for _ in load_steps(log, GroupShard(GroupConfig(), lambda: "x"), lambda: Now(0, 0)))
    assert steps == 40


def test_loading_reads_what_apache_kafka_wrote() -> None:
    """Groups of real clients, with members, assignments, offsets and notes as Kafka described them."""
    shard = _load(MemoryLog.of(KAFKA_LOG.read_bytes()))
    assert set(shard.group_ids) == {"app", "static", "simple", "eos-committed", "eos-aborted", "eos-open"}
    app, static, simple = shard.view("app"), shard.view("static"), shard.view("simple")
    assert app is not None
    assert static is not None
    assert simple is not None
    assert (app.state, app.protocol_type, app.topics) == ("Stable", "consumer", {"t"})
    assert {member.client_id for member in app.members} == {"one", "two"}
    assert all(member.client_host == "/127.0.0.1" and member.assignment for member in app.members)
    assert {key: (c.offset, c.metadata) for key, c in app.offsets.items()} == {
        ("t", 0): (7, "note 0\0"),  # the client's own NUL: metadata is whatever it sends
        ("t", 1): (8, "note 1\0"),
        ("t", 2): (9, "note 2\0"),
    }
    assert len({committed.topic_id for committed in app.offsets.values()}) == 1
    assert [member.instance_id for member in static.members] == ["i-1"]
    assert static.members[0].member_id.startswith("i-1-")
    assert (simple.state, simple.protocol_type) == ("Empty", "")
    assert {key: committed.offset for key, committed in simple.offsets.items()} == {("t", 1): 5, ("u", 0): 6}


def test_loading_settles_the_transactions_apache_kafka_wrote() -> None:
    """Committed: the new offset. Aborted: the old one. Open: the old one, and not stable."""
    shard = _load(MemoryLog.of(KAFKA_LOG.read_bytes()))
    seen = {}
    for group_id in ("eos-committed", "eos-aborted", "eos-open"):
        asked = OffsetFetchRequestGroup(
            group_id=group_id, topics=[OffsetFetchRequestTopics(name="t", partition_indexes=[0])]
        )
        for require_stable in (False, True):
            (found,) = shard.fetch(asked, require_stable=require_stable).topics[0].partitions
            seen[group_id, require_stable] = (found.committed_offset, found.error_code)
    assert seen == {
        ("eos-committed", False): (9, 0),
        ("eos-committed", True): (9, 0),
        ("eos-aborted", False): (1, 0),
        ("eos-aborted", True): (1, 0),
        ("eos-open", False): (1, 0),
        ("eos-open", True): (-1, 88),
    }
