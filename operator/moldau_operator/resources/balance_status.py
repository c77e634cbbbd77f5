"""What is remembered of a Cluster's balance: how even it is, and the plan that waits or is carried out. Pure.

The plan's moves are kept with it, packed into a text, so that what a person approved by its hash is what is carried
out, whoever carries it out after however many restarts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple

THROTTLE_BYTES: Final = 50 * 1024 * 1024
"""Bytes a second that a broker sends, and that it takes, for moves unless told otherwise: half of a gigabit link."""


class PlanState(StrEnum):
    """Where a plan to move replicas is."""

    WAITING = "WaitingForApproval"
    MOVING = "Moving"
    STOPPED = "Stopped"
    DONE = "Done"


class BrokerShare(NamedTuple):
    """One broker before and after a plan."""

    id: int
    replicas_before: int
    replicas_after: int
    bytes_before: int
    bytes_after: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanStatus:
    """A plan to move replicas.

    Attributes:
        hash: its name; what `spec.balance.approvedPlan` has to say for it to be carried out.
        moves, done: replicas that go elsewhere, and those of them that have arrived or need not go any more.
        in_flight: replicas that are being copied now.
        bytes: that are copied. lower_bound: bytes that any plan moves; 0 where replicas were counted, not weighed.
        gap_percent: how far the plan is above the least possible; negative where that is not known.
        eta: how long the copying takes, or what is left of it.
        summary: why, and what, in words.
        encoded: the moves.
        brokers: before and after.
    """

    hash: str
    state: PlanState
    moves: int = 0
    done: int = 0
    in_flight: int = 0
    bytes: int = 0
    lower_bound: int = 0
    gap_percent: float = -1.0
    eta: str = ""
    summary: str = ""
    encoded: str = ""
    brokers: tuple[BrokerShare, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceStatus:
    """How even a cluster is.

    Attributes:
        max_leaders, optimum: the most leaderships one broker has, and the least that maximum could be.
        proof: where the optimum is above the mean, the brokers that prove it.
        message: what is waited for, in words.
        last_plan: to move replicas; None while there was none.
    """

    max_leaders: int = 0
    optimum: int = 0
    proof: tuple[int, ...] = ()
    message: str = ""
    last_plan: PlanStatus | None = None


def load_balance(data: Mapping[str, Any] | None) -> BalanceStatus | None:
    """The inverse of `dataclasses.asdict`, for a memory in JSON."""
    if not data:
        return None
    plan = data.get("last_plan")
    return BalanceStatus(
        **{
            **data,
            "proof": tuple(data.get("proof", ())),
            "last_plan": None
            if plan is None
            else PlanStatus(
                **{
                    **plan,
                    "state": PlanState(plan["state"]),
                    "brokers": tuple(BrokerShare(*one) for one in plan["brokers"]),
                }
            ),
        }
    )


def dump_balance(status: BalanceStatus | None) -> dict[str, Any] | None:
    """For a memory in JSON."""
    return None if status is None else asdict(status)


def write_balance(status: BalanceStatus) -> dict[str, Any]:
    """As the Cluster's status subresource has it."""
    found: dict[str, Any] = {
        "maxLeaders": status.max_leaders,
        "optimum": status.optimum,
        "proof": list(status.proof),
        "message": status.message,
    }
    plan = status.last_plan
    if plan is not None:
        found["lastPlan"] = {
            "hash": plan.hash,
            "state": plan.state.value,
            "moves": plan.moves,
            "done": plan.done,
            "inFlight": plan.in_flight,
            "bytes": plan.bytes,
            "lowerBound": plan.lower_bound,
            "gapPercent": str(plan.gap_percent),
            "eta": plan.eta,
            "summary": plan.summary,
            "encoded": plan.encoded,
            "brokers": [
                {
                    "id": one.id,
                    "replicasBefore": one.replicas_before,
                    "replicasAfter": one.replicas_after,
                    "bytesBefore": one.bytes_before,
                    "bytesAfter": one.bytes_after,
                }
                for one in plan.brokers
            ],
        }
    return found


def read_balance_status(found: Mapping[str, Any] | None) -> BalanceStatus | None:
    """The inverse of `write_balance`; a plan in a state of another version's making is forgotten."""
    if not found:
        return None
    plan = found.get("lastPlan")
    return BalanceStatus(
        max_leaders=int(found.get("maxLeaders", 0)),
        optimum=int(found.get("optimum", 0)),
        proof=tuple(int(one) for one in found.get("proof") or ()),
        message=str(found.get("message", "")),
        last_plan=_read_plan(plan) if plan and plan.get("state") in set(PlanState) else None,
    )


def _read_plan(plan: Mapping[str, Any]) -> PlanStatus:
    return PlanStatus(
        hash=str(plan.get("hash", "")),
        state=PlanState(plan["state"]),
        moves=int(plan.get("moves", 0)),
        done=int(plan.get("done", 0)),
        in_flight=int(plan.get("inFlight", 0)),
        bytes=int(plan.get("bytes", 0)),
        lower_bound=int(plan.get("lowerBound", 0)),
        gap_percent=float(plan.get("gapPercent") or -1),
        eta=str(plan.get("eta", "")),
        summary=str(plan.get("summary", "")),
        encoded=str(plan.get("encoded", "")),
        brokers=tuple(
            BrokerShare(
                int(one["id"]),
                int(one.get("replicasBefore", 0)),
                int(one.get("replicasAfter", 0)),
                int(one.get("bytesBefore", 0)),
                int(one.get("bytesAfter", 0)),
            )
            for one in plan.get("brokers") or ()
        ),
    )
