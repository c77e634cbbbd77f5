"""The `.snapshot` file of a log: its producers as of an offset, behind an int16 version.

Source: Kafka 4.3 `ProducerStateManager`. The CRC-32C is over the bytes after it.
"""

from __future__ import annotations

from moldau_broker.wire.schema import Array, Int16, Int32, Int64, Struct, UInt32, message, struct


@struct
class ProducerEntry(Struct):
    """One producer's newest batch and open transaction."""

    producer_id: Int64 = 0
    epoch: Int16 = 0
    last_sequence: Int32 = 0
    last_offset: Int64 = 0
    offset_delta: Int32 = 0
    timestamp: Int64 = 0
    coordinator_epoch: Int32 = 0
    current_txn_first_offset: Int64 = 0


@message(versions=(1, 1), flexible=None)
class ProducerSnapshot(Struct):
    """Every producer with state in the log."""

    crc: UInt32 = 0
    producer_entries: Array[ProducerEntry] = ()
