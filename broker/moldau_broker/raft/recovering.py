"""A member whose disk has lost some of what it said to others: it follows without a voice until that cannot matter.

Pure. What is lost is the log, in part or all of it, or the epoch and the vote in quorum-state (`healing` says how that
is found, and what becomes of the files). Such a node could help to elect a leader that lacks what it had acknowledged,
or vote twice in an epoch. So it fetches as an observer (under no directory id: its leader counts it neither for commits
nor for check-quorum), and does not vote, ask or stand for election, until in the epoch E of one leader L:

1. An answer of L had no records: L's log ended at the offset asked for, X, at a time after this process began.
2. L has told of a high watermark above X, and the own log is durable up to there.

Then an entry at X or above, of epoch E, was appended after this node had fallen silent, and a majority has it without
this node: under its own key L knows of it no offset above X. All of those are honest, so what Raft proves holds:
*every leader of an epoch after E has that entry* (leader completeness, Raft section 5.4.3).

- A forgotten vote, for candidate C in an epoch F > E: C asked for it before the entry was appended, and a candidate's
  log does not grow, so C lacks it and never leads F. The vote decides nothing, whatever else this node votes in F. In
  an epoch up to E it cannot vote again: it is in E, that is on its disk, and E has its leader.
- Forgotten entries that were committed because this node had acknowledged them in an epoch G: with G > E there would
  have been a leader of G before the entry was appended, and without it. So G <= E, and L has them, by leader
  completeness or as it wrote them itself. They lie below X, as L's log ended there later than that; and below X the own
  log is L's by now.

Neither part may be left out. That a majority without this node is in epoch E is not enough with five voters: C may be
waiting for the votes of those who acknowledge at this very moment, and be elected with the forgotten one. That the own
log ends where L's does is not enough without quorum-state: L may be a leader of the past.

A quiet quorum commits nothing by itself. So whoever is at the end asks for its own entry in the voter set to be written
again (UpdateRaftVoter, KIP-853), as it stands: while somebody recovers the leader does so. Where the others are no
majority nothing is committed, and this node stays as it is: in words (`lost_votes`), as nobody can tell what it said.

The idea: protocol-aware recovery (Alagappan et al., FAST 2018, section 3.3).
"""

from __future__ import annotations

from moldau_broker.base.ids import NULL_UUID, Uuid
from moldau_broker.raft.core import RaftCore
from moldau_broker.raft.quorum import Voter
from moldau_broker.raft.roles import Following


class Recovery(RaftCore):
    """The part of the core that gets its voice back. Use `RaftNode`."""

    @property
    def _voice(self) -> Uuid:
        """The directory id its fetches carry: its own counts as a voter's."""
        return NULL_UUID if self.recovering else self.me.key.directory_id

    def _note_end(self, following: Following) -> None:
        """The leader had nothing behind the offset it was asked for, which is the own end."""
        if following.seen_end < 0:
            following.seen_end = self.log_end

    def _look_whether_recovered(self) -> None:
        """The high watermark has moved; it is never above what is durable here."""
        following = self._following
        if self.recovering and following is not None and 0 <= following.seen_end < self.high_watermark:
            self.recovering, self._recovered = False, True

    @property
    def _entry_to_renew(self) -> Voter | None:
        """What the leader is asked to write again, so that something new is committed; None while that is no use.

        The own entry; the leader's where this node is no voter.
        """
        if self._following is None or self._following.seen_end < 0:
            return None
        return self.me if self.me.key in self.voters else self.voters.by_id(self.leader_id)
