"""Statuses to and from the status subresource. Pure.

What the definitions' schemas have room for is exactly what is written: a field they do not know would be dropped by
the server, and written again with every pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moldau_operator.resources.balance_status import read_balance_status, write_balance
from moldau_operator.resources.conditions import Condition, ConditionStatus, ConditionType, Reason
from moldau_operator.resources.meta import DeletionPolicy
from moldau_operator.resources.status import (
    Blocked,
    ClusterStatus,
    GroupStatus,
    PendingReset,
    RolloutStatus,
    TopicStatus,
)
from moldau_operator.seams.status_store import Status

Json = dict[str, Any]


def write_status(status: Status) -> Json:
    """A status as the API server keeps it."""
    found: Json = {
        "observedGeneration": status.observed_generation,
        "conditions": [_write_condition(one) for one in status.conditions],
    }
    match status:
        case ClusterStatus():
            found |= {
                "clusterId": status.cluster_id,
                "nodeIdBases": dict(status.node_id_bases),
                "nodes": [{"id": node} for node in status.node_ids],
                "managedSettings": list(status.broker_settings),
            }
            if status.rollout is not None:
                found["rollout"] = _write_rollout(status.rollout)
            if status.balance is not None:
                found["balance"] = write_balance(status.balance)
        case TopicStatus():
            found |= {
                "topicName": status.topic_name,
                "deletionPolicy": status.deletion_policy.value,
                "topicId": status.topic_id,
                "partitions": status.partitions,
                "replicas": status.replicas,
                "underReplicated": status.under_replicated,
                "owned": status.owned,
                "settledGeneration": status.settled_generation,
                "lostTo": status.lost_to,
                "lostGeneration": status.lost_generation,
            }
        case GroupStatus():
            found |= {
                "groupId": status.group_id,
                "deletionPolicy": status.deletion_policy.value,
                "state": status.state,
                "members": status.members,
                "topics": _write_lags(status),
                "lastResetId": status.last_reset_id,
            }
            if status.lag is not None:
                found["lag"] = status.lag
            if status.lag_seconds is not None:
                found["lagSeconds"] = status.lag_seconds
            if status.pending_reset is not None:
                offsets = {
                    topic: {str(partition): offset for partition, offset in places.items()}
                    for topic, places in status.pending_reset.offsets.items()
                }
                found["pendingReset"] = {"id": status.pending_reset.id, "offsets": offsets}
    return found


def read_cluster_status(found: Json | None) -> ClusterStatus | None:
    """A Cluster's status; None where none was written yet."""
    if not found or "conditions" not in found:
        return None
    return ClusterStatus(
        **_read_common(found),
        cluster_id=str(found.get("clusterId", "")),
        node_id_bases={str(pool): int(base) for pool, base in (found.get("nodeIdBases") or {}).items()},
        node_ids=tuple(sorted(int(node["id"]) for node in found.get("nodes") or ())),
        broker_settings=tuple(found.get("managedSettings") or ()),
        rollout=_read_rollout(found.get("rollout")),
        balance=read_balance_status(found.get("balance")),
    )


def read_topic_status(found: Json | None) -> TopicStatus | None:
    """A Topic's status; None where none was written yet."""
    if not found or "conditions" not in found:
        return None
    return TopicStatus(
        **_read_common(found),
        topic_name=str(found.get("topicName", "")),
        deletion_policy=_policy(found),
        topic_id=str(found.get("topicId", "")),
        partitions=int(found.get("partitions", 0)),
        replicas=int(found.get("replicas", 0)),
        under_replicated=int(found.get("underReplicated", 0)),
        owned=bool(found.get("owned", False)),
        settled_generation=int(found.get("settledGeneration", -1)),
        lost_to=str(found.get("lostTo", "")),
        lost_generation=int(found.get("lostGeneration", -1)),
    )


def read_group_status(found: Json | None) -> GroupStatus | None:
    """A ConsumerGroup's status; None where none was written yet."""
    if not found or "conditions" not in found:
        return None
    pending = found.get("pendingReset")
    return GroupStatus(
        **_read_common(found),
        group_id=str(found.get("groupId", "")),
        deletion_policy=_policy(found),
        state=str(found.get("state", "")),
        members=int(found.get("members", 0)),
        lag=None if found.get("lag") is None else int(found["lag"]),
        lag_by_topic=_read_lags(found, "lag"),
        lag_seconds=None if found.get("lagSeconds") is None else int(found["lagSeconds"]),
        seconds_by_topic=_read_lags(found, "lagSeconds"),
        last_reset_id=str(found.get("lastResetId", "")),
        pending_reset=None if not pending else _read_reset(pending),
    )


def _write_lags(status: GroupStatus) -> list[Json]:
    """What is known of each topic; one of which nothing is known is not named."""
    found: dict[str, Json] = {}
    for name, lag in status.lag_by_topic.items():
        found.setdefault(name, {"topic": name})["lag"] = lag
    for name, seconds in status.seconds_by_topic.items():
        found.setdefault(name, {"topic": name})["lagSeconds"] = seconds
    return [found[name] for name in sorted(found)]


def _read_lags(found: Json, field: str) -> dict[str, int]:
    return {str(one["topic"]): int(one[field]) for one in found.get("topics") or () if field in one}


def _read_common(found: Json) -> Json:
    return {
        "observed_generation": int(found.get("observedGeneration", 0)),
        "conditions": tuple(
            condition
            for one in found.get("conditions") or ()
            if (condition := _read_condition(one)) is not None
        ),
    }


def _write_rollout(one: RolloutStatus) -> Json:
    found: Json = {"total": one.total, "updated": one.updated, "reason": one.reason}
    if one.current is not None:
        found["current"] = one.current
    if one.since:
        found["since"] = one.since
    if one.blocked_by is not None:
        blocked = one.blocked_by
        found["blockedBy"] = {"node": blocked.node, "reason": blocked.reason, "since": blocked.since}
    return found


def _read_rollout(found: Json | None) -> RolloutStatus | None:
    if not found:
        return None
    blocked = found.get("blockedBy")
    return RolloutStatus(
        total=int(found.get("total", 0)),
        updated=int(found.get("updated", 0)),
        current=None if found.get("current") is None else int(found["current"]),
        reason=str(found.get("reason", "")),
        since=str(found.get("since", "")),
        blocked_by=None
        if not blocked
        else Blocked(
            node=int(blocked.get("node", 0)),
            reason=str(blocked.get("reason", "")),
            since=str(blocked.get("since", "")),
        ),
    )


def _read_reset(found: Mapping[str, Any]) -> PendingReset:
    offsets = {
        str(topic): {int(partition): int(offset) for partition, offset in places.items()}
        for topic, places in (found.get("offsets") or {}).items()
    }
    return PendingReset(id=str(found.get("id", "")), offsets=offsets)


def _policy(found: Json) -> DeletionPolicy:
    return DeletionPolicy(found.get("deletionPolicy") or DeletionPolicy.RETAIN)


def _write_condition(one: Condition) -> Json:
    return {
        "type": one.type.value,
        "status": one.status.value,
        "reason": one.reason.value,
        "message": one.message,
        "observedGeneration": one.observed_generation,
        "lastTransitionTime": one.last_transition_time,
    }


def _read_condition(one: Json) -> Condition | None:
    """A condition of another version's making is left out."""
    try:
        return Condition(
            type=ConditionType(one["type"]),
            status=ConditionStatus(one["status"]),
            reason=Reason(one["reason"]),
            message=str(one.get("message", "")),
            observed_generation=int(one.get("observedGeneration", 0)),
            last_transition_time=str(one.get("lastTransitionTime", "")),
        )
    except (KeyError, ValueError):
        return None
