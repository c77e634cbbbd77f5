"""Operating errors of the metadata layer. Protocol answers are `ErrorCode` values, never these."""

from __future__ import annotations


class MetadataError(Exception):
    """The metadata log or a snapshot of it cannot be used; the text says why and what to do."""


class InvalidMetadataRecord(MetadataError):
    """A record contradicts the state it is applied to, or is one this version does not know."""


class NotController(MetadataError):
    """This node is not the active controller (any more); the write may be sent to the one that is."""


class MetadataWriteFailed(MetadataError):
    """The write could not be made durable; whether it will survive a restart is unknown."""
