"""The live view fits every terminal, and shows first what matters."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from moldau_cli.live import Rates, draw
from moldau_cli.output import duration
from moldau_operator.local.snapshot import (
    EventLine,
    GroupLine,
    NodeLine,
    PartitionsLine,
    QuorumLine,
    Snapshot,
    TopicLine,
    VoterLine,
)


def snapshot(topics: int = 2, groups: int = 1, state: str = "ready", nodes: int = 1) -> Snapshot:
    voters = tuple(VoterLine(id=number, lag=number * 1_000) for number in range(nodes))
    return Snapshot(
        cluster="demo",
        state=state,
        message="m" * 200,
        folder="/var/lib/somebody/moldau/demo",
        source="f.yaml",
        started_ms=0,
        bootstrap="127.0.0.1:9092",
        nodes=tuple(
            NodeLine(
                id=number,
                pid=4711 + number,
                kafka=f"127.0.0.1:{9092 + number}",
                http="127.0.0.1:8092",
                state="serving" if number != 1 else "recovering",
                message="a " * 99 if number == 0 else "",
                restarts=number,
                roles=("broker", "controller"),
                leaders=1_000,
                replicas=2_000,
                in_sync=1_999,
            )
            for number in range(nodes)
        ),
        partitions=PartitionsLine(total=3_000, under_replicated=12, offline=1),
        quorum=QuorumLine(leader=0, epoch=12, voters=voters),
        topics=tuple(
            TopicLine(
                name=f"events-of-region-{n}", partitions=6, replicas=1, state="ready", records=10**9 + n
            )
            for n in range(topics)
        ),
        groups=tuple(
            GroupLine(id=f"team-{n}", state="Stable", members=3, lag=12_345, budget=10) for n in range(groups)
        ),
        problems=("Topic a: " + "no " * 80,),
        events=tuple(EventLine(at_ms=n, text="something happened " * 9) for n in range(50)),
    )


def lines(shown: Snapshot, width: int, height: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None, force_terminal=True)
    console.print(draw(shown, {}, width, height, 60))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().rstrip("\n").split("\n")


@pytest.mark.parametrize("size", [(80, 24), (100, 30), (140, 45), (200, 60), (60, 24)])
@pytest.mark.parametrize("topics", [0, 2, 40])
@pytest.mark.parametrize("groups", [0, 1, 40])
@pytest.mark.parametrize("nodes", [1, 3])
def test_the_view_fits(size: tuple[int, int], topics: int, groups: int, nodes: int) -> None:
    """Never wider nor higher than the terminal, and the last line says how to stop."""
    drawn = lines(snapshot(topics, groups, nodes=nodes), *size)
    assert len(drawn) <= size[1]
    assert max(map(len, drawn)) <= size[0]
    assert drawn[-1].startswith("Ctrl-C stops")


def test_what_does_not_fit_is_counted() -> None:
    """With the command that lists it."""
    text = "\n".join(lines(snapshot(40, 40), 80, 24))
    assert "more topics; see: moldau topic list" in text
    assert "more groups; see: moldau group list" in text


def test_states_are_shown_whole_on_a_narrow_terminal() -> None:
    """Names and messages give way first."""
    text = "\n".join(lines(snapshot(), 80, 24))
    assert "● ready " in text
    assert "● serving " in text


def test_three_nodes_show_what_each_has_on_a_narrow_terminal() -> None:
    """Who leads the quorum, how many partitions each leads and has in sync, and the pid to try it on."""
    text = "\n".join(lines(snapshot(nodes=3), 80, 24))
    assert "● serving      leader   1,000   1,999/2,000   9092   4711" in text
    assert "● recovering   voter" in text
    assert "3,000 partitions: 1 without a leader, 12 under-replicated" in text


def test_stopping_is_said() -> None:
    """With what a second Ctrl-C does."""
    assert "Ctrl-C again stops at once" in lines(snapshot(state="stopping"), 80, 24)[-1]


def test_rates_are_records_per_second_between_looks() -> None:
    """An idle topic goes back to zero after a while."""
    rates = Rates()

    def look(records: int, now: float) -> float:
        topic = TopicLine(name="t", partitions=1, replicas=1, state="ready", records=records)
        return rates.update([topic], now).get("t", 0.0)

    assert [look(0, 0), look(100, 2), look(100, 3), look(100, 6)] == [0.0, 50.0, 50.0, 0.0]


@pytest.mark.parametrize(
    ("seconds", "words"), [(5, "5 s"), (200, "3 min 20 s"), (15_000, "4 h 10 min"), (183_600, "2 d 3 h")]
)
def test_durations_have_two_units(seconds: int, words: str) -> None:
    """Enough to know how long it runs."""
    assert duration(seconds) == words
