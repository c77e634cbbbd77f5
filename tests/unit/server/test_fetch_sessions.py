"""Incremental fetch sessions (KIP-227)."""

from __future__ import annotations

from random import Random

from moldau_broker.base.errors import ErrorCode
from moldau_broker.server.fetch_sessions import FetchPartition, FetchSession, FetchSessions


def wish(
    name: str = "orders", index: int = 0, offset: int = 0, topic_id: bytes = bytes(16)
) -> FetchPartition:
    return FetchPartition(name, topic_id, index, offset, 1_000_000, -1, -1)


def open_session(sessions: FetchSessions, *wishes: FetchPartition, now_ms: int = 0) -> FetchSession:
    session = sessions.create(wishes or (wish(),), uses_topic_ids=False, now_ms=now_ms)
    assert session is not None
    return session


def test_session_epoch_advances_with_every_use() -> None:
    """Each incremental fetch must carry the next epoch; a repeated one is refused."""
    sessions = FetchSessions(10, Random(1))
    session = open_session(sessions)
    assert sessions.use(session.session_id, 1, uses_topic_ids=False, now_ms=0) is session
    assert sessions.use(session.session_id, 1, uses_topic_ids=False, now_ms=0) is (
        ErrorCode.INVALID_FETCH_SESSION_EPOCH
    )
    assert sessions.use(session.session_id, 2, uses_topic_ids=False, now_ms=0) is session


def test_session_epoch_wraps_to_one() -> None:
    """The epoch after 2^31-1 is 1: 0 would mean a new session."""
    sessions = FetchSessions(10, Random(1))
    session = open_session(sessions)
    session.epoch = 2**31 - 1
    assert sessions.use(session.session_id, 2**31 - 1, uses_topic_ids=False, now_ms=0) is session
    assert session.epoch == 1


def test_session_unknown_id_is_answered_with_its_error() -> None:
    """An evicted or invented session id gets FETCH_SESSION_ID_NOT_FOUND, and the client starts over."""
    sessions = FetchSessions(10, Random(1))
    assert sessions.use(7, 1, uses_topic_ids=False, now_ms=0) is ErrorCode.FETCH_SESSION_ID_NOT_FOUND


def test_session_refuses_to_change_between_names_and_ids() -> None:
    """A session begun with topic names cannot go on with topic ids (KIP-516)."""
    sessions = FetchSessions(10, Random(1))
    session = open_session(sessions)
    assert sessions.use(session.session_id, 1, uses_topic_ids=True, now_ms=0) is (
        ErrorCode.FETCH_SESSION_TOPIC_ID_ERROR
    )


def test_session_update_adds_changes_and_forgets() -> None:
    """An incremental request names only what is new, changed or no longer wanted."""
    sessions = FetchSessions(10, Random(1))
    session = open_session(sessions, wish(index=0), wish(index=1))
    session.update([wish(index=1, offset=5), wish(index=2)], [("orders", 0)])
    assert {key: part.fetch_offset for key, part in session.partitions.items()} == {
        ("orders", 1): 5,
        ("orders", 2): 0,
    }


def test_sessions_are_bounded_and_only_idle_ones_make_room() -> None:
    """With every slot in use a fetch gets no session, until the oldest has idled two minutes."""
    sessions = FetchSessions(2, Random(1))
    first = open_session(sessions, now_ms=0)
    open_session(sessions, now_ms=1_000)
    assert sessions.create([wish()], uses_topic_ids=False, now_ms=100_000) is None
    third = sessions.create([wish()], uses_topic_ids=False, now_ms=120_000)
    assert third is not None
    assert len(sessions) == 2
    assert sessions.evictions == 1
    assert sessions.use(first.session_id, 1, uses_topic_ids=False, now_ms=120_000) is (
        ErrorCode.FETCH_SESSION_ID_NOT_FOUND
    )


def test_session_used_recently_is_not_the_oldest() -> None:
    """Eviction goes by last use, not by age."""
    sessions = FetchSessions(2, Random(1))
    first = open_session(sessions, now_ms=0)
    second = open_session(sessions, now_ms=1)
    sessions.use(first.session_id, 1, uses_topic_ids=False, now_ms=200_000)
    assert sessions.create([wish()], uses_topic_ids=False, now_ms=200_001) is not None
    assert sessions.use(second.session_id, 1, uses_topic_ids=False, now_ms=200_002) is (
        ErrorCode.FETCH_SESSION_ID_NOT_FOUND
    )


def test_incremental_answer_leaves_out_what_has_not_changed() -> None:
    """A partition is told again only with data, an error, or a moved high watermark or log start."""
    part = wish()
    assert part.must_tell(ErrorCode.NONE, 0, 10, 0)
    assert not part.must_tell(ErrorCode.NONE, 0, 10, 0)
    assert part.must_tell(ErrorCode.NONE, 0, 11, 0)
    assert part.must_tell(ErrorCode.NONE, 0, 11, 1)
    assert part.must_tell(ErrorCode.NONE, 100, 11, 1)
    assert part.must_tell(ErrorCode.NOT_LEADER_OR_FOLLOWER, 0, -1, -1)
    assert part.must_tell(ErrorCode.NONE, 0, 11, 1)


def many(count: int, name: str = "orders") -> list[FetchPartition]:
    return [wish(name, index) for index in range(count)]


def test_sessions_together_remember_a_bounded_number_of_partitions() -> None:
    """However few slots are used: partitions are what costs memory. Idle sessions make room."""
    sessions = FetchSessions(100, Random(1), partitions_max=25)
    first = open_session(sessions, *many(10), now_ms=0)
    open_session(sessions, *many(10), now_ms=1)
    assert sessions.create(many(10), uses_topic_ids=False, now_ms=2) is None
    assert sessions.partitions == 20
    assert sessions.create(many(10), uses_topic_ids=False, now_ms=120_000) is not None
    assert (sessions.partitions, sessions.evictions) == (20, 1)
    sessions.close(first.session_id)
    assert sessions.partitions == 20, "it was gone already"


def test_session_that_outgrows_its_bounds_is_closed() -> None:
    """Its reader has to ask for everything anew; a partition dropped in silence would never be read again."""
    sessions = FetchSessions(100, Random(1), partitions_max=25)
    session = open_session(sessions, *many(10))
    assert sessions.update(session, many(20), [("orders", 0)])
    assert sessions.partitions == 19
    assert not sessions.update(session, many(26), [])
    assert (len(sessions), sessions.partitions) == (0, 0)
    assert sessions.use(session.session_id, 1, uses_topic_ids=False, now_ms=0) is (
        ErrorCode.FETCH_SESSION_ID_NOT_FOUND
    )


def test_session_too_large_is_not_begun() -> None:
    """A fetch of more partitions than one session may hold is served without one."""
    sessions = FetchSessions(100, Random(1))
    assert sessions.create(many(10_001), uses_topic_ids=False, now_ms=0) is None
    session = open_session(sessions, *many(10_000))
    assert not sessions.update(session, [wish(index=10_000)], [])
