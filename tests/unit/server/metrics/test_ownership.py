"""Who tells a series: whoever has led for a while, and never two."""

from types import SimpleNamespace

import pytest

from moldau_broker.base.topics import CONSUMER_OFFSETS
from moldau_broker.server.metrics.ownership import SETTLE_MS, Ownership
from moldau_broker.testing.controller import ManualClock


@pytest.fixture
def node():
    """A broker among three, looked at twice a second."""

    class Node:
        clock = ManualClock()
        controller = SimpleNamespace(is_active=False, leader_epoch=3)
        metadata = SimpleNamespace(image=SimpleNamespace(brokers={1: None, 2: None, 3: None}))
        partition = SimpleNamespace(
            is_leader=True, is_ready=True, is_cut_off=False, led_since_ms=clock.monotonic_ms()
        )
        forgotten = False

    found = Node()
    replicas = SimpleNamespace(
        partition=lambda topic, index: found.partition if (topic, index) == (CONSUMER_OFFSETS, 4) else None
    )
    found.ownership = Ownership(
        replicas, found.metadata, found.controller, lambda: found.forgotten, found.clock
    )

    def let_pass(ms):
        for _ in range(ms // 500):
            found.clock.advance(500)
            found.ownership.look()

    found.let_pass = let_pass
    return found


def test_new_leader_waits_until_the_old_ones_pages_are_gone(node):
    """For two seconds nobody tells; then this one does."""
    assert not node.ownership.leads(node.partition)
    node.let_pass(SETTLE_MS - 500)
    assert not node.ownership.leads(node.partition)
    node.let_pass(500)
    assert node.ownership.leads(node.partition)


def test_alone_in_its_cluster_a_broker_need_not_wait(node):
    """There is nobody who could tell the same."""
    node.metadata.image.brokers = {1: None}
    assert node.ownership.leads(node.partition)


@pytest.mark.parametrize("fact", ["is_leader", "is_ready", "is_cut_off"])
def test_leader_that_is_none_tells_nothing(node, fact):
    """A follower, a leader that does not know what is committed, one that nobody hears: silent at once."""
    node.let_pass(SETTLE_MS)
    setattr(node.partition, fact, fact == "is_cut_off")
    assert not node.ownership.leads(node.partition)


def test_broker_that_may_be_fenced_tells_nothing(node):
    """A session long without an answer: somebody else may lead by now."""
    node.let_pass(SETTLE_MS)
    node.forgotten = True
    assert not node.ownership.leads(node.partition)


def test_process_that_stood_still_waits_anew(node):
    """After SIGSTOP the first scrape may come before any news: it gets nothing that may be another's."""
    node.controller.is_active = True
    node.let_pass(SETTLE_MS + 500)
    assert node.ownership.leads(node.partition)
    assert node.ownership.controls()
    node.clock.advance(10_000)
    assert not node.ownership.leads(node.partition)
    assert not node.ownership.controls()
    node.let_pass(SETTLE_MS)
    assert node.ownership.leads(node.partition)


def test_groups_are_told_by_who_leads_their_partition(node):
    """The offsets topic's partition decides; one that is not here is not ours."""
    node.let_pass(SETTLE_MS)
    assert node.ownership.coordinates(4)
    assert not node.ownership.coordinates(5)


def test_controller_waits_with_each_epoch(node):
    """Not active: nothing. Active: after a while. Active again in another epoch: after another while."""
    assert not node.ownership.controls()
    node.controller.is_active = True
    node.let_pass(SETTLE_MS)
    assert not node.ownership.controls()
    node.let_pass(500)
    assert node.ownership.controls()
    node.controller.leader_epoch += 1
    assert not node.ownership.controls()
    node.let_pass(SETTLE_MS)
    assert node.ownership.controls()
