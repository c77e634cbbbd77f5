"""GET brokers/{brokerId}/may-stop: would anything be lost or refused if that broker stopped now?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.limits import ADMIN_PARTITIONS_MAX
from moldau_broker.metadata.stopping import Obstacle, Stopping, may_stop
from moldau_broker.server.admin_api.answers import Refused
from moldau_broker.server.admin_api.fields import INT32_MAX, number_of
from moldau_broker.server.admin_api.quorum import describe_quorum

if TYPE_CHECKING:
    from moldau_broker.server.admin_api.node import AdminNode
    from moldau_broker.server.admin_api.routing import Call

VOTER_SILENCE_MS_MAX: Final = 3_000
"""A voter that has not caught up for so long does not count: followers fetch at least twice a second."""


def broker_named(node: AdminNode, call: Call) -> int:
    """The registered broker in the path.

    Raises:
        Refused: no number, or nobody of that id.
    """
    broker_id = number_of(call.names["brokerId"], "brokerId", 0, INT32_MAX)
    if broker_id not in node.broker.metadata.image.brokers:
        raise Refused(ErrorCode.BROKER_ID_NOT_REGISTERED, f"there is no broker {broker_id}")
    return broker_id


async def respond(node: AdminNode, call: Call) -> Any:
    """Yes, or everything that is in the way."""
    call.query.done()
    call.no_body()
    broker_id = broker_named(node, call)
    quorum = await describe_quorum(node)
    image = node.broker.metadata.image
    voters: frozenset[int] = frozenset()
    live: frozenset[int] = frozenset()
    if quorum is not None:
        voters = frozenset(one.node_id for one in quorum.voters)
        live = quorum.live_voters(node.broker.clock.wall_ms(), VOTER_SILENCE_MS_MAX)
    verdict = may_stop(
        image,
        broker_id,
        lambda topic: node.broker.replicas.topic_config(image, topic).min_insync_replicas,
        voters,
        live,
    )
    if quorum is None:
        verdict = verdict._replace(quorum_kept=False)
    return {
        "brokerId": broker_id,
        "mayStop": verdict.allowed,
        "reasons": _reasons(verdict, voters, live, known=quorum is not None),
        "partitionCount": len(verdict.blocked),
        "partitions": [
            {
                "topic": one.topic,
                "partition": one.partition,
                "obstacle": one.obstacle.value,
                "inSyncReplicas": list(one.in_sync),
                "minInSyncReplicas": one.min_in_sync,
            }
            for one in verdict.blocked[:ADMIN_PARTITIONS_MAX]
        ],
        "quorumKept": verdict.quorum_kept,
    }


def _reasons(verdict: Stopping, voters: frozenset[int], live: frozenset[int], *, known: bool) -> list[str]:
    """The verdict in words."""
    reasons = []
    counts = dict.fromkeys(Obstacle, 0)
    for blocked in verdict.blocked:
        counts[blocked.obstacle] += 1
    if counts[Obstacle.ONLY_IN_SYNC_REPLICA]:
        reasons.append(
            f"it has the only in-sync replica of {counts[Obstacle.ONLY_IN_SYNC_REPLICA]} partitions"
        )
    if counts[Obstacle.BELOW_MIN_INSYNC_REPLICAS]:
        count = counts[Obstacle.BELOW_MIN_INSYNC_REPLICAS]
        reasons.append(f"{count} partitions would have fewer in-sync replicas than min.insync.replicas")
    if not known:
        reasons.append("the metadata quorum has no leader now, so nobody knows what it would lose")
    elif not verdict.quorum_kept:
        reasons.append(
            f"the metadata quorum would lose its majority: of its {len(voters)} voters {len(live)} are alive"
        )
    return reasons
