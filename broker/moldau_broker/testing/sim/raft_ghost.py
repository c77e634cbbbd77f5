"""What must always hold for the metadata quorum, seen from above (names follow the Raft paper).

One leader per epoch; epochs and votes on disk before anything that depends on them leaves; log matching; leader
completeness; what is committed is on the disks of a majority, and stays.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import Protocol

from moldau_broker.raft.quorum import VoterKey, VoterSet
from moldau_broker.raft.state import ElectionState
from moldau_broker.testing.sim.coverage import Coverage
from moldau_broker.testing.sim.kernel import InvariantViolated
from moldau_broker.testing.sim.quorum_store import Entry, QuorumStore


class Member(Protocol):
    """What the ghost looks at of a node."""

    @property
    def key(self) -> VoterKey:
        """Who it is."""

    @property
    def store(self) -> QuorumStore:
        """Its folder."""


class RaftGhost:
    """Ghost state of the quorum.

    Attributes:
        committed: the one true log, as far as anybody called it committed.
        end: where it ends.
    """

    def __init__(self, coverage: Coverage) -> None:
        self._coverage = coverage
        self._batches: dict[tuple[int, int], tuple[bytes, int]] = {}
        self._leaders: dict[int, VoterKey] = {}
        self._votes: dict[tuple[VoterKey, int], VoterKey] = {}
        self.committed: list[Entry] = []
        self._bases: list[int] = []
        self._commits: list[tuple[int, int]] = []  # (epoch it was committed in, length of `committed` then)
        self.end = 0

    # -- logs ---------------------------------------------------------------------------------------------

    def entered(self, member: Member, entry: Entry) -> None:
        """A batch stands in a log: the same epoch and offset mean the same batch after the same batch."""
        entries = member.store.entries
        before = entries[-2].epoch if len(entries) > 1 else -1
        known = self._batches.setdefault((entry.epoch, entry.base), (entry.data, before))
        if known[0] != entry.data:
            raise InvariantViolated(
                f"log matching: node {member.key.node_id} holds another batch of epoch {entry.epoch} "
                f"at offset {entry.base}"
            )
        if before >= 0 and known[1] >= 0 and known[1] != before:
            raise InvariantViolated(
                f"log matching: at node {member.key.node_id} the batch of epoch {entry.epoch} at offset "
                f"{entry.base} follows epoch {before}, elsewhere epoch {known[1]}"
            )
        if len(entries) > 1 and entries[-2].epoch > entry.epoch:
            raise InvariantViolated(f"epochs go back in the log of node {member.key.node_id}")

    def truncating(self, member: Member, offset: int) -> None:
        """A log is about to be cut at `offset`: nothing committed goes."""
        if offset >= self.end:
            return
        for entry in reversed(member.store.entries):
            if entry.next <= offset:
                break
            if entry.next <= self.end and self._at(entry.base) == entry:
                if any(snapshot.end_offset >= entry.next for snapshot in member.store.snapshots):
                    break
                raise InvariantViolated(
                    f"committed lost: node {member.key.node_id} cuts its log to {offset}, "
                    f"below the committed batch at {entry.base}"
                )

    def _at(self, base: int) -> Entry | None:
        at = bisect_right(self._bases, base) - 1
        return self.committed[at] if at >= 0 and self._bases[at] == base else None

    # -- elections ----------------------------------------------------------------------------------------

    def leads(self, member: Member, epoch: int) -> None:
        """A node says it leads `epoch`: it has what was committed in earlier ones (Raft section 5.4.3).

        Not what later ones committed: a candidate that was paused may count its votes after another one has led.
        """
        other = self._leaders.setdefault(epoch, member.key)
        if other != member.key:
            raise InvariantViolated(
                f"two leaders in epoch {epoch}: nodes {other.node_id} and {member.key.node_id}"
            )
        self._coverage.hit("leaders elected")
        store = member.store
        earlier = bisect_left(self._commits, (epoch, 0)) - 1
        if earlier < 0:
            return
        last = self.committed[self._commits[earlier][1] - 1]
        if store.log_end_offset < last.next:
            raise InvariantViolated(
                f"leader completeness: node {member.key.node_id} leads epoch {epoch} with a log that ends "
                f"at {store.log_end_offset}, though {last.next} is committed"
            )
        held = store.entry_at(last.base)
        if held is None and last.base >= store.log_start_offset:
            raise InvariantViolated(
                f"leader completeness: node {member.key.node_id} lacks offset {last.base}"
            )
        if held is not None and held.epoch != last.epoch:
            raise InvariantViolated(
                f"leader completeness: node {member.key.node_id} leads epoch {epoch} with epoch "
                f"{held.epoch} at offset {last.base}, where epoch {last.epoch} is committed"
            )

    def votes(self, member: Member, epoch: int, candidate: VoterKey) -> None:
        """A vote leaves `member`: it is on disk, and it is the only one of that voter in that epoch."""
        saved = member.store.election
        if (
            saved is None
            or saved.epoch != epoch
            or (saved.voted != candidate and saved.leader_id != candidate[0])
        ):
            raise InvariantViolated(
                f"a vote before it is saved: node {member.key.node_id} votes for {candidate.node_id} in epoch "
                f"{epoch}, its file says {saved}"
            )
        other = self._votes.setdefault((member.key, epoch), candidate)
        if other != candidate:
            raise InvariantViolated(
                f"node {member.key.node_id} votes twice in epoch {epoch}: for {other} and {candidate}"
            )
        self._coverage.hit("votes granted")

    def regains(self, member: Member, epoch: int) -> None:
        """`member`, whose disk had lost what it said, has its voice back in `epoch`; see `raft.recovering`.

        It may vote anew in later epochs, as whoever had its vote there never leads: that is what `leads` looks at.
        """
        forgotten = [key for key in self._votes if key[0] == member.key and key[1] > epoch]
        for key in forgotten:
            del self._votes[key]
            self._coverage.hit("forgotten votes")

    def speaks(self, member: Member, epoch: int) -> None:
        """A message of `epoch` leaves `member`: the epoch is on disk (or proved by its log)."""
        saved = member.store.election
        known = max(saved.epoch if saved is not None else 0, member.store.last_epoch)
        if epoch > known:
            raise InvariantViolated(
                f"an epoch used before it is saved: node {member.key.node_id} speaks in epoch {epoch}, its file "
                f"says {saved}"
            )

    def saves(self, member: Member, election: ElectionState) -> None:
        """A quorum-state file is about to be replaced: epochs never go back, nor does a vote."""
        saved = member.store.election
        if saved is None:
            return
        if election.epoch < saved.epoch:
            raise InvariantViolated(
                f"node {member.key.node_id} goes back from epoch {saved.epoch} to {election.epoch}"
            )
        both = saved.voted is not None and election.voted is not None
        if election.epoch == saved.epoch and both and saved.voted != election.voted:
            raise InvariantViolated(
                f"node {member.key.node_id} changes its vote in epoch {saved.epoch} "
                f"from {saved.voted} to {election.voted}"
            )

    # -- commits ------------------------------------------------------------------------------------------

    def commits(
        self, member: Member, high_watermark: int, members: Iterable[Member], voters: VoterSet, epoch: int
    ) -> None:
        """`member` says everything below `high_watermark` is committed; as leader of `epoch` unless that is -1."""
        store = member.store
        if high_watermark > store.log_end_offset:
            raise InvariantViolated(
                f"node {member.key.node_id}: high watermark {high_watermark} above its log end "
                f"{store.log_end_offset}"
            )
        if high_watermark <= self.end:
            self._same(member, high_watermark)
            return
        if epoch < 0:
            raise InvariantViolated(
                f"node {member.key.node_id} follows with high watermark {high_watermark}, while no leader "
                f"has committed more than {self.end}"
            )
        if self.end:
            self._same(member, self.end)
        new = [entry for entry in store.entries if self.end <= entry.base and entry.next <= high_watermark]
        if not new or new[0].base != self.end or new[-1].next != high_watermark:
            raise InvariantViolated(
                f"node {member.key.node_id} commits what it does not hold: {high_watermark}"
            )
        last = new[-1]
        if last.epoch != epoch:
            raise InvariantViolated(
                f"node {member.key.node_id} commits up to {high_watermark} by counting, in epoch {epoch}, though "
                f"the last entry is of epoch {last.epoch} (Raft section 5.4.2)"
            )
        holders = {other.key for other in members if _has_durably(other.store, last)}
        if not voters.has_majority(holders):
            raise InvariantViolated(
                f"node {member.key.node_id} commits up to {high_watermark} in epoch {last.epoch}, but only "
                f"{sorted(key.node_id for key in holders)} of voters "
                f"{[key.node_id for key in voters.keys]} have it on disk"
            )
        self.committed += new
        self._bases += [entry.base for entry in new]
        self._commits.append((epoch, len(self.committed)))
        self.end = high_watermark
        self._coverage.hit("metadata batches committed", len(new))

    def _same(self, member: Member, end: int) -> None:
        """The last batch below `end` is the committed one; log matching vouches for those before it."""
        at = bisect_right(self._bases, end - 1) - 1
        if at < 0:
            return
        truth = self.committed[at]
        held = member.store.entry_at(truth.base)
        if held is None and truth.base >= member.store.log_start_offset:
            raise InvariantViolated(
                f"node {member.key.node_id} calls {end} committed and lacks offset {truth.base}"
            )
        if held is not None and held.epoch != truth.epoch:
            raise InvariantViolated(
                f"committed twice: at offset {truth.base} node {member.key.node_id} has epoch {held.epoch}, "
                f"epoch {truth.epoch} was committed"
            )


def _has_durably(store: QuorumStore, entry: Entry) -> bool:
    if store.durable_offset < entry.next:
        return False
    held = store.entry_at(entry.base)
    return held.epoch == entry.epoch if held is not None else entry.base < store.log_start_offset
