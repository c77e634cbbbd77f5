"""A pod's status as a node's state, in words. Pure."""

from __future__ import annotations

from typing import Any, Final

from moldau_operator.seams.api_server import Object
from moldau_operator.seams.platform import NodeState
from moldau_operator.specs.objects import CONTAINER

_NEEDS_A_PERSON: Final = frozenset(
    {
        "CreateContainerConfigError",
        "CreateContainerError",
        "ErrImageNeverPull",
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
    }
)
_CRASHING: Final = "CrashLoopBackOff"


def pod_state(pod: Object | None) -> tuple[NodeState, bool]:
    """A node's state, and whether it will not get better by waiting."""
    if pod is None:
        return NodeState.DOWN, False
    if "deletionTimestamp" in pod["metadata"]:
        return NodeState.DRAINING, False
    if _condition(pod, "Ready").get("status") == "True":
        return NodeState.SERVING, False
    reason = _waiting(pod).get("reason")
    if reason in _NEEDS_A_PERSON:
        return NodeState.DOWN, True
    if reason == _CRASHING:
        return NodeState.DOWN, False
    return NodeState.STARTING, False


def pod_message(pod: Object | None) -> str:
    """Why a node is not serving, in words; empty when it is."""
    if pod is None:
        return "has no pod"
    if pod_state(pod)[0] is NodeState.SERVING:
        return ""
    waiting = _waiting(pod)
    if waiting.get("reason") == _CRASHING:
        ended = (_container(pod).get("lastState") or {}).get("terminated") or {}
        return f"crashes at every start (exit status {ended.get('exitCode', 'unknown')}); see its log"
    if waiting.get("reason") in _NEEDS_A_PERSON:
        return f"cannot start: {waiting['reason']}: {waiting.get('message', '')}".rstrip(": ")
    scheduled = _condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        return f"finds no machine: {scheduled.get('message', scheduled.get('reason', ''))}"
    return ""


def _condition(pod: Object, kind: str) -> dict[str, Any]:
    conditions = pod.get("status", {}).get("conditions") or []
    return next((one for one in conditions if one.get("type") == kind), {})


def _container(pod: Object) -> dict[str, Any]:
    statuses = pod.get("status", {}).get("containerStatuses") or []
    return next((one for one in statuses if one.get("name") == CONTAINER), {})


def _waiting(pod: Object) -> dict[str, Any]:
    return (_container(pod).get("state") or {}).get("waiting") or {}
