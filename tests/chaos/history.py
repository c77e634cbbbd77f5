"""What clients did and saw: operations with the time they were begun and answered, and their file format.

An operation is *ok* (answered), *fail* (refused for certain: it has no effect) or *info* (nobody knows: a time-out, a
lost connection, NOT_LEADER_OR_FOLLOWER). Times are nanoseconds of one machine's monotonic clock. Values are unique
over all sends of a history, so that every record tells which send it came from.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, NamedTuple

Outcome = Literal["ok", "fail", "info"]
UNKNOWN: Final = -1
"""The offset of a send whose answer named none."""
NEVER: Final = 0
"""The time of an answer that did not come."""


class Send(NamedTuple):
    """One record given to a producer."""

    producer: str
    partition: str
    value: int
    invoked: int
    completed: int
    outcome: Outcome
    offset: int = UNKNOWN


class Poll(NamedTuple):
    """Records a consumer got at once, as (partition, offset, value), in the order it got them.

    `session` changes whenever the consumer may begin anew: at an assignment, a seek. `group` is "" under assign.
    """

    consumer: str
    session: int
    group: str
    invoked: int
    completed: int
    records: list[tuple[str, int, int]]


class Commit(NamedTuple):
    """A group's position in a partition, written by one of its members."""

    group: str
    partition: str
    offset: int
    invoked: int
    completed: int
    outcome: Outcome


class Committed(NamedTuple):
    """A group's position in a partition, as somebody read it."""

    group: str
    partition: str
    offset: int
    invoked: int
    completed: int


class Marks(NamedTuple):
    """Log start and high watermark, as one client read them from the leader it knew."""

    client: str
    partition: str
    low: int
    high: int
    invoked: int
    completed: int


Operation = Send | Poll | Commit | Committed | Marks
KINDS: Final[dict[str, type[Operation]]] = {
    kind.__name__.lower(): kind for kind in (Send, Poll, Commit, Committed, Marks)
}


@dataclass
class History:
    """Everything that happened in a run. `drained`: at the end all partitions were read to their ends."""

    sends: list[Send] = field(default_factory=list)
    polls: list[Poll] = field(default_factory=list)
    commits: list[Commit] = field(default_factory=list)
    committed: list[Committed] = field(default_factory=list)
    marks: list[Marks] = field(default_factory=list)
    corrupt: list[str] = field(default_factory=list)
    """Records whose bytes are not those that were sent, in words."""
    drained: bool = False

    def operations(self) -> Iterable[Operation]:
        """All of them, kind by kind."""
        yield from self.sends
        yield from self.polls
        yield from self.commits
        yield from self.committed
        yield from self.marks

    def write(self, path: Path) -> None:
        """As lines of JSON: the kind, then its fields; the first line says whether it was drained."""
        with path.open("w") as file:
            file.write(json.dumps({"drained": self.drained, "corrupt": self.corrupt}) + "\n")
            for one in self.operations():
                file.write(json.dumps([type(one).__name__.lower(), *one]) + "\n")

    @classmethod
    def read(cls, path: Path) -> History:
        """What `write` wrote."""
        with path.open() as file:
            history = cls(**json.loads(next(file)))
            lists = {
                Send: history.sends,
                Poll: history.polls,
                Commit: history.commits,
                Committed: history.committed,
                Marks: history.marks,
            }
            for line in file:
                kind, *fields = json.loads(line)
                operation = KINDS[kind](*fields)
                lists[type(operation)].append(operation)  # type: ignore[attr-defined]
            for at, poll in enumerate(history.polls):
                history.polls[at] = poll._replace(records=[(p, o, v) for p, o, v in poll.records])
        return history
