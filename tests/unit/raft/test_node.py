"""The raft core with one voter: epochs, the epoch's first entries, commits, failures."""

from __future__ import annotations

from random import Random

import pytest

from moldau_broker.base.ids import Uuid
from moldau_broker.raft.control import decode_control
from moldau_broker.raft.errors import NotLeader
from moldau_broker.raft.history import VotersAt
from moldau_broker.raft.messages import AppendFailed, FlushFailed, Leader, LogFlushed, Ready
from moldau_broker.raft.node import Initial, RaftNode
from moldau_broker.raft.quorum import Voter, VoterEndpoint, VoterKey, VoterSet
from moldau_broker.raft.state import ElectionState, Role
from moldau_broker.raft.timing import RaftTiming
from moldau_broker.wire.messages.raft_records import KRaftVersionRecord, LeaderChangeMessage, VotersRecord

NOW = 1_700_000_000_000


def me(port: int = 9093) -> Voter:
    return Voter(VoterKey(1, Uuid(b"d" * 16)), (VoterEndpoint("CONTROLLER", "localhost", port),))


def node(
    election: ElectionState | None = None,
    *,
    log_end: int = 0,
    last_epoch: int = 0,
    in_log: bool = False,
    port: int = 9093,
) -> RaftNode:
    sets = (VotersAt(0 if in_log else -1, VoterSet([me()])),)
    epochs = ((last_epoch, 0),) if log_end else ()
    return core(Initial(election, sets, 0, log_end, epochs), port)


def core(initial: Initial, port: int = 9093) -> RaftNode:
    return RaftNode(me(port), initial, RaftTiming(), Random(0), 0)


def elected(**how: object) -> tuple[RaftNode, Ready]:
    one = node(**how)  # type: ignore[arg-type]
    one.tick(0, NOW)
    ready = one.ready()
    assert ready is not None
    return one, ready


def controls(ready: Ready) -> list[object]:
    (batch,) = ready.batches
    assert batch.control
    return [decode_control(key, value) for key, value in batch.records]


def test_node_elects_itself_in_a_new_epoch() -> None:
    """A quorum of one needs no other vote; the first tick decides.

    Reference: KIP-595.
    """
    one, ready = elected()
    assert (one.role, one.epoch, one.leader_id) == (Role.LEADER, 1, 1)
    assert ready.election == ElectionState(1, 1)
    assert ready.role is Role.LEADER


@pytest.mark.parametrize(
    "election", [ElectionState(4, 1), ElectionState(4, -1, VoterKey(1, Uuid(b"d" * 16))), ElectionState(4, 2)]
)
def test_node_bumps_the_epoch_at_each_start(election: ElectionState) -> None:
    """Whatever the last life ended as, the next one leads a later epoch."""
    one, ready = elected(election=election, log_end=9, last_epoch=4, in_log=True)
    assert one.epoch == 5
    assert ready.election == ElectionState(5, 1)


def test_node_trusts_the_logs_epoch_over_an_older_file() -> None:
    """An entry of an epoch proves that the epoch was; the next one is later than both."""
    one, _ = elected(election=ElectionState(2, 1), log_end=9, last_epoch=6, in_log=True)
    assert one.epoch == 7
    one, _ = elected(election=None, log_end=9, last_epoch=6, in_log=True)
    assert one.epoch == 7


def test_node_begins_its_epoch_with_leader_change_version_and_voters() -> None:
    """The set of the bootstrap snapshot becomes part of the log in the first epoch.

    Reference: KIP-853; the order is Apache Kafka's.
    """
    _, ready = elected()
    change, version, voters = controls(ready)
    assert isinstance(change, LeaderChangeMessage)
    assert change.leader_id == 1
    assert [voter.voter_id for voter in change.granting_voters] == [1]
    assert isinstance(version, KRaftVersionRecord)
    assert version.kraft_version == 1
    assert isinstance(voters, VotersRecord)
    assert VoterSet.from_record(voters) == VoterSet([me()])


def test_node_writes_the_voters_again_only_when_its_address_changed() -> None:
    """A later epoch begins with the leader change alone, unless we moved."""
    _, ready = elected(election=ElectionState(1, 1), log_end=5, last_epoch=1, in_log=True)
    assert [type(one) for one in controls(ready)] == [LeaderChangeMessage]
    moved, ready = elected(election=ElectionState(1, 1), log_end=5, last_epoch=1, in_log=True, port=19093)
    assert [type(one) for one in controls(ready)] == [LeaderChangeMessage, KRaftVersionRecord, VotersRecord]
    assert moved.voters == VoterSet([me(19093)])


def test_node_hands_everything_out_once() -> None:
    """A second look finds nothing to do."""
    one, _ = elected()
    assert one.ready() is None


def test_node_commits_what_is_flushed_and_no_more() -> None:
    """The high watermark follows the disk, not the log's end."""
    one, _ = elected()
    assert one.high_watermark == 0
    one.step(LogFlushed(3), 0, NOW)
    assert one.ready() == Ready(high_watermark=3)
    batch = one.propose([b"a", b"b"], NOW)
    assert (batch.base_offset, batch.next_offset, batch.epoch, batch.control) == (3, 5, 1, False)
    later = one.propose([b"c"], NOW + 5)
    assert (later.base_offset, later.timestamp_ms) == (5, NOW + 5)
    assert one.ready() == Ready(batches=(batch, later))
    assert one.high_watermark == 3
    one.step(LogFlushed(5), 0, NOW)
    assert one.ready() == Ready(high_watermark=5)
    one.step(LogFlushed(5), 0, NOW)
    assert one.ready() is None


def test_node_refuses_proposals_unless_it_leads() -> None:
    """Before the election and after resigning nothing is appended."""
    one = node()
    with pytest.raises(NotLeader, match="unattached"):
        one.propose([b"a"], NOW)
    one, _ = elected()
    one.resign()
    with pytest.raises(NotLeader, match="resigned in epoch 1"):
        one.propose([b"a"], NOW)


def test_node_takes_the_offset_back_when_an_append_fails() -> None:
    """What never reached the log leaves no hole."""
    one, _ = elected()
    one.step(LogFlushed(3), 0, NOW)
    failed = one.propose([b"a", b"b"], NOW)
    one.ready()
    one.step(AppendFailed(failed.base_offset), 0, NOW)
    assert one.role is Role.LEADER
    assert one.propose([b"c"], NOW).base_offset == 3


def test_node_resigns_when_the_epochs_first_entry_cannot_be_written() -> None:
    """An epoch without its leader change must not get any other entry."""
    one, ready = elected()
    one.step(AppendFailed(ready.batches[0].base_offset), 0, NOW)
    assert one.role is Role.RESIGNED
    assert one.leader_id == -1
    assert one.ready() == Ready(role=Role.RESIGNED, leader=Leader(-1, 1))


def test_node_resigns_after_a_failed_fsync() -> None:
    """After EIO a later success proves nothing: no commit is ever reported again."""
    one, _ = elected()
    one.step(LogFlushed(3), 0, NOW)
    one.propose([b"a"], NOW)
    one.ready()
    one.step(FlushFailed("Input/output error"), 0, NOW)
    assert one.role is Role.RESIGNED
    one.ready()
    one.step(LogFlushed(4), 0, NOW)
    assert one.high_watermark == 3
    assert one.ready() is None


def test_node_that_is_no_voter_does_not_campaign() -> None:
    """Another directory's set: the node stays unattached and writes nothing."""
    stranger = VoterSet([Voter(VoterKey(1, Uuid(b"x" * 16)), ())])
    one = core(Initial(voters=(VotersAt(-1, stranger),)))
    one.tick(0, NOW)
    assert one.role is Role.UNATTACHED
    assert one.ready() is None


def test_node_alone_of_three_does_not_lead() -> None:
    """The same core with more voters waits for a majority."""
    others = [Voter(VoterKey(i, Uuid(bytes([i]) * 16)), ()) for i in (2, 3)]
    one = core(Initial(voters=(VotersAt(-1, VoterSet([me(), *others])),)))
    one.tick(RaftTiming().start_election_ms, NOW)
    assert one.role is Role.PROSPECTIVE
    ready = one.ready()
    assert ready is not None
    assert ready.election is None
    assert ready.batches == ()
