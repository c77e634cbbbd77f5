"""What is left of an offsets log."""

from moldau_broker.coordinator.digest import LogDigest


def test_digest_keeps_the_last_value_of_a_key() -> None:
    """As compaction would."""
    digest = LogDigest()
    digest.add(0, b"a", b"1")
    digest.add(1, b"b", b"2")
    digest.add(2, b"a", b"3")
    assert dict(digest.drain()) == {b"a": b"3", b"b": b"2"}


def test_digest_drops_deleted_keys() -> None:
    """Unless they are written again."""
    digest = LogDigest()
    digest.add(0, b"a", b"1")
    digest.add(1, b"a", None)
    digest.add(2, b"b", b"1")
    digest.add(3, b"b", None)
    digest.add(4, b"b", b"2")
    assert dict(digest.drain()) == {b"b": b"2"}


def test_digest_counts_transactional_records_from_their_commit() -> None:
    """Aborted ones never; open ones are held."""
    digest = LogDigest()
    digest.add_transactional(1, 0, b"a", b"committed")
    digest.add_transactional(2, 1, b"b", b"aborted")
    digest.add_transactional(3, 2, b"c", b"open")
    digest.end_transaction(1, committed=True)
    digest.end_transaction(2, committed=False)
    digest.end_transaction(9, committed=True)
    assert list(digest.held()) == [(3, b"c")]
    assert dict(digest.drain()) == {b"a": b"committed"}


def test_digest_lets_the_later_record_win_not_the_later_marker() -> None:
    """A plain commit after the transactional one, before its marker, stands (Kafka compares record offsets)."""
    digest = LogDigest()
    digest.add_transactional(1, 5, b"a", b"transactional")
    digest.add(6, b"a", b"plain")
    digest.end_transaction(1, committed=True)
    assert dict(digest.drain()) == {b"a": b"plain"}


def test_digest_lets_a_deletion_end_what_open_transactions_hold() -> None:
    """But not what is written to them after it."""
    digest = LogDigest()
    digest.add_transactional(1, 0, b"a", b"before")
    digest.add(1, b"a", None)
    digest.add_transactional(1, 2, b"b", b"x")
    digest.add(3, b"b", None)
    digest.add_transactional(1, 4, b"b", b"after")
    digest.end_transaction(1, committed=True)
    assert dict(digest.drain()) == {b"b": b"after"}
