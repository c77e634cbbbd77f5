"""What must always hold for answers: a request that names an epoch is only granted in that epoch.

These rules are compare-and-set. A program that drops one of them may go on for very long before anything is lost for
it, as other epochs catch most of what slips through; so they are looked at where they apply.
"""

from __future__ import annotations

from collections.abc import Callable

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import Uuid
from moldau_broker.metadata.image import MetadataImage
from moldau_broker.testing.sim.kernel import InvariantViolated
from moldau_broker.wire.messages.alter_partition import AlterPartitionRequest, AlterPartitionResponse
from moldau_broker.wire.messages.fetch import FetchRequest, FetchResponse


def check_alter_partition(
    image: MetadataImage, request: AlterPartitionRequest, response: AlterPartitionResponse
) -> None:
    """An ISR is only changed by the leader of the very state it was proposed for (KIP-497).

    Args:
        image: what the controller decided on.
        request: what was proposed.
        response: what it answered.

    Raises:
        InvariantViolated: it took a proposal for another state.
    """
    if response.error_code != ErrorCode.NONE:
        return
    for asked, answered in zip(request.topics, response.topics, strict=True):
        topic = image.topics_by_id.get(Uuid(asked.topic_id))
        for wanted, given in zip(asked.partitions, answered.partitions, strict=True):
            if topic is None or given.error_code != ErrorCode.NONE:
                continue
            before = topic.partitions[wanted.partition_index]
            known = (wanted.leader_epoch, wanted.partition_epoch)
            if known != (before.leader_epoch, before.partition_epoch):
                raise InvariantViolated(
                    f"{topic.name}-{wanted.partition_index}: the controller took an ISR proposed in epochs {known} of "
                    f"leader and partition, which were {(before.leader_epoch, before.partition_epoch)}"
                )


def check_fetch(
    request: FetchRequest, response: FetchResponse, epoch_of: Callable[[Uuid, int], int | None]
) -> None:
    """A fetch that names a leader epoch is answered by nobody who is in another (KIP-320).

    Args:
        request: what was asked.
        response: the answer, as it leaves.
        epoch_of: the leader epoch of a hosted replica, None where there is none any more.

    Raises:
        InvariantViolated: it was answered all the same.
    """
    asked = {
        (Uuid(topic.topic_id), wanted.partition): wanted.current_leader_epoch
        for topic in request.topics
        for wanted in topic.partitions
    }
    for topic in response.responses:
        for data in topic.partitions:
            key = Uuid(topic.topic_id), data.partition_index
            epoch, known = epoch_of(*key), asked.get(key, -1)
            if data.error_code == ErrorCode.NONE and known >= 0 and epoch is not None and epoch != known:
                raise InvariantViolated(
                    f"a fetch of partition {data.partition_index} in leader epoch {known} was answered in epoch {epoch}"
                )
