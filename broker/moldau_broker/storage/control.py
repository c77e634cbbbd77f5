"""What a control batch says, as far as a log must know: who ended which transaction how. Pure.

Source: protocol guide of Kafka 4.3, "Control Batches"; `EndTransactionMarker`.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple

from moldau_broker.wire.codec import Buffer
from moldau_broker.wire.records import read_records

ABORT: Final = 0
COMMIT: Final = 1

_KEY: Final = Struct(">hh")
_VALUE: Final = Struct(">hi")


class Marker(NamedTuple):
    """A transaction marker; `timestamp` in ms."""

    aborted: bool
    coordinator_epoch: int
    timestamp: int


def transaction_marker(batch: Buffer) -> Marker | None:
    """The marker in a control batch; None for other control records, and for a batch that was cleaned empty.

    Raises:
        WireError: the batch's records do not parse.
    """
    records = read_records(batch)
    if not records:
        return None
    first = records[0]
    if first.key is None or len(first.key) < _KEY.size or first.value is None:
        return None
    _, kind = _KEY.unpack_from(first.key)
    if kind not in (ABORT, COMMIT) or len(first.value) < _VALUE.size:
        return None
    _, coordinator_epoch = _VALUE.unpack_from(first.value)
    return Marker(kind == ABORT, coordinator_epoch, first.timestamp)
