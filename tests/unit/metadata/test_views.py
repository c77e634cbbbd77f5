"""Metadata as the clients of one listener see it."""

from __future__ import annotations

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import NULL_UUID, Uuid
from moldau_broker.metadata.image import BrokerImage, Endpoint, MetadataImage, PartitionImage, TopicImage
from moldau_broker.metadata.publisher import MetadataPublisher
from moldau_broker.metadata.views import ListenerView

TOPIC = Uuid(b"t" * 16)
BOTH = {"CLIENT": Endpoint("c", 9092), "INTERNAL": Endpoint("i", 9091)}


def broker(
    broker_id: int, *, fenced: bool = False, endpoints: dict[str, Endpoint] | None = None
) -> BrokerImage:
    return BrokerImage(broker_id, 5, NULL_UUID, fenced, False, None, BOTH if endpoints is None else endpoints)


def image(*brokers: BrokerImage, leader: int = 1) -> MetadataImage:
    partition = PartitionImage((1, 2, 3), (NULL_UUID,) * 3, (1, 2, 3), leader, 7, 9)
    topic = TopicImage("t", TOPIC, (partition,))
    return MetadataImage(
        "cluster",
        4,
        topics={"t": topic},
        topics_by_id={TOPIC: topic},
        brokers={one.id: one for one in brokers},
    )


def only(view: ListenerView, version: int = 13):  # type: ignore[no-untyped-def]
    (partition,) = view.topic(view.image.topics["t"], version).partitions
    return partition


def test_view_shows_brokers_that_are_up_on_this_listener() -> None:
    """Fenced brokers and brokers without the listener are not there."""
    internal = {"INTERNAL": Endpoint("i", 9091)}
    some = image(broker(1), broker(2, fenced=True), broker(3, endpoints=internal))
    assert [(one.id, at.host) for one, at in ListenerView(some, "CLIENT").brokers()] == [(1, "c")]
    assert [one.id for one, _ in ListenerView(some, "INTERNAL").brokers()] == [1, 3]


def test_view_lists_unreachable_replicas_as_offline() -> None:
    """Fenced and unregistered ones alike; the partition itself is fine."""
    partition = only(ListenerView(image(broker(1), broker(2, fenced=True)), "CLIENT"))
    assert (partition.error_code, partition.leader_id, partition.leader_epoch) == (0, 1, 7)
    assert list(partition.offline_replicas) == [2, 3]
    assert list(partition.replica_nodes) == [1, 2, 3]


def test_view_leaves_unreachable_replicas_out_in_version_0() -> None:
    """Its answer has no offline list; it says REPLICA_NOT_AVAILABLE instead."""
    partition = only(ListenerView(image(broker(1), broker(2)), "CLIENT"), version=0)
    assert partition.error_code == ErrorCode.REPLICA_NOT_AVAILABLE
    assert list(partition.replica_nodes) == [1, 2]
    assert list(partition.isr_nodes) == [1, 2]


def test_view_tells_a_missing_leader() -> None:
    """No leader, a fenced one, an unknown one: LEADER_NOT_AVAILABLE and -1."""
    for some in (
        image(broker(1), leader=-1),
        image(broker(1), broker(2, fenced=True), leader=2),
        image(leader=9),
    ):
        partition = only(ListenerView(some, "CLIENT"))
        assert (partition.error_code, partition.leader_id) == (ErrorCode.LEADER_NOT_AVAILABLE, -1)


def test_view_tells_a_missing_listener_since_version_6() -> None:
    """The leader is up, but not on this listener (KIP-226's LISTENER_NOT_FOUND)."""
    some = image(broker(1, endpoints={"INTERNAL": Endpoint("i", 9091)}))
    assert only(ListenerView(some, "CLIENT"), 6).error_code == ErrorCode.LISTENER_NOT_FOUND
    assert only(ListenerView(some, "CLIENT"), 5).error_code == ErrorCode.LEADER_NOT_AVAILABLE


def test_view_makes_answers_for_unchanged_topics_once() -> None:
    """The same object as long as neither the topic nor the brokers changed."""
    first = image(broker(1))
    view = ListenerView(first, "CLIENT")
    made = view.topic(first.topics["t"], 13)
    assert view.topic(first.topics["t"], 12) is made
    later = first._replace(offset=5)
    assert view.updated(later).topic(later.topics["t"], 13) is made
    grown = first.topics["t"]._replace(partitions=first.topics["t"].partitions * 2)
    changed = later._replace(topics={"t": grown}, topics_by_id={TOPIC: grown})
    assert len(view.updated(changed).topic(grown, 13).partitions) == 2
    without = first._replace(brokers={})
    assert view.updated(without).topic(without.topics["t"], 13) is not made


def test_view_forgets_deleted_topics() -> None:
    """What is kept is bounded by what exists."""
    first = image(broker(1))
    view = ListenerView(first, "CLIENT")
    view.topic(first.topics["t"], 13)
    empty = view.updated(first._replace(topics={}, topics_by_id={}))
    assert not empty._topics


def test_publisher_views_follow_the_image() -> None:
    """One view per listener, renewed with each image."""
    publisher = MetadataPublisher("cluster")
    publisher.publish(image(broker(1)))
    view = publisher.view("CLIENT")
    assert publisher.view("CLIENT") is view
    publisher.publish(image())
    assert not publisher.view("CLIENT").is_alive(1)
    assert view.is_alive(1)
