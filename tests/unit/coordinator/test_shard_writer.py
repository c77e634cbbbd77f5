"""Writes on their way into the log."""

from collections.abc import Callable

from moldau_broker.base.deferred import Deferred
from moldau_broker.base.errors import ErrorCode
from moldau_broker.coordinator.records import EncodedRecord
from moldau_broker.coordinator.shard_state import Write
from moldau_broker.coordinator.shard_writer import ShardWriter
from moldau_broker.replication.outcome import AppendOutcome
from moldau_broker.testing.coordinator import BenchClock
from moldau_broker.wire.records import read_records


class _Owner:
    """Remembers what it hears; `log` is what was appended, batch by batch."""

    def __init__(self) -> None:
        self.ready: list[Callable[[], None]] = []
        self.log: list[list[bytes]] = []
        self.pending: list[Deferred[AppendOutcome]] = []
        self.heard: list[tuple[str, object]] = []
        self.refuse_at: int | None = None
        self.ends_when_refused = False
        self.writer = ShardWriter(self._append, BenchClock(), self.ready.append, self)

    def _append(self, batch: bytearray) -> Deferred[AppendOutcome]:
        later: Deferred[AppendOutcome] = Deferred()
        if self.refuse_at == len(self.log):
            later.complete(AppendOutcome(ErrorCode.KAFKA_STORAGE_ERROR))
            return later
        self.log.append([record.key or b"" for record in read_records(batch)])
        self.pending.append(later)
        return later

    def write(self, name: bytes, size: int = 100) -> Write:
        return Write([EncodedRecord(name, b"v")], size, lambda _: None, [])

    def turn(self) -> None:
        ready, self.ready[:] = list(self.ready), []
        for callback in ready:
            callback()

    def stored(self, write: Write) -> None:
        self.heard.append(("stored", write.records[0].key))

    def refused(self, writes: list[Write], error: ErrorCode) -> None:
        self.heard.append(("refused", [write.records[0].key for write in writes]))
        if self.ends_when_refused:
            self.heard.append(("left", [write.records[0].key for write in self.writer.close()]))

    def lost(self, error: ErrorCode) -> None:
        self.heard.append(("lost", error))
        self.writer.close()


def _ok(later: Deferred[AppendOutcome]) -> None:
    later.complete(AppendOutcome(ErrorCode.NONE, 0, 1))


def test_writer_appends_the_writes_of_one_turn_as_one_batch() -> None:
    """They share a group commit as well."""
    owner = _Owner()
    owner.writer.add([owner.write(b"a")])
    owner.writer.add([owner.write(b"b"), owner.write(b"c")])
    assert owner.log == []
    owner.turn()
    assert owner.log == [[b"a", b"b", b"c"]]
    _ok(owner.pending[0])
    assert owner.heard == [("stored", b"a"), ("stored", b"b"), ("stored", b"c")]


def test_writer_does_not_wait_for_one_batch_before_the_next() -> None:
    """The log keeps the order; a turn's writes are not held up by an fsync."""
    owner = _Owner()
    for name in (b"a", b"b"):
        owner.writer.add([owner.write(name)])
        owner.turn()
    assert owner.log == [[b"a"], [b"b"]]


def test_writer_tells_of_writes_in_order_whatever_completes_first() -> None:
    """The second batch is durable no earlier than the first."""
    owner = _Owner()
    for name in (b"a", b"b"):
        owner.writer.add([owner.write(name)])
        owner.turn()
    _ok(owner.pending[1])
    assert owner.heard == []
    _ok(owner.pending[0])
    assert owner.heard == [("stored", b"a"), ("stored", b"b")]


def test_writer_cuts_batches_at_their_size_but_never_a_write() -> None:
    """A write is atomic, so a large one is a batch of its own."""
    owner = _Owner()
    owner.writer.add([owner.write(b"a", 200_000), owner.write(b"b", 200_000), owner.write(b"c", 50_000)])
    owner.writer.add([owner.write(b"d", 900_000)])
    owner.turn()
    assert owner.log == [[b"a"], [b"b", b"c"], [b"d"]]


def test_writer_that_is_closed_for_a_refusal_tells_of_no_write_twice() -> None:
    """A shard that cannot take the refused writes back is read anew: it has answered them, and does so once."""
    owner = _Owner()
    owner.writer.add([owner.write(b"a")])
    owner.turn()
    owner.refuse_at, owner.ends_when_refused = 1, True
    owner.writer.add([owner.write(b"b", 200_000), owner.write(b"c", 200_000)])
    owner.turn()
    assert owner.heard == [("refused", [b"b", b"c"]), ("left", [b"a"])]


def test_writer_hands_back_everything_not_appended_when_the_log_refuses() -> None:
    """Later writes may have built on the refused one; earlier ones are in the log and stand."""
    owner = _Owner()
    owner.writer.add([owner.write(b"a")])
    owner.turn()
    owner.refuse_at = 1
    owner.writer.add([owner.write(b"b", 200_000), owner.write(b"c", 200_000)])
    settled: list[ErrorCode] = []
    owner.writer.when_settled(settled.append)
    owner.turn()
    assert owner.heard == [("refused", [b"b", b"c"])]
    assert settled == []
    _ok(owner.pending[0])
    assert owner.heard[1:] == [("stored", b"a")]
    assert settled == [ErrorCode.NONE]
    owner.refuse_at = None
    owner.writer.add([owner.write(b"d")])
    owner.turn()
    assert owner.log[-1] == [b"d"]


def test_writer_is_closed_when_what_was_appended_cannot_be_made_durable() -> None:
    """Nobody knows what the log will say; outcomes that come later are not heard."""
    owner = _Owner()
    for name in (b"a", b"b"):
        owner.writer.add([owner.write(name)])
        owner.turn()
    owner.pending[0].complete(AppendOutcome(ErrorCode.NOT_LEADER_OR_FOLLOWER))
    _ok(owner.pending[1])
    assert owner.heard == [("lost", ErrorCode.NOT_LEADER_OR_FOLLOWER)]


def test_writer_lets_readers_wait_for_what_was_written_before_them() -> None:
    """At once if there is nothing; not for what is written after them."""
    owner = _Owner()
    seen: list[str] = []
    owner.writer.when_settled(lambda _: seen.append("at once"))
    owner.writer.add([owner.write(b"a")])
    owner.turn()
    owner.writer.when_settled(lambda _: seen.append("after a"))
    owner.writer.add([owner.write(b"b")])
    owner.turn()
    assert seen == ["at once"]
    _ok(owner.pending[0])
    assert seen == ["at once", "after a"]


def test_writer_gives_what_is_left_when_it_is_closed_and_appends_no_more() -> None:
    """In flight and queued, in order; waiting readers are told why."""
    owner = _Owner()
    owner.writer.add([owner.write(b"a")])
    owner.turn()
    owner.writer.add([owner.write(b"b")])
    told: list[ErrorCode] = []
    owner.writer.when_settled(told.append)
    assert [write.records[0].key for write in owner.writer.close()] == [b"a", b"b"]
    owner.writer.fail_waiting(ErrorCode.NOT_COORDINATOR)
    owner.turn()
    _ok(owner.pending[0])
    assert owner.log == [[b"a"]]
    assert (owner.heard, told) == ([], [ErrorCode.NOT_COORDINATOR])
