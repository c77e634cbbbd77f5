"""The metadata quorum as the admin API shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from moldau_broker.server.admin_api.node import AdminNode


class QuorumReplica(NamedTuple):
    """A voter or an observer; `last_caught_up_ms` is wall-clock time, None where the leader does not know."""

    node_id: int
    log_end_offset: int | None
    last_caught_up_ms: int | None


class Quorum(NamedTuple):
    """The quorum as its leader sees it."""

    leader_id: int
    leader_epoch: int
    high_watermark: int
    voters: tuple[QuorumReplica, ...]
    observers: tuple[QuorumReplica, ...] = ()

    @property
    def leader_end(self) -> int | None:
        """Where the leader's log ends."""
        return next((one.log_end_offset for one in self.voters if one.node_id == self.leader_id), None)

    def live_voters(self, now_ms: int, silence_ms_max: int) -> frozenset[int]:
        """The leader, and who has caught up with it not longer than `silence_ms_max` ago."""
        return frozenset(
            one.node_id
            for one in self.voters
            if one.node_id == self.leader_id
            or (one.last_caught_up_ms is not None and now_ms - one.last_caught_up_ms <= silence_ms_max)
        )


async def describe_quorum(node: AdminNode) -> Quorum | None:
    """The quorum, None while it has no leader."""
    broker = node.broker
    controller = broker.controller
    if not controller.is_active:
        return None
    alone = QuorumReplica(broker.node_id, controller.high_watermark, broker.clock.wall_ms())
    return Quorum(broker.node_id, controller.leader_epoch, controller.high_watermark, (alone,))
