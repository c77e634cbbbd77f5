"""How a data directory looks after itself: bounds with unit, default and reason. Pure."""

from __future__ import annotations

from dataclasses import dataclass

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class StoragePolicy:
    """Bounds of one data directory.

    Attributes:
        open_files_max: log files kept open (softly; reopening one costs 5 us). 0: half of what the process may
            open, as connections need the rest.
        unsynced_bytes_max: written but not durable, over all logs, before a flush starts by itself. What a
            restart must check: 256 MiB is half a second.
        unsynced_ms_max: age of the oldest such write before a flush starts by itself; the kernel's own
            write-back takes up to 30 s.
        checkpoint_ms: how long a recovery point may wait to be written down.
        checkpoint_bytes: how much may become durable meanwhile; again what a restart must check.
        retention_check_ms: how often a log's retention is looked at (Kafka: 5 minutes).
        producer_expiration_ms: idle time after which a producer id is forgotten (Kafka: a day).
        producer_check_ms: how often that is looked at (Kafka: 10 minutes).
    """

    open_files_max: int = 0
    unsynced_bytes_max: int = 256 * _MIB
    unsynced_ms_max: int = 10_000
    checkpoint_ms: int = 5_000
    checkpoint_bytes: int = 256 * _MIB
    retention_check_ms: int = 300_000
    producer_expiration_ms: int = 86_400_000
    producer_check_ms: int = 600_000
