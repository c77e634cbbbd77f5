"""What goes into the raft core and what comes out of it, as values. Pure.

Requests and answers of peers are the wire's own message objects; `token` is whatever the driver wants back.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from moldau_broker.raft.snapshot import SnapshotId
from moldau_broker.raft.state import ElectionState, Role
from moldau_broker.wire.apis import ApiKey

if TYPE_CHECKING:
    from moldau_broker.raft.quorum import VoterEndpoint, VoterSet
    from moldau_broker.wire.codec import Buffer
    from moldau_broker.wire.schema import Struct


class Peer(NamedTuple):
    """Whom a request goes to; a bootstrap server, whose id is not known, has `node_id` -1."""

    node_id: int
    host: str
    port: int


class Leader(NamedTuple):
    """Who leads; `node_id` is `NO_LEADER` when nobody is known to."""

    node_id: int
    epoch: int
    endpoints: tuple[VoterEndpoint, ...] = ()


class Failure(Enum):
    """Why no answer came."""

    REFUSED = "refused"
    """No connection could be made: nothing was sent."""
    LOST = "lost"
    """The connection ended while the answer was waited for."""
    TIMED_OUT = "timed out"


# -- in -------------------------------------------------------------------------------------------------------


class LogFlushed(NamedTuple):
    """In: the local log is durable (fdatasynced) below `end_offset`."""

    end_offset: int


class AppendFailed(NamedTuple):
    """In: what was handed out from `base_offset` on is not in the log and left no trace there."""

    base_offset: int


class FlushFailed(NamedTuple):
    """In: the log could not be made durable; what of it survives is unknown until the next start."""

    reason: str


class SaveFailed(NamedTuple):
    """In: the quorum-state file was not written, and nothing after it in that `Ready` was carried out."""


class Truncated(NamedTuple):
    """In: the log was cut and now ends at `end_offset`, durably."""

    end_offset: int


class SnapshotInstalled(NamedTuple):
    """In: the downloaded snapshot is in place, checked whole, and the log is empty at its end."""

    id: SnapshotId
    voters: VoterSet | None


class SnapshotRejected(NamedTuple):
    """In: the downloaded snapshot is damaged or could not be written, and was thrown away."""

    id: SnapshotId


class SnapshotsChanged(NamedTuple):
    """In: these snapshots lie on disk, oldest first; the log begins at `log_start`."""

    ids: tuple[SnapshotId, ...]
    log_start: int


class Request(NamedTuple):
    """In: a peer's or a tool's request of one of the quorum's APIs; answered by an `Answer` with its token."""

    token: Any
    key: ApiKey
    request: Struct


class Answered(NamedTuple):
    """In: the answer to the `Send` with this id."""

    id: int
    response: Struct


class Unanswered(NamedTuple):
    """In: the `Send` with this id got no answer. The core gives up by itself after its request time-out."""

    id: int
    failure: Failure


Event: TypeAlias = (
    LogFlushed
    | AppendFailed
    | FlushFailed
    | SaveFailed
    | Truncated
    | SnapshotInstalled
    | SnapshotRejected
    | SnapshotsChanged
    | Request
    | Answered
    | Unanswered
)


# -- out ------------------------------------------------------------------------------------------------------


class LogBatch(NamedTuple):
    """Out: one batch to append; atomic, so readers see all of its records or none.

    Attributes:
        base_offset: offset of the first record; the batch must land exactly there.
        epoch: the leader epoch it is written in.
        timestamp_ms: of all its records.
        records: (key, value) pairs; metadata records have no key.
        control: whether these are control records, which only the quorum itself reads.
    """

    base_offset: int
    epoch: int
    timestamp_ms: int
    records: tuple[tuple[bytes | None, bytes], ...]
    control: bool

    @property
    def next_offset(self) -> int:
        """Offset after the last record."""
        return self.base_offset + len(self.records)


class Fetched(NamedTuple):
    """Out: whole batches of the leader's, to append verbatim at `base_offset`; checked by the core."""

    base_offset: int
    end_offset: int
    data: Buffer


class Piece(NamedTuple):
    """Out: bytes of a snapshot under download, to write at `position`; with `last` it is complete.

    After the last: check it whole, put it in place, empty the log at its end, and report `SnapshotInstalled`
    (or `SnapshotRejected`).
    """

    id: SnapshotId
    position: int
    data: Buffer
    last: bool


class LogRange(NamedTuple):
    """What of the log belongs into a Fetch answer: whole batches from `from_offset`, nothing at or above `up_to`."""

    from_offset: int
    up_to: int
    max_bytes: int


class SnapshotRange(NamedTuple):
    """What of a snapshot belongs into a FetchSnapshot answer."""

    id: SnapshotId
    position: int
    max_bytes: int


class Answer(NamedTuple):
    """Out: the answer to a `Request`. With `data` the driver reads it and puts it in: `answers.with_*`."""

    token: Any
    response: Struct
    data: LogRange | SnapshotRange | None = None


class Send(NamedTuple):
    """Out: a request to a peer; report `Answered` or `Unanswered` with this id."""

    id: int
    to: Peer
    key: ApiKey
    request: Struct


class Ready(NamedTuple):
    """Out: what to do now, in the order of the fields.

    Attributes:
        election: write and fsync the quorum-state file before anything below; `SaveFailed` if that fails.
        truncate: cut the log here, durably; report `Truncated`.
        batches: append these to the log, then make it durable and report `LogFlushed`.
        fetched: likewise, verbatim.
        piece: of a snapshot under download.
        answers: to requests.
        sends: to peers.
        role: the role in force from here on, if it changed.
        leader: who leads from here on, if that changed.
        high_watermark: offsets below it are committed from here on, if it moved.
        recovered: this node has its voice back: take the mark away that says otherwise.
    """

    election: ElectionState | None = None
    truncate: int | None = None
    batches: tuple[LogBatch, ...] = ()
    fetched: Fetched | None = None
    piece: Piece | None = None
    answers: tuple[Answer, ...] = ()
    sends: tuple[Send, ...] = ()
    role: Role | None = None
    leader: Leader | None = None
    high_watermark: int | None = None
    recovered: bool = False
