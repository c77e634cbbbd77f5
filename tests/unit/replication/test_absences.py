"""Since when replicas are out of sync: what a leader knows of its own term, and what it cannot know."""

from __future__ import annotations

from tests.unit.replication.test_leader import EPOCHS, LAG, fetched, image

from moldau_broker.base.errors import ErrorCode
from moldau_broker.replication.absences import Absence
from moldau_broker.replication.leader import UNKNOWN, LeaderState
from moldau_broker.testing.logs import make_batch
from moldau_broker.testing.replicas import ReplicaBench


def out(state: LeaderState) -> dict[int, Absence]:
    return dict(state.out_of_sync().replicas)


def led(isr: tuple[int, ...] = (1, 2, 3), now_ms: int = 1_000) -> LeaderState:
    return LeaderState(1, image(isr), 0, now_ms)


def test_a_replica_that_lags_is_out_since_it_last_had_everything() -> None:
    """Not since the ISR shrank, which is replica.lag.time.max.ms later; and only once the controller has agreed."""
    state = led()
    fetched(state, 2, 10, 10, 5_000)
    fetched(state, 3, 10, 10, 90_000)
    proposal = state.shrink(20, 16_000, LAG, EPOCHS.get)
    assert proposal is not None
    assert out(state) == {}
    state.answered(proposal, ErrorCode.NONE, (1, 3), 1)
    assert out(state) == {2: Absence(5_000, 10)}
    assert state.out_of_sync().term_began_ms == 1_000


def test_what_a_replica_catches_up_with_while_it_stays_out_does_not_move_its_time() -> None:
    """It is known how far it is; since when it is out of sync stays what it was, until it is in sync again."""
    state = led()
    fetched(state, 2, 10, 10, 5_000)
    state.adopt(image((1, 3), partition_epoch=1), 20_000)
    fetched(state, 2, 15, 15, 30_000)
    assert out(state) == {2: Absence(5_000, 15)}
    state.adopt(image((1, 2, 3), partition_epoch=2), 31_000)
    assert out(state) == {}
    fetched(state, 2, 16, 16, 40_000)
    state.adopt(image((1, 3), partition_epoch=3), 50_000)
    assert out(state) == {2: Absence(40_000, 16)}


def test_a_member_that_is_never_heard_of_was_in_sync_when_the_term_began() -> None:
    """The ISR that the leader found says so."""
    state = led()
    state.adopt(image((1, 3), partition_epoch=1), 20_000)
    assert out(state) == {2: Absence(1_000, UNKNOWN)}


def test_a_leader_does_not_know_what_was_before_its_term() -> None:
    """Whoever was out of sync then is so since before, however much it fetches."""
    state = led((1, 3))
    assert out(state) == {2: Absence(None, UNKNOWN)}
    fetched(state, 2, 4, 10, 30_000)
    assert out(state) == {2: Absence(None, 4)}


def test_a_new_replica_is_out_of_sync_since_it_was_added() -> None:
    """One that is taken away is nobody's trouble."""
    state = led()
    state.adopt(image((1, 2, 3), replicas=(1, 2, 3, 4), partition_epoch=1), 8_000)
    assert out(state) == {4: Absence(8_000, UNKNOWN)}
    state.adopt(image((1, 2, 3), partition_epoch=2), 9_000)
    assert out(state) == {}


def test_a_term_goes_on_through_epochs_that_follow_each_other() -> None:
    """A fenced broker leaves in a new leader epoch: nobody else led between, so what was known still is."""
    state = led((1, 2))
    fetched(state, 2, 10, 10, 5_000)
    state = LeaderState(1, image((1,), epoch=8, replicas=(1, 2, 3, 4)), 10, 6_000, state)
    assert out(state) == {
        2: Absence(5_000, 10),
        3: Absence(None, UNKNOWN),
        4: Absence(6_000, UNKNOWN),
    }
    assert state.out_of_sync().term_began_ms == 1_000


def test_a_term_ends_where_somebody_else_may_have_led() -> None:
    """An epoch was left out: the replica may have been in sync in it."""
    state = led((1, 2))
    state = LeaderState(1, image((1, 3), epoch=9), 10, 6_000, state)
    assert out(state) == {2: Absence(None, UNKNOWN)}
    assert state.out_of_sync().term_began_ms == 6_000


def test_a_partition_tells_as_long_as_it_leads() -> None:
    """A follower knows nothing of others; what it knew as a leader is no use to anybody."""
    bench = ReplicaBench()

    def publish(isr: tuple[int, ...], leader: int, epoch: int) -> None:
        bench.publish(bench.topic("t", replicas=(1, 2), isr=isr, leader=leader, epoch=epoch))

    publish((1, 2), 1, 1)
    partition = bench.partition("t")
    assert not partition.append(
        bench.accepted(make_batch([b"x"] * 3)), bench.clock.wall_ms(), all_in_sync=False
    ).error
    began = bench.clock.now_ms
    assert partition.fetched_by(2, -1, 0, 0) is ErrorCode.NONE
    bench.clock.now_ms += 60_000
    publish((1,), 1, 2)
    found = partition.out_of_sync()
    assert found is not None
    assert dict(found.replicas) == {2: Absence(began, 0)}
    publish((1,), 2, 3)
    assert partition.out_of_sync() is None
    publish((1,), 1, 4)
    found = partition.out_of_sync()
    assert found is not None
    assert dict(found.replicas) == {2: Absence(None, UNKNOWN)}
