"""Votes that went with their disks, when so many did that nobody can lead any more: in words. Pure.

A voter is a node with its disk (KIP-853). A node that lost its disk comes back as somebody else, and is let in by the
leader; where the lost votes were needed to elect one, nobody can. Waiting does not help then, and nothing is done
about it unasked: a quorum that gave votes away by itself could have two leaders.
"""

from __future__ import annotations

from typing import NamedTuple

from moldau_broker.base.ids import Uuid, format_uuid
from moldau_broker.raft.quorum import VoterKey

WAY_OUT = "bring that disk back, or see MoldauNoActiveController in docs/runbooks.md"


class LostVotes(NamedTuple):
    """Why there will be no leader.

    Attributes:
        voters: how many there are, 0 where this node does not know.
        gone: those whose node answers without the disk that had the vote.
        own: directory of a disk for whose vote this node is asked, and which it does not have.
    """

    voters: int
    gone: tuple[VoterKey, ...]
    own: Uuid | None

    def __str__(self) -> str:
        if self.own is not None:
            return (
                "the metadata quorum has no leader, and this node is asked for the vote of a disk that it does not "
                f"have (directory {format_uuid(self.own)}): start the other voters; where they are not enough, "
                f"{WAY_OUT}"
            )
        lost = ", ".join(
            f"node {key.node_id} (directory {format_uuid(key.directory_id)})" for key in self.gone
        )
        return (
            f"too few of the metadata quorum's {self.voters} votes are left to elect a leader; without the disk that "
            f"had the vote came back: {lost}; {WAY_OUT}"
        )
