"""What the operator asks of the brokers' admin API: a server of a few lines answers, or nobody does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from moldau_operator.adapters.admin_http import TARGET_BYTES, HttpAdmin, batches
from moldau_operator.seams.broker_admin import GroupAge

NOBODY = "127.0.0.1:1"


def report(
    group_id: str, lag_seconds: float | None, *offsets: tuple[str, int, float | None]
) -> dict[str, Any]:
    """A group as the API tells of it."""
    places = [
        {"topic": topic, "partition": number, "committedOffset": 1}
        | ({"lagSeconds": seconds} if seconds is not None else {})
        for topic, number, seconds in offsets
    ]
    found = {
        "groupId": group_id,
        "coordinatorId": 0,
        "state": "Empty",
        "protocolType": "consumer",
        "generation": 1,
        "members": [],
        "offsets": [*places, {"topic": "fresh", "partition": 0}],
    }
    return found if lag_seconds is None else {**found, "lagSeconds": lag_seconds}


@asynccontextmanager
async def broker(*groups: dict[str, Any]) -> AsyncIterator[tuple[str, list[str]]]:
    """An address that tells of these groups, and the targets it was asked for."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path_qs)
        wanted = request.query.getall("id")
        found = [one for one in groups if one["groupId"] in wanted]
        return web.json_response({"groups": found, "incomplete": []})

    app = web.Application()
    app.router.add_get("/admin/v1/groups", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    try:
        yield f"{host}:{port}", asked
    finally:
        await runner.cleanup()


async def test_the_oldest_record_of_a_topic_counts_and_what_is_not_told_is_unknown() -> None:
    """Half of a topic is no topic; a partition without a commit says nothing; the next address is asked."""
    told = report("a", 7.5, ("orders", 0, 2.5), ("orders", 1, 7.5))
    half = report("b", None, ("orders", 0, 2.5), ("orders", 1, None), ("paid", 0, 0.0))
    async with broker(told, half) as (address, _):
        ages = await HttpAdmin(lambda: [NOBODY, address]).ages(["a", "b", "gone"])
    assert ages == {
        "a": GroupAge(seconds=7.5, by_topic={"orders": 7.5}),
        "b": GroupAge(seconds=None, by_topic={"orders": None, "paid": 0.0}),
    }


async def test_where_nobody_answers_nothing_is_known() -> None:
    """It is no error: lag in records comes by another way."""
    assert await HttpAdmin(lambda: [NOBODY]).ages(["a"]) == {}
    assert await HttpAdmin(list).ages(["a"]) == {}


async def test_many_groups_are_asked_for_in_requests_that_a_broker_reads() -> None:
    """All of them are told of, in few requests; the longest name, in three bytes a character, fits into one."""
    names = [f"group-{number:04}" for number in range(900)]
    async with broker(*(report(name, 1.0) for name in names)) as (address, asked):
        ages = await HttpAdmin(lambda: [address]).ages(names)
    assert sorted(ages) == names
    assert len(asked) == 3
    assert [len(batch) for batch in batches(["\u4e2d" * 255] * 3)] == [2, 1]
    assert all(len(urlencode([("id", one) for one in batch])) <= TARGET_BYTES for batch in batches(names))
