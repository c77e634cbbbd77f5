"""One member of a classic group. Pure."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from moldau_broker.base.deferred import Deferred
    from moldau_broker.wire.messages.join_group import JoinGroupResponse
    from moldau_broker.wire.messages.sync_group import SyncGroupResponse

NO_MEMBER_ID: Final = ""
"""What a client sends that has no member id yet."""


class Protocol(NamedTuple):
    """An assignor a member offers, with the member's subscription in that assignor's format."""

    name: str
    metadata: bytes


class Member:
    """What the coordinator knows of a member.

    Attributes:
        member_id: given by the coordinator; static members get a new one each time they start.
        instance_id: `group.instance.id` of a static member (KIP-345), else None.
        client_id, client_host: as first seen; a replaced static member keeps those of its predecessor, as in Kafka.
        rebalance_timeout_ms: how long the others wait for this member to rejoin.
        session_timeout_ms: how long it may stay silent.
        protocols: what it can speak, best first.
        assignment: opaque bytes from the leader; empty while there is none.
        awaiting_join, awaiting_sync: the parked request, or None.
        is_new: it has not seen a generation yet, so it cannot send heartbeats.
    """

    __slots__ = (
        "assignment",
        "awaiting_join",
        "awaiting_sync",
        "client_host",
        "client_id",
        "instance_id",
        "is_new",
        "member_id",
        "protocols",
        "rebalance_timeout_ms",
        "session_timeout_ms",
    )

    def __init__(
        self,
        member_id: str,
        *,
        instance_id: str | None,
        client_id: str,
        client_host: str,
        rebalance_timeout_ms: int,
        session_timeout_ms: int,
        protocols: tuple[Protocol, ...],
        assignment: bytes = b"",
    ) -> None:
        self.member_id = member_id
        self.instance_id = instance_id
        self.client_id = client_id
        self.client_host = client_host
        self.rebalance_timeout_ms = rebalance_timeout_ms
        self.session_timeout_ms = session_timeout_ms
        self.protocols = protocols
        self.assignment = assignment
        self.awaiting_join: Deferred[JoinGroupResponse] | None = None
        self.awaiting_sync: Deferred[SyncGroupResponse] | None = None
        self.is_new = False

    def metadata(self, protocol_name: str | None) -> bytes:
        """The subscription under that protocol, which the member must speak."""
        for protocol in self.protocols:
            if protocol.name == protocol_name:
                return protocol.metadata
        raise AssertionError(f"member {self.member_id} does not speak {protocol_name!r}")

    def vote(self, candidates: Collection[str]) -> str:
        """The candidate this member likes best; it must speak one."""
        for protocol in self.protocols:
            if protocol.name in candidates:
                return protocol.name
        raise AssertionError(f"member {self.member_id} speaks none of {sorted(candidates)}")

    @property
    def heartbeat_satisfied(self) -> bool:
        """A member with a parked request is alive as far as we know; a new one may still be dropped."""
        return not self.is_new and (self.awaiting_join is not None or self.awaiting_sync is not None)
