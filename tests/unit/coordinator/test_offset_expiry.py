"""How offsets and groups end. Reference: KIP-211 (retention), KIP-496 (OffsetDelete), Kafka's OffsetMetadataManager."""

import pytest

from moldau_broker.base.deferred import Deferred
from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.limits import GROUP_TOMBSTONES_PER_WRITE_MAX
from moldau_broker.coordinator.config import GroupConfig
from moldau_broker.testing.groups import GroupBench
from moldau_broker.wire.messages.offset_delete import (
    OffsetDeleteRequest,
    OffsetDeleteRequestPartition,
    OffsetDeleteRequestTopic,
    OffsetDeleteResponse,
)

DAY_MS = 86_400_000
CHECK_MS = 600_000
CONFIG = GroupConfig(offsets_retention_ms=7 * DAY_MS, retention_check_interval_ms=CHECK_MS)


def _beat(bench: GroupBench, member_id: str, generation: int, total_ms: int, each_ms: int = 900_000) -> None:
    """Let time pass while the member stays alive."""
    for _ in range(total_ms // each_ms):
        bench.advance(each_ms)
        assert bench.heartbeat("g", member_id, generation) == ErrorCode.NONE


def test_expiry_of_a_simple_consumers_offset_counts_from_its_commit() -> None:
    """Nobody ever joins such a group; each offset goes on its own, the group with the last one."""
    bench = GroupBench(CONFIG)
    bench.commit("g", {("t", 0): 1})
    bench.advance(3 * DAY_MS)
    bench.commit("g", {("t", 1): 2})
    bench.advance(4 * DAY_MS - CHECK_MS)
    assert bench.committed("g", "t", 0) == 1
    bench.advance(2 * CHECK_MS)
    assert (bench.committed("g", "t", 0), bench.committed("g", "t", 1)) == (-1, 2)
    bench.advance(3 * DAY_MS + CHECK_MS)
    assert bench.shard.group_ids == bench.replica().shard.group_ids == ()


def test_expiry_of_a_groups_offsets_counts_from_when_it_emptied() -> None:
    """Not from the commit: a group that is idle for a month keeps its place while it lives."""
    bench = GroupBench(CONFIG)
    session = 1_000_000
    (only,) = bench.stable_group(1, session_ms=session)
    bench.commit("g", {("t", 0): 1}, only, 1)
    _beat(bench, only, 1, 10 * DAY_MS)
    assert bench.committed("g", "t") == 1
    bench.leave("g", only)
    bench.advance(7 * DAY_MS - CHECK_MS)
    assert bench.committed("g", "t") == 1
    bench.advance(2 * CHECK_MS)
    assert bench.committed("g", "t") == -1
    assert bench.shard.group_ids == ()


def test_expiry_knows_when_a_group_emptied_after_a_restart() -> None:
    """The time is in the group's record, so a restart does not begin it anew."""
    bench = GroupBench(CONFIG)
    (only,) = bench.stable_group(1)
    bench.commit("g", {("t", 0): 1}, only, 1)
    bench.leave("g", only)
    bench.advance(4 * DAY_MS)
    bench.restart()
    bench.advance(3 * DAY_MS - CHECK_MS)
    assert bench.committed("g", "t") == 1
    bench.advance(2 * CHECK_MS)
    assert bench.shard.group_ids == ()


def test_expiry_of_topics_a_stable_group_no_longer_reads() -> None:
    """What it subscribes to stays for ever; the rest goes by commit time."""
    bench = GroupBench(CONFIG)
    session = 1_000_000
    (only,) = bench.stable_group(1, session_ms=session, topics=("t",))
    bench.commit("g", {("t", 0): 1, ("old", 0): 2}, only, 1)
    _beat(bench, only, 1, 8 * DAY_MS)
    assert (bench.committed("g", "t"), bench.committed("g", "old")) == (1, -1)


def test_expiry_touches_nothing_of_a_group_with_unreadable_subscriptions() -> None:
    """Custom metadata under the consumer protocol: we cannot know what it reads."""
    bench = GroupBench(CONFIG)
    offer = [("range", b"\xff")]
    (only,) = bench.stable_group(1, protocols=offer, session_ms=1_000_000)
    bench.commit("g", {("t", 0): 1}, only, 1)
    assert bench.view().topics is None
    _beat(bench, only, 1, 8 * DAY_MS)
    assert bench.committed("g", "t") == 1


def test_expiry_touches_nothing_of_a_living_group_that_is_no_consumer_group() -> None:
    """Connect's offsets go only when it has emptied."""
    bench = GroupBench(CONFIG)
    member_id = bench.new_id(protocol_type="connect", session_ms=1_000_000)
    bench.join("g", member_id, protocol_type="connect", session_ms=1_000_000)
    bench.advance(6_000)
    bench.sync("g", member_id, 1, {}, protocol_type="connect")
    bench.commit("g", {("t", 0): 1}, member_id, 1)
    _beat(bench, member_id, 1, 8 * DAY_MS)
    assert bench.committed("g", "t") == 1


def test_expiry_of_an_old_clients_own_choice() -> None:
    """OffsetCommit v2-4 may name a retention; it is stored (record version 1) and outranks the broker's."""
    bench = GroupBench(CONFIG)
    bench.commit("g", {("t", 0): 1}, retention_ms=DAY_MS, version=3)
    bench.commit("g", {("t", 1): 1}, retention_ms=30 * DAY_MS, version=3)
    bench.restart()
    bench.advance(DAY_MS + CHECK_MS)
    assert (bench.committed("g", "t", 0), bench.committed("g", "t", 1)) == (-1, 1)
    bench.advance(8 * DAY_MS)
    assert bench.committed("g", "t", 1) == 1


def test_expiry_of_a_group_that_never_had_offsets() -> None:
    """An empty group without offsets is forgotten at the next check."""
    bench = GroupBench(CONFIG)
    (only,) = bench.stable_group(1)
    bench.leave("g", only)
    bench.advance(CHECK_MS)
    assert bench.shard.group_ids == bench.replica().shard.group_ids == ()


def test_expiry_spares_a_group_somebody_is_about_to_join() -> None:
    """An id was handed out: if the group went now, its holder would have to begin anew."""
    bench = GroupBench(CONFIG)
    bench.advance(CHECK_MS - 3_000)
    pending = bench.new_id()
    bench.advance(5_000)
    reply = bench.join("g", pending)
    bench.advance(6_000)
    assert reply.value.generation_id == 1


def test_expiry_spares_offsets_of_open_transactions() -> None:
    """They may be about to change."""
    bench = GroupBench(CONFIG)
    bench.commit("g", {("t", 0): 1})
    bench.shard.load_open_transaction(7, "g", "t", 0)
    bench.advance(8 * DAY_MS)
    assert bench.committed("g", "t") == 1


def test_forgotten_topics_take_their_offsets_with_them() -> None:
    """By id where the commit has one: a namesake made meanwhile keeps what is its own."""
    old, new = bytes(15) + b"\x01", bytes(15) + b"\x02"
    bench = GroupBench()
    bench.commit("g", {("t", 0): 1}, topic_id=old)
    bench.commit("h", {("t", 0): 2}, topic_id=new)
    bench.commit("i", {("t", 0): 3, ("u", 0): 4})
    bench.shard.forget_topics([("t", old)], bench.now)
    bench.in_flight += bench.shard.take_writes()
    bench.store()
    for now in (bench, bench.replica()):
        assert now.committed("g", "t") == -1
        assert now.committed("h", "t") == 2
        assert (now.committed("i", "t"), now.committed("i", "u")) == (-1, 4)


# -- OffsetDelete ------------------------------------------------------------------------------------------------


def _delete(bench: GroupBench, group_id: str, topic: str, *partitions: int) -> Deferred[OffsetDeleteResponse]:
    request = OffsetDeleteRequest(
        group_id=group_id,
        topics=[
            OffsetDeleteRequestTopic(
                name=topic,
                partitions=[OffsetDeleteRequestPartition(partition_index=index) for index in partitions],
            )
        ],
    )
    reply = bench.shard.delete_offsets(request, bench.now)
    bench.in_flight += bench.shard.take_writes()
    return reply


def test_offset_delete_of_an_empty_group() -> None:
    """Durable before it is answered; what was never committed is no error."""
    bench = GroupBench()
    bench.commit("g", {("t", 0): 1, ("t", 1): 2})
    reply = _delete(bench, "g", "t", 0, 5)
    assert not reply.done
    bench.store()
    results = [(p.partition_index, p.error_code) for p in reply.value.topics[0].partitions]
    assert results == [(0, 0), (5, 0)]
    assert (bench.committed("g", "t", 0), bench.committed("g", "t", 1)) == (-1, 2)
    assert bench.replica().committed("g", "t", 0) == -1


def test_offset_delete_of_a_topic_that_is_read_is_refused_per_partition() -> None:
    """GROUP_SUBSCRIBED_TO_TOPIC; other topics of the same group may go."""
    bench = GroupBench()
    (only,) = bench.stable_group(1, topics=("t",))
    bench.commit("g", {("t", 0): 1, ("u", 0): 2}, only, 1)
    refused = _delete(bench, "g", "t", 0).value
    assert refused.topics[0].partitions[0].error_code == ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC
    allowed = _delete(bench, "g", "u", 0)
    bench.store()
    assert allowed.value.topics[0].partitions[0].error_code == ErrorCode.NONE
    assert (bench.committed("g", "t"), bench.committed("g", "u")) == (1, -1)


def test_offset_delete_in_a_group_with_unreadable_subscriptions_is_refused() -> None:
    """It may read any topic."""
    bench = GroupBench()
    bench.stable_group(1, protocols=[("range", b"")])
    reply = _delete(bench, "g", "t", 0).value
    assert reply.topics[0].partitions[0].error_code == ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC


def test_offset_delete_of_unknown_groups_and_of_living_groups_that_are_no_consumers() -> None:
    """GROUP_ID_NOT_FOUND and NON_EMPTY_GROUP stand above the partitions."""
    bench = GroupBench()
    assert _delete(bench, "nowhere", "t", 0).value.error_code == ErrorCode.GROUP_ID_NOT_FOUND
    member_id = bench.new_id(protocol_type="connect")
    bench.join("g", member_id, protocol_type="connect")
    assert _delete(bench, "g", "t", 0).value.error_code == ErrorCode.NON_EMPTY_GROUP


# -- DeleteGroups ------------------------------------------------------------------------------------------------


def _delete_groups(bench: GroupBench, *group_ids: str) -> Deferred[dict[str, ErrorCode]]:
    reply = bench.shard.delete_groups(group_ids, bench.now)
    bench.in_flight += bench.shard.take_writes()
    return reply


def test_delete_groups_takes_empty_groups_with_their_offsets() -> None:
    """Durable before it is answered."""
    bench = GroupBench()
    (only,) = bench.stable_group(1)
    bench.commit("g", {("t", 0): 1}, only, 1)
    bench.leave("g", only)
    bench.commit("simple", {("t", 0): 1})
    reply = _delete_groups(bench, "g", "simple")
    assert not reply.done
    bench.store()
    assert reply.value == {"g": ErrorCode.NONE, "simple": ErrorCode.NONE}
    assert bench.shard.group_ids == bench.replica().shard.group_ids == ()
    assert bench.committed("g", "t") == -1


def test_delete_groups_answers_for_each_group() -> None:
    """One that is in use or unknown does not keep the others."""
    bench = GroupBench()
    bench.stable_group(1, "busy")
    bench.commit("idle", {("t", 0): 1})
    reply = _delete_groups(bench, "busy", "idle", "nowhere")
    bench.store()
    assert reply.value == {
        "busy": ErrorCode.NON_EMPTY_GROUP,
        "idle": ErrorCode.NONE,
        "nowhere": ErrorCode.GROUP_ID_NOT_FOUND,
    }


def test_delete_groups_makes_room_at_once() -> None:
    """Whoever joins while the deletion is being stored makes a new group, and is not lost with the old one."""
    bench = GroupBench()
    bench.commit("g", {("t", 0): 1})
    bench.auto_store = False
    _delete_groups(bench, "g")
    member_id = bench.join("g").value.member_id
    joined = bench.join("g", member_id)
    bench.store()
    bench.advance(6_000)
    bench.store()
    assert joined.value.generation_id == 1
    assert bench.replica().view("g").state == "Empty"


@pytest.mark.parametrize("count", [1, GROUP_TOMBSTONES_PER_WRITE_MAX, GROUP_TOMBSTONES_PER_WRITE_MAX * 2 + 3])
def test_delete_groups_cuts_many_offsets_into_writes_that_fit(count: int) -> None:
    """A group may have more offsets than one batch holds; the group itself goes last."""
    bench = GroupBench()
    for start in range(0, count, 500):
        bench.commit("g", {("t", index): 1 for index in range(start, min(start + 500, count))})
    reply = _delete_groups(bench, "g")
    assert len(bench.in_flight) == -(-(count + 1) // GROUP_TOMBSTONES_PER_WRITE_MAX)
    bench.store(len(bench.in_flight) - 1)
    assert not reply.done
    bench.store()
    assert reply.value == {"g": ErrorCode.NONE}
    assert bench.replica().shard.group_ids == ()


def test_delete_groups_that_cannot_be_taken_back_asks_for_a_reload() -> None:
    """Who held a handed out id is unknown now; the log must say what is."""
    bench = GroupBench(auto_store=False)
    bench.commit("g", {("t", 0): 1})
    bench.store()
    _delete_groups(bench, "g")
    assert not bench.refuse(ErrorCode.KAFKA_STORAGE_ERROR)
