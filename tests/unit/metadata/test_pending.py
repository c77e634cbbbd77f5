"""Answers that wait for a commit."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from moldau_broker.base.deferred import Deferred
from moldau_broker.base.errors import ErrorCode
from moldau_broker.metadata.errors import ControllerUnavailable
from moldau_broker.metadata.pending import PendingAnswers, as_future, look_away


async def test_pending_answers_leave_when_their_records_are_committed() -> None:
    """In the order they were added, each once the high watermark has reached what it rests on."""
    pending = PendingAnswers()
    first, second, third = pending.add(3, "a"), pending.add(5, "b"), pending.add(5, "c")
    pending.release(2)
    assert not first.done()
    pending.release(4)
    assert (first.result(), second.done()) == ("a", False)
    pending.release(5)
    assert (second.result(), third.result()) == ("b", "c")


async def test_pending_answers_fail_together_and_only_once() -> None:
    """Who waits is told why; what is released afterwards belongs to nobody, and later answers wait anew."""
    pending = PendingAnswers()
    waiting = [pending.add(3, "a"), pending.add(4, "b")]
    pending.fail(ErrorCode.NOT_CONTROLLER, "the controller resigned in epoch 7")
    for future in waiting:
        with pytest.raises(ControllerUnavailable, match="resigned in epoch 7") as raised:
            await future
        assert raised.value.error is ErrorCode.NOT_CONTROLLER
    pending.release(9)
    later = pending.add(10, "c")
    pending.release(10)
    assert await later == "c"


async def test_pending_answer_may_be_cancelled() -> None:
    """A client that went away holds nobody up, when the rest is released or failed."""
    pending = PendingAnswers()
    gone, there = pending.add(1, "a"), pending.add(1, "b")
    gone.cancel()
    pending.release(1)
    assert there.result() == "b"
    gone = pending.add(2, "c")
    gone.cancel()
    pending.fail(ErrorCode.NOT_CONTROLLER, "over")
    assert gone.cancelled()


async def test_nobody_complains_of_an_outcome_that_nobody_awaits() -> None:
    """The loop reports failures that were never looked at, unless one looked away on purpose."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    pending = PendingAnswers()
    look_away(pending.add(1, None))
    pending.add(1, None)
    cancelled = pending.add(1, None)
    look_away(cancelled)
    cancelled.cancel()
    pending.fail(ErrorCode.NOT_CONTROLLER, "over")
    await asyncio.sleep(0)
    del cancelled
    gc.collect()
    assert len(complaints) == 1


async def test_deferred_as_a_future() -> None:
    """Done when the deferred is, before or after; giving the future up does not touch the deferred."""
    early: Deferred[int] = Deferred()
    early.complete(1)
    assert await as_future(early) == 1
    late: Deferred[int] = Deferred()
    given_up, kept = as_future(late), as_future(late)
    given_up.cancel()
    late.complete(2)
    assert await kept == 2
    assert given_up.cancelled()
