"""What this broker writes itself: records of its coordinators, validated as a client's, committed as acks=all."""

from __future__ import annotations

from moldau_broker.base.deferred import Deferred
from moldau_broker.base.errors import ErrorCode
from moldau_broker.replication.outcome import AppendOutcome
from moldau_broker.replication.partition import Partition
from moldau_broker.replication.validation import Rejected, validate_batch
from moldau_broker.wire.records import parse_header


def append_internal(
    partition: Partition | None, batch: bytearray, now_ms: int, *, flush: bool
) -> Deferred[AppendOutcome]:
    """Append one batch and tell when it is committed; at once where neither `flush` nor replicas are waited for."""
    later: Deferred[AppendOutcome] = Deferred()
    if partition is None:
        later.complete(AppendOutcome(ErrorCode.NOT_LEADER_OR_FOLLOWER))
        return later
    verdict = validate_batch(batch, parse_header(batch, 0), partition.log.config, now_ms, from_client=False)
    if isinstance(verdict, Rejected):
        later.complete(AppendOutcome(verdict.error, message=verdict.message))
        return later
    outcome = partition.append(verdict, now_ms, all_in_sync=True)
    if outcome.error is not ErrorCode.NONE or not (flush or partition.replicated):
        later.complete(outcome)
        return later

    def committed(error: ErrorCode) -> None:
        later.complete(outcome if error is ErrorCode.NONE else AppendOutcome(error))

    partition.when_committed(outcome.next_offset, committed)
    return later
