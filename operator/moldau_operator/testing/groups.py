"""A cluster's consumer groups as a dictionary: the part of `BrokerAdmin` that is about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from moldau_broker.base.errors import ErrorCode
from moldau_operator.errors import AdminError
from moldau_operator.seams.broker_admin import GroupAge, GroupView, Partition


@dataclass
class FakeGroup:
    """One group and what it has committed."""

    state: str = "Empty"
    members: int = 0
    committed: dict[Partition, int] = field(default_factory=dict)
    age: GroupAge | None = None
    resets: list[str] = field(default_factory=list)


class FakeGroups:
    """Groups, and what every call to the brokers in memory goes through.

    Attributes:
        calls: every call made, by name.
        refuse: (call, topic or group) -> the error it gets.
        lost: group -> the error that stands for the answer to its next reset.
        unreachable: while set, every call raises it.
    """

    def __init__(self) -> None:
        self.groups: dict[str, FakeGroup] = {}
        self.calls: list[str] = []
        self.refuse: dict[tuple[str, str], AdminError] = {}
        self.lost: dict[str, AdminError] = {}
        self.unreachable: AdminError | None = None

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if self.unreachable is not None:
            raise self.unreachable

    async def list_groups(self) -> tuple[str, ...]:
        """As the protocol."""
        self._called("list_groups")
        return tuple(sorted(self.groups))

    async def describe_groups(self, group_ids: Sequence[str]) -> dict[str, GroupView | AdminError]:
        """As the protocol."""
        self._called("describe_groups")
        return {
            group_id: self.refuse.get(("describe_groups", group_id)) or self._group_view(group_id)
            for group_id in group_ids
        }

    def _group_view(self, group_id: str) -> GroupView:
        group = self.groups.get(group_id)
        state, members = (group.state, group.members) if group is not None else ("Dead", 0)
        return GroupView(group_id=group_id, state=state, members=members)

    async def group_ages(self, group_ids: Sequence[str]) -> dict[str, GroupAge]:
        """As the protocol: of groups of which it was said."""
        self._called("group_ages")
        return {one: age for one in group_ids if one in self.groups and (age := self.groups[one].age)}

    async def committed_offsets(
        self, group_ids: Sequence[str]
    ) -> dict[str, dict[Partition, int] | AdminError]:
        """As the protocol."""
        self._called("committed_offsets")
        none = FakeGroup()
        return {group_id: dict(self.groups.get(group_id, none).committed) for group_id in group_ids}

    async def reset_offsets(
        self, group_id: str, offsets: Mapping[Partition, int], reset_id: str, *, force: bool = False
    ) -> None:
        """As the protocol; where `lost` names the group it is done and the answer does not arrive."""
        self._called("reset_offsets")
        if refused := self.refuse.get(("reset_offsets", group_id)):
            raise refused
        group = self.groups.setdefault(group_id, FakeGroup())
        if reset_id not in group.resets:
            if group.members and not force:
                raise AdminError(ErrorCode.NON_EMPTY_GROUP, f"{group.members} members are active")
            group.state, group.members = "Empty", 0
            group.committed.update(offsets)
            group.resets.append(reset_id)
        if lost := self.lost.pop(group_id, None):
            raise lost

    async def delete_groups(self, group_ids: Sequence[str]) -> dict[str, AdminError | None]:
        """As the protocol."""
        self._called("delete_groups")
        for group_id in group_ids:
            self.groups.pop(group_id, None)
        return dict.fromkeys(group_ids)
