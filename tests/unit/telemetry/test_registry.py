"""A page is made when somebody asks, at most once a second, in slices, for everybody who asks meanwhile."""

import asyncio
import gzip
import time

import pytest

from moldau_broker.telemetry.registry import Telemetry


async def test_telemetry_renders_at_most_once_a_second():
    """Within a second the same page is given again; afterwards the emitters are asked anew."""
    now = [5000]
    asked = []
    telemetry = Telemetry(lambda: now[0])

    def emit(exposition):
        asked.append(now[0])
        exposition.add("process_open_fds", len(asked))

    telemetry.add(emit)
    assert asked == []
    first = await telemetry.page()
    now[0] += 999
    assert await telemetry.page() is first
    now[0] += 1
    assert b"process_open_fds 2\n" in b"".join((await telemetry.page()).pieces)
    assert asked == [5000, 6000]
    assert telemetry.renderings == 2


async def test_telemetry_without_emitters_is_an_empty_page():
    """Nothing to show is not an error."""
    assert (await Telemetry(lambda: 0).page()).pieces == ()


async def test_telemetry_scrapers_at_the_same_time_share_a_rendering():
    """Twenty who ask while a page is made get that page, and its compressed form is made once too."""
    telemetry = Telemetry(lambda: 0)

    def emit(exposition):
        for number in range(50):
            exposition.add("moldau_log_lines_total", number, str(number))
            time.sleep(0.001)
            yield

    telemetry.add(emit)
    pages = await asyncio.gather(*(telemetry.page() for _ in range(20)))
    assert telemetry.renderings == 1
    assert len(set(map(id, pages))) == 1
    compressed = await asyncio.gather(*(page.gzipped() for page in pages))
    assert len(set(map(id, compressed))) == 1
    assert gzip.decompress(b"".join(compressed[0])) == b"".join(pages[0].pieces)


async def test_telemetry_lets_the_loop_go_on_while_it_renders():
    """A tenth of a second of rendering is interrupted many times: a ticking task ticks on."""
    telemetry = Telemetry(lambda: 0)

    def emit(exposition):
        for _ in range(100):
            time.sleep(0.001)
            yield

    telemetry.add(emit)
    rendering = asyncio.create_task(telemetry.page())
    ticks = 0
    while not rendering.done():
        await asyncio.sleep(0)
        ticks += 1
    assert ticks > 10


async def test_telemetry_visitor_who_goes_away_stops_nobody_else():
    """A scrape that is cancelled does not cancel the page that others wait for."""
    telemetry = Telemetry(lambda: 0)

    def emit(exposition):
        for _ in range(20):
            time.sleep(0.001)
            yield
        exposition.add("process_open_fds", 1)

    telemetry.add(emit)
    first, second = (asyncio.create_task(telemetry.page()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert b"process_open_fds 1\n" in b"".join((await second).pieces)


async def test_telemetry_goes_on_after_an_emitter_failed():
    """The scrape that met it fails; after a second the next one tries again."""
    now = [0]
    telemetry = Telemetry(lambda: now[0])
    failures = [True]

    def emit(exposition):
        if failures.pop() if failures else False:
            raise RuntimeError("not now")
        exposition.add("process_open_fds", 1)

    telemetry.add(emit)
    with pytest.raises(RuntimeError):
        await telemetry.page()
    now[0] += 1000
    assert b"process_open_fds 1\n" in b"".join((await telemetry.page()).pieces)


async def test_telemetry_asks_for_more_emitters_once():
    """What is expensive to build is built by the first scrape."""
    now = [0]
    telemetry = Telemetry(lambda: now[0])
    built = []

    async def more():
        built.append(1)

        def emit(exposition):
            exposition.add("process_open_fds", 4)

        return [emit]

    await telemetry.page()
    telemetry.more = more
    for _ in range(2):
        now[0] += 1000
        assert b"process_open_fds 4\n" in b"".join((await telemetry.page()).pieces)
    assert built == [1]
