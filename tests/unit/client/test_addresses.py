"""A peer is found while the name service hangs, and at its new place as soon as it answers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest

from moldau_broker.client.addresses import Addresses

OLD, NEW = ("10.0.0.1",), ("10.0.0.2",)
PATIENT = 30.0
"""Where the answer matters: by default one that a busy machine holds up for 0.2 s is too late, as it should be."""


class Names:
    """A name service that can be made to hang, or to say something."""

    def __init__(self) -> None:
        self.asked = 0
        self.answer: Callable[[], tuple[str, ...]] = lambda: OLD
        self.answers = asyncio.Event()
        self.answers.set()

    async def look_up(self, _host: str) -> tuple[str, ...]:
        self.asked += 1
        await self.answers.wait()
        return self.answer()


def refuse(number: int) -> Callable[[], tuple[str, ...]]:
    def answer() -> tuple[str, ...]:
        raise socket.gaierror(number, "no")

    return answer


async def test_every_time_anew_where_it_answers() -> None:
    names = Names()
    book = Addresses(names.look_up, patience_s=PATIENT)
    assert await book.of("broker") == OLD
    names.answer = lambda: NEW
    assert await book.of("broker") == NEW
    assert names.asked == 2


async def test_the_last_answer_where_it_hangs_and_one_question_at_a_time() -> None:
    names = Names()
    book = Addresses(names.look_up, patience_s=0.01)
    assert await book.of("broker") == OLD
    names.answers.clear()
    names.answer = lambda: NEW
    for _ in range(3):
        assert await book.of("broker") == OLD
    assert names.asked == 2
    names.answers.set()
    async with asyncio.timeout(PATIENT):
        while await book.of("broker") != NEW:
            pass


async def test_who_was_never_known_is_waited_for() -> None:
    names = Names()
    names.answers.clear()
    book = Addresses(names.look_up, patience_s=0.01)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await book.of("broker")
    names.answers.set()
    assert await book.of("broker") == OLD


async def test_no_such_name_is_believed_and_a_passing_failure_is_not() -> None:
    names = Names()
    book = Addresses(names.look_up, patience_s=PATIENT)
    assert await book.of("broker") == OLD
    names.answer = refuse(socket.EAI_AGAIN)
    assert await book.of("broker") == OLD
    names.answer = refuse(socket.EAI_NONAME)
    with pytest.raises(socket.gaierror):
        await book.of("broker")


async def test_addresses_are_not_looked_up() -> None:
    names = Names()
    book = Addresses(names.look_up)
    assert [await book.of(host) for host in ("127.0.0.1", "::1")] == [("127.0.0.1",), ("::1",)]
    assert names.asked == 0


async def test_a_late_refusal_disturbs_nobody(caplog: pytest.LogCaptureFixture) -> None:
    names = Names()
    book = Addresses(names.look_up, patience_s=0.01)
    assert await book.of("broker") == OLD
    names.answers.clear()
    names.answer = refuse(socket.EAI_NONAME)
    assert await book.of("broker") == OLD
    names.answers.set()
    await asyncio.sleep(0.01)
    assert not [one for one in caplog.records if "never retrieved" in one.getMessage()]
