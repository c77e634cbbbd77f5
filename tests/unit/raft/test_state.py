"""The quorum-state file and the table of roles."""

from __future__ import annotations

import pytest

from moldau_broker.base.ids import parse_uuid
from moldau_broker.raft.errors import DamagedQuorum, RaftError
from moldau_broker.raft.quorum import VoterKey
from moldau_broker.raft.state import TRANSITIONS, ElectionState, Role

DIRECTORY = parse_uuid("WN_dMpWkR02CBitvVahNXA")


def test_election_state_is_written_as_apache_kafka_writes_it() -> None:
    """The line an Apache Kafka 4.3.1 leader of epoch 3 left behind, and a checksum, which Kafka passes over."""
    assert ElectionState(3, 1).encode() == (
        b'{"leaderId":1,"leaderEpoch":3,"votedId":-1,"votedDirectoryId":"AAAAAAAAAAAAAAAAAAAAAA","data_version":1,'
        b'"crc32c":2109683886}'
    )


@pytest.mark.parametrize(
    "state", [ElectionState(), ElectionState(7, 2), ElectionState(7, -1, VoterKey(2, DIRECTORY))]
)
def test_election_state_reads_what_it_wrote(state: ElectionState) -> None:
    """Epoch, leader and vote survive."""
    assert ElectionState.decode(state.encode()) == state


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"data_version":1}',
        b'{"leaderId":1,"leaderEpoch":"3","votedId":-1,"votedDirectoryId":"AAAAAAAAAAAAAAAAAAAAAA","data_version":1}',
        b'{"leaderId":1,"leaderEpoch":-3,"votedId":-1,"votedDirectoryId":"AAAAAAAAAAAAAAAAAAAAAA","data_version":1}',
        b'{"leaderId":1,"leaderEpoch":3,"votedId":-1,"votedDirectoryId":"no","data_version":1}',
        b"\xff\xfe",
    ],
)
def test_election_state_refuses_damage(data: bytes) -> None:
    """No epoch is better than a wrong one: starting over could elect two leaders in one epoch."""
    with pytest.raises(RaftError, match="damaged"):
        ElectionState.decode(data)


def test_election_state_notices_every_flipped_bit() -> None:
    """Also one that makes another epoch or voter of it; what is not noticed changed nothing but the checksum's name."""
    state = ElectionState(70, -1, VoterKey(2, DIRECTORY))
    data = state.encode()
    unnoticed = 0
    for at in range(len(data)):
        for bit in range(8):
            flipped = data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]
            try:
                assert ElectionState.decode(flipped) == state
            except DamagedQuorum:
                continue
            unnoticed += 1
    assert unnoticed < 8 * len("crc32c")


def test_election_state_of_before_there_were_checksums_is_read() -> None:
    """Kafka's own, and those of older versions."""
    old = b'{"leaderId":1,"leaderEpoch":3,"votedId":-1,"votedDirectoryId":"AAAAAAAAAAAAAAAAAAAAAA","data_version":1}'
    assert ElectionState.decode(old) == ElectionState(3, 1)


def test_election_state_refuses_other_data_versions() -> None:
    """Version 0 has no directory ids and is not read; the text names both versions."""
    with pytest.raises(RaftError, match="data_version 0"):
        ElectionState.decode(b'{"data_version":0}')


def test_roles_all_have_transitions_and_are_reachable() -> None:
    """The table covers every role, and no role is a dead end or an island."""
    assert set(TRANSITIONS) == set(Role)
    reached = {Role.UNATTACHED}
    while more := {after for role in reached for after in TRANSITIONS[role]} - reached:
        reached |= more
    assert reached == set(Role)
    assert all(TRANSITIONS.values())


def test_roles_lead_only_after_candidacy() -> None:
    """Nobody becomes leader without having asked for votes."""
    assert [role for role in Role if Role.LEADER in TRANSITIONS[role]] == [Role.CANDIDATE]
