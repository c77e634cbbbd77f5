"""What must hold for committed offsets: they are what the true log of their partition says, and nothing else.

The partition of the offsets topic has a ghost like any other. This one also replays what became true: the commits of a
group, in the order of the log. To acknowledge a commit, or to read one, is to vouch for it.
"""

from __future__ import annotations

from collections.abc import Callable

from moldau_broker.base.topics import CONSUMER_OFFSETS
from moldau_broker.coordinator.records import decode_record
from moldau_broker.testing.sim.coverage import Coverage
from moldau_broker.testing.sim.group_ghost import GROUP, GroupGhost
from moldau_broker.testing.sim.kernel import InvariantViolated
from moldau_broker.testing.sim.partition_ghost import PartitionGhost
from moldau_broker.testing.sim.partition_log import SimLog, Stored
from moldau_broker.testing.sim.swarm import TopicPlan
from moldau_broker.wire.messages.group_records import (
    GroupMetadataValue,
    OffsetCommitKey,
    OffsetCommitValue,
)
from moldau_broker.wire.records import read_records

NO_COMMIT = -1
OFFSETS_TOPIC = TopicPlan(CONSUMER_OFFSETS, 1, 3, 2)
"""As our brokers make it, but for one partition instead of fifty."""


class OffsetsGhost(PartitionGhost):
    """A partition of the offsets topic, which always keeps two copies.

    Attributes:
        members: what must hold for the group that has members.
    """

    def __init__(self, name: str, coverage: Coverage, log_of: Callable[[int], SimLog | None]) -> None:
        super().__init__(name, coverage, log_of, strict=True)
        self._commits: dict[tuple[str, int], list[int]] = {}
        self.members = GroupGhost(coverage)

    def _becomes_true(self, stored: Stored) -> None:
        super()._becomes_true(stored)
        if stored.header.is_control:
            return
        for record in read_records(stored.data, 0):
            found = decode_record(record.key, record.value) if record.key is not None else None
            if found is not None and isinstance(found.key, OffsetCommitKey):
                assert isinstance(found.value, OffsetCommitValue), "nothing here deletes offsets"
                self.commits(found.key.group, found.key.partition).append(found.value.offset)
                if found.key.group == GROUP:
                    self.members.committed(found.value.metadata)
            elif found is not None and found.key.group == GROUP:
                assert isinstance(found.value, GroupMetadataValue), "nothing here deletes groups"
                self.members.stored(found.value)

    def commits(self, group: str, partition: int = 0) -> list[int]:
        """The group's commits for a partition that are true, oldest first."""
        return self._commits.setdefault((group, partition), [NO_COMMIT])

    def committed(self, group: str, offset: int, partition: int = 0) -> None:
        """A client was told that its commit is safe.

        Raises:
            InvariantViolated: the true log does not have it.
        """
        commits = self.commits(group, partition)
        if offset not in commits:
            raise InvariantViolated(
                f"{self.name}: {group} was told that {offset} is committed, and the true log ends with {commits[-1]}"
            )

    def read(self, group: str, offset: int, since: int, partition: int = 0, *, by_leader: bool) -> None:
        """A client read a commit.

        Args:
            group: whose.
            offset: what it was told.
            since: how many commits of the group for that partition were true when it asked.
            partition: of which.
            by_leader: whether whoever told it led the partition when it did.

        Raises:
            InvariantViolated: no such commit was ever true, or a later one was when it asked.
        """
        commits = self.commits(group, partition)
        lawful = commits[since - 1 :] if by_leader else commits
        if offset not in lawful:
            raise InvariantViolated(
                f"{self.name}: {group} reads commit {offset}, the true ones are {commits[-5:]}, and it asked when "
                f"{commits[since - 1]} was the last"
            )
