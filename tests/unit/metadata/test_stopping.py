"""Whether a broker may be stopped, from the image alone."""

import pytest

from moldau_broker.base.ids import Uuid
from moldau_broker.metadata.image import BrokerImage, MetadataImage, PartitionImage, TopicImage
from moldau_broker.metadata.stopping import BlockedPartition, Obstacle, may_stop

NO_ID = Uuid(bytes(16))


def _image(*partitions, fenced=()):
    """One topic of (replicas, isr) on brokers 1 to 4."""
    images = tuple(
        PartitionImage(replicas, (NO_ID,) * len(replicas), isr, isr[0] if isr else -1, 0, 0)
        for replicas, isr in partitions
    )
    return MetadataImage(
        "c",
        topics={"t": TopicImage("t", NO_ID, images)},
        brokers={
            broker: BrokerImage(
                broker, 0, NO_ID, broker in fenced, in_controlled_shutdown=False, rack=None, endpoints={}
            )
            for broker in (1, 2, 3, 4)
        },
    )


def _may_stop(image, broker_id=1, min_isr=2, voters=(1, 2, 3), live=(1, 2, 3)):
    return may_stop(image, broker_id, lambda _: min_isr, voters, live)


@pytest.mark.parametrize(
    ("replicas", "isr", "min_isr", "obstacle"),
    [
        ((1, 2, 3), (1, 2, 3), 2, None),
        ((2, 3, 4), (2, 3), 2, None),
        ((1, 2, 3), (1, 2), 2, Obstacle.BELOW_MIN_INSYNC_REPLICAS),
        ((1, 2, 3), (1, 2, 3), 3, Obstacle.BELOW_MIN_INSYNC_REPLICAS),
        ((1, 2, 3), (1,), 1, Obstacle.ONLY_IN_SYNC_REPLICA),
        ((1,), (1,), 1, Obstacle.ONLY_IN_SYNC_REPLICA),
        ((1, 2), (1, 2), 5, Obstacle.BELOW_MIN_INSYNC_REPLICAS),
        ((1, 2, 3), (2,), 2, None),
        ((1, 2, 3), (1, 2), 1, None),
        ((1, 2, 3), (), 2, None),
    ],
    ids=[
        "others are enough",
        "no replica here",
        "one in-sync replica too few",
        "all are needed",
        "the last in-sync replica",
        "no other replica at all",
        "a topic that asks for more than it has asks for all",
        "short, but not through this broker",
        "one is enough",
        "offline already",
    ],
)
def test_may_stop_asks_for_enough_other_in_sync_replicas(replicas, isr, min_isr, obstacle):
    """The partitions in the way are named with how and what they need."""
    verdict = _may_stop(_image((replicas, isr)), min_isr=min_isr)
    if obstacle is None:
        assert verdict.blocked == ()
        assert verdict.allowed
    else:
        needed = min(min_isr, len(replicas))
        assert verdict.blocked == (BlockedPartition("t", 0, obstacle, isr, needed),)
        assert not verdict.allowed


def test_may_stop_does_not_count_fenced_brokers():
    """The controller takes a fenced broker out of every in-sync set; until it has, we do not count it."""
    verdict = _may_stop(_image(((1, 2, 3), (1, 2, 3)), fenced=(3,)))
    assert [one.in_sync for one in verdict.blocked] == [(1, 2)]


@pytest.mark.parametrize(
    ("broker_id", "voters", "live", "kept"),
    [
        (1, (1, 2, 3), (1, 2, 3), True),
        (1, (1, 2, 3), (1, 2), False),
        (1, (1,), (1,), False),
        (1, (1, 2), (1, 2), False),
        (4, (1, 2, 3), (1, 2), True),
        (1, (1, 2, 3, 4, 5), (1, 2, 3, 4), True),
        (1, (1, 2, 3, 4, 5), (1, 2, 3), False),
        (1, (1, 2, 3), (2, 3), True),
    ],
    ids=[
        "two of three are left",
        "one of three would be left",
        "the only voter",
        "two voters need both",
        "no voter",
        "three of five are left",
        "two of five would be left",
        "a voter that does not count any more",
    ],
)
def test_may_stop_keeps_the_quorums_majority(broker_id, voters, live, kept):
    """More than half of the voters must be alive without it."""
    verdict = _may_stop(_image(), broker_id, voters=voters, live=live)
    assert verdict.quorum_kept == kept
    assert verdict.allowed == kept
