"""What is fetched from one leader: when a waiting question is given up, who rests, what was written."""

from __future__ import annotations

import pytest

from moldau_broker.base.broker_config import build_group
from moldau_broker.base.cluster_config import ReplicationSettings
from moldau_broker.base.errors import ErrorCode
from moldau_broker.replication.fetch_round import (
    AHEAD_BYTES,
    FULL_LOOK_MS,
    Due,
    FetchRounds,
    by_leader,
    when_durable,
)
from moldau_broker.replication.follower import Ask, Step
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


class TestReadingAhead:
    """While a large answer goes to disk the next one is read (docs/adr/0020)."""

    BIG = make_batch((bytes(AHEAD_BYTES),))
    """One record."""

    @pytest.fixture
    def a(self, follower: Follower) -> Partition:
        """Asked for once."""
        a = follower.partition("a")
        follower.rounds.assign([a], moved=False)
        follower.question(follower.rounds.due())
        return a

    def take(self, follower: Follower, records: bytes, told: list[str]) -> None:
        """Records come; `told` hears when the next round may begin."""
        written = follower.rounds.take(follower.answer("a", records=records))
        assert written is not None
        follower.rounds.when_next(written, lambda: told.append("next"))

    def asked(self, request: FetchRequest | None) -> tuple[int, int, int]:
        """Fsynced end, where to read on, and how long the leader may wait."""
        assert request is not None
        (wanted,) = request.topics[0].partitions
        return wanted.fetch_offset, wanted.read_offset, request.max_wait_ms

    def test_the_question_names_both_ends(self, follower: Follower, a: Partition) -> None:
        """The leader counts what is on disk, and gives what comes after that; it does not keep us waiting."""
        told: list[str] = []
        self.take(follower, self.BIG, told)
        due = follower.rounds.due()
        assert (told, due) == (["next"], Due([a], partial=True, ahead=True))
        assert self.asked(follower.question(due)) == (0, 1, 0)
        assert a.log.durable_offset == 0

    def test_a_small_answer_is_waited_for(self, follower: Follower, a: Partition) -> None:
        """A question more would cost more than the disk does."""
        told: list[str] = []
        self.take(follower, make_batch(), told)
        assert (told, follower.rounds.due()) == ([], Due([a], partial=True))
        follower.until_durable()
        assert told == ["next"]

    def test_no_more_than_two_answers_are_under_way(self, follower: Follower, a: Partition) -> None:
        """A slow disk holds the network back."""
        told: list[str] = []
        self.take(follower, self.BIG, told)
        follower.question(follower.rounds.due())
        self.take(follower, make_batch((bytes(AHEAD_BYTES),), base_offset=1), told)
        assert told == ["next"]
        follower.bench.committer.flush_all()
        assert told == ["next", "next"]
        assert self.asked(follower.question(follower.rounds.due()))[2] > 0, "all of it is on disk by now"
        assert a.log.durable_offset == 2

    def test_an_empty_answer_ends_it(self, follower: Follower, a: Partition) -> None:
        """Then what is on disk is said as ever, with a question that may wait; the leader would not hear it else."""
        self.take(follower, self.BIG, [])
        follower.question(follower.rounds.due())
        told: list[str] = []
        written = follower.rounds.take(FetchResponse(session_id=7))
        assert written == []
        follower.rounds.when_next(written, lambda: told.append("next"))
        due = follower.rounds.due()
        assert (told, due) == (["next"], Due([a], partial=True))
        follower.until_durable()
        request = follower.question(due)
        assert self.asked(request) == (1, -1, follower.settings.fetch_wait_ms_max)

    def test_a_leader_that_does_not_know_of_it_is_understood(self, follower: Follower, a: Partition) -> None:
        """It begins at the fsynced end: what is there already is passed over, and it is not asked like that again."""
        self.take(follower, self.BIG, [])
        follower.question(follower.rounds.due())
        more = make_batch((bytes(AHEAD_BYTES),), base_offset=1)
        told: list[str] = []
        self.take(follower, self.BIG + more, told)
        assert (a.log.log_end_offset, told) == (2, [])
        assert not follower.rounds.due().ahead
        follower.until_durable()
        follower.rounds.begin_session()
        follower.question(follower.rounds.due())
        self.take(follower, make_batch((bytes(AHEAD_BYTES),), base_offset=2), [])
        assert follower.rounds.due().ahead, "another session, perhaps with another version of it"

    @pytest.mark.parametrize("damaged", [0, 8])
    def test_damage_before_the_place_is_asked_for_anew(
        self, follower: Follower, a: Partition, damaged: int
    ) -> None:
        """Nothing of it is taken."""
        self.take(follower, self.BIG, [])
        follower.question(follower.rounds.due())
        records = bytearray(self.BIG + make_batch(base_offset=1))
        records[damaged : damaged + 4] = b"\xff" * 4
        follower.rounds.take(follower.answer("a", records=bytes(records)))
        assert a.log.log_end_offset == 1

    def test_another_leader_is_asked_for_what_is_on_disk(self, follower: Follower, a: Partition) -> None:
        """What is not may part from its log."""
        self.take(follower, self.BIG, [])
        follower.cluster.change("a", leader=3)
        assert a.ask(ahead_of=Ask(a.leader_epoch - 1, 0, -1, 0)) is None
        follower.rounds.assign([a], moved=False)
        due = follower.rounds.due()
        assert not due.ahead
        assert follower.question(due) is None
