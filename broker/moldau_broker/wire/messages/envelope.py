"""Envelope (key 58): a client's request, forwarded to the controller.

Source: Kafka 4.3 protocol guide; KIP-590.
"""

from __future__ import annotations

from moldau_broker.wire.schema import Bytes, Int16, Struct, message


@message(key=58, versions=(0, 0), flexible=0)
class EnvelopeRequest(Struct):
    """The request with its header, who sent it, and from where."""

    request_data: Bytes = b""
    request_principal: Bytes | None = b""
    client_host_address: Bytes = b""


@message(key=58, versions=(0, 0), flexible=0)
class EnvelopeResponse(Struct):
    """The answer with its header."""

    response_data: Bytes | None = None
    error_code: Int16 = 0
