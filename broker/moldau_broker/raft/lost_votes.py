"""Votes that went with their disks, when so many did that nobody can lead any more: in words. Pure.

Likewise votes that nobody may give, as their nodes' disks have lost what was said (`recovering`).

A voter is a node with its disk (KIP-853). A node that lost its disk comes back as somebody else, and is let in by the
leader; where the lost votes were needed to elect one, nobody can. Waiting does not help then, and nothing is done
about it unasked: a quorum that gave votes away by itself could have two leaders.
"""

from __future__ import annotations

from typing import NamedTuple

from moldau_broker.base.ids import Uuid, format_uuid
from moldau_broker.raft.quorum import VoterKey

WAY_OUT = "bring that disk back, or see MoldauNoActiveController in docs/runbooks.md"
MENDING_WAY_OUT = "see MoldauNoActiveController in docs/runbooks.md"


class LostVotes(NamedTuple):
    """Why there will be no leader.

    Attributes:
        voters: how many there are, 0 where this node does not know.
        gone: those whose node answers without the disk that had the vote.
        own: directory of a disk for whose vote this node is asked, and which it does not have.
        mending: those whose disk has lost something, and who get their votes back from a leader of the others only.
    """

    voters: int
    gone: tuple[VoterKey, ...]
    own: Uuid | None
    mending: tuple[VoterKey, ...] = ()

    def __str__(self) -> str:
        if self.own is not None:
            return (
                "the metadata quorum has no leader, and this node is asked for the vote of a disk that it does not "
                f"have (directory {format_uuid(self.own)}): start the other voters; where they are not enough, "
                f"{WAY_OUT}"
            )
        reasons = []
        if self.gone:
            reasons.append(f"without the disk that had the vote came back: {_names(self.gone)}")
        if self.mending:
            reasons.append(
                f"no vote until a leader of the others has committed something, as its metadata was damaged: "
                f"{_names(self.mending)}"
            )
        said = "; ".join(reasons)
        if not self.gone and len(self.mending) < self.voters - self.voters // 2:
            return (
                f"the metadata quorum has no leader; {said}: start the other voters; where they are not enough, "
                f"{MENDING_WAY_OUT}"
            )
        way_out = WAY_OUT if self.gone else MENDING_WAY_OUT
        return f"too few of the metadata quorum's {self.voters} votes are left to elect a leader; {said}; {way_out}"


def _names(keys: tuple[VoterKey, ...]) -> str:
    return ", ".join(f"node {key.node_id} (directory {format_uuid(key.directory_id)})" for key in keys)
