"""Group commit: one flush answers all who wait, errors reach them, chores wait their turn."""

from __future__ import annotations

import threading
import time
from collections import deque

import pytest

from moldau_broker.storage.errors import StorageError
from moldau_broker.storage.group_commit import GroupCommit


class Loop:
    """Stands in for the event loop: `run` executes what other threads handed over."""

    def __init__(self):
        self.inbox = deque()
        self.arrived = threading.Event()
        self.posts = 0

    def post(self, function):
        self.posts += 1
        self.inbox.append(function)
        self.arrived.set()

    def run_until(self, condition, seconds=60):
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "nothing came"
            self.arrived.wait(0.05)
            self.arrived.clear()
            while self.inbox:
                self.inbox.popleft()()


class FakeLog:
    """A log whose flush waits until it is let go."""

    def __init__(self, *, gate=None, error=None):
        self.generation = 0
        self.end = 0
        self.flushes = 0
        self.marked = []
        self.failed = None
        self.gate = gate
        self.error = error
        self.entered = threading.Event()

    def flush(self):
        self.flushes += 1
        self.entered.set()
        end = self.end
        if self.gate is not None:
            assert self.gate.wait(60)
        if self.error is not None:
            raise self.error
        return end

    def mark_durable(self, offset, generation=None):
        self.marked.append((offset, generation, threading.current_thread() is threading.main_thread()))

    def fail(self, error):
        self.failed = error


@pytest.fixture
def loop():
    return Loop()


@pytest.fixture
def commit(loop):
    made = GroupCommit(loop.post)
    yield made
    made.close()


def test_requests_during_a_flush_share_the_next_one(loop, commit):
    """A hundred waiters cost two flushes, and each is answered by one that began after it asked."""
    gate = threading.Event()
    log = FakeLog(gate=gate)
    answers = []
    log.end = 1
    commit.request(log, lambda error: answers.append((1, error)))
    assert log.entered.wait(60)
    log.end = 100
    for number in range(2, 102):
        commit.request(log, lambda error, number=number: answers.append((number, error)))
    gate.set()
    loop.run_until(lambda: len(answers) == 101)
    assert log.flushes == 2
    assert answers == [(number, None) for number in range(1, 102)]
    assert log.marked == [(1, 0, True), (100, 0, True)]
    assert loop.posts <= 2


def test_errors_reach_everybody_who_waited(loop, commit):
    """A failed fsync is told as it is, and nothing is marked durable."""
    log = FakeLog(error=StorageError("EIO"))
    answers = []
    commit.request(log, answers.append)
    commit.request(log, answers.append)
    loop.run_until(lambda: len(answers) == 2)
    assert [str(answer) for answer in answers] == ["EIO", "EIO"]
    assert log.marked == []


def test_a_bug_in_a_flush_is_an_error_for_its_waiters_and_ends_the_log(loop, commit):
    """Nobody waits forever, and the threads live on."""
    log, other = FakeLog(error=ZeroDivisionError()), FakeLog()
    answers = []
    commit.request(log, answers.append)
    loop.run_until(lambda: len(answers) == 1)
    assert isinstance(answers[0], StorageError)
    assert log.failed is answers[0]
    commit.request(other, answers.append)
    loop.run_until(lambda: len(answers) == 2)
    assert answers[1] is None


def test_generation_at_the_flush_is_handed_on(loop, commit):
    """A truncation while the flush ran makes its result void; the log decides by the number."""
    gate = threading.Event()
    log = FakeLog(gate=gate)
    answers = []
    commit.request(log, answers.append)
    assert log.entered.wait(60)
    log.generation = 1
    gate.set()
    loop.run_until(lambda: answers)
    assert log.marked == [(0, 0, True)]


def test_several_logs_are_flushed_at_the_same_time(loop, commit):
    """Four stuck flushes do not wait for each other."""
    gate = threading.Event()
    logs = [FakeLog(gate=gate) for _ in range(4)]
    answers = []
    for log in logs:
        commit.request(log, answers.append)
    assert all(log.entered.wait(60) for log in logs)
    gate.set()
    loop.run_until(lambda: len(answers) == 4)


def test_chores_and_patient_flushes_wait_for_urgent_ones(loop):
    """With one thread the order is: urgent, chores, patient."""
    commit = GroupCommit(loop.post, threads_max=1)
    gate = threading.Event()
    first, urgent, patient = FakeLog(gate=gate), FakeLog(), FakeLog()
    order = []
    commit.request(first, lambda _: order.append("first"))
    assert first.entered.wait(60)
    commit.flush_later(patient)
    commit.run(lambda: order.append(f"chore while urgent={urgent.flushes} patient={patient.flushes}"))
    commit.request(urgent, lambda _: order.append("urgent"))
    gate.set()
    loop.run_until(lambda: patient.marked and "urgent" in order)
    assert "chore while urgent=1 patient=0" in order
    commit.close()


def test_chores_tell_what_went_wrong(loop, commit):
    """An error of a chore is its answer's, nobody else's."""

    def broken():
        raise StorageError("no")

    answers = []
    commit.run(broken, answers.append)
    commit.run(lambda: None, answers.append)
    loop.run_until(lambda: len(answers) == 2)
    assert sorted(map(str, answers)) == ["None", "no"]


def test_close_does_what_was_asked_for(loop):
    """Requests, chores and patient flushes are done and answered before close returns."""
    commit = GroupCommit(loop.post)
    logs = [FakeLog() for _ in range(20)]
    answers = []
    for log in logs[:10]:
        commit.request(log, answers.append)
    for log in logs[10:]:
        commit.flush_later(log)
    commit.run(lambda: answers.append("chore"))
    commit.close()
    assert len(answers) == 11
    assert all(log.flushes == 1 for log in logs)
