"""What a node remembers while it is follower, candidate or leader; gone with the role. Pure.

All times are monotonic milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from moldau_broker.raft.messages import Peer, Request
from moldau_broker.raft.progress import Progress, Replica
from moldau_broker.raft.quorum import VoterEndpoint, VoterKey
from moldau_broker.raft.snapshot import SnapshotId
from moldau_broker.wire.apis import ApiKey

NEVER: Final = 2**62


@dataclass(slots=True)
class Download:
    """A snapshot on its way."""

    id: SnapshotId
    position: int = 0
    installing: bool = False


@dataclass(slots=True)
class Following:
    """A follower's view of its leader.

    Attributes:
        leader: where it is asked.
        deadline_ms: without an answer until then, an election is asked for.
        heard: it has answered a Fetch in this epoch.
        suspect: the connection to it was lost, or a majority was asked whether it is gone.
        ask_ms: when a voter asks for an election because it suspects the leader.
        download: the snapshot on its way, if the log begins too late for us.
        update_ms: when the own entry in the voter set is looked at next.
        seen_end: where the leader's log was seen to end, once in this epoch and since this process began; -1: never.
    """

    leader: Peer
    deadline_ms: int
    heard: bool = False
    suspect: bool = False
    ask_ms: int = NEVER
    download: Download | None = None
    update_ms: int = NEVER
    seen_end: int = -1


@dataclass(slots=True)
class Campaign:
    """An election, or the question whether to hold one.

    Attributes:
        deadline_ms: it is given up then.
        granted, rejected: who answered.
        retry_ms: voters whose request failed, and when they are asked again.
        lost: a majority is out of reach; the deadline is the back-off.
    """

    deadline_ms: int
    granted: set[VoterKey] = field(default_factory=set)
    rejected: set[VoterKey] = field(default_factory=set)
    retry_ms: dict[VoterKey, int] = field(default_factory=dict)
    lost: bool = False


@dataclass(slots=True)
class WaitingFetch:
    """A Fetch that has nothing to be told yet."""

    token: Any
    replica: VoterKey
    offset: int
    high_watermark: int
    max_bytes: int
    deadline_ms: int


@dataclass(slots=True)
class VoterChange:
    """A change of the voter set whose commit somebody waits for."""

    token: Any
    key: ApiKey
    end_offset: int
    deadline_ms: int


@dataclass(slots=True)
class NewVoter:
    """A node that is to become a voter, and is asked first which levels of kraft.version it can run.

    Attributes:
        request: the AddRaftVoter request.
        key, endpoints: who it is, and where it listens.
        deadline_ms: whoever asked for it waits no longer.
    """

    request: Request
    key: VoterKey
    endpoints: tuple[VoterEndpoint, ...]
    deadline_ms: int


@dataclass(slots=True)
class Leading:
    """A leader's view of its epoch.

    Attributes:
        progress: durable ends of the voters.
        began_ms: when the epoch began.
        replicas: everyone who fetches, by id and directory.
        waiting: fetches with nothing to tell yet.
        begin_ms: when each voter that does not fetch is told of this epoch next.
        newcomer: who is to become a voter once it has said what it can run.
        change: the voter change somebody waits for.
    """

    progress: Progress
    began_ms: int
    replicas: dict[VoterKey, Replica] = field(default_factory=dict)
    waiting: list[WaitingFetch] = field(default_factory=list)
    begin_ms: dict[VoterKey, int] = field(default_factory=dict)
    newcomer: NewVoter | None = None
    change: VoterChange | None = None
