"""DescribeGroups, ListGroups and the views. Reference: KIP-518, KIP-848, KIP-1043."""

from moldau_broker.base.errors import ErrorCode
from moldau_broker.testing.groups import GroupBench, subscription


def test_describe_shows_a_stable_group_whole() -> None:
    """State, protocol, and for each member who and where it is, what it wants and what it has."""
    bench = GroupBench()
    leader, _ = bench.stable_group(2, client_id="app")
    group = bench.shard.describe("g", 6)
    assert (group.error_code, group.group_state) == (ErrorCode.NONE, "Stable")
    assert (group.protocol_type, group.protocol_data) == ("consumer", "range")
    member = next(member for member in group.members if member.member_id == leader)
    assert (member.client_id, member.client_host) == ("app", "/127.0.0.1")
    assert (member.member_metadata, member.member_assignment) == (subscription("t"), b"0")


def test_describe_leaves_protocol_and_metadata_out_between_generations() -> None:
    """They mean nothing until the group agrees again."""
    bench = GroupBench()
    leader, _ = bench.stable_group(2)
    bench.join("g", leader)
    group = bench.shard.describe("g", 6)
    assert (group.group_state, group.protocol_data) == ("PreparingRebalance", "")
    assert {member.member_metadata for member in group.members} == {b""}


def test_describe_of_a_group_nobody_knows() -> None:
    """Dead without an error to v5, GROUP_ID_NOT_FOUND with a text since v6."""
    bench = GroupBench()
    old, new = bench.shard.describe("nowhere", 5), bench.shard.describe("nowhere", 6)
    assert (old.group_state, old.error_code, old.error_message) == ("Dead", ErrorCode.NONE, None)
    assert (new.group_state, new.error_code) == ("Dead", ErrorCode.GROUP_ID_NOT_FOUND)
    assert new.error_message == "Group nowhere not found."


def test_list_shows_every_group_with_state_and_type() -> None:
    """Simple consumers' groups have no protocol type."""
    bench = GroupBench()
    bench.stable_group(1, "a")
    bench.commit("b", {("t", 0): 1})
    groups = bench.shard.list_groups([], [])
    assert [(g.group_id, g.protocol_type, g.group_state, g.group_type) for g in groups] == [
        ("a", "consumer", "Stable", "classic"),
        ("b", "", "Empty", "classic"),
    ]


def test_list_filters_by_state_and_type_in_any_letter_case() -> None:
    """Unknown names match nothing."""
    bench = GroupBench()
    bench.stable_group(1, "a")
    bench.commit("b", {("t", 0): 1})

    def listed(states: list[str], types: list[str]) -> list[str]:
        return [group.group_id for group in bench.shard.list_groups(states, types)]

    assert listed(["stable"], []) == ["a"]
    assert listed(["EMPTY", "Stable"], ["Classic"]) == ["a", "b"]
    assert listed([], ["consumer"]) == []
    assert listed(["nonsense"], []) == []
    assert listed([], ["consumer", "classic"]) == ["a", "b"]


def test_view_has_what_lag_needs() -> None:
    """Members with their assignments and the committed offsets."""
    bench = GroupBench()
    leader, follower = bench.stable_group(2)
    bench.commit("g", {("t", 0): 3}, leader, 1)
    view = bench.view()
    assert {member.member_id: member.assignment for member in view.members} == {leader: b"0", follower: b"1"}
    assert {key: committed.offset for key, committed in view.offsets.items()} == {("t", 0): 3}
    assert (view.leader_id, view.generation, view.topics) == (leader, 1, {"t"})


def test_subscriptions_are_found_by_topic() -> None:
    """They follow the generations, and end with the group's members."""
    bench = GroupBench()
    (a,) = bench.stable_group(1, "a", topics=("t", "u"))
    bench.stable_group(1, "b", topics=("u",))
    assert bench.shard.groups_subscribed_to("u") == {"a", "b"}
    assert bench.replica().shard.groups_subscribed_to("t") == {"a"}
    bench.join("a", a, topics=("v",))
    assert bench.shard.groups_subscribed_to("t") == frozenset()
    assert bench.shard.groups_subscribed_to("v") == {"a"}
    bench.leave("a", a)
    assert bench.shard.groups_subscribed_to("v") == frozenset()
