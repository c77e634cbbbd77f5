"""The one failure of the wire: bytes that are not what they claim, or a value that has no bytes."""

from __future__ import annotations


class WireError(ValueError):
    """A message, header, batch or record that cannot be decoded or encoded. The text says what and where.

    Reading hostile bytes raises this and nothing else. The peer is at fault: a server closes the connection.
    """
