"""AlterPartition, from the leader's side: proposals of all partitions, one request at a time, until each has an answer.

No event loop here. What gathers while a request is under way goes into the next one (KIP-497); a broker that comes
back makes hundreds of partitions propose at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import Uuid
from moldau_broker.replication.leader import Proposal
from moldau_broker.replication.lost import ControllerSender
from moldau_broker.wire.messages.alter_partition import (
    AlterPartitionRequest,
    AlterPartitionRequestPartitionData,
    AlterPartitionRequestTopicData,
    AlterPartitionResponse,
    AlterPartitionResponsePartitionData,
    BrokerState,
)
from moldau_broker.wire.schema import Struct

if TYPE_CHECKING:
    from moldau_broker.replication.partition import Partition

logger = logging.getLogger(__name__)


class NobodyAnswers:
    """A cluster of one has no ISR to change."""

    def ask_soon(self, request: Struct, on_answer: Callable[[Any | None], None]) -> None:
        """No answer ever comes."""
        del request, on_answer


class IsrChanges:
    """The proposals that wait for the controller.

    Attributes:
        shrinks, expansions: proposed since start.
    """

    def __init__(self, node_id: int, sender: ControllerSender, broker_epoch: Callable[[], int]) -> None:
        self._node_id = node_id
        self._sender = sender
        self._broker_epoch = broker_epoch
        self._waiting: dict[Partition, Proposal] = {}
        self._asked: dict[tuple[Uuid, int], tuple[Partition, Proposal]] = {}
        self.shrinks = self.expansions = 0

    def __len__(self) -> int:
        return len(self._waiting) + len(self._asked)

    def propose(self, partition: Partition, proposal: Proposal) -> None:
        """Ask the controller for it, as soon as it has answered what it was asked before."""
        grows = len(proposal.members) > len(partition.isr)
        self.expansions += grows
        self.shrinks += len(proposal.members) < len(partition.isr)
        logger.info(
            "isr.proposed",
            extra={
                "topic": partition.topic,
                "partition": partition.index,
                "isr": list(partition.isr),
                "proposed": list(proposal.isr),
                "leader_epoch": proposal.leader_epoch,
            },
        )
        self._waiting[partition] = proposal
        self.send()

    def send(self) -> None:
        """Send what waits, unless an answer is awaited; also what the controller could not answer before."""
        if self._asked or not self._waiting:
            return
        topics: dict[Uuid, list[AlterPartitionRequestPartitionData]] = {}
        waiting, self._waiting = self._waiting, {}
        for partition, proposal in waiting.items():
            if partition.still_wants(proposal):
                self._asked[partition.topic_id, partition.index] = (partition, proposal)
                topics.setdefault(partition.topic_id, []).append(_asked_for(partition.index, proposal))
        if not self._asked:
            return
        request = AlterPartitionRequest(
            broker_id=self._node_id,
            broker_epoch=self._broker_epoch(),
            topics=[
                AlterPartitionRequestTopicData(topic_id=topic_id, partitions=partitions)
                for topic_id, partitions in topics.items()
            ],
        )
        self._sender.ask_soon(request, self._answered)

    def _answered(self, response: AlterPartitionResponse | None) -> None:
        asked, self._asked = self._asked, {}
        answers: dict[tuple[Uuid, int], AlterPartitionResponsePartitionData] = {}
        error = ErrorCode.NETWORK_EXCEPTION if response is None else ErrorCode(response.error_code)
        if response is not None:
            for topic in response.topics:
                for answer in topic.partitions:
                    answers[Uuid(topic.topic_id), answer.partition_index] = answer
        again = False
        for key, (partition, proposal) in asked.items():
            found = answers.get(key)
            if found is None:
                retry = partition.proposal_answered(proposal, error or ErrorCode.UNKNOWN_SERVER_ERROR, (), -1)
            else:
                retry = partition.proposal_answered(
                    proposal, found.error_code, tuple(found.isr), found.partition_epoch
                )
            if retry and partition not in self._waiting:
                self._waiting[partition] = proposal
                again = True
        if not again:
            self.send()


def _asked_for(index: int, proposal: Proposal) -> AlterPartitionRequestPartitionData:
    return AlterPartitionRequestPartitionData(
        partition_index=index,
        leader_epoch=proposal.leader_epoch,
        partition_epoch=proposal.partition_epoch,
        leader_recovery_state=proposal.recovery_state,
        new_isr_with_epochs=[
            BrokerState(broker_id=broker_id, broker_epoch=epoch) for broker_id, epoch in proposal.members
        ],
    )
