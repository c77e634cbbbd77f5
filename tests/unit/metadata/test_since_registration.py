"""A process hosts replicas by images that contain its own registration, and by no older ones."""

from __future__ import annotations

import itertools
from types import MappingProxyType

from moldau_broker.base.ids import Uuid
from moldau_broker.metadata.delta import MetadataDelta
from moldau_broker.metadata.image import BrokerImage, MetadataImage
from moldau_broker.metadata.since_registration import SinceRegistration

FORMER, OWN = Uuid(b"former life here"), Uuid(b"this incarnation")


def image(offset: int, incarnation: Uuid | None) -> MetadataImage:
    brokers = {}
    if incarnation is not None:
        brokers[1] = BrokerImage(1, offset, incarnation, True, False, None, MappingProxyType({}))
    return MetadataImage("c", offset, brokers=MappingProxyType(brokers))


def test_images_of_a_former_life_are_held_back() -> None:
    """In them this node may lead what somebody else leads by now (found by the simulator, seed 0)."""
    seen: list[tuple[int, int]] = []
    gate = SinceRegistration(1, OWN, "c", lambda delta, new: seen.append((delta.before.offset, new.offset)))
    images = [image(1, None), image(5, FORMER), image(9, OWN), image(10, OWN), image(11, FORMER)]
    for before, after in itertools.pairwise(images):
        gate(MetadataDelta(before, after), after)
    assert seen == [(-1, 9), (9, 10), (10, 11)]
