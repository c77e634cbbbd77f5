"""The settings that replication goes by, as it sees them. No values here."""

from __future__ import annotations

from typing import Protocol


class ReplicaSettings(Protocol):
    """`base.cluster_config.ReplicationSettings` is one. Times in milliseconds, sizes in bytes."""

    @property
    def lag_time_ms_max(self) -> int:
        """replica.lag.time.max.ms."""

    @property
    def fetch_wait_ms_max(self) -> int:
        """replica.fetch.wait.max.ms."""

    @property
    def fetch_bytes_min(self) -> int:
        """replica.fetch.min.bytes."""

    @property
    def fetch_bytes_max(self) -> int:
        """replica.fetch.max.bytes."""

    @property
    def fetch_response_bytes_max(self) -> int:
        """replica.fetch.response.max.bytes."""

    @property
    def fetch_backoff_ms(self) -> int:
        """replica.fetch.backoff.ms."""
