"""Voters and majorities."""

from __future__ import annotations

import pytest

from moldau_broker.base.ids import Uuid
from moldau_broker.raft.quorum import Voter, VoterEndpoint, VoterKey, VoterSet
from moldau_broker.wire.codec import decode, encode
from moldau_broker.wire.messages.raft_records import VotersRecord


def voter(node_id: int, directory: int = 0, port: int = 9093) -> Voter:
    key = VoterKey(node_id, Uuid((directory or node_id).to_bytes(16, "big")))
    return Voter(key, (VoterEndpoint("CONTROLLER", "host", port),))


@pytest.mark.parametrize(("size", "majority"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3)])
def test_quorum_majority_is_more_than_half(size: int, majority: int) -> None:
    """Two majorities of one set always share a voter."""
    voters = VoterSet(voter(node_id) for node_id in range(size))
    assert voters.majority == majority
    assert voters.has_majority(voters.keys[:majority])
    assert not voters.has_majority(voters.keys[: majority - 1])


def test_quorum_does_not_count_strangers_or_repeated_votes() -> None:
    """Only distinct voters count, and a voter is its directory too.

    Reference: KIP-853, "a voter with a wiped disk cannot vote with its old voice".
    """
    voters = VoterSet([voter(1), voter(2), voter(3)])
    wiped = voter(2, directory=99).key
    assert wiped not in voters
    assert not voters.has_majority([voter(1).key, wiped, voter(1).key])
    assert voters.has_majority([voter(1).key, voter(2).key])


def test_quorum_survives_its_record() -> None:
    """A set written as a VotersRecord reads back equal, endpoints and versions included."""
    voters = VoterSet([voter(3), voter(1)])
    record, _ = decode(VotersRecord, 0, encode(voters.to_record(), 0))
    assert VoterSet.from_record(record) == voters
    assert [key.node_id for key in voters.keys] == [1, 3]


def test_quorum_update_replaces_one_voters_endpoints() -> None:
    """A new address is the same voter; the old set is not touched."""
    voters = VoterSet([voter(1), voter(2)])
    moved = voter(1, port=19093)
    assert voters.updated(moved).voters == (moved, voter(2))
    assert voters.voters == (voter(1), voter(2))
