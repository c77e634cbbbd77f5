"""How patient a client is: timeouts, back-off and bounds, as values. No I/O here."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final

BACKOFF_JITTER: Final = 0.2
"""Share by which a back-off varies either way (KIP-580): clients of one outage must not return in step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientConfig:
    """One client's patience. Times in milliseconds, sizes in bytes.

    Attributes:
        client_id: named in the broker's logs and quotas.
        connect_timeout_ms: for the TCP connection and the ApiVersions exchange after it.
        request_timeout_ms: for one answer; the connection is given up after it.
        deadline_ms: for one operation with all its retries.
        backoff_ms_min: the wait before the first retry; doubles with each further one.
        backoff_ms_max: where the doubling ends.
        metadata_age_ms_max: metadata older than this is asked for again before use.
        frame_bytes_max: the largest answer accepted. A Fetch may exceed its own limit by one batch, and
            a broker may allow batches of any size; 256 MiB is far above both and far below a mad length.
    """

    client_id: str = "moldau"
    connect_timeout_ms: int = 5_000
    request_timeout_ms: int = 30_000
    deadline_ms: int = 30_000
    backoff_ms_min: int = 50
    backoff_ms_max: int = 1_000
    metadata_age_ms_max: int = 60_000
    frame_bytes_max: int = 256 * 1024 * 1024

    def backoff_s(self, attempt: int, rng: Random) -> float:
        """Seconds to wait after failed attempt number `attempt` (from 0): exponential, bounded, jittered."""
        wait_ms = min(self.backoff_ms_min << min(attempt, 30), self.backoff_ms_max)
        return wait_ms * rng.uniform(1 - BACKOFF_JITTER, 1 + BACKOFF_JITTER) / 1000
