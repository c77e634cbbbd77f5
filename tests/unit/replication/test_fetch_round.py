"""What is fetched from one leader: when a waiting question is given up, who rests, what was written."""

from __future__ import annotations

import pytest

from moldau_broker.base.broker_config import build_group
from moldau_broker.base.cluster_config import ReplicationSettings
from moldau_broker.base.errors import ErrorCode
from moldau_broker.replication.fetch_round import FULL_LOOK_MS, Due, FetchRounds, by_leader, when_durable
from moldau_broker.replication.follower import Step
from moldau_broker.replication.partition import Partition
from moldau_broker.testing.logs import make_batch
from moldau_broker.testing.replica_cluster import ReplicaCluster
from moldau_broker.wire.messages.fetch import (
    FetchableTopicResponse,
    FetchRequest,
    FetchResponse,
    PartitionData,
)


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

    def ask(self, *names: str) -> FetchRequest | None:
        """Ask anew for these."""
        return self.question(Due([self.partition(name) for name in names]))

    def question(self, due: Due) -> FetchRequest | None:
        return self.rounds.question(due, node_id=2, broker_epoch=102)

    def until_durable(self) -> None:
        when_durable([self.partition("a"), self.partition("b")], lambda: None)
        self.bench.committer.flush_all()

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
    assert rounds.due() == Due([])
    rounds.assign(both, moved=False)
    assert rounds.due() == Due(both)
    follower.ask("a", "b")
    assert rounds.take(follower.answer("a", ErrorCode.UNKNOWN_SERVER_ERROR)) == []
    assert follower.steps == [Step.BACK_OFF]
    assert rounds.due() == Due([both[1]], follower.settings.fetch_backoff_ms)
    rounds.assign(both, moved=True)
    assert rounds.due() == Due(both)


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


class TestOnlyWhatTheAnswerWasAbout:
    """A round of a session that stands looks at the partitions of the last answer."""

    @pytest.fixture
    def both(self, follower: Follower) -> list[Partition]:
        """Two partitions, asked for and answered once: `a` got records."""
        both = [follower.partition("a"), follower.partition("b")]
        follower.rounds.assign(both, moved=False)
        first = follower.question(follower.rounds.due())
        assert first is not None
        assert len(first.topics) == 2
        follower.rounds.take(follower.answer("a", records=make_batch()))
        return both

    def test_it_is_asked_for_anew_and_nothing_is_forgotten(
        self, follower: Follower, both: list[Partition]
    ) -> None:
        """Its end has moved; of the other nothing is said, and it is asked for still."""
        due = follower.rounds.due()
        assert due == Due([both[0]], partial=True)
        follower.until_durable()
        request = follower.question(due)
        assert request is not None
        assert [(one.topic_id, one.partitions[0].fetch_offset) for one in request.topics] == [
            (both[0].topic_id, both[0].log.log_end_offset)
        ]
        assert list(request.forgotten_topics_data) == []
        batch = make_batch()
        assert follower.rounds.take(follower.answer("b", records=batch)) == [both[1]]

    def test_an_empty_answer_is_followed_by_an_empty_question(self, follower: Follower) -> None:
        """The session knows everything."""
        follower.rounds.assign([follower.partition("a")], moved=False)
        follower.question(follower.rounds.due())
        follower.rounds.take(FetchResponse(session_id=7))
        due = follower.rounds.due()
        assert due == Due([], partial=True)
        request = follower.question(due)
        assert request is not None
        assert (request.session_id, list(request.topics)) == (7, [])

    def test_now_and_then_all_are_looked_at(self, follower: Follower, both: list[Partition]) -> None:
        """Retention may have moved a log's start, of which no answer told."""
        follower.bench.clock.advance(FULL_LOOK_MS)
        assert follower.rounds.due() == Due(both)

    def test_what_is_lost_is_forgotten_with_the_next_question(
        self, follower: Follower, both: list[Partition]
    ) -> None:
        """What is not said anew the leader takes for true still, and would count on it."""
        follower.until_durable()
        both[1].go_offline("its disk cannot be read")
        request = follower.question(follower.rounds.due())
        assert request is not None
        assert [one.topic_id for one in request.forgotten_topics_data] == [both[1].topic_id]
        follower.rounds.take(FetchResponse(session_id=7))
        assert follower.rounds.due().partial
        both[0].stop()
        assert not follower.rounds.due().partial

    def test_all_are_looked_at_when_others_are_assigned(
        self, follower: Follower, both: list[Partition]
    ) -> None:
        """What is lost has to be forgotten by the leader."""
        follower.until_durable()
        follower.rounds.assign(both[:1], moved=False)
        request = follower.question(follower.rounds.due())
        assert request is not None
        assert [one.topic_id for one in request.forgotten_topics_data] == [both[1].topic_id]

    def test_all_are_looked_at_while_one_rests(self, follower: Follower, both: list[Partition]) -> None:
        """It comes back when its time is over, and no answer would bring it."""
        follower.until_durable()
        follower.question(follower.rounds.due())
        follower.rounds.take(follower.answer("a", ErrorCode.UNKNOWN_SERVER_ERROR))
        assert follower.rounds.due() == Due([both[1]], follower.settings.fetch_backoff_ms)

    def test_one_that_is_not_on_disk_is_left_out(self, follower: Follower, both: list[Partition]) -> None:
        """And comes with the next look at all, as it has no end to name."""
        request = follower.question(follower.rounds.due())
        assert request is not None
        assert [one.topic_id for one in request.forgotten_topics_data] == [both[0].topic_id]

    def test_a_session_that_is_gone_is_begun_with_all(
        self, follower: Follower, both: list[Partition]
    ) -> None:
        """Its connection broke, say."""
        follower.until_durable()
        due = follower.rounds.due()
        follower.rounds.begin_session()
        request = follower.question(due)
        assert request is not None
        assert (request.session_id, len(request.topics)) == (0, 2)
        assert follower.rounds.due() == Due(both)
