"""What precedes every request and response body.

Source: Kafka 4.3 protocol guide, "Protocol Requests"; which version goes with which body: `framing`.
"""

from __future__ import annotations

from moldau_broker.wire.schema import Int16, Int32, LegacyString, Struct, message


@message(versions=(1, 2), flexible=2)
class RequestHeader(Struct):
    """Key, version and correlation id of a request; the client id keeps its old length in v2."""

    request_api_key: Int16 = 0
    request_api_version: Int16 = 0
    correlation_id: Int32 = 0
    client_id: LegacyString | None = ""


@message(versions=(0, 1), flexible=1)
class ResponseHeader(Struct):
    """The correlation id of the request that is answered."""

    correlation_id: Int32 = 0
