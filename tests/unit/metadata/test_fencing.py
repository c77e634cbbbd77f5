"""Brokers register, and what a start means for the partitions they led."""

from __future__ import annotations

from random import Random

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import Uuid
from moldau_broker.metadata.features import SUPPORTED
from moldau_broker.metadata.fencing import Registered, Registration, check_broker_epoch, start_broker
from moldau_broker.metadata.image import Endpoint, MetadataImage, PartitionImage, TopicImage
from moldau_broker.metadata.operation import ControllerSettings, View
from moldau_broker.metadata.producer_ids import BLOCK_IDS, ProducerIdBlock, allocate_producer_ids
from moldau_broker.metadata.replay import ImageReplay

DIRECTORY = Uuid(b"d" * 16)
TOPIC = Uuid(b"t" * 16)


def registration(**changes: object) -> Registration:
    return Registration(
        broker_id=1,
        incarnation_id=Uuid(b"i" * 16),
        endpoints={"CLIENT": Endpoint("localhost", 9092), "INTERNAL": Endpoint("localhost", 9091)},
        directories=(DIRECTORY,),
        features=SUPPORTED,
        rack="r1",
    )._replace(**changes)


def start(image: MetadataImage, wanted: Registration) -> tuple[MetadataImage, Registered, int]:
    """(image after, answer, records written)."""
    view = View(image, image.offset + 1, ControllerSettings(1), Random(0))
    result = start_broker(view, wanted)
    replay = ImageReplay(image)
    for record in result.records:
        replay.replay(record)
    return replay.image(image.offset + len(result.records), 1), result.response, len(result.records)


def with_partitions(image: MetadataImage, *partitions: PartitionImage) -> MetadataImage:
    topic = TopicImage("t", TOPIC, partitions)
    return image._replace(topics={"t": topic}, topics_by_id={TOPIC: topic})


EMPTY = MetadataImage("cluster", offset=9)


def test_broker_epoch_is_the_offset_of_its_registration() -> None:
    """And the broker is unfenced in the same atomic write.

    Reference: KIP-631.
    """
    image, answer, _ = start(EMPTY, registration())
    assert answer == Registered(10, clean=False)
    broker = image.brokers[1]
    assert (broker.epoch, broker.fenced, broker.rack, broker.directories) == (10, False, "r1", (DIRECTORY,))
    assert list(broker.endpoints) == ["CLIENT", "INTERNAL"]
    assert broker.features == SUPPORTED


def test_broker_restarted_cleanly_keeps_its_leaderships() -> None:
    """The clean-shutdown marker names the last epoch: nothing was lost, no leader epoch is spent."""
    image, first, _ = start(EMPTY, registration())
    led = PartitionImage((1,), (DIRECTORY,), (1,), 1, 4, 4)
    image, again, written = start(with_partitions(image, led), registration(previous_epoch=first.epoch))
    assert again.clean
    assert again.epoch > first.epoch
    assert written == 2
    assert image.topics["t"].partitions == (led,)


def test_broker_restarted_uncleanly_begins_new_leader_epochs() -> None:
    """Other records may follow at offsets that were lost; the epoch tells them apart (KIP-320)."""
    for previous in (-1, 3):
        image, _, _ = start(EMPTY, registration())
        led = PartitionImage((1, 2), (DIRECTORY, DIRECTORY), (1,), 1, 4, 4)
        image, again, _ = start(with_partitions(image, led), registration(previous_epoch=previous))
        assert not again.clean
        after = image.topics["t"].partitions[0]
        assert (after.leader, after.leader_epoch, after.partition_epoch, after.isr) == (1, 5, 5, (1,))


def test_broker_restarted_uncleanly_leaves_the_isr_of_others() -> None:
    """What it lost somebody else has: it catches up first, also where it is the leader of record."""
    image, _, _ = start(EMPTY, registration())
    shared = PartitionImage((2, 1), (DIRECTORY, DIRECTORY), (2, 1), 1, 4, 4)
    image, _, _ = start(with_partitions(image, shared), registration())
    after = image.topics["t"].partitions[0]
    assert (after.isr, after.leader) == ((2,), -1)


def test_broker_takes_over_partitions_without_leader_that_it_is_in_sync_with() -> None:
    """Not those whose in-sync replicas are all elsewhere: that would lose records."""
    waiting = PartitionImage((1, 2), (DIRECTORY, DIRECTORY), (1,), -1, 4, 4)
    lost = PartitionImage((1, 2), (DIRECTORY, DIRECTORY), (2,), -1, 4, 4)
    image, _, _ = start(with_partitions(EMPTY, waiting, lost), registration())
    taken, left = image.topics["t"].partitions
    assert (taken.leader, taken.leader_epoch) == (1, 5)
    assert left == lost


def test_broker_epoch_check_knows_incarnations() -> None:
    """Unknown brokers and older incarnations are told so."""
    image, answer, _ = start(EMPTY, registration())
    assert check_broker_epoch(image, 1, answer.epoch) is None
    stale = check_broker_epoch(image, 1, answer.epoch - 1)
    assert stale is not None
    assert stale.error is ErrorCode.STALE_BROKER_EPOCH
    unknown = check_broker_epoch(image, 2, answer.epoch)
    assert unknown is not None
    assert unknown.error is ErrorCode.BROKER_ID_NOT_REGISTERED


def test_producer_id_blocks_never_overlap() -> None:
    """Each block begins where the last one ended, and only the living incarnation gets one."""
    image, answer, _ = start(EMPTY, registration())
    seen: list[int] = []
    for _ in range(3):
        view = View(image, image.offset + 1, ControllerSettings(1), Random(0))
        result = allocate_producer_ids(view, 1, answer.epoch)
        assert isinstance(result.response, ProducerIdBlock)
        block = result.response
        while (taken := block.take()) is not None:
            seen.append(taken)
        replay = ImageReplay(image)
        for record in result.records:
            replay.replay(record)
        image = replay.image(image.offset + 1, 1)
    assert seen == list(range(3 * BLOCK_IDS))
    view = View(image, image.offset + 1, ControllerSettings(1), Random(0))
    refused = allocate_producer_ids(view, 1, answer.epoch - 1)
    assert refused.records == ()
    assert not isinstance(refused.response, ProducerIdBlock)
