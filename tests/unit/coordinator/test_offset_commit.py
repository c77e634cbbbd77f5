"""OffsetCommit and OffsetFetch. Reference: KIP-211, KIP-447, KIP-848's error rules, Kafka's OffsetMetadataManager."""

import pytest

from moldau_broker.base.errors import ErrorCode
from moldau_broker.coordinator.config import GroupConfig
from moldau_broker.coordinator.offsets import CommittedOffset
from moldau_broker.testing.groups import GroupBench
from moldau_broker.wire.messages.offset_commit import OffsetCommitResponse
from moldau_broker.wire.messages.offset_fetch import OffsetFetchRequestGroup, OffsetFetchRequestTopics

TOPIC_ID = bytes(range(16))


def _error(response: OffsetCommitResponse) -> int:
    """The error that every partition has."""
    errors = {partition.error_code for topic in response.topics for partition in topic.partitions}
    (error,) = errors
    return error


def test_commit_is_answered_once_it_is_stored() -> None:
    """Durable before the client hears of it."""
    bench = GroupBench(auto_store=False)
    reply = bench.commit("g", {("t", 0): 7})
    assert not reply.done
    bench.store()
    assert _error(reply.value) == ErrorCode.NONE
    assert bench.committed("g", "t") == 7
    assert bench.replica().committed("g", "t") == 7


def test_commit_of_a_member_needs_its_id_and_generation() -> None:
    """Members of the current generation may commit, nobody else."""
    bench = GroupBench()
    _, follower = bench.stable_group(2)
    offsets = {("t", 0): 1}
    assert _error(bench.commit("g", offsets, follower, 1).value) == ErrorCode.NONE
    assert _error(bench.commit("g", offsets, follower, 0).value) == ErrorCode.ILLEGAL_GENERATION
    assert _error(bench.commit("g", offsets, follower, 2).value) == ErrorCode.ILLEGAL_GENERATION
    assert _error(bench.commit("g", offsets, follower, -1).value) == ErrorCode.ILLEGAL_GENERATION
    assert _error(bench.commit("g", offsets, "stranger", 1).value) == ErrorCode.UNKNOWN_MEMBER_ID


def test_commit_without_membership_is_for_empty_groups() -> None:
    """A simple consumer (generation -1, no member id) may commit until somebody joins, and after all have left."""
    bench = GroupBench()
    assert _error(bench.commit("g", {("t", 0): 1}).value) == ErrorCode.NONE
    (only,) = bench.stable_group(1)
    assert _error(bench.commit("g", {("t", 0): 2}).value) == ErrorCode.UNKNOWN_MEMBER_ID
    bench.leave("g", only)
    assert _error(bench.commit("g", {("t", 0): 3}).value) == ErrorCode.NONE
    assert bench.committed("g", "t") == 3


def test_commit_without_membership_makes_a_simple_group() -> None:
    """Empty, without a protocol type; it is listed and can be deleted."""
    bench = GroupBench()
    bench.commit("g", {("t", 0): 1})
    view = bench.view()
    assert (view.state, view.protocol_type, view.members) == ("Empty", "", ())


def test_commit_with_a_generation_to_a_group_nobody_knows() -> None:
    """GROUP_ID_NOT_FOUND since v9, ILLEGAL_GENERATION before."""
    bench = GroupBench()
    new = bench.commit("g", {("t", 0): 1}, "m", 3, version=9).value
    old = bench.commit("g", {("t", 0): 1}, "m", 3, version=8).value
    assert (_error(new), _error(old)) == (ErrorCode.GROUP_ID_NOT_FOUND, ErrorCode.ILLEGAL_GENERATION)


def test_commit_with_a_generation_to_an_empty_group_is_unknown_member() -> None:
    """The member was dropped and does not know it yet."""
    bench = GroupBench()
    (only,) = bench.stable_group(1)
    bench.leave("g", only)
    assert _error(bench.commit("g", {("t", 0): 1}, only, 1).value) == ErrorCode.UNKNOWN_MEMBER_ID


def test_commit_goes_on_while_the_group_gathers_members() -> None:
    """Cooperative members keep working during the join phase."""
    bench = GroupBench()
    leader, follower = bench.stable_group(2)
    bench.join("g", leader)
    assert _error(bench.commit("g", {("t", 0): 5}, follower, 1).value) == ErrorCode.NONE


def test_commit_between_join_and_sync_is_refused() -> None:
    """The new generation has no assignment yet, so nothing can have been read in it; the old one is over."""
    bench = GroupBench()
    ids = [bench.new_id(), bench.new_id()]
    for member_id in ids:
        bench.join("g", member_id)
    bench.advance(6_000)
    reply = bench.commit("g", {("t", 0): 5}, ids[1], 1).value
    assert _error(reply) == ErrorCode.REBALANCE_IN_PROGRESS


def test_commit_keeps_the_member_alive() -> None:
    """As a heartbeat does, in Stable and while rebalancing."""
    bench = GroupBench()
    (only,) = bench.stable_group(1, session_ms=10_000)
    for _ in range(3):
        bench.advance(9_000)
        bench.commit("g", {("t", 0): 5}, only, 1)
    assert bench.view().state == "Stable"


def test_commit_metadata_comes_back_as_it_was() -> None:
    """Also the leader epoch; null metadata is stored as empty."""
    bench = GroupBench()
    bench.commit("g", {("t", 0): 5}, metadata="where I was: \U0001f9ed", leader_epoch=4)
    bench.commit("g", {("u", 0): 6}, metadata=None)
    offsets = bench.view().offsets
    assert offsets["t", 0] == CommittedOffset(5, 4, "where I was: \U0001f9ed", bench.wall_ms)
    assert offsets["u", 0].metadata == ""


@pytest.mark.parametrize(
    ("metadata", "error"),
    [
        ("m" * 4096, ErrorCode.NONE),
        ("m" * 4097, ErrorCode.OFFSET_METADATA_TOO_LARGE),
        ("\U0001f9ed" * 2048, ErrorCode.NONE),
        ("\U0001f9ed" * 2049, ErrorCode.OFFSET_METADATA_TOO_LARGE),
    ],
)
def test_commit_metadata_is_bounded(metadata: str, error: ErrorCode) -> None:
    """`offset.metadata.max.bytes` counts UTF-16 units, in Kafka too; nothing is stored beyond it."""
    bench = GroupBench()
    assert _error(bench.commit("g", {("t", 0): 5}, metadata=metadata).value) == error
    assert bench.committed("g", "t") == (5 if error is ErrorCode.NONE else -1)


def test_commit_remembers_the_topic_id() -> None:
    """An offset of a topic that was deleted and made anew is not found under the new id (KIP-848, v10)."""
    bench = GroupBench()
    bench.commit("g", {("t", 0): 5}, topic_id=TOPIC_ID)
    assert bench.committed("g", "t", topic_id=TOPIC_ID) == 5
    assert bench.committed("g", "t") == 5
    assert bench.committed("g", "t", topic_id=bytes(15) + b"\x09") == -1
    assert bench.replica().view("g").offsets["t", 0].topic_id == TOPIC_ID


def test_commit_the_last_one_wins() -> None:
    """Offsets may go back: that is how a group is rewound."""
    bench = GroupBench()
    for offset in (5, 9, 2):
        bench.commit("g", {("t", 0): offset})
    assert bench.committed("g", "t") == bench.replica().committed("g", "t") == 2


def test_commit_that_the_log_refuses_is_taken_back() -> None:
    """A full disk: the old offset stands, also for a group that came to be with the commit."""
    bench = GroupBench()
    bench.commit("g", {("t", 0): 5})
    bench.auto_store = False
    replies = [
        bench.commit("g", {("t", 0): 6}),
        bench.commit("h", {("t", 0): 7}),
        bench.commit("g", {("t", 0): 8}),
    ]
    assert bench.refuse(ErrorCode.KAFKA_STORAGE_ERROR)
    assert {_error(reply.value) for reply in replies} == {ErrorCode.NOT_COORDINATOR}
    assert bench.committed("g", "t") == 5
    assert bench.shard.group_ids == ("g",)


@pytest.mark.parametrize(
    ("append_error", "told"),
    [
        (ErrorCode.NOT_ENOUGH_REPLICAS, ErrorCode.COORDINATOR_NOT_AVAILABLE),
        (ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND, ErrorCode.COORDINATOR_NOT_AVAILABLE),
        (ErrorCode.REQUEST_TIMED_OUT, ErrorCode.COORDINATOR_NOT_AVAILABLE),
        (ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, ErrorCode.COORDINATOR_NOT_AVAILABLE),
        (ErrorCode.NOT_LEADER_OR_FOLLOWER, ErrorCode.NOT_COORDINATOR),
        (ErrorCode.KAFKA_STORAGE_ERROR, ErrorCode.NOT_COORDINATOR),
    ],
)
def test_commit_errors_of_the_log_are_told_in_the_words_of_coordinators(
    append_error: ErrorCode, told: ErrorCode
) -> None:
    """Clients look for the coordinator again, or try again; none of them knows the log's own errors."""
    bench = GroupBench(auto_store=False)
    reply = bench.commit("g", {("t", 0): 6})
    bench.refuse(append_error)
    assert _error(reply.value) == told


def test_commit_too_large_for_a_batch_is_refused_whole() -> None:
    """One request is one atomic write."""
    bench = GroupBench(GroupConfig(write_bytes_max=500))
    reply = bench.commit("g", {("t" * 200, index): 1 for index in range(3)}).value
    assert _error(reply) == ErrorCode.UNKNOWN_SERVER_ERROR
    assert bench.shard.group_ids == ()


def test_commit_makes_no_more_groups_than_a_shard_may_hold() -> None:
    """As JoinGroup."""
    bench = GroupBench(GroupConfig(groups_per_shard_max=1))
    bench.commit("a", {("t", 0): 1})
    assert _error(bench.commit("b", {("t", 0): 1}).value) == ErrorCode.POLICY_VIOLATION
    assert _error(bench.commit("a", {("t", 0): 2}).value) == ErrorCode.NONE


def test_fetch_of_what_was_never_committed_is_minus_one_without_error() -> None:
    """Unknown group, topic or partition alike."""
    bench = GroupBench()
    bench.commit("g", {("t", 0): 1})
    for group_id, topic, partition in (("nowhere", "t", 0), ("g", "u", 0), ("g", "t", 1)):
        asked = OffsetFetchRequestGroup(
            group_id=group_id,
            topics=[OffsetFetchRequestTopics(name=topic, partition_indexes=[partition])],
        )
        answer = bench.shard.fetch(asked, require_stable=True)
        (found,) = answer.topics[0].partitions
        assert (answer.error_code, found.error_code) == (ErrorCode.NONE, ErrorCode.NONE)
        assert (found.committed_offset, found.committed_leader_epoch, found.metadata) == (-1, -1, "")


def test_fetch_of_all_topics_gives_everything_the_group_has() -> None:
    """Null topics; an unknown group has nothing."""
    bench = GroupBench()
    bench.commit("g", {("t", 0): 1, ("t", 3): 2, ("u", 1): 3})
    answer = bench.shard.fetch(OffsetFetchRequestGroup(group_id="g", topics=None), require_stable=False)
    found = {
        (topic.name, partition.partition_index): partition.committed_offset
        for topic in answer.topics
        for partition in topic.partitions
    }
    assert found == {("t", 0): 1, ("t", 3): 2, ("u", 1): 3}
    empty = bench.shard.fetch(OffsetFetchRequestGroup(group_id="x", topics=None), require_stable=False)
    assert (empty.error_code, empty.topics) == (ErrorCode.NONE, [])


def test_fetch_stable_says_so_where_a_transaction_is_open() -> None:
    """`require_stable` (KIP-447): UNSTABLE_OFFSET_COMMIT for those partitions alone, also if nothing stands there."""
    bench = GroupBench()
    bench.commit("g", {("t", 0): 1, ("t", 1): 2})
    bench.shard.load_open_transaction(42, "g", "t", 0)
    bench.shard.load_open_transaction(42, "g", "t", 2)
    asked = OffsetFetchRequestGroup(
        group_id="g", topics=[OffsetFetchRequestTopics(name="t", partition_indexes=[0, 1, 2])]
    )
    stable = bench.shard.fetch(asked, require_stable=True).topics[0].partitions
    unstable = ErrorCode.UNSTABLE_OFFSET_COMMIT
    assert [(p.committed_offset, p.error_code) for p in stable] == [(-1, unstable), (2, 0), (-1, unstable)]
    anyhow = bench.shard.fetch(asked, require_stable=False).topics[0].partitions
    assert [(p.committed_offset, p.error_code) for p in anyhow] == [(1, 0), (2, 0), (-1, 0)]
