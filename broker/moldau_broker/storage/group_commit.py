"""The helper thread that makes logs durable: one fdatasync answers everybody who waited for it.

Requests that arrive while a round runs share the next one. Slow chores (checkpoints, unlinking) run on the same
thread, but only when nobody waits for a flush.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol, TypeAlias

from moldau_broker.storage.errors import StorageError

Answer: TypeAlias = Callable[[StorageError | None], None]
"""Told None when the flush succeeded, else why it did not; runs on the loop thread."""


class Flushable(Protocol):
    """What is asked of a log."""

    generation: int

    def flush(self) -> int:
        """Make it durable; blocks."""

    def mark_durable(self, offset: int, generation: int | None = None) -> None:
        """Note the result; on the loop thread."""

    def fail(self, error: StorageError) -> None:
        """Take it out of service."""


class GroupCommit:
    """One helper thread, started at the first request.

    `post` hands a function over to the loop thread (`loop.call_soon_threadsafe`); it is called from the
    helper thread, once for all results that gathered since the loop last looked.
    """

    def __init__(self, post: Callable[[Callable[[], None]], object]) -> None:
        self._post = post
        self._condition = threading.Condition()
        self._urgent: dict[Flushable, list[Answer]] = {}
        self._patient: dict[Flushable, None] = {}
        self._chores: deque[tuple[Callable[[], object], Answer | None]] = deque()
        self._results: deque[Callable[[], None]] = deque()
        self._posted = False
        self._idle = False
        self._closing = False
        self._thread: threading.Thread | None = None
        self.rounds = 0
        self.flushes = 0

    # --- loop thread ---------------------------------------------------------------------------------

    def request(self, log: Flushable, answer: Answer) -> None:
        """Flush `log` as soon as possible; `answer` runs once all appended until now is durable."""
        with self._condition:
            waiting = self._urgent.get(log)
            if waiting is None:
                self._urgent[log] = [answer]
                self._wake()
            else:
                waiting.append(answer)

    def flush_later(self, log: Flushable) -> None:
        """Flush `log` when nobody is waiting for another."""
        with self._condition:
            self._patient[log] = None
            self._wake()

    def run(self, chore: Callable[[], object], answer: Answer | None = None) -> None:
        """Run blocking file work on the helper thread when nobody is waiting for a flush.

        `chore` may raise `StorageError`, which `answer` is told.
        """
        with self._condition:
            self._chores.append((chore, answer))
            self._wake()

    def close(self) -> None:
        """Do what was asked for so far, then end the thread. Answers not delivered yet are run here."""
        with self._condition:
            self._closing = True
            self._condition.notify()
        if self._thread is not None:
            self._thread.join()
        self._deliver()

    def _wake(self) -> None:
        assert not self._closing, "a closed group commit takes no requests"
        if self._idle:
            self._condition.notify()
        elif self._thread is None:
            self._thread = threading.Thread(target=self._work, name="group-commit", daemon=True)
            self._thread.start()

    def _deliver(self) -> None:
        """Run the results that gathered."""
        self._posted = False  # first: a result added from here on is posted again
        while self._results:
            self._results.popleft()()

    # --- helper thread -------------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            flushes: dict[Flushable, list[Answer]] = {}
            chore: tuple[Callable[[], object], Answer | None] | None = None
            with self._condition:
                while not (self._urgent or self._patient or self._chores or self._closing):
                    self._idle = True
                    self._condition.wait()
                self._idle = False
                if self._urgent:
                    flushes, self._urgent = self._urgent, {}
                elif self._chores:
                    chore = self._chores.popleft()
                elif self._patient:
                    flushes = {self._patient.popitem()[0]: []}
                else:
                    return
            if chore is not None:
                self._run(*chore)
            else:
                self.rounds += 1
                for log, answers in flushes.items():
                    self._flush(log, answers)

    def _flush(self, log: Flushable, answers: list[Answer]) -> None:
        generation, end, failure = log.generation, -1, None
        try:
            end = log.flush()
        except StorageError as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - a bug here must not leave producers without an answer
            failure = StorageError(f"flushing failed: {error!r}")
            log.fail(failure)
        self.flushes += 1

        def tell() -> None:
            if failure is None:
                log.mark_durable(end, generation)
            for answer in answers:
                answer(failure)

        self._tell(tell)

    def _run(self, chore: Callable[[], object], answer: Answer | None) -> None:
        failure = None
        try:
            chore()
        except StorageError as error:
            failure = error
        if answer is not None:
            self._tell(lambda: answer(failure))

    def _tell(self, result: Callable[[], None]) -> None:
        self._results.append(result)
        if not self._posted:
            self._posted = True
            self._post(self._deliver)
