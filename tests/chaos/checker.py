"""Judges a history: what must never happen, found in time linear in its length (but for sorting what is nearly sorted).

Offsets are the order of versions, so nothing has to be searched for. Names follow Jepsen's Kafka workload where it has
one; `group-skip`, `real-time-order` and the regressions are ours. Transactions are not judged here.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from operator import attrgetter, itemgetter
from typing import Final

from tests.chaos.history import NEVER, UNKNOWN, History, Poll

NEVER_ALLOWED: Final = {
    "lost-write": "acknowledged, something behind it was read, it never was",
    "unseen": "acknowledged, and not there when everything had been read to the end",
    "duplicate": "one value at two places",
    "inconsistent-offsets": "two values at one offset, or a value elsewhere than acknowledged",
    "unsent": "a record that nobody sent",
    "failed-but-visible": "refused for certain, and read nevertheless",
    "corrupt": "a record whose bytes are not those that were sent",
    "nonmonotonic-send": "one producer's later record before its earlier one",
    "int-nonmonotonic-poll": "within one poll, an offset not above the one before it",
    "int-poll-skip": "within one poll, a record left out",
    "nonmonotonic-poll": "from poll to poll of one session, an offset not above the one before it",
    "poll-skip": "from poll to poll of one session, a record left out",
    "real-time-order": "sent after another was acknowledged, and stored before it",
    "committed-regress": "a group's position below one that was acknowledged before",
    "group-skip": "a record below a group's position that no member ever got",
    "high-watermark-regress": "an end that one client saw move back",
    "log-start-regress": "a beginning that one client saw move back",
}
ALLOWED: Final = {
    "stale-read": "an end below what had been acknowledged: a deposed leader may still answer",
}
DETAILS_MAX: Final = 20
"""So many of a kind are told in words; all are counted."""

Point = tuple[int, int, int]
"""(invoked, completed, level): whoever begins after it completed must not be below its level."""


@dataclass
class Verdict:
    """What was found, and in how much."""

    counts: dict[str, int] = field(default_factory=dict)
    details: dict[str, list[str]] = field(default_factory=dict)
    sends: int = 0
    acknowledged: int = 0
    unknown: int = 0
    polled: int = 0
    commits: int = 0

    def add(self, kind: str, text: str) -> None:
        """One more of a kind."""
        assert kind in NEVER_ALLOWED or kind in ALLOWED
        self.counts[kind] = self.counts.get(kind, 0) + 1
        told = self.details.setdefault(kind, [])
        if len(told) < DETAILS_MAX:
            told.append(text)

    @property
    def lost(self) -> int:
        return self.counts.get("lost-write", 0) + self.counts.get("unseen", 0)

    @property
    def duplicates(self) -> int:
        return self.counts.get("duplicate", 0)

    @property
    def broken(self) -> dict[str, int]:
        """What must never happen and did."""
        return {kind: count for kind, count in self.counts.items() if kind in NEVER_ALLOWED}

    def __str__(self) -> str:
        lines = [
            (
                f"lost {self.lost} and duplicates {self.duplicates} of {self.acknowledged:,} acknowledged "
                f"({self.sends:,} sent, {self.unknown:,} unknown, {self.polled:,} read, {self.commits:,} commits)"
            )
        ]
        for kind, count in self.counts.items():
            lines.append(f"{kind} x{count}: {(NEVER_ALLOWED | ALLOWED)[kind]}")
            lines += [f"    {text}" for text in self.details[kind]]
        return "\n".join(lines)


class _Places:
    """Which value is where, by everything that was read or acknowledged."""

    def __init__(self, history: History, verdict: Verdict) -> None:
        self.at: dict[str, dict[int, int]] = defaultdict(dict)
        self.of: dict[int, tuple[str, int]] = {}
        self.read_of: set[int] = set()
        self._sorted: dict[str, list[int]] = {}
        for send in history.sends:
            if send.outcome == "ok" and send.offset != UNKNOWN:
                self._put(send.partition, send.offset, send.value, verdict, "acknowledged")
        for poll in history.polls:
            for partition, offset, value in poll.records:
                self.read_of.add(value)
                if self.at[partition].get(offset) != value:
                    self._put(partition, offset, value, verdict, f"read by {poll.consumer}")

    def _put(self, partition: str, offset: int, value: int, verdict: Verdict, how: str) -> None:
        before = self.at[partition].setdefault(offset, value)
        if before != value:
            verdict.add("inconsistent-offsets", f"{partition}@{offset} was {before}, is {value} ({how})")
        place = self.of.setdefault(value, (partition, offset))
        if place != (partition, offset):
            verdict.add("duplicate", f"{value} at {place[0]}@{place[1]} and {partition}@{offset} ({how})")

    def between(self, partition: str, after: int, before: int) -> list[int]:
        """The offsets known to hold a record, strictly between the two."""
        known = self._sorted.get(partition)
        if known is None:
            known = self._sorted[partition] = sorted(self.at[partition])
        return known[bisect_left(known, after + 1) : bisect_left(known, before)]


def check(history: History) -> Verdict:
    """Judge a whole history."""
    verdict = Verdict(sends=len(history.sends), commits=sum(one.outcome == "ok" for one in history.commits))
    for text in history.corrupt:
        verdict.add("corrupt", text)
    places = _Places(history, verdict)
    _check_sends(history, places, verdict)
    _check_order_of_sends(history, places, verdict)
    _check_polls(history.polls, places, verdict)
    _check_groups(history, places, verdict)
    _check_marks(history, verdict)
    return verdict


def _check_sends(history: History, places: _Places, verdict: Verdict) -> None:
    """Every acknowledged value is read where it was acknowledged; every value read was sent and not refused."""
    highest: dict[str, int] = defaultdict(lambda: -1)
    for poll in history.polls:
        verdict.polled += len(poll.records)
        for partition, offset, _ in poll.records:
            if offset > highest[partition]:
                highest[partition] = offset
    sent = set()
    for send in history.sends:
        sent.add(send.value)
        if send.outcome == "info":
            verdict.unknown += 1
        elif send.outcome == "fail":
            if send.value in places.read_of:
                verdict.add("failed-but-visible", f"{send.value} at {places.of[send.value]}")
        else:
            verdict.acknowledged += 1
            if send.value in places.read_of:
                continue
            where = f"{send.value} acknowledged at {send.partition}@{send.offset}"
            if UNKNOWN < send.offset <= highest[send.partition]:
                verdict.add("lost-write", f"{where}, read up to {highest[send.partition]}")
            elif history.drained:
                verdict.add("unseen", f"{where}, the end is {highest[send.partition] + 1}")
    for value in places.read_of - sent:
        verdict.add("unsent", f"{value} at {places.of[value]}")


def _check_order_of_sends(history: History, places: _Places, verdict: Verdict) -> None:
    """A producer's order, and the order of what did not overlap in time."""
    last: dict[tuple[str, str], tuple[int, int]] = {}
    points: dict[str, list[Point]] = defaultdict(list)
    for send in sorted(history.sends, key=attrgetter("invoked")):
        place = places.of.get(send.value)
        if place is None:
            continue
        offset = place[1]
        points[send.partition].append(
            (send.invoked, send.completed if send.outcome == "ok" else NEVER, offset)
        )
        if send.outcome != "ok":
            continue
        key = (send.producer, send.partition)
        before = last.get(key)
        if before is not None and offset < before[0]:
            verdict.add(
                "nonmonotonic-send",
                f"{send.producer} sent {before[1]} (@{before[0]}), then {send.value} (@{offset}) to {send.partition}",
            )
        last[key] = (offset, send.value)
    for partition, all_points in points.items():
        for level, bar in _regressions(all_points, all_points, strict=True):
            verdict.add("real-time-order", f"{partition}@{level} was sent after @{bar} had been acknowledged")


def _check_polls(polls: Iterable[Poll], places: _Places, verdict: Verdict) -> None:
    """Each session goes forward and leaves nothing out, within a poll and from poll to poll."""
    positions: dict[tuple[str, int], dict[str, int]] = defaultdict(dict)
    for poll in sorted(polls, key=attrgetter("invoked")):
        position = positions[poll.consumer, poll.session]
        within = set()
        for partition, offset, _ in poll.records:
            before = position.get(partition)
            if before is not None and offset != before + 1:
                inner = "int-" if partition in within else ""
                who = f"{poll.consumer} session {poll.session} {partition}: {before}, then {offset}"
                if offset <= before:
                    verdict.add(f"{inner}nonmonotonic-poll", who)
                elif skipped := places.between(partition, before, offset):
                    verdict.add(f"{inner}poll-skip", f"{who}, without {skipped[:5]} ({len(skipped)})")
            position[partition] = offset
            within.add(partition)


def _check_groups(history: History, places: _Places, verdict: Verdict) -> None:
    """A group's position only goes forward, and never past what no member got."""
    points: dict[tuple[str, str], list[Point]] = defaultdict(list)
    for commit in history.commits:
        if commit.outcome == "ok":
            points[commit.group, commit.partition].append((commit.invoked, commit.completed, commit.offset))
    for read in history.committed:
        points[read.group, read.partition].append((read.invoked, read.completed, read.offset))
    got: dict[tuple[str, str], set[int]] = defaultdict(set)
    for poll in history.polls:
        if poll.group:
            for partition, offset, _ in poll.records:
                got[poll.group, partition].add(offset)
    for (group, partition), all_points in points.items():
        for level, bar in _regressions(all_points, all_points):
            verdict.add("committed-regress", f"{group} in {partition}: {level}, after {bar} was acknowledged")
        position = max(point[2] for point in all_points)
        for offset in places.between(partition, -1, position):
            if offset not in got[group, partition]:
                verdict.add("group-skip", f"{group} in {partition} is at {position}, nobody got {offset}")


def _check_marks(history: History, verdict: Verdict) -> None:
    """A client never sees an end or a beginning move back; an end below what was acknowledged is counted."""
    lows: dict[tuple[str, str], list[Point]] = defaultdict(list)
    highs: dict[tuple[str, str], list[Point]] = defaultdict(list)
    ends: dict[str, list[Point]] = defaultdict(list)
    for marks in history.marks:
        lows[marks.client, marks.partition].append((marks.invoked, marks.completed, marks.low))
        highs[marks.client, marks.partition].append((marks.invoked, marks.completed, marks.high))
        ends[marks.partition].append((marks.invoked, marks.completed, marks.high))
    for kind, seen in (("log-start-regress", lows), ("high-watermark-regress", highs)):
        for (client, partition), points in seen.items():
            for level, bar in _regressions(points, points):
                verdict.add(kind, f"{client} saw {bar}, then {level} in {partition}")
    acknowledged: dict[str, list[Point]] = defaultdict(list)
    for send in history.sends:
        if send.outcome == "ok" and send.offset != UNKNOWN and send.partition in ends:
            acknowledged[send.partition].append((send.invoked, send.completed, send.offset + 1))
    for partition, points in ends.items():
        for level, bar in _regressions(points, acknowledged[partition]):
            verdict.add("stale-read", f"{partition}: end {level} after {bar - 1} was acknowledged")


def _regressions(
    points: list[Point], done: list[Point], *, strict: bool = False
) -> Iterable[tuple[int, int]]:
    """(level, bar) of each point below, or with `strict` not above, the highest level of `done` before it began."""
    completions = sorted(((point[1], point[2]) for point in done if point[1] != NEVER), key=itemgetter(0))
    upcoming, bar, count = 0, -1, len(completions)
    for invoked, _, level in sorted(points, key=itemgetter(0)):
        while upcoming < count and completions[upcoming][0] < invoked:
            bar = max(bar, completions[upcoming][1])
            upcoming += 1
        if level < bar or (strict and level == bar):
            yield level, bar
