"""What a plan may ask of the brokers themselves, each with its reason. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from moldau_operator.names import counted
from moldau_operator.seams.broker_admin import ConfigChange, Partition, QuorumMember


@dataclass(frozen=True, slots=True, kw_only=True)
class AlterBrokers:
    """Give all brokers settings while they run."""

    change: ConfigChange
    reason: str

    def __str__(self) -> str:
        return f"change the brokers' settings: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveReplicas:
    """Begin to move partitions; each target names its preferred leader first."""

    targets: Mapping[Partition, tuple[int, ...]]
    reason: str

    def __str__(self) -> str:
        return f"move {counted(len(self.targets), 'partition')}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveVoter:
    """Take a node out of the metadata quorum."""

    voter: QuorumMember
    reason: str

    def __str__(self) -> str:
        return f"take node {self.voter.id} out of the quorum: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnregisterBroker:
    """Forget a broker that is gone for good."""

    broker_id: int
    reason: str

    def __str__(self) -> str:
        return f"forget broker {self.broker_id}: {self.reason}"


BrokerAction = AlterBrokers | MoveReplicas | RemoveVoter | UnregisterBroker
