"""What a rolling change is doing now, and what it waits for, in words. Pure: no I/O, no clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from moldau_operator.names import counted
from moldau_operator.resources.status import Blocked, RolloutStatus
from moldau_operator.seams.platform import NodeSpec, NodeState, ObservedNode, RestartNode


def outdated_nodes(wanted: Sequence[NodeSpec], by_id: Mapping[int, ObservedNode]) -> list[int]:
    """The nodes that run something else than they should, by id."""
    return [
        node.node_id
        for node in wanted
        if node.node_id in by_id and by_id[node.node_id].running not in {None, node.revision}
    ]


def describe_rollout(
    wanted: Sequence[NodeSpec],
    by_id: Mapping[int, ObservedNode],
    restarts: Sequence[RestartNode],
    waiting: str,
    old: RolloutStatus | None,
) -> RolloutStatus | None:
    """The rolling change as it stands; None when none is under way.

    It begins with the first node that is out of date and ends when all of them serve what they should.

    Args:
        wanted: the declared nodes.
        restarts: what the plan is about to do.
        waiting: for what the cluster has to do first, in words; empty when it is only about nodes.
        old: of the last look.
    """
    present = [by_id[node.node_id] for node in wanted if node.node_id in by_id]
    outdated = outdated_nodes(wanted, by_id)
    missing = [node for node in present if node.state is not NodeState.SERVING]
    if not outdated and (old is None or not missing):
        return None
    total = len(wanted)
    found = RolloutStatus(
        total=total,
        updated=sum(node.node_id not in outdated and node.state is NodeState.SERVING for node in present),
        since=old.since if old is not None else "",
    )
    if restarts:
        node = restarts[0].node_id
        words = f"restarting node {node}: {restarts[0].reason}"
        return replace(found, current=node, reason=words)
    if missing:
        node = missing[0].node_id
        words = f"node {node} is {missing[0].state}"
        words += f": {missing[0].message}" if missing[0].message else ""
        return blocked(replace(found, current=node), node, words, old)
    first = outdated[0]
    return blocked(found, first, waiting or f"{counted(len(outdated), 'node')} left to restart", old)


def blocked(
    rollout: RolloutStatus, node: int, reason: str, old: RolloutStatus | None, since: str = ""
) -> RolloutStatus:
    """The rollout waits for a node; `since` is kept as long as it is the same node's turn."""
    before = old.blocked_by if old is not None else None
    if before is not None and before.node == node:
        since = before.since
    return replace(rollout, reason=reason, blocked_by=Blocked(node=node, reason=reason, since=since))


def stamped(rollout: RolloutStatus | None, now: str) -> RolloutStatus | None:
    """With the time at which it began, and its wait, where they have just begun; `now` is RFC 3339."""
    if rollout is None:
        return None
    rollout = replace(rollout, since=rollout.since or now)
    if rollout.blocked_by is None or rollout.blocked_by.since:
        return rollout
    return replace(rollout, blocked_by=replace(rollout.blocked_by, since=now))
