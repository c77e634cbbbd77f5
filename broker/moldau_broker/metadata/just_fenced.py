"""Brokers that were up a moment ago, which Metadata goes on naming for a moment. Pure.

A killed process is noticed here within milliseconds, while it takes Kafka nine seconds. Clients meet that: one that
learns in a single answer that a partition has another leader and that the old one is not among the brokers any more
has to move the partition and to forget the broker at once. librdkafka (seen in 2.16) then loses the partition to its
placeholder for no broker, and looks again a second later. With the old leader still named it moves within
milliseconds. Nobody is sent there: no partition names a fenced broker as its leader. Who asks for the brokers alone,
or for all topics, as tools do, is told of those that are up.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from moldau_broker.metadata.delta import MetadataDelta
from moldau_broker.metadata.image import BrokerImage, Endpoint
from moldau_broker.metadata.views import ListenerView

STILL_NAMED_MS: Final = 3_000
"""librdkafka looks every second for topics that need their metadata anew; this is three looks."""


class JustFenced:
    """Who was fenced when, as this node saw it."""

    __slots__ = ("_since",)

    def __init__(self) -> None:
        self._since: dict[int, int] = {}

    def note(self, delta: MetadataDelta, now_ms: int) -> None:
        """Another image is published; `now_ms` is monotonic."""
        before, after = delta.before.brokers, delta.after.brokers
        if before is after:
            return
        for broker_id in delta.changed_brokers():
            was, now = before.get(broker_id), after.get(broker_id)
            if now is None or not now.fenced:
                self._since.pop(broker_id, None)
            elif was is not None and not was.fenced:
                self._since[broker_id] = now_ms

    def brokers(self, view: ListenerView, now_ms: int) -> Iterator[tuple[BrokerImage, Endpoint]]:
        """Those to be named beside `view.brokers()`, with their address on its listener."""
        for broker_id, since_ms in list(self._since.items()):
            broker = view.image.brokers.get(broker_id)
            if now_ms - since_ms >= STILL_NAMED_MS:
                del self._since[broker_id]
            elif broker is not None and broker.fenced and view.listener in broker.endpoints:
                yield broker, broker.endpoints[view.listener]
