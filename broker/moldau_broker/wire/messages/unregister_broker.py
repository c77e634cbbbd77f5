"""UnregisterBroker (key 64): forget a broker that is gone for good.

Source: Kafka 4.3 protocol guide.
"""

from __future__ import annotations

from moldau_broker.wire.schema import Int16, Int32, String, Struct, message


@message(key=64, versions=(0, 0), flexible=0)
class UnregisterBrokerRequest(Struct):
    """The broker."""

    broker_id: Int32 = 0


@message(key=64, versions=(0, 0), flexible=0)
class UnregisterBrokerResponse(Struct):
    """Whether it is forgotten."""

    throttle_time_ms: Int32 = 0
    error_code: Int16 = 0
    error_message: String | None = ""
