"""What a leader knows of its followers: the high watermark, who is in sync, and what it asks the controller for."""

from __future__ import annotations

import pytest

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import Uuid
from moldau_broker.metadata.image import RECOVERED, RECOVERING, PartitionImage
from moldau_broker.replication.leader import UNKNOWN, LeaderState, Outcome

EPOCHS = {1: 101, 2: 102, 3: 103, 4: 104}
LAG = 10_000


def image(
    isr: tuple[int, ...] = (1, 2, 3),
    replicas: tuple[int, ...] = (1, 2, 3),
    partition_epoch: int = 0,
    epoch: int = 7,
    recovery: int = RECOVERED,
) -> PartitionImage:
    return PartitionImage(
        replicas=replicas,
        directories=(Uuid(bytes(16)),) * len(replicas),
        isr=isr,
        leader=1,
        leader_epoch=epoch,
        partition_epoch=partition_epoch,
        leader_recovery_state=recovery,
    )


def leader(isr: tuple[int, ...] = (1, 2, 3), *, start: int = 0, ready: bool = True) -> LeaderState:
    state = LeaderState(1, image(isr), start, 0)
    state.ready = ready
    return state


def fetched(
    state: LeaderState, replica: int, end: int, leader_end: int, now_ms: int = 0, epoch: int | None = None
) -> None:
    follower = state.follower(replica)
    assert follower is not None
    state.fetched(follower, end, 0, EPOCHS[replica] if epoch is None else epoch, leader_end, now_ms)


# --- the high watermark -----------------------------------------------------------------------------------


def test_the_high_watermark_waits_for_every_in_sync_replica() -> None:
    """It is the lowest fsynced end, this replica's own included; unknown before all have spoken in this epoch."""
    state = leader()
    assert state.high_watermark(10, 1) == UNKNOWN
    fetched(state, 2, 8, 10)
    assert state.high_watermark(10, 1) == UNKNOWN
    fetched(state, 3, 9, 10)
    assert state.high_watermark(10, 1) == 8
    assert state.high_watermark(5, 1) == 5


def test_whoever_is_not_in_sync_does_not_count() -> None:
    """A follower out of the ISR holds nobody up."""
    state = leader((1, 2))
    fetched(state, 2, 8, 10)
    assert state.high_watermark(10, 2) == 8


def test_the_high_watermark_rests_below_min_insync_replicas() -> None:
    """KIP-966: who left the ISR last has all that was committed; more than the replicas there are is not asked for."""
    state = leader((1,))
    assert state.high_watermark(10, 2) == UNKNOWN
    assert state.high_watermark(10, 1) == 10
    state = leader()
    for replica in (2, 3):
        fetched(state, replica, 9, 10)
    assert state.high_watermark(10, 5) == 9


def test_a_proposed_member_counts_before_it_is_one() -> None:
    """The controller may have granted it already, and may elect it."""
    state = leader((1, 2))
    fetched(state, 2, 10, 10)
    fetched(state, 3, 10, 10)
    assert state.expansion(3, 10, EPOCHS.get) is not None
    assert state.maximal_isr == {1, 2, 3}
    fetched(state, 2, 20, 20)
    assert state.high_watermark(20, 2) == 10


def test_a_member_proposed_to_leave_counts_until_it_has_left() -> None:
    """The controller may refuse."""
    state = leader()
    fetched(state, 2, 10, 10, LAG * 2)
    assert state.shrink(10, LAG * 2, LAG, EPOCHS.get) is not None
    assert state.high_watermark(10, 1) == UNKNOWN, "replica 3 never spoke and is in the committed ISR"


# --- shrinking --------------------------------------------------------------------------------------------


def test_a_replica_that_lags_leaves() -> None:
    """Not heard of, or not caught up, for longer than replica.lag.time.max.ms; the leader itself never."""
    state = leader()
    fetched(state, 2, 10, 10, now_ms=5_000)
    assert state.shrink(20, LAG, LAG, EPOCHS.get) is None
    proposal = state.shrink(20, LAG + 1, LAG, EPOCHS.get)
    assert proposal is not None
    assert proposal.members == ((1, 101), (2, 102))
    assert (proposal.leader_epoch, proposal.partition_epoch) == (7, 0)
    assert state.shrink(20, LAG + 2, LAG, EPOCHS.get) is None, "one at a time"


def test_a_replica_that_has_everything_stays() -> None:
    """However long it has not asked: nothing was written."""
    state = leader()
    for replica in (2, 3):
        fetched(state, replica, 10, 10)
    assert state.shrink(10, LAG * 5, LAG, EPOCHS.get) is None


def test_a_replica_that_keeps_pace_under_load_is_caught_up() -> None:
    """It has what the leader had when it asked before, though never what it has now (KIP-16)."""
    state = leader((1, 2))
    for now in range(0, 5 * LAG, 1_000):
        fetched(state, 2, now, now + 1_000, now_ms=now)
    assert state.shrink(5 * LAG + 1_000, 5 * LAG, LAG, EPOCHS.get) is None


def test_a_replica_that_keeps_pace_some_fetches_behind_is_caught_up() -> None:
    """Its lag is a time: it has what the leader had a second ago, though never what it had one fetch before."""
    state = leader((1, 2))
    for now in range(0, 5 * LAG, 10):
        fetched(state, 2, max(0, now - 1_000), now + 10, now_ms=now)
    assert state.shrink(5 * LAG, 5 * LAG, LAG, EPOCHS.get) is None


def test_a_replica_that_falls_back_leaves() -> None:
    """It goes on fetching, but what it gets is older and older."""
    state = leader((1, 2))
    left = None
    for now in range(0, 5 * LAG, 10):
        fetched(state, 2, now // 2, now + 10, now_ms=now)
        if state.shrink(now + 10, now, LAG, EPOCHS.get) is not None:
            left = now
            break
    assert left is not None
    assert 2 * LAG - 500 <= left <= 2 * LAG + 500, (
        "at twice the limit it has what the leader had half the time ago"
    )


def test_a_replica_that_lost_its_disk_is_expelled() -> None:
    """It is in the ISR and asks for what it had acknowledged; it must not be elected."""
    state = leader()
    fetched(state, 2, 0, 10)
    proposal = state.expulsion(2, 10, EPOCHS.get)
    assert proposal is not None
    assert proposal.isr == (1, 3)
    fetched(leader(), 2, 10, 10)
    assert leader().expulsion(2, 10, EPOCHS.get) is None


# --- expanding --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("end", "ready", "start", "joins"),
    [
        (10, True, 0, True),
        (9, True, 0, False),
        (10, True, 11, False),
        (11, True, 11, True),
        (10, False, 0, True),
        (10, False, 11, False),
    ],
)
def test_a_replica_that_caught_up_joins(end: int, *, ready: bool, start: int, joins: bool) -> None:
    """It has all that is committed and all from before this epoch; whether the leader knows yet what is committed of
    that does not matter: below min.insync.replicas it can only learn it by letting replicas in."""
    state = leader((1, 2), start=start, ready=ready)
    fetched(state, 3, end, 12)
    proposal = state.expansion(3, 10, EPOCHS.get)
    assert (proposal is not None) == joins
    if proposal is not None:
        assert proposal.members == ((1, 101), (2, 102), (3, 103))


def test_a_replica_whose_broker_may_not_be_in_sync_does_not_join() -> None:
    """Fenced, leaving, unknown, or another incarnation than the one that fetched (KIP-903)."""
    state = leader((1, 2))
    fetched(state, 3, 10, 10, epoch=99)
    assert state.expansion(3, 10, EPOCHS.get) is None
    fetched(state, 3, 10, 10)
    assert state.expansion(3, 10, {1: 101, 2: 102}.get) is None
    assert state.expansion(3, 10, EPOCHS.get) is not None


# --- answers ----------------------------------------------------------------------------------------------


def test_a_granted_proposal_is_the_isr() -> None:
    """With the epoch the controller gave it."""
    state = leader((1, 2))
    fetched(state, 3, 10, 10)
    proposal = state.expansion(3, 10, EPOCHS.get)
    assert proposal is not None
    assert state.answered(proposal, 0, (1, 2, 3), 1) is Outcome.DONE
    assert (state.isr, state.partition_epoch, state.pending) == ((1, 2, 3), 1, None)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ErrorCode.NETWORK_EXCEPTION, Outcome.RETRY),
        (ErrorCode.NOT_CONTROLLER, Outcome.RETRY),
        (ErrorCode.KAFKA_STORAGE_ERROR, Outcome.RETRY),
        (ErrorCode.INELIGIBLE_REPLICA, Outcome.DONE),
        (ErrorCode.INVALID_UPDATE_VERSION, Outcome.WAIT),
        (ErrorCode.FENCED_LEADER_EPOCH, Outcome.WAIT),
        (ErrorCode.NEW_LEADER_ELECTED, Outcome.WAIT),
    ],
)
def test_a_proposal_counts_until_its_end_is_known(error: ErrorCode, outcome: Outcome) -> None:
    """Only a certain refusal forgets it at once; otherwise the image decides."""
    state = leader((1, 2))
    fetched(state, 3, 10, 10)
    proposal = state.expansion(3, 10, EPOCHS.get)
    assert proposal is not None
    assert state.answered(proposal, error, (), -1) is outcome
    assert state.maximal_isr == ({1, 2} if outcome is Outcome.DONE else {1, 2, 3})
    state.adopt(image((1, 2), partition_epoch=1), 0)
    assert (state.maximal_isr, state.partition_epoch) == ({1, 2}, 1)
    assert state.answered(proposal, 0, (1, 2, 3), 1) is Outcome.DONE, "too late"
    assert state.isr == (1, 2)


def test_an_older_image_changes_nothing() -> None:
    """The controller's answer may overtake the image."""
    state = leader((1, 2))
    fetched(state, 3, 10, 10)
    proposal = state.expansion(3, 10, EPOCHS.get)
    assert proposal is not None
    state.answered(proposal, 0, (1, 2, 3), 2)
    state.adopt(image((1, 2), partition_epoch=1), 0)
    assert (state.isr, state.partition_epoch) == ((1, 2, 3), 2)


def test_replicas_come_and_go() -> None:
    """A reassignment: new ones are followed, old ones forgotten."""
    state = leader()
    state.adopt(image((1, 2), replicas=(1, 2, 4), partition_epoch=1), 0)
    assert state.follower(3) is None
    fetched(state, 2, 5, 5)
    fetched(state, 4, 5, 5)
    assert state.expansion(4, 5, EPOCHS.get) is not None


def test_the_low_watermark_is_that_of_live_replicas() -> None:
    """DeleteRecords is done when all that can be asked have deleted."""
    state = leader()
    fetched(state, 2, 10, 10)
    assert state.low_watermark(5, EPOCHS.get) == UNKNOWN
    assert state.low_watermark(5, {1: 101, 2: 102}.get) == 0


def test_recovery_from_an_unclean_election_is_reported() -> None:
    """KIP-704: there is nothing to recover but the state itself."""
    state = LeaderState(1, image((1,), recovery=RECOVERING), 0, 0)
    proposal = state.recovered(EPOCHS.get)
    assert proposal is not None
    assert (proposal.isr, proposal.recovery_state) == ((1,), RECOVERED)
    assert leader().recovered(EPOCHS.get) is None
