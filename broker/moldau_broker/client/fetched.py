"""What a fetch answer holds for an application: records, and where to go on. Pure.

Left out are control records, records before the offset asked for (an answer begins with the whole batch
that holds it) and, when only committed ones are wanted, those of aborted transactions.
"""

from __future__ import annotations

from moldau_broker.wire.errors import WireError
from moldau_broker.wire.messages.fetch import PartitionData
from moldau_broker.wire.records import ReadLimits, Record, crc_ok, iter_batches, read_records

_ABORT: int = 0
"""Type of the control record that ends an aborted transaction (KIP-98)."""


def read_fetched(
    data: PartitionData, offset: int, *, committed: bool, check_crcs: bool, limits: ReadLimits
) -> tuple[list[Record], int]:
    """The visible records from `offset` on, and the offset to ask for next.

    Raises:
        WireError: a batch is damaged.
    """
    found: list[Record] = []
    following = offset
    aborted = sorted(data.aborted_transactions or (), key=lambda a: a.first_offset) if committed else []
    aborting: set[int] = set()
    buffer = data.records
    if buffer is None:
        return found, following
    for position, header in iter_batches(buffer, partial_last=True):
        if check_crcs and not crc_ok(buffer, position, header.size):
            if position:
                break  # what came before is sound; whoever asks for this one next may be given a sound copy
            raise WireError(f"the batch at offset {header.base_offset} fails its checksum")
        following = max(following, header.next_offset)
        while aborted and aborted[0].first_offset <= header.last_offset:
            aborting.add(aborted.pop(0).producer_id)
        if header.is_control:
            if header.producer_id in aborting and _is_abort(read_records(buffer, position, limits)):
                aborting.discard(header.producer_id)
        elif not (header.is_transactional and header.producer_id in aborting):
            records = read_records(buffer, position, limits)
            found += records if header.base_offset >= offset else [r for r in records if r.offset >= offset]
    return found, following


def _is_abort(records: list[Record]) -> bool:
    key = records[0].key if records else None
    return key is not None and int.from_bytes(key[2:4], "big") == _ABORT
