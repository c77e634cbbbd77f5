"""What a raft driver stands on: a committer, a listener above, a transport to its peers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from moldau_broker.raft.messages import Failure, Peer
from moldau_broker.raft.state import Role
from moldau_broker.raft.store import StoredSnapshot
from moldau_broker.storage.errors import StorageError
from moldau_broker.storage.log import Log
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.schema import Struct


class Committer(Protocol):
    """Makes a log durable and says when (see `storage.group_commit`)."""

    def request(self, log: Log, callback: Callable[[StorageError | None], None]) -> None:
        """Fdatasync `log` in the next round; `callback(error)` runs on the owner's thread afterwards."""
        ...


class Listener(Protocol):
    """The state machine above the log. Called on the owner's thread, never from within one another."""

    def on_commit(self, high_watermark: int) -> None:
        """Everything below `high_watermark` is committed and may be applied.

        On a follower it is on the own disk, too; a leader may be told so while its own fsync is under way.
        """
        ...

    def on_role(self, role: Role, epoch: int) -> None:
        """The node's role changed."""
        ...

    def on_leader(self, leader_id: int, epoch: int) -> None:
        """Another leader, or `NO_LEADER`, is in force."""
        ...

    def on_snapshot(self, snapshot: StoredSnapshot) -> None:
        """The log was replaced by a downloaded snapshot: begin anew from it; what was applied is in it."""
        ...


class Transport(Protocol):
    """Carries requests to peers."""

    def send(
        self, to: Peer, key: ApiKey, request: Struct, on_answer: Callable[[Struct | Failure], None]
    ) -> None:
        """Send soon; `on_answer` runs later on the owner's thread, once, with the response or why there is none."""
        ...


class NoPeers:
    """The transport of a node that has none: nobody answers, and the core gives up by itself."""

    def send(
        self, to: Peer, key: ApiKey, request: Struct, on_answer: Callable[[Struct | Failure], None]
    ) -> None:
        """Forget it."""
