"""The ledger of one Cluster in the API server: read with every pass, written when a line changes.

What it is for is told in `specs.ledger`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TypeAlias

from moldau_operator.resources.cluster import Cluster
from moldau_operator.resources.meta import DeletionPolicy, Key
from moldau_operator.resources.status import GroupStatus, TopicStatus
from moldau_operator.seams.api_server import CONFIG_MAPS, ApiServer, Object
from moldau_operator.specs.difference import first_difference
from moldau_operator.specs.ledger import Entry, ledger_labels, ledger_maps, read_ledger

Changes: TypeAlias = Mapping[str, Entry | None]
"""By uid: the line a resource has from now on; None for no line."""


class Ledger:
    """What the resources of one Cluster leave to do when they go."""

    def __init__(self, api: ApiServer) -> None:
        self._api = api
        self._cluster: Cluster | None = None
        self._maps: dict[str, Object] = {}
        self._entries: dict[str, Entry] = {}

    async def read(self, cluster: Cluster) -> None:
        """What the server has now.

        Raises:
            ApiError: the server refuses, or cannot be asked.
        """
        found = await self._api.select(CONFIG_MAPS, cluster.metadata.namespace, ledger_labels(cluster))
        self._cluster = cluster
        self._maps = {str(one["metadata"]["name"]): one for one in found}
        self._entries = read_ledger(found, cluster)

    def gone(self, live: Collection[str], namespace: str) -> dict[Key, Entry]:
        """The lines of resources that are not in the API server any more. `live`: the uids of those that are."""
        return {
            Key(entry.kind, namespace, entry.name, uid): entry
            for uid, entry in sorted(self._entries.items())
            if uid not in live
        }

    async def keep(self, changes: Changes) -> None:
        """Write down what changed; when this returns it is durable.

        Raises:
            ApiError: the server refuses, or cannot be asked; part of it may be written, and the next pass reads anew.
        """
        wanted = {uid: entry for uid, entry in self._entries.items() if uid not in changes}
        wanted.update({uid: entry for uid, entry in changes.items() if entry is not None})
        if wanted == self._entries or self._cluster is None:
            return
        maps = ledger_maps(self._cluster, wanted, self._maps)
        # A line that moves to another ConfigMap is written there before it goes here: no crash between can lose it.
        for one in sorted(maps, key=lambda one: self._hands_over(one, wanted)):
            name = one["metadata"]["name"]
            if first_difference(one, self._maps.get(name)):
                self._maps[name] = await self._api.apply(one)
        self._entries = wanted

    def _hands_over(self, one: Object, wanted: Mapping[str, Entry]) -> bool:
        before = (self._maps.get(one["metadata"]["name"]) or {}).get("data") or {}
        return any(uid in wanted and uid not in one["data"] for uid in before)


def topic_left(entry: Entry) -> TopicStatus:
    """The last status of a Topic that is gone, as far as its end needs it."""
    return TopicStatus(
        topic_name=entry.holds,
        topic_id=entry.topic_id,
        owned=True,
        deletion_policy=DeletionPolicy.DELETE,
    )


def group_left(entry: Entry) -> GroupStatus:
    """The last status of a ConsumerGroup that is gone, as far as its end needs it."""
    return GroupStatus(group_id=entry.holds, deletion_policy=DeletionPolicy.DELETE)
