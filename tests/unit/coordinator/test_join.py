"""JoinGroup: every way into a group. Reference: KIP-394 (member ids), KIP-62, Kafka's GroupMetadataManager."""

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.limits import GROUP_METADATA_BYTES_MAX
from moldau_broker.coordinator.config import GroupConfig
from moldau_broker.testing.groups import GroupBench, subscription


def test_join_without_an_id_is_sent_back_with_one() -> None:
    """A new dynamic member of v4+ gets its id first, made of client id and a random part."""
    bench = GroupBench()
    reply = bench.join("g", client_id="app").value
    assert reply.error_code == ErrorCode.MEMBER_ID_REQUIRED
    assert reply.member_id == "app-0001"
    assert bench.view().state == "Empty"


def test_join_before_v4_makes_a_member_at_once() -> None:
    """Old clients do not know MEMBER_ID_REQUIRED."""
    bench = GroupBench()
    reply = bench.join("g", version=3)
    assert not reply.done
    assert bench.view().state == "PreparingRebalance"
    bench.advance(3_000)
    assert reply.value.error_code == ErrorCode.NONE
    assert reply.value.leader == reply.value.member_id


def test_join_with_an_id_of_a_group_nobody_knows_is_unknown_member() -> None:
    """The client drops its id and begins anew; no group comes of it."""
    bench = GroupBench()
    reply = bench.join("g", "gone").value
    assert (reply.error_code, reply.member_id) == (ErrorCode.UNKNOWN_MEMBER_ID, "gone")
    assert bench.shard.group_ids == ()


def test_join_with_an_id_the_group_never_gave_is_unknown_member() -> None:
    """Also while the group exists, empty or not."""
    bench = GroupBench()
    bench.new_id("g")
    assert bench.join("g", "stranger").value.error_code == ErrorCode.UNKNOWN_MEMBER_ID
    bench.stable_group(1, "h")
    assert bench.join("h", "stranger").value.error_code == ErrorCode.UNKNOWN_MEMBER_ID


def test_join_outside_the_session_timeout_bounds_is_refused() -> None:
    """`group.min.session.timeout.ms` and `group.max.session.timeout.ms`, both included."""
    bench = GroupBench()
    for session_ms, error in (
        (5_999, ErrorCode.INVALID_SESSION_TIMEOUT),
        (6_000, ErrorCode.MEMBER_ID_REQUIRED),
        (1_800_000, ErrorCode.MEMBER_ID_REQUIRED),
        (1_800_001, ErrorCode.INVALID_SESSION_TIMEOUT),
    ):
        assert bench.join("g", session_ms=session_ms).value.error_code == error


def test_join_needs_a_protocol_type_and_a_protocol() -> None:
    """An empty group takes any protocol, but not none."""
    bench = GroupBench()
    for refused in (bench.join("g", protocol_type=""), bench.join("g", protocols=[])):
        assert refused.value.error_code == ErrorCode.INCONSISTENT_GROUP_PROTOCOL
    assert bench.shard.group_ids == ()


def test_join_with_another_protocol_type_is_inconsistent() -> None:
    """A Connect worker cannot join consumers."""
    bench = GroupBench()
    bench.stable_group(1)
    reply = bench.join("g", protocol_type="connect").value
    assert reply.error_code == ErrorCode.INCONSISTENT_GROUP_PROTOCOL


def test_join_must_share_a_protocol_with_every_member() -> None:
    """One protocol that all speak is enough, one that only some speak is not."""
    bench = GroupBench()
    both = [("range", subscription("t")), ("roundrobin", subscription("t"))]
    bench.stable_group(2, protocols=both)
    assert bench.join("g", protocols=[("sticky", b"")]).value.error_code == (
        ErrorCode.INCONSISTENT_GROUP_PROTOCOL
    )
    assert bench.join("g", protocols=[("sticky", b""), ("roundrobin", b"")]).value.error_code == (
        ErrorCode.MEMBER_ID_REQUIRED
    )


def test_join_selects_the_protocol_most_members_like_best() -> None:
    """Among those everybody speaks (the clients' lists are in order of preference)."""
    bench = GroupBench()
    blob = subscription("t")
    offers = [
        [("a", blob), ("b", blob), ("c", blob)],
        [("c", blob), ("b", blob), ("a", blob)],
        [("d", blob), ("b", blob), ("c", blob)],
    ]
    ids = [bench.new_id("g", protocols=offer) for offer in offers]
    replies = [bench.join("g", who, protocols=offer) for who, offer in zip(ids, offers, strict=True)]
    bench.advance(6_000)
    assert {reply.value.protocol_name for reply in replies} == {"b"}


def test_join_tells_only_the_leader_who_is_in_the_group() -> None:
    """It computes the assignment from everybody's subscription under the chosen protocol."""
    bench = GroupBench()
    ids = [bench.new_id(topics=("t",)), bench.new_id(topics=("u",))]
    replies = [bench.join("g", ids[0], topics=("t",)), bench.join("g", ids[1], topics=("u",))]
    bench.advance(6_000)
    leader, follower = (reply.value for reply in replies)
    assert leader.leader == follower.leader == leader.member_id
    assert [(m.member_id, m.metadata) for m in leader.members] == [
        (ids[0], subscription("t")),
        (ids[1], subscription("u")),
    ]
    assert follower.members == ()
    assert leader.generation_id == follower.generation_id == 1
    assert leader.protocol_type == follower.protocol_type == "consumer"
    assert not leader.skip_assignment


def test_join_of_a_follower_with_the_same_subscription_disturbs_nobody() -> None:
    """It may have missed an answer: it gets the current generation again (it can sync then)."""
    bench = GroupBench()
    leader, follower = bench.stable_group(2)
    reply = bench.join("g", follower).value
    assert (reply.error_code, reply.generation_id, reply.leader, reply.members) == (
        ErrorCode.NONE,
        1,
        leader,
        (),
    )
    assert bench.view().state == "Stable"


def test_join_of_the_leader_starts_a_rebalance() -> None:
    """The leader may know of changes that no subscription shows."""
    bench = GroupBench()
    leader, follower = bench.stable_group(2)
    again = bench.join("g", leader)
    assert not again.done
    assert bench.view().state == "PreparingRebalance"
    assert bench.heartbeat("g", follower, 1) == ErrorCode.REBALANCE_IN_PROGRESS
    assert bench.join("g", follower).value.generation_id == 2
    assert again.value.generation_id == 2


def test_join_of_a_follower_with_a_new_subscription_starts_a_rebalance() -> None:
    """Its share may change, and so may everybody's."""
    bench = GroupBench()
    leader, follower = bench.stable_group(2)
    changed = bench.join("g", follower, topics=("t", "u"))
    assert not changed.done
    bench.join("g", leader)
    assert changed.value.generation_id == 2
    assert bench.view().topics == {"t", "u"}


def test_join_between_join_and_sync_with_the_same_subscription_repeats_the_answer() -> None:
    """CompletingRebalance: a lost answer is sent again, the leader's with its member list."""
    bench = GroupBench()
    ids = [bench.new_id(), bench.new_id()]
    replies = [bench.join("g", member_id) for member_id in ids]
    bench.advance(6_000)
    for member_id, first in zip(ids, replies, strict=True):
        assert bench.join("g", member_id).value == first.value
    assert bench.view().state == "CompletingRebalance"


def test_join_between_join_and_sync_with_a_new_subscription_starts_over() -> None:
    """Everybody who waits for the assignment is told to join again."""
    bench = GroupBench()
    ids = [bench.new_id(), bench.new_id()]
    for member_id in ids:
        bench.join("g", member_id)
    bench.advance(6_000)
    waiting = bench.sync("g", ids[1], 1)
    bench.join("g", ids[1], topics=("u",))
    assert waiting.value.error_code == ErrorCode.REBALANCE_IN_PROGRESS
    assert bench.view().state == "PreparingRebalance"


def test_join_twice_answers_the_parked_one_and_parks_the_new() -> None:
    """A client that joins again has given the first request up; its connection must not wait for ever."""
    bench = GroupBench()
    member_id = bench.new_id()
    first = bench.join("g", member_id)
    second = bench.join("g", member_id)
    assert first.value.error_code == ErrorCode.REBALANCE_IN_PROGRESS
    bench.advance(6_000)
    assert second.value.generation_id == 1


def test_join_beyond_the_group_size_is_refused() -> None:
    """`group.max.size`, counted by members once Stable; those who are in may rejoin."""
    bench = GroupBench(GroupConfig(group_size_max=2))
    leader, follower = bench.stable_group(2)
    assert bench.join("g").value.error_code == ErrorCode.GROUP_MAX_SIZE_REACHED
    assert bench.join("g", follower).value.error_code == ErrorCode.NONE
    assert not bench.join("g", leader).done


def test_join_beyond_the_group_size_while_rebalancing_leaves_the_last_one_out() -> None:
    """Counted by who has joined, so also when the bound was lowered meanwhile."""
    bench = GroupBench()
    ids = bench.stable_group(3)
    bench.shard.update_config(GroupConfig(group_size_max=2))
    kept = [bench.join("g", ids[0]), bench.join("g", ids[1], topics=("u",))]
    out = bench.join("g", ids[2])
    assert out.value.error_code == ErrorCode.GROUP_MAX_SIZE_REACHED
    bench.advance(60_000)
    assert [reply.value.generation_id for reply in kept] == [2, 2]
    assert {member.member_id for member in bench.view().members} == set(ids[:2])


def test_join_hands_out_no_more_ids_than_a_group_may_have_members() -> None:
    """A loop of clients that never come back must not fill the memory; their ids lapse with the session timeout."""
    bench = GroupBench(GroupConfig(group_size_max=3))
    for _ in range(3):
        bench.new_id(session_ms=10_000)
    assert bench.join("g").value.error_code == ErrorCode.GROUP_MAX_SIZE_REACHED
    bench.advance(10_000)
    assert bench.join("g").value.error_code == ErrorCode.MEMBER_ID_REQUIRED


def test_join_makes_no_more_groups_than_a_shard_may_hold() -> None:
    """Anybody may name a group; POLICY_VIOLATION says that trying again is no use."""
    bench = GroupBench(GroupConfig(groups_per_shard_max=2))
    bench.new_id("a")
    bench.new_id("b")
    assert bench.join("c").value.error_code == ErrorCode.POLICY_VIOLATION
    assert bench.join("a").value.error_code == ErrorCode.MEMBER_ID_REQUIRED


def test_join_with_more_metadata_than_a_record_holds_is_refused() -> None:
    """The generation could never be stored; Kafka would find out only then, and fail everybody."""
    bench = GroupBench()
    half = bytes(GROUP_METADATA_BYTES_MAX // 2 + 1)
    reply = bench.join("g", protocols=[("a", half), ("b", half)]).value
    assert reply.error_code == ErrorCode.INVALID_REQUEST


def test_join_reason_is_noted_and_cut() -> None:
    """Clients say why since v8 (KIP-800); the text is theirs, so it is bounded."""
    bench = GroupBench()
    bench.join("g", bench.new_id(), reason="because " + "x" * 1000)
    (notice,) = [str(notice) for notice in bench.told if "because" in str(notice)]
    assert notice.count("x") < 256


def test_join_creates_the_group_durably() -> None:
    """The group itself is stored when its first member asks, so that a handed out id finds it."""
    bench = GroupBench()
    bench.new_id("g")
    assert bench.replica().view("g").state == "Empty"


def test_join_counts_a_protocol_named_twice_once() -> None:
    """Otherwise nobody would seem to speak it."""
    bench = GroupBench()
    blob = subscription("t")
    member_id = bench.new_id(protocols=[("range", blob), ("range", b"other")])
    reply = bench.join("g", member_id, protocols=[("range", blob), ("range", b"other")])
    bench.advance(6_000)
    assert reply.value.protocol_name == "range"
    assert reply.value.members[0].metadata == blob
