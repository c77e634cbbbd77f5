"""What subscribers are told, and when."""

from __future__ import annotations

import logging

import pytest

from moldau_broker.base.ids import Uuid
from moldau_broker.metadata.delta import MetadataDelta
from moldau_broker.metadata.image import BrokerImage, MetadataImage, PartitionImage, TopicImage
from moldau_broker.metadata.publisher import MetadataPublisher

IDS = [Uuid(bytes([i]) * 16) for i in range(5)]
PARTITION = PartitionImage((1,), (IDS[0],), (1,), 1, 0, 0)


def image(*topics: TopicImage, offset: int = 0, **fields: object) -> MetadataImage:
    return MetadataImage(
        "cluster",
        offset,
        topics={topic.name: topic for topic in topics},
        topics_by_id={topic.topic_id: topic for topic in topics},
        **fields,  # type: ignore[arg-type]
    )


def topic(name: str, topic_id: Uuid, partitions: int = 1) -> TopicImage:
    return TopicImage(name, topic_id, (PARTITION,) * partitions)


def test_delta_names_created_changed_and_deleted_topics() -> None:
    """A topic deleted and made again under its name is one of each, by id."""
    stays, grows, goes, reborn = (topic(name, IDS[at]) for at, name in enumerate("abcd"))
    grown, again = topic("b", IDS[1], 2), topic("d", IDS[4])
    delta = MetadataDelta(image(stays, grows, goes, reborn), image(stays, grown, again))
    assert list(delta.created_topics()) == [again]
    assert list(delta.deleted_topics()) == [goes, reborn]
    assert list(delta.changed_topics()) == [(grows, grown)]


def test_delta_names_changed_brokers_settings_and_features() -> None:
    """Added, replaced and removed entries, each by key."""
    one, two, three = (BrokerImage(i, 5, IDS[0], False, False, None, {}) for i in (1, 2, 3))
    again = BrokerImage(2, 9, IDS[0], False, False, None, {})
    kept, old, new = {"a": "1"}, {"b": "1"}, {"b": "2"}
    before = image(brokers={1: one, 2: two}, configs={(2, "x"): kept, (2, "y"): old, (4, ""): old})
    after = image(
        brokers={1: one, 2: again, 3: three}, configs={(2, "x"): kept, (2, "y"): new}, features={"f": 1}
    )
    delta = MetadataDelta(before, after)
    assert delta.changed_brokers() == {2, 3}
    assert delta.changed_configs() == {(2, "y"), (4, "")}
    assert delta.features_changed


def test_delta_of_an_unchanged_image_is_empty() -> None:
    """Only the offset moved."""
    before = image(topic("a", IDS[0]))
    delta = MetadataDelta(before, before)
    assert not [*delta.created_topics(), *delta.deleted_topics(), *delta.changed_topics()]
    assert not delta.changed_brokers()
    assert not delta.features_changed


def test_publisher_tells_everyone_in_order() -> None:
    """Each subscriber sees each image once; its first delta starts from nothing."""
    publisher = MetadataPublisher("cluster")
    heard: list[tuple[str, int, int]] = []
    publisher.subscribe(lambda delta, new: heard.append(("early", delta.before.offset, new.offset)))
    publisher.publish(image(offset=4))
    publisher.subscribe(lambda delta, new: heard.append(("late", delta.before.offset, new.offset)))
    publisher.publish(image(offset=9))
    assert heard == [("early", -1, 4), ("late", -1, 4), ("early", 4, 9), ("late", 4, 9)]
    assert publisher.image.offset == 9


def test_publisher_goes_on_past_a_subscriber_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    """Its stack is logged; the others are told."""

    def fails(_: MetadataDelta, __: MetadataImage) -> None:
        raise ValueError("oh")

    publisher = MetadataPublisher("cluster")
    heard: list[int] = []
    publisher.subscribe(fails)
    publisher.subscribe(lambda _, new: heard.append(new.offset))
    with caplog.at_level(logging.ERROR):
        publisher.publish(image(offset=4))
    assert heard == [4]
    assert "metadata.subscriber_failed" in caplog.text
