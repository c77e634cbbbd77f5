"""A raft node of a test: its core, its disk, what its server would answer for it. No network here."""

from __future__ import annotations

from typing import Any

from moldau_broker.raft.node import RaftNode
from moldau_broker.raft.quorum import KRAFT_VERSION_FEATURE, Voter
from moldau_broker.testing.raft_disk import MemoryDisk
from moldau_broker.wire.messages.api_versions import ApiVersionsResponse, SupportedFeatureKey


class Member:
    """A node, its disk, and what it told its listener."""

    def __init__(self, me: Voter) -> None:
        self.me = me
        self.disk = MemoryDisk()
        self.node: RaftNode | None = None
        self.life = 0
        self.held = False
        self.committed = 0
        self.options: dict[str, Any] = {}

    @property
    def alive(self) -> RaftNode:
        """The core; the node must be up."""
        assert self.node is not None, f"node {self.me.key.node_id} is down"
        return self.node


def features_of(me: Voter) -> ApiVersionsResponse:
    """What a node's server answers to ApiVersions, as far as the quorum looks at it."""
    low, high = me.kraft_versions
    feature = SupportedFeatureKey(name=KRAFT_VERSION_FEATURE, min_version=low, max_version=high)
    return ApiVersionsResponse(supported_features=(feature,))
