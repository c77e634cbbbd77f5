"""Brokers that were up a moment ago are named a little longer."""

from __future__ import annotations

from moldau_broker.base.ids import NULL_UUID
from moldau_broker.metadata.delta import MetadataDelta
from moldau_broker.metadata.image import BrokerImage, Endpoint, MetadataImage
from moldau_broker.metadata.just_fenced import STILL_NAMED_MS, JustFenced
from moldau_broker.metadata.views import ListenerView

AT = Endpoint("c", 9092)


def image(*fenced: bool) -> MetadataImage:
    """Brokers 1, 2, and so on, fenced or not."""
    brokers = {
        at: BrokerImage(at, 5, NULL_UUID, one, False, None, {"CLIENT": AT})
        for at, one in enumerate(fenced, 1)
    }
    return MetadataImage("cluster", 4, brokers=brokers)


def named(just: JustFenced, now: MetadataImage, at_ms: int, listener: str = "CLIENT") -> list[int]:
    return [broker.id for broker, _ in just.brokers(ListenerView(now, listener), at_ms)]


def test_broker_is_named_for_a_moment_after_it_was_fenced() -> None:
    """A client that learns of the new leader has not to forget the old broker in the same breath."""
    just, up, down = JustFenced(), image(False, False), image(False, True)
    just.note(MetadataDelta(up, down), 1_000)
    assert named(just, down, 1_000) == [2]
    assert named(just, down, 1_000 + STILL_NAMED_MS - 1) == [2]
    assert named(just, down, 1_000 + STILL_NAMED_MS) == []
    assert named(just, down, 1_001) == [], "what was forgotten does not come back"


def test_broker_on_other_listeners_only_is_not_named() -> None:
    """Its address would be none that the client can use."""
    just, up, down = JustFenced(), image(False), image(True)
    just.note(MetadataDelta(up, down), 0)
    assert named(just, down, 1, "INTERNAL") == []


def test_broker_that_is_back_or_unregistered_is_not_named_twice() -> None:
    """The view itself names who is up; who is not registered any more has no address."""
    just, up, down = JustFenced(), image(False, False), image(True, True)
    just.note(MetadataDelta(up, down), 0)
    just.note(MetadataDelta(down, image(False)), 10)
    assert named(just, image(False), 11) == []


def test_broker_that_was_never_seen_up_is_not_named() -> None:
    """A node that starts learns of brokers that have been away for days."""
    just, down = JustFenced(), image(True)
    just.note(MetadataDelta(MetadataImage("cluster"), down), 0)
    just.note(MetadataDelta(down, down._replace(offset=5)), 0)
    assert named(just, down, 1) == []
