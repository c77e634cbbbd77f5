"""Voters and majorities. Pure.

A voter is known by node id *and* directory id (KIP-853): a node that lost its disk comes back under a new
directory id and cannot speak with its old voice.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final, NamedTuple

from moldau_broker.base.ids import Uuid, format_uuid
from moldau_broker.wire.messages import raft_records as records

KRAFT_VERSION_RANGE: Final = (0, 1)
"""Levels of kraft.version this node can run with; what a VotersRecord says of it."""
KRAFT_VERSION: Final = 1
"""The level new quorums are formatted with: dynamic voters (KIP-853)."""
KRAFT_VERSION_FEATURE: Final = "kraft.version"
"""Its name among a node's features."""


class VoterKey(NamedTuple):
    """Who a vote belongs to."""

    node_id: int
    directory_id: Uuid

    def __str__(self) -> str:
        return f"{self.node_id} (directory {format_uuid(self.directory_id)})"


class VoterEndpoint(NamedTuple):
    """Where a voter is reached; `name` is the controller listener's."""

    name: str
    host: str
    port: int


class Voter(NamedTuple):
    """A member of the quorum."""

    key: VoterKey
    endpoints: tuple[VoterEndpoint, ...]
    kraft_versions: tuple[int, int] = KRAFT_VERSION_RANGE


class VoterSet:
    """The voters in force; immutable.

    Attributes:
        voters: all, by ascending node id.
        keys: theirs, in the same order.
        majority: how many of them decide.
    """

    __slots__ = ("_by_id", "keys", "majority", "voters")

    def __init__(self, voters: Iterable[Voter]) -> None:
        self.voters: tuple[Voter, ...] = tuple(sorted(voters, key=lambda voter: voter.key))
        self.keys: tuple[VoterKey, ...] = tuple(voter.key for voter in self.voters)
        self.majority = len(self.voters) // 2 + 1
        self._by_id: Mapping[int, Voter] = {voter.key.node_id: voter for voter in self.voters}
        assert len(self._by_id) == len(self.voters), "a node id votes once"

    def __len__(self) -> int:
        return len(self._by_id)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, VoterSet) and self._by_id == other._by_id

    def __hash__(self) -> int:
        return hash(tuple(self._by_id.values()))

    def __contains__(self, key: VoterKey) -> bool:
        voter = self._by_id.get(key.node_id)
        return voter is not None and voter.key == key

    def by_id(self, node_id: int) -> Voter | None:
        """The voter with this node id, whatever its directory."""
        return self._by_id.get(node_id)

    def with_voter(self, voter: Voter) -> VoterSet:
        """The set with one voter more; its node id must be new."""
        return VoterSet([*self.voters, voter])

    def without(self, key: VoterKey) -> VoterSet:
        """The set without this voter, which must be in it."""
        assert key in self, "only a voter can be removed"
        return VoterSet(other for other in self.voters if other.key != key)

    def has_majority(self, keys: Collection[VoterKey]) -> bool:
        """Whether these voters are enough; keys that are not voters do not count."""
        return sum(1 for key in set(keys) if key in self) >= self.majority

    def updated(self, voter: Voter) -> VoterSet:
        """The set with this voter's endpoints and versions replaced; the key must be in it."""
        assert voter.key in self, "only a voter can be updated"
        return VoterSet([voter, *(other for other in self.voters if other.key != voter.key)])

    def to_record(self) -> records.VotersRecord:
        """The control record that makes this set known to the log."""
        return records.VotersRecord(
            version=0,
            voters=[
                records.Voter(
                    voter_id=voter.key.node_id,
                    voter_directory_id=voter.key.directory_id,
                    endpoints=[
                        records.Endpoint(name=at.name, host=at.host, port=at.port) for at in voter.endpoints
                    ],
                    kraft_version_feature=records.KRaftVersionFeature(
                        min_supported_version=voter.kraft_versions[0],
                        max_supported_version=voter.kraft_versions[1],
                    ),
                )
                for voter in self.voters
            ],
        )

    @classmethod
    def from_record(cls, record: records.VotersRecord) -> VoterSet:
        """The set a VotersRecord describes."""
        return cls(
            Voter(
                VoterKey(voter.voter_id, Uuid(voter.voter_directory_id)),
                tuple(VoterEndpoint(at.name, at.host, at.port) for at in voter.endpoints),
                (
                    voter.kraft_version_feature.min_supported_version,
                    voter.kraft_version_feature.max_supported_version,
                ),
            )
            for voter in record.voters
        )
