"""Where statuses are kept between two looks: a file today, the status subresource later. One Protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeAlias

from moldau_operator.resources.meta import Key
from moldau_operator.resources.status import ClusterStatus, GroupStatus, TopicStatus

Status: TypeAlias = ClusterStatus | TopicStatus | GroupStatus


class StatusStore(Protocol):
    """Keeps statuses. Reconcilers hand over only what changed, and before they act on it."""

    async def save(self, changed: Mapping[Key, Status]) -> None:
        """Keep these statuses, durably: a crash after this call must not forget them."""
        ...

    async def forget(self, keys: frozenset[Key]) -> None:
        """Drop the statuses of resources that are gone and ask for nothing more."""
        ...
