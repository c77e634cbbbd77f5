"""Elections, ISR changes and brokers' comings and goings, read off two images."""

from __future__ import annotations

from moldau_broker.base.ids import Uuid
from moldau_broker.metadata.changes import Change, changes
from moldau_broker.metadata.delta import MetadataDelta
from moldau_broker.metadata.image import (
    NO_LEADER,
    RECOVERING,
    BrokerImage,
    MetadataImage,
    PartitionImage,
    TopicImage,
)

ID = Uuid(bytes([7]) * 16)
HEALTHY = PartitionImage((1, 2, 3), (ID, ID, ID), (1, 2, 3), 1, 4, 9)


def broker(number: int, *, epoch: int = 5, fenced: bool = False, stopping: bool = False) -> BrokerImage:
    return BrokerImage(number, epoch, ID, fenced, stopping, None, {})


def image(partition: PartitionImage, *brokers: BrokerImage) -> MetadataImage:
    topic = TopicImage("orders", ID, (partition,))
    every = {one.id: one for one in (broker(1), broker(2), broker(3), *brokers)}
    return MetadataImage("c", 1, topics={"orders": topic}, topics_by_id={ID: topic}, brokers=every)


def told(before: MetadataImage, after: MetadataImage) -> dict[str, Change]:
    return {change.event: change for change in changes(MetadataDelta(before, after))}


def test_changes_tell_a_failover_with_its_reason_and_epochs() -> None:
    """The leader was fenced: one line on the broker, one on the election, one on the ISR."""
    after = image(
        HEALTHY._replace(leader=2, isr=(2, 3), leader_epoch=5, partition_epoch=10), broker(1, fenced=True)
    )
    found = told(image(HEALTHY), after)
    assert set(found) == {"broker.fenced", "partition.elected", "isr.changed"}
    elected = found["partition.elected"].fields
    assert (elected["leader"], elected["leader_before"], elected["leader_epoch"]) == (2, 1, 5)
    assert elected["reason"] == "the leader is fenced"
    assert elected["unclean"] is False
    isr = found["isr.changed"]
    assert isr.bad
    assert (isr.fields["left"], isr.fields["joined"], isr.fields["isr"]) == ([1], [], [2, 3])
    assert isr.fields["partition_epoch"] == 10


def test_changes_tell_a_replica_that_comes_back() -> None:
    """A growing ISR is good news."""
    found = told(image(HEALTHY._replace(isr=(1, 2))), image(HEALTHY))
    assert list(found) == ["isr.changed"]
    assert not found["isr.changed"].bad
    assert found["isr.changed"].fields["joined"] == [3]


def test_changes_tell_why_a_healthy_leader_changes() -> None:
    """Stopping in order and the return of the preferred leader are told apart."""
    moved = HEALTHY._replace(leader=2, leader_epoch=5)
    stopping = told(image(HEALTHY), image(moved, broker(1, stopping=True)))
    assert stopping["partition.elected"].fields["reason"] == "the leader is stopping"
    assert "broker.stopping" in stopping
    back = told(image(moved), image(HEALTHY._replace(leader_epoch=6)))
    assert back["partition.elected"].fields["reason"] == "the preferred leader is back"


def test_changes_tell_a_lost_and_an_unclean_leader() -> None:
    """Both are bad news: nobody leads, or somebody who may miss records."""
    alone = HEALTHY._replace(isr=(1,))
    lost = alone._replace(leader=NO_LEADER, leader_epoch=5)
    offline = told(image(alone), image(lost, broker(1, fenced=True)))["partition.offline"]
    assert offline.bad
    assert offline.fields["reason"] == "the leader is fenced"
    unclean = lost._replace(leader=2, isr=(2,), leader_epoch=6, leader_recovery_state=RECOVERING)
    elected = told(image(lost), image(unclean))["partition.elected"]
    assert elected.bad
    assert elected.fields["unclean"] is True


def test_changes_tell_brokers_that_come() -> None:
    """A new incarnation registers fenced and is unfenced later."""
    first = told(image(HEALTHY), image(HEALTHY, broker(1, epoch=8, fenced=True)))
    assert list(first) == ["broker.registered"]
    second = told(image(HEALTHY, broker(1, epoch=8, fenced=True)), image(HEALTHY, broker(1, epoch=8)))
    assert list(second) == ["broker.unfenced"]


def test_changes_of_an_unchanged_image_are_none() -> None:
    """Settings and offsets may move; nobody is woken for that."""
    one = image(HEALTHY)
    assert told(one, one._replace(offset=2, configs={(2, "orders"): {"a": "b"}})) == {}
