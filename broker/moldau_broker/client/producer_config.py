"""How a producer sends, as values. No I/O here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

ACKS_NONE: Final = 0
ACKS_LEADER: Final = 1
ACKS_ALL: Final = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class ProducerConfig:
    """How records leave. Times in milliseconds, sizes in bytes.

    Attributes:
        acks: ACKS_ALL, ACKS_LEADER or ACKS_NONE.
        idempotent: number the batches so that a retry is never stored twice; needs ACKS_ALL.
        compression: codec number of record batches: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd.
        linger_ms: how long a batch waits for company.
        batch_bytes_max: of one batch before compression; half of Kafka's default max.message.bytes.
        request_bytes_max: of all batches of one request; a larger one only delays the first answer.
        buffer_bytes_max: of records not yet acknowledged; `send` waits while they are more.
        delivery_ms_max: from `send` to the acknowledgement, retries included.
        auto_create: let the broker create topics that do not exist, if it is so configured.
    """

    acks: int = ACKS_ALL
    idempotent: bool = True
    compression: int = 0
    linger_ms: int = 5
    batch_bytes_max: int = 512 * 1024
    request_bytes_max: int = 4 * 1024 * 1024
    buffer_bytes_max: int = 32 * 1024 * 1024
    delivery_ms_max: int = 120_000
    auto_create: bool = True

    def __post_init__(self) -> None:
        if self.acks not in (ACKS_ALL, ACKS_LEADER, ACKS_NONE):
            raise ValueError(f"acks is all (-1), 1 or 0, not {self.acks}")
        if self.idempotent and self.acks != ACKS_ALL:
            raise ValueError("an idempotent producer needs acks=all")
