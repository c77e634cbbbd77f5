"""Who leads, who is in sync and who may lead later, change by change (KIP-966, KIP-704).

The orders and outcomes are those of Apache Kafka's controller with eligible.leader.replicas.version=1, unless a
docstring says otherwise.
"""

from __future__ import annotations

import pytest

from moldau_broker.base.ids import NULL_UUID
from moldau_broker.metadata.elections import unclean_elections
from moldau_broker.metadata.image import NO_LEADER, RECOVERED, RECOVERING, PartitionImage
from moldau_broker.testing.control import ControlBench, directory_id


@pytest.fixture
def cluster() -> ControlBench:
    """Three brokers; topic t has one partition on all of them, two must be in sync."""
    bench = ControlBench()
    bench.add_brokers(1, 2, 3)
    bench.create_topic("t", [[1, 2, 3]], min_insync_replicas="2")
    return bench


def summary(partition: PartitionImage) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    return partition.leader, partition.isr, partition.elr


def test_election_takes_the_next_in_sync_replica_of_the_list(cluster: ControlBench) -> None:
    """In list order; the dead leader leaves the ISR in the same change, under a new leader epoch."""
    cluster.kill(1)
    after = cluster.partition("t")
    assert summary(after) == (2, (2, 3), ())
    assert (after.leader_epoch, after.partition_epoch) == (1, 1)


def test_election_keeps_a_leader_that_is_well(cluster: ControlBench) -> None:
    """A dead follower leaves the ISR; the leader's epoch stays (no bump on shrink since metadata.version 3.6)."""
    cluster.kill(3)
    after = cluster.partition("t")
    assert summary(after) == (1, (1, 2), ())
    assert (after.leader_epoch, after.partition_epoch) == (0, 1)


def test_elr_holds_who_left_while_the_isr_was_too_small(cluster: ControlBench) -> None:
    """The high watermark does not move below min.insync.replicas, so they have everything committed."""
    cluster.kill(1)
    assert cluster.partition("t").elr == ()
    cluster.kill(2)
    assert summary(cluster.partition("t")) == (3, (3,), (2,))
    cluster.kill(3)
    after = cluster.partition("t")
    assert summary(after) == (NO_LEADER, (), (2, 3))
    assert after.last_known_elr == (3,)


def test_elr_member_leads_when_the_isr_is_empty(cluster: ControlBench) -> None:
    """Cleanly: it recovers nothing, and the others of the ELR stay in it."""
    for broker in (1, 2, 3):
        cluster.kill(broker)
    cluster.restart(2, clean=True)
    after = cluster.partition("t")
    assert summary(after) == (2, (2,), (3,))
    assert (after.leader_recovery_state, after.last_known_elr) == (RECOVERED, ())
    assert unclean_elections(cluster.written) == 0


def test_elr_member_does_not_lead_while_somebody_is_in_sync(cluster: ControlBench) -> None:
    """Its broker is back, and follows until the leader takes it into the ISR."""
    cluster.kill(1)
    cluster.kill(2)
    cluster.restart(2, clean=True)
    assert summary(cluster.partition("t")) == (3, (3,), (2,))


def test_elr_ends_with_an_isr_that_is_large_enough(cluster: ControlBench) -> None:
    """From then on the high watermark moves without its members."""
    cluster.kill(1)
    cluster.kill(2)
    cluster.restart(1)
    assert cluster.partition("t").elr == (2,)
    cluster.alter_isr("t", [3, 1])
    assert summary(cluster.partition("t")) == (3, (3, 1), ())


def test_unclean_restart_takes_a_replica_out_of_the_elr(cluster: ControlBench) -> None:
    """What it had may be lost with its page cache (unclean exclusion); the clean one is waited for."""
    for broker in (1, 2, 3):
        cluster.kill(broker)
    cluster.restart(2)
    assert summary(cluster.partition("t")) == (NO_LEADER, (), (3,))
    cluster.restart(3, clean=True)
    assert summary(cluster.partition("t")) == (3, (3,), ())


def test_unclean_restart_keeps_the_only_replica_that_may_lead(cluster: ControlBench) -> None:
    """Acknowledged means fsynced on it, so nobody has more; Kafka calls the same election an unclean one."""
    for broker in (1, 2, 3):
        cluster.kill(broker)
    cluster.restart(2)
    cluster.restart(3)
    after = cluster.partition("t")
    assert summary(after) == (3, (3,), ())
    assert after.leader_recovery_state == RECOVERED


def test_wiped_replica_never_leads_for_being_the_only_one(cluster: ControlBench) -> None:
    """Another directory holds nothing: the partition waits, and the replica has no directory for now."""
    for broker in (1, 2, 3):
        cluster.kill(broker)
    cluster.restart(2)
    cluster.restart(3, directory=33)
    after = cluster.partition("t")
    assert (after.leader, after.isr, after.elr, after.last_known_elr) == (NO_LEADER, (), (), ())
    assert after.directory_of(3) == NULL_UUID


def test_wiped_follower_leaves_the_isr_and_may_come_back(cluster: ControlBench) -> None:
    """It refetches under its new directory and is taken in like anybody."""
    cluster.kill(3)
    cluster.restart(3, clean=True, directory=33)
    assert summary(cluster.partition("t")) == (1, (1, 2), ())
    assert cluster.partition("t").directory_of(3) == NULL_UUID
    cluster.alter_isr("t", [1, 2, 3])
    assert cluster.partition("t").isr == (1, 2, 3)
    assert cluster.partition("t").directory_of(3) == directory_id(33)


def test_unclean_election_prefers_who_was_not_wiped(cluster: ControlBench) -> None:
    """It has something; the first of the list has nothing."""
    cluster.create_topic("cheap", [[1, 2, 3]], unclean_leader_election_enable="true")
    for broker in (1, 2, 3):
        cluster.kill(broker)
    cluster.restart(1, directory=11)
    assert cluster.partition("cheap").leader == 1
    assert unclean_elections(cluster.written) == 1
    cluster.kill(1)
    cluster.register(1)
    cluster.restart(2)
    assert cluster.partition("cheap").leader == 2
    assert unclean_elections(cluster.written) == 1, "counted also where the last leader was still recovering"


def test_last_known_leader_is_elected_when_nobody_is_eligible(cluster: ControlBench) -> None:
    """It is an unclean election: the leader recovers, and the change is counted."""
    for broker in (1, 2, 3):
        cluster.kill(broker)
    cluster.restart(3, clean=False)  # the last leader; 2 is still eligible
    assert summary(cluster.partition("t")) == (NO_LEADER, (), (2,))
    elections = 0

    def count(_: object, written: object, __: object) -> None:
        nonlocal elections
        elections += unclean_elections(written)  # type: ignore[arg-type]

    cluster.observe = count
    cluster.restart(2, directory=22)
    after = cluster.partition("t")
    assert (after.leader, after.isr, after.leader_recovery_state) == (3, (3,), RECOVERING)
    assert (after.last_known_elr, elections) == ((), 1)


def test_unclean_election_needs_the_topics_leave(cluster: ControlBench) -> None:
    """With it any live replica leads at once, alone in its ISR; without it the partition waits."""
    cluster.create_topic("cheap", [[1, 2, 3]], unclean_leader_election_enable="true")
    cluster.create_topic("dear", [[1, 2, 3]])
    for topic in ("cheap", "dear"):
        cluster.alter_isr(topic, [1])
    cluster.kill(1)
    cheap, dear = cluster.partition("cheap"), cluster.partition("dear")
    assert (cheap.leader, cheap.isr, cheap.elr, cheap.leader_recovery_state) == (2, (2,), (), RECOVERING)
    assert summary(dear) == (NO_LEADER, (), (1,))
    assert unclean_elections(cluster.written) == 1


def test_recovering_leader_says_when_it_is_done(cluster: ControlBench) -> None:
    """Until then it is alone in the ISR."""
    cluster.create_topic("cheap", [[1, 2, 3]], unclean_leader_election_enable="true")
    cluster.alter_isr("cheap", [1])
    cluster.kill(1)
    cluster.alter_isr("cheap", [2], leader_recovery_state=RECOVERED)
    assert cluster.partition("cheap").leader_recovery_state == RECOVERED


def test_without_elr_the_last_member_stays_in_the_isr() -> None:
    """A cluster of an older version has no ELR: the ISR is all that says who has the records."""
    bench = ControlBench(elr=False)
    bench.add_brokers(1, 2)
    bench.create_topic("t", [[1, 2]], min_insync_replicas="2")
    bench.kill(2)
    bench.kill(1)
    assert summary(bench.partition("t")) == (NO_LEADER, (1,), ())
    bench.restart(2)
    assert bench.partition("t").leader == NO_LEADER
    bench.restart(1)
    assert summary(bench.partition("t")) == (1, (1,), ())


def test_replicas_own_topics_only_change(cluster: ControlBench) -> None:
    """A death writes one record for each partition it touches, and one for the broker."""
    cluster.create_topic("elsewhere", [[2, 3], [3, 2]])
    cluster.kill(1)
    assert len(cluster.written) == 2
