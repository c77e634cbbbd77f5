"""Answers whose data is read from the store when they leave: records of the log, pieces of snapshots.

Records are looked at on their way out. Damage is not passed on: a log in which it is found is out of service.
"""

from __future__ import annotations

import logging

from moldau_broker.base.errors import ErrorCode
from moldau_broker.raft.answers import with_error, with_piece, with_records
from moldau_broker.raft.messages import Answer, LogRange, SnapshotRange
from moldau_broker.raft.protocol import PARTITION, TOPIC
from moldau_broker.raft.store import RaftStore
from moldau_broker.storage.errors import CorruptLog, FileMissing, StorageError
from moldau_broker.storage.verify import find_fault
from moldau_broker.wire.schema import Struct

logger = logging.getLogger(__name__)


def give(answer: Answer, store: RaftStore) -> StorageError | None:
    """Complete an answer; gives why the log is out of service, if it is."""
    answer.token.complete(filled(answer, store))
    return store.log.failure


def filled(answer: Answer, store: RaftStore) -> Struct:
    """The response with what it was to carry; with the error that says why not, where that cannot be read."""
    response = answer.response
    try:
        match answer.data:
            case LogRange(from_offset, up_to, max_bytes):
                data = bytes(store.log.read(from_offset, max_bytes, up_to=up_to))
                fault = find_fault(data, from_offset, up_to, first_only=False)
                if fault is not None:
                    damage = CorruptLog(
                        f"{TOPIC}-{PARTITION}: {fault.reason}, found by a reader at offset {fault.offset}",
                        offset=fault.offset,
                    )
                    store.log.fail(damage)
                    raise damage
                return with_records(response, data)
            case SnapshotRange(snapshot_id, position, max_bytes):
                piece, size = store.read_piece(snapshot_id, position, max_bytes)
                response = with_piece(response, piece, size)
                if position >= size:
                    response = with_error(response, ErrorCode.POSITION_OUT_OF_RANGE)
    except FileMissing:
        return with_error(response, ErrorCode.SNAPSHOT_NOT_FOUND)
    except StorageError as error:
        logger.warning("raft.read_failed", extra={"reason": str(error)})
        return with_error(response, ErrorCode.KAFKA_STORAGE_ERROR)
    return response
