"""The role of this node in the quorum, and the part of it that must survive a crash. Pure.

Theory of operation: a role changes only through `RaftCore._become`, which checks `TRANSITIONS`. Whatever
changes the epoch, the vote or the known leader gives a new `ElectionState`, and no answer that depends on
it may leave before the quorum-state file holds it.
"""

from __future__ import annotations

import json
import re
from enum import Enum
from typing import Final, NamedTuple

from moldau_broker.base.ids import NULL_UUID, format_uuid, parse_uuid
from moldau_broker.raft.errors import Damaged, DamagedQuorum, RaftError
from moldau_broker.raft.quorum import VoterKey
from moldau_broker.wire.checksums import crc32c

NO_LEADER: Final = -1
DATA_VERSION: Final = 1
_DAMAGED: Final = (
    "quorum-state is damaged; restore it from a backup: starting without it could repeat an epoch"
)
_CHECKSUM: Final = re.compile(rb',"crc32c":([0-9]+)}\Z')
"""Ours, of the line without it: a digit that has become another one is no error of JSON. Kafka passes over it."""


class Role(Enum):
    """What a node is in its current epoch.

    A node that is no voter (an observer) is unattached or a follower, never anything else.
    """

    UNATTACHED = "unattached"
    """Knows the epoch, no leader in it; may have voted."""
    FOLLOWER = "follower"
    """Knows the leader and fetches from it."""
    PROSPECTIVE = "prospective"
    """Asks whether it would win an election, without a new epoch (pre-vote, KIP-996)."""
    CANDIDATE = "candidate"
    """Asks for votes in a new epoch."""
    LEADER = "leader"
    """Appends; tells others what is committed."""
    RESIGNED = "resigned"
    """Was leader in this epoch and gave up; waits for the next one."""


TRANSITIONS: Final[dict[Role, frozenset[Role]]] = {
    Role.UNATTACHED: frozenset({Role.UNATTACHED, Role.FOLLOWER, Role.PROSPECTIVE}),
    Role.FOLLOWER: frozenset({Role.UNATTACHED, Role.FOLLOWER, Role.PROSPECTIVE, Role.CANDIDATE}),
    Role.PROSPECTIVE: frozenset({Role.UNATTACHED, Role.FOLLOWER, Role.CANDIDATE}),
    Role.CANDIDATE: frozenset({Role.UNATTACHED, Role.FOLLOWER, Role.PROSPECTIVE, Role.LEADER}),
    Role.LEADER: frozenset({Role.UNATTACHED, Role.FOLLOWER, Role.RESIGNED}),
    Role.RESIGNED: frozenset({Role.UNATTACHED, Role.FOLLOWER}),
}


class ElectionState(NamedTuple):
    """What the quorum-state file holds.

    Attributes:
        epoch: the highest epoch this node has taken part in; never goes back.
        leader_id: the leader of that epoch, `NO_LEADER` if unknown.
        voted: whom this node voted for in that epoch, if it did and no leader is known.
    """

    epoch: int = 0
    leader_id: int = NO_LEADER
    voted: VoterKey | None = None

    def encode(self) -> bytes:
        """The file's content: a line of JSON with Kafka's field names (QuorumStateData, version 1), and a checksum."""
        voted = self.voted or VoterKey(-1, NULL_UUID)
        line = json.dumps(
            {
                "leaderId": self.leader_id,
                "leaderEpoch": self.epoch,
                "votedId": voted.node_id,
                "votedDirectoryId": format_uuid(voted.directory_id),
                "data_version": DATA_VERSION,
            },
            separators=(",", ":"),
        ).encode()
        return b'%b,"crc32c":%d}' % (line[:-1], crc32c(line))

    @classmethod
    def decode(cls, data: bytes) -> ElectionState:
        """Read a quorum-state file.

        Raises:
            DamagedQuorum: it is not what was written. Guessing an epoch could elect two leaders in it.
            RaftError: another version wrote it.
        """
        checksum = _CHECKSUM.search(data)
        try:
            if checksum and int(checksum[1]) != crc32c(data[: checksum.start()] + b"}"):
                raise DamagedQuorum(Damaged.STATE, f"{_DAMAGED} (its checksum does not match)")
            fields = json.loads(data)
            version = fields["data_version"]
            if version != DATA_VERSION:
                raise RaftError(f"quorum-state has data_version {version}; this version reads {DATA_VERSION}")
            epoch, leader_id, voted_id = fields["leaderEpoch"], fields["leaderId"], fields["votedId"]
            directory = parse_uuid(fields["votedDirectoryId"])
            sound = all(type(number) is int for number in (epoch, leader_id, voted_id)) and epoch >= 0
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedQuorum(Damaged.STATE, f"{_DAMAGED} ({error!r})") from error
        if not sound:
            raise DamagedQuorum(Damaged.STATE, _DAMAGED)
        return cls(epoch, leader_id, VoterKey(voted_id, directory) if voted_id >= 0 else None)
