"""The checker itself: a good history passes, and every kind of damage done to it is reported under its name."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.chaos.checker import ALLOWED, NEVER_ALLOWED, Verdict, check
from tests.chaos.history import NEVER, UNKNOWN, Commit, Committed, History, Marks, Poll, Send

PARTITIONS = ("a-0", "a-1", "b-0")
MS = 1_000_000


def good_history(sends: int = 3_000, *, seed: int = 1, per_poll: int = 20) -> History:
    """What clients see of a broker that does everything right: pipelined sends, two assigned readers, one group."""
    chance = random.Random(seed)
    history = History(drained=True)
    ends = dict.fromkeys(PARTITIONS, 0)
    logs: dict[str, list[tuple[str, int, int]]] = {partition: [] for partition in PARTITIONS}
    now = MS
    for value in range(sends):
        now += chance.randrange(MS)
        producer = value % 3
        partition = PARTITIONS[producer]
        outcome = "info" if value % 50 == 49 else "ok"
        completed = now + chance.randrange(5) * MS
        stored = outcome == "ok" or value % 100 == 99
        offset = ends[partition] if outcome == "ok" else UNKNOWN
        if stored:
            logs[partition].append((partition, ends[partition], value))
            ends[partition] += 1
        history.sends.append(Send(f"p{producer}", partition, value, now, completed, outcome, offset))
        if value % 100 == 7:
            history.sends.append(Send(f"p{producer}", partition, sends + value, now, completed, "fail"))
        if value % 40 == 0:
            for one in PARTITIONS:
                acknowledged = max(
                    (s.offset + 1 for s in history.sends[-60:] if s.partition == one and s.completed < now),
                    default=0,
                )
                history.marks.append(Marks("marks", one, 0, max(acknowledged, ends[one]), now, now + 1))
    for partition, log in logs.items():
        for at in range(0, len(log), per_poll):
            now += MS
            part = log[at : at + per_poll]
            history.polls.append(Poll("reader", 1, "", now, now + 1, part))
            history.polls.append(Poll("member", 7, "g", now, now + 1, part))
            history.commits.append(Commit("g", partition, part[-1][1] + 1, now + 2, now + 3, "ok"))
            history.committed.append(Committed("g", partition, part[-1][1] + 1, now + 4, now + 5))
    return history


Damage = Callable[[History], None]


def acked(history: History, at: int = 1_000) -> Send:
    return next(send for send in history.sends[at:] if send.outcome == "ok")


def forget(history: History, value: int, *, who: str = "") -> None:
    """Nobody, or not `who`, reads that value."""
    for at, poll in enumerate(history.polls):
        if not who or poll.consumer == who:
            history.polls[at] = poll._replace(records=[one for one in poll.records if one[2] != value])


def replace_send(history: History, send: Send, **fields: object) -> None:
    history.sends[history.sends.index(send)] = send._replace(**fields)


def a_poll(history: History, who: str, at: int = 10) -> int:
    """The index of one of its polls, with the poll after it being of the same partition."""
    found = [index for index, poll in enumerate(history.polls) if poll.consumer == who]
    return found[at]


def lose(history: History) -> None:
    forget(history, acked(history).value)


def lose_the_end(history: History) -> None:
    last = next(send for send in reversed(history.sends) if send.outcome == "ok" and send.partition == "a-0")
    forget(history, last.value)


def lose_what_has_no_offset(history: History) -> None:
    send = acked(history)
    replace_send(history, send, offset=UNKNOWN)
    forget(history, send.value)


def store_twice(history: History) -> None:
    records = history.polls[-2].records
    partition, offset, _ = records[-1]
    records.append((partition, offset + 1, acked(history).value))


def read_another_value(history: History) -> None:
    poll = history.polls[a_poll(history, "reader")]
    partition, offset, _ = poll.records[3]
    poll.records[3] = (partition, offset, poll.records[4][2] + 1_000_000)


def acknowledge_elsewhere(history: History) -> None:
    send = acked(history)
    replace_send(history, send, offset=send.offset + 1)


def read_the_unsent(history: History) -> None:
    records = history.polls[-2].records
    partition, offset, _ = records[-1]
    records.append((partition, offset + 1, 77_777_777))


def refuse_and_store(history: History) -> None:
    replace_send(history, acked(history), outcome="fail")


def swap_places(history: History, first: Send, second: Send) -> None:
    """Their records trade offsets, for everybody."""
    swapped = {first.value: second.value, second.value: first.value}
    replace_send(history, first, offset=second.offset)
    replace_send(history, second, offset=first.offset)
    for poll in history.polls:
        poll.records[:] = [(p, o, swapped.get(v, v)) for p, o, v in poll.records]


def reorder_a_producer(history: History) -> None:
    mine = [send for send in history.sends if send.partition == "b-0" and send.outcome == "ok"]
    swap_places(history, mine[100], mine[101])


def reorder_in_real_time(history: History) -> None:
    mine = [send for send in history.sends if send.partition == "b-0" and send.outcome == "ok"]
    early, late = mine[100], mine[130]
    assert early.completed < late.invoked
    replace_send(history, late, producer="somebody else")
    late = next(send for send in history.sends if send.value == late.value)
    swap_places(history, early, late)


def poll_backwards_within(history: History) -> None:
    records = history.polls[a_poll(history, "reader")].records
    records[4], records[5] = records[5], records[4]


def poll_backwards(history: History) -> None:
    first = a_poll(history, "reader")
    second = a_poll(history, "reader", 11)
    assert history.polls[first].records[0][0] == history.polls[second].records[0][0]
    records = history.polls[first].records
    history.polls[first] = history.polls[first]._replace(records=history.polls[second].records)
    history.polls[second] = history.polls[second]._replace(records=records)


def skip_within_a_poll(history: History) -> None:
    del history.polls[a_poll(history, "reader")].records[5:8]


def skip_between_polls(history: History) -> None:
    del history.polls[a_poll(history, "reader")].records[-2:]


def skip_in_a_group(history: History) -> None:
    at = a_poll(history, "member")
    history.polls[at] = history.polls[at]._replace(session=8, records=history.polls[at].records[3:])
    for later in range(at + 1, len(history.polls)):
        if history.polls[later].consumer == "member":
            history.polls[later] = history.polls[later]._replace(session=9)


def forget_a_commit(history: History) -> None:
    history.committed[20] = history.committed[20]._replace(offset=history.committed[20].offset - 1)


def commit_backwards(history: History) -> None:
    commit = history.commits[20]
    history.commits[20] = commit._replace(offset=history.commits[19].offset - 3)


def move_the_end_back(history: History) -> None:
    for at in (30, 60):
        history.marks[at] = history.marks[at]._replace(high=history.marks[at].high - 40)


def move_the_start_back(history: History) -> None:
    history.marks[30] = history.marks[30]._replace(low=5)


def answer_from_the_past(history: History) -> None:
    for at in range(30, 36):
        history.marks[at] = history.marks[at]._replace(client=f"other {at}", high=3)


def garble(history: History) -> None:
    history.corrupt.append("a-0@5: 12 bytes instead of 100")


INJECTIONS: list[tuple[Damage, str]] = [
    (lose, "lost-write"),
    (lose_the_end, "unseen"),
    (lose_what_has_no_offset, "unseen"),
    (store_twice, "duplicate"),
    (acknowledge_elsewhere, "inconsistent-offsets"),
    (read_another_value, "inconsistent-offsets"),
    (read_the_unsent, "unsent"),
    (refuse_and_store, "failed-but-visible"),
    (reorder_a_producer, "nonmonotonic-send"),
    (reorder_in_real_time, "real-time-order"),
    (poll_backwards_within, "int-nonmonotonic-poll"),
    (poll_backwards, "nonmonotonic-poll"),
    (skip_within_a_poll, "int-poll-skip"),
    (skip_between_polls, "poll-skip"),
    (skip_in_a_group, "group-skip"),
    (forget_a_commit, "committed-regress"),
    (commit_backwards, "committed-regress"),
    (move_the_end_back, "high-watermark-regress"),
    (move_the_start_back, "log-start-regress"),
    (answer_from_the_past, "stale-read"),
    (garble, "corrupt"),
]


@pytest.mark.parametrize("seed", range(5))
def test_a_good_history_passes(seed: int) -> None:
    """Pipelining, unknown outcomes stored and not stored, refusals: none of it is an anomaly; and it is not empty."""
    verdict = check(good_history(seed=seed))
    assert verdict.counts == {}, str(verdict)
    assert (verdict.acknowledged, verdict.unknown) == (2_940, 60)
    assert verdict.polled > 5_000
    assert verdict.commits > 100


@pytest.mark.parametrize(("damage", "kind"), INJECTIONS, ids=[damage.__name__ for damage, _ in INJECTIONS])
def test_an_injected_anomaly_is_reported(damage: Damage, kind: str) -> None:
    """Every kind of damage is found under its own name, and told in words."""
    history = good_history()
    damage(history)
    verdict = check(history)
    assert kind in verdict.counts, str(verdict)
    assert verdict.details[kind]
    assert kind in str(verdict)
    assert bool(verdict.broken) == (kind in NEVER_ALLOWED)


def test_every_kind_of_anomaly_is_injected() -> None:
    """No name stands in the table that no test has seen."""
    assert {kind for _, kind in INJECTIONS} == NEVER_ALLOWED.keys() | ALLOWED.keys()


def test_lost_and_duplicates_count_each_value() -> None:
    """Zero is printed with its sample size, and so is any other figure."""
    history = good_history()
    for send in [one for one in history.sends if one.outcome == "ok"][100:107]:
        forget(history, send.value)
    verdict = check(history)
    assert verdict.lost == 7
    assert "lost 7 and duplicates 0 of 2,940 acknowledged" in str(verdict)


def test_what_was_not_drained_may_be_unread() -> None:
    """Without the final reading, acknowledged records behind the last one read are not yet lost."""
    history = good_history()
    history.drained = False
    lose_the_end(history)
    assert check(history).lost == 0


def test_unanswered_sends_may_be_stored_or_not() -> None:
    """A send without an answer is neither lost when absent nor out of order when it comes late."""
    history = good_history()
    send = acked(history)
    replace_send(history, send, outcome="info", offset=UNKNOWN, completed=NEVER)
    forget(history, send.value)
    assert check(history).counts == {}


def test_a_new_session_may_begin_anywhere() -> None:
    """Going back is no anomaly where the consumer was assigned anew."""
    history = good_history()
    history.polls.append(history.polls[0]._replace(session=2, invoked=10**15, completed=10**15 + 1))
    assert check(history).counts == {}


def test_a_history_survives_its_file(tmp_path: Path) -> None:
    """Written and read again it is the same, and judged the same."""
    history = good_history(2_000)
    lose(history)
    history.write(tmp_path / "history.jsonl")
    again = History.read(tmp_path / "history.jsonl")
    assert again == history
    assert str(check(again)) == str(check(history))


def test_an_empty_history_is_empty() -> None:
    """Nothing done, nothing found; whoever runs it must ask for the number of operations."""
    assert check(History()) == Verdict()


@pytest.mark.slow
def test_a_million_operations_take_seconds() -> None:
    """Twice the history takes about twice the time, and a million sends and their polls some seconds."""
    took = {}
    for sends in (250_000, 1_000_000):
        history = good_history(sends, per_poll=200)
        begun = time.process_time()
        assert check(history).counts == {}
        took[sends] = time.process_time() - begun
    assert took[1_000_000] < 8 * took[250_000], took
    assert took[1_000_000] < 30, took
