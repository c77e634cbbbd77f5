"""AssignReplicasToDirs: a replica that is lost is counted on no more, and somebody else leads (KIP-858)."""

from __future__ import annotations

from typing import Any

import pytest

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import LOST_DIRECTORY, NULL_UUID, Uuid
from moldau_broker.metadata.image import NO_LEADER
from moldau_broker.testing.control import ControlBench
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.assign_replicas_to_dirs import (
    AssignReplicasToDirsRequest,
    AssignReplicasToDirsRequestDirectory,
    AssignReplicasToDirsRequestPartition,
    AssignReplicasToDirsRequestTopic,
)


@pytest.fixture
def cluster() -> ControlBench:
    bench = ControlBench()
    bench.add_brokers(1, 2, 3)
    bench.create_topic("t", [[1, 2, 3]], min_insync_replicas="2")
    bench.create_topic("pair", [[2, 3]], min_insync_replicas="2")
    return bench


def ask(
    cluster: ControlBench,
    broker: int,
    *indices: int,
    directory: Uuid = LOST_DIRECTORY,
    topic_id: Uuid | None = None,
    epoch: int | None = None,
) -> Any:
    topic = AssignReplicasToDirsRequestTopic(
        topic_id=cluster.image.topics["t"].topic_id if topic_id is None else topic_id,
        partitions=[AssignReplicasToDirsRequestPartition(partition_index=index) for index in indices],
    )
    request = AssignReplicasToDirsRequest(
        broker_id=broker,
        broker_epoch=cluster.image.brokers[broker].epoch if epoch is None else epoch,
        directories=[AssignReplicasToDirsRequestDirectory(id=directory, topics=[topic])],
    )
    return cluster.ask(ApiKey.ASSIGN_REPLICAS_TO_DIRS, request)


def errors(response: Any) -> list[int]:
    return [one.error_code for one in response.directories[0].topics[0].partitions]


def test_a_leader_that_lost_its_log_hands_over(cluster: ControlBench) -> None:
    """An in-sync replica leads in a new epoch; the lost one is no candidate, and begins anew."""
    before = cluster.partition("t")
    assert errors(ask(cluster, 1, 0)) == [ErrorCode.NONE]
    after = cluster.partition("t")
    assert (after.leader, after.isr, after.elr) == (2, (2, 3), ())
    assert after.leader_epoch == before.leader_epoch + 1
    assert after.directory_of(1) == NULL_UUID
    assert cluster.alter_isr("t", [1, 2, 3]).error_code == ErrorCode.NONE
    assert cluster.partition("t").directory_of(1) == cluster.image.brokers[1].directories[0]


def test_a_follower_that_lost_its_log_is_counted_on_no_more(cluster: ControlBench) -> None:
    """Not in the ISR, and not in the ELR either, where it would be for having left below min.insync.replicas."""
    cluster.alter_isr("t", [1, 2])
    assert errors(ask(cluster, 2, 0)) == [ErrorCode.NONE]
    after = cluster.partition("t")
    assert (after.leader, after.isr) == (1, (1,))
    assert 2 not in after.elr


@pytest.mark.parametrize("isr", [[1, 2, 3], [1, 3]])
def test_a_lost_follower_has_its_leader_begin_a_new_epoch(cluster: ControlBench, isr: list[int]) -> None:
    """A Fetch of the old log that is still under way is fenced; also where the follower was not in sync."""
    cluster.alter_isr("t", isr)
    before = cluster.partition("t")
    assert errors(ask(cluster, 2, 0)) == [ErrorCode.NONE]
    after = cluster.partition("t")
    assert (after.leader, after.isr, after.leader_epoch) == (1, (1, 3), before.leader_epoch + 1)


def test_the_last_replica_is_never_given_up_for_nobody(cluster: ControlBench) -> None:
    """It may be the only one that has what was acknowledged; whoever comes back in sync may take over then."""
    cluster.kill(3)
    cluster.kill(2)
    assert cluster.partition("t").isr == (1,)
    before = cluster.partition("t")
    assert errors(ask(cluster, 1, 0)) == [ErrorCode.ELIGIBLE_LEADERS_NOT_AVAILABLE]
    assert cluster.partition("t") == before
    assert before.elr == (2,)
    cluster.restart(2, clean=True)
    assert errors(ask(cluster, 1, 0)) == [ErrorCode.NONE]
    assert cluster.partition("t").leader == 2


def test_a_candidate_is_not_given_up_while_nobody_leads(cluster: ControlBench) -> None:
    """It is the only one left that could."""
    cluster.kill(3)
    cluster.kill(2)
    before = cluster.partition("pair")
    assert (before.leader, set(before.elr)) == (NO_LEADER, {2, 3})
    topic_id = cluster.image.topics["pair"].topic_id
    assert errors(ask(cluster, 3, 0, topic_id=topic_id)) == [ErrorCode.ELIGIBLE_LEADERS_NOT_AVAILABLE]
    assert cluster.partition("pair") == before


def test_an_unclean_leader_is_another_one(cluster: ControlBench) -> None:
    """Where a topic allows it, somebody else leads rather than nobody, and never the one that lost its log."""
    cluster.create_topic("u", [[1, 2]], unclean_leader_election_enable="true")
    topic_id = cluster.image.topics["u"].topic_id
    cluster.alter_isr("u", [1])
    assert errors(ask(cluster, 1, 0, topic_id=topic_id)) == [ErrorCode.NONE]
    assert cluster.partition("u").leader == 2
    assert errors(ask(cluster, 2, 0, topic_id=topic_id)) == [ErrorCode.NONE]
    assert cluster.partition("u").leader == 1


def test_each_replica_is_answered_for_itself(cluster: ControlBench) -> None:
    """Unknown partitions, replicas of others, directories of nobody."""
    assert errors(ask(cluster, 1, 0, 9)) == [ErrorCode.NONE, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION]
    pair = cluster.image.topics["pair"].topic_id
    assert errors(ask(cluster, 1, 0, topic_id=pair)) == [ErrorCode.NOT_LEADER_OR_FOLLOWER]
    assert errors(ask(cluster, 2, 0, topic_id=Uuid(bytes(15) + b"\x09"))) == [ErrorCode.UNKNOWN_TOPIC_ID]
    assert errors(ask(cluster, 2, 0, directory=Uuid(bytes(15) + b"\x09"))) == [ErrorCode.LOG_DIR_NOT_FOUND]
    assert ask(cluster, 2, 0, epoch=0).error_code == ErrorCode.STALE_BROKER_EPOCH


def test_a_replica_is_noted_where_it_lies(cluster: ControlBench) -> None:
    """Its broker's own directory; nobody is in or out of sync for that."""
    ask(cluster, 1, 0)
    home = cluster.image.brokers[1].directories[0]
    assert errors(ask(cluster, 1, 0, directory=home)) == [ErrorCode.NONE]
    after = cluster.partition("t")
    assert (after.leader, after.isr, after.directory_of(1)) == (2, (2, 3), home)
    assert errors(ask(cluster, 1, 0, directory=home)) == [ErrorCode.NONE]
    assert cluster.written == ()
