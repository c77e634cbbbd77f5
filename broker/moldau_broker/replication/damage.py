"""When a replica whose log is damaged may be fetched anew, and when the controller has to hear of it first. Pure.

A question that the damaged log asked may still be under way, and says what it had then; the new log has the same
directory and broker epoch. So the new one begins in a newer leader epoch than any in which the damaged one may have
asked: whoever leads in that does not hear old questions. Those of former lives name another broker epoch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moldau_broker.metadata.image import NO_LEADER, PartitionImage
from moldau_broker.storage.errors import CorruptLog, StorageError

if TYPE_CHECKING:
    from moldau_broker.replication.partition import Partition


def may_begin_anew(
    node_id: int, wanted: PartitionImage, failure: StorageError | None, hosted: Partition | None
) -> bool:
    """Whether a log can be fetched again: others have it, and nobody counts on ours any more, or can.

    Args:
        node_id: this broker.
        wanted: the partition, as the newest image has it.
        failure: why its log is out of service, None if it is not.
        hosted: the replica in this life, None where its log was never opened.
    """
    return (
        isinstance(failure, CorruptLog)
        and wanted.leader not in {NO_LEADER, node_id}
        and node_id not in {*wanted.isr, *wanted.elr}
        and not may_be_heard(wanted, hosted)
    )


def may_be_heard(wanted: PartitionImage, hosted: Partition | None) -> bool:
    """Whether a question that this life's log asked may still be heard by whoever leads now."""
    return hosted is not None and wanted.leader_epoch <= hosted.last_asking_epoch


def is_counted_on(
    node_id: int, wanted: PartitionImage, failure: StorageError | None, hosted: Partition | None
) -> bool:
    """Whether the cluster counts on a replica that has failed, or may come to: arguments as `may_begin_anew`."""
    if node_id not in wanted.replicas:
        return False
    if node_id in {wanted.leader, *wanted.isr, *wanted.elr}:
        return True
    return isinstance(failure, CorruptLog) and may_be_heard(wanted, hosted)
