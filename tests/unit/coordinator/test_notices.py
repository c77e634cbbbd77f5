"""A group's moves are told as events with fields that a search can join on."""

from __future__ import annotations

from moldau_broker.testing.groups import GroupBench


def test_rebalance_is_told_with_its_reason_and_its_client() -> None:
    """Who joined, why the rebalance begins, and which generation came of it."""
    bench = GroupBench()
    bench.stable_group(2)
    events = [notice.event for notice in bench.told]
    assert "group.rebalance" in events
    assert events[-1] == "group.generation"
    first = next(notice for notice in bench.told if notice.event == "group.rebalance")
    assert first.fields["group"] == "g"
    assert first.fields["client_id"]
    assert "joins" in str(first.fields["reason"])
    last = bench.told[-1]
    assert (last.fields["members"], last.fields["generation"]) == (2, bench.view("g").generation)


def test_expired_member_is_told_before_the_rebalance_it_causes() -> None:
    """A member that went silent is named with its client id, and the rebalance says that it timed out."""
    bench = GroupBench()
    (member_id,) = bench.stable_group(1)
    del bench.told[:]
    bench.advance(3_600_000)
    expired, rebalance, *_ = bench.told
    assert (expired.event, expired.fields["member"]) == ("group.member_expired", member_id)
    assert rebalance.event == "group.rebalance"
    assert "timed out" in str(rebalance.fields["reason"])
    assert expired.fields["client_id"] == rebalance.fields["client_id"] != ""
