"""kopf's watches, as the operator runs them: they go on over cut connections and a forgotten past."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from moldau_operator.handlers.watches import Watches
from moldau_operator.seams.api_server import CONFIG_MAPS, TOPICS

EMULATED = "a real API server forgets its past every five minutes only"


@asynccontextmanager
async def watching(server: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watches]:
    """Leaving cancels every task of the loop that is younger than kopf: connections of an emulation too."""
    monkeypatch.setenv("KUBECONFIG", server.kubeconfig)
    stop = asyncio.Event()
    watches = Watches(server.namespace, lambda: None, lambda: time.monotonic_ns() // 1_000_000)
    task = asyncio.create_task(watches.run(stop))
    try:
        yield watches
    finally:
        stop.set()
        async with asyncio.timeout(20):
            await task


async def told(watches: Watches, server: Any, name: str, version: Callable[[], str]) -> None:
    async def has() -> bool:
        return watches.versions.get(("topics", name)) == version()

    await server.eventually(has)


async def test_watches_tell_what_changes_and_what_goes(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every version of a resource of ours that stays, and its end; never by a write of kopf's own."""
    first = await server.api.create(server.ours("Topic", "old", cluster="demo"))
    async with watching(server, monkeypatch) as watches:
        await told(watches, server, "old", lambda: first["metadata"]["resourceVersion"])
        made = await server.api.create(server.ours("Topic", "new", cluster="demo"))
        await told(watches, server, "new", lambda: made["metadata"]["resourceVersion"])
        changed = await server.api.apply(server.ours("Topic", "new", cluster="demo", partitions=2))
        await told(watches, server, "new", lambda: changed["metadata"]["resourceVersion"])
        await server.api.delete(TOPICS, server.namespace, "new")

        async def gone() -> bool:
            return ("topics", "new") not in watches.versions

        await server.eventually(gone)
        there = await server.api.get(TOPICS, server.namespace, "old")
        assert there["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
        assert not there["metadata"].get("annotations")
        assert not there["metadata"].get("finalizers")


async def test_watches_go_on_where_a_connection_was_cut(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What changed meanwhile is told when the watch is back."""
    if server.emulation is None:
        pytest.skip(EMULATED)
    async with watching(server, monkeypatch) as watches:
        made = await server.api.create(server.ours("Topic", "one", cluster="demo"))
        await told(watches, server, "one", lambda: made["metadata"]["resourceVersion"])
        for partitions in range(1, 4):
            server.emulation.cut_watches()
            changed = await server.api.apply(
                server.ours("Topic", "one", cluster="demo", partitions=partitions)
            )
            version = changed["metadata"]["resourceVersion"]
            await told(watches, server, "one", lambda version=version: version)


async def test_watches_begin_anew_where_the_past_is_gone(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """410 Gone: everything is listed again, so nothing stays untold."""
    if server.emulation is None:
        pytest.skip(EMULATED)
    api = server.emulation.api
    async with watching(server, monkeypatch) as watches:
        made = await server.api.create(server.ours("Topic", "one", cluster="demo"))
        await told(watches, server, "one", lambda: made["metadata"]["resourceVersion"])
        server.emulation.cut_watches()
        changed = api.put(server.ours("Topic", "one", cluster="demo", partitions=7))
        api.put(server.named("ConfigMap", "noise"))
        api.compact()
        await told(watches, server, "one", lambda: changed["metadata"]["resourceVersion"])
        assert await server.api.get(CONFIG_MAPS, server.namespace, "noise")
