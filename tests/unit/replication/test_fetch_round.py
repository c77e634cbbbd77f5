"""What is fetched from one leader: when a waiting question is given up, who rests, what was written."""

from __future__ import annotations

import pytest

from moldau_broker.base.broker_config import build_group
from moldau_broker.base.cluster_config import ReplicationSettings
from moldau_broker.base.errors import ErrorCode
from moldau_broker.replication.fetch_round import FetchRounds, by_leader, when_durable
from moldau_broker.replication.follower import Step
from moldau_broker.replication.partition import Partition
from moldau_broker.testing.logs import make_batch
from moldau_broker.testing.replica_cluster import ReplicaCluster
from moldau_broker.wire.messages.fetch import FetchableTopicResponse, FetchResponse, PartitionData


class Follower:
    """Broker 2, which follows broker 1 in the topics `a` and `b`."""

    def __init__(self) -> None:
        self.cluster = ReplicaCluster(3)
        for name in ("a", "b"):
            self.cluster.create_topic(name)
        self.bench = self.cluster.nodes[2]
        self.steps: list[Step] = []
        self.settings = build_group(ReplicationSettings, {})
        self.rounds = FetchRounds(
            self.settings,
            self.bench.replicas.throttles,
            self.bench.clock,
            lambda _partition, _asked, advice: self.steps.append(advice.step),
        )

    def partition(self, name: str) -> Partition:
        return self.cluster.partition(name, 2)

    def ask(self, *names: str) -> None:
        asks = self.rounds.asks(self.partition(name) for name in names)
        self.rounds.request(asks, node_id=2, broker_epoch=102)

    def answer(self, name: str, error: ErrorCode = ErrorCode.NONE, records: bytes = b"") -> FetchResponse:
        data = PartitionData(partition_index=0, error_code=error, high_watermark=0, records=records)
        topic = FetchableTopicResponse(topic_id=self.partition(name).topic_id, partitions=[data])
        return FetchResponse(session_id=7, responses=[topic])


@pytest.fixture
def follower() -> Follower:
    return Follower()


def test_partitions_are_grouped_by_who_leads_them(follower: Follower) -> None:
    """Own leaderships are not fetched; a leader that has nothing left is named all the same."""
    follower.cluster.change("b", leader=2)
    grouped = by_leader(follower.bench.replicas.partitions(), [3])
    assert grouped == {1: [follower.partition("a")], 3: []}


def test_only_news_for_the_leader_gives_a_question_up(follower: Follower) -> None:
    """A new partition, a new leader epoch or a new address does; losing a partition does not."""
    both, one = [follower.partition("a"), follower.partition("b")], [follower.partition("a")]
    rounds = follower.rounds
    assert rounds.assign(both, moved=False)
    assert not rounds.assign(both, moved=False)
    assert not rounds.assign(one, moved=False)
    assert rounds.assign(both, moved=False)
    assert rounds.assign(both, moved=True)
    follower.cluster.change("a", leader=1)
    assert rounds.assign(both, moved=False)


def test_refused_partition_rests_and_the_others_go_on(follower: Follower) -> None:
    """Until the back-off is over, or the leader is another one."""
    both = [follower.partition("a"), follower.partition("b")]
    rounds = follower.rounds
    assert rounds.due() == ([], None)
    rounds.assign(both, moved=False)
    assert rounds.due() == (both, None)
    follower.ask("a", "b")
    assert rounds.take(follower.answer("a", ErrorCode.UNKNOWN_SERVER_ERROR)) == []
    assert follower.steps == [Step.BACK_OFF]
    assert rounds.due() == ([both[1]], follower.settings.fetch_backoff_ms)
    rounds.assign(both, moved=True)
    assert rounds.due() == (both, None)


def test_what_was_written_is_told_and_waited_for(follower: Follower) -> None:
    """Records are appended in a partition that was asked for, and not where it has been taken away meanwhile."""
    follower.rounds.assign([follower.partition("a")], moved=False)
    follower.ask("a", "b")
    batch = make_batch()
    assert follower.rounds.take(follower.answer("b", records=batch)) == []
    written = follower.rounds.take(follower.answer("a", records=batch))
    assert written == [follower.partition("a")]
    assert follower.partition("a").log.log_end_offset > 0 == follower.partition("b").log.log_end_offset
    told: list[str] = []
    when_durable(written, lambda: told.append("on disk"))
    assert told == []
    follower.bench.committer.flush_all()
    when_durable(written, lambda: told.append("at once"))
    assert told == ["on disk", "at once"]


def test_session_that_is_gone_begins_anew(follower: Follower) -> None:
    """Nothing is taken from such an answer."""
    follower.rounds.assign([follower.partition("a")], moved=False)
    follower.ask("a")
    gone = FetchResponse(error_code=ErrorCode.FETCH_SESSION_ID_NOT_FOUND)
    assert follower.rounds.take(gone) is None
