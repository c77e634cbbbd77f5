"""How balance plans look: facts, a row for each broker, the moves; and the same for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import click

from moldau_cli.balance_work import Seen
from moldau_cli.output import (
    BAD,
    FAINT,
    GOOD,
    WARN,
    Cell,
    Styled,
    Table,
    human_bytes,
    plural,
    print_table,
    show_facts,
)
from moldau_operator.plan.balance import BalancePlan, say_duration, say_proof
from moldau_operator.plan.leadership import LeadershipPlan
from moldau_operator.plan.rebalance import ReplicaPlan
from moldau_operator.resources.balance_status import BalanceStatus, PlanState, PlanStatus

MOVES_SHOWN: Final = 10
"""Moves that are listed unless all are asked for."""

STATE_STYLES: Final = {
    PlanState.WAITING: WARN,
    PlanState.MOVING: WARN,
    PlanState.STOPPED: BAD,
    PlanState.DONE: GOOD,
}


def show_plan(seen: Seen, plan: BalancePlan, throttle_bytes: int, *, every_move: bool) -> None:
    """A plan for people."""
    facts: list[tuple[str, Cell]] = [("cluster", _say_cluster(seen))]
    if plan.leaders is not None:
        facts += _leader_facts(plan.leaders)
    if plan.replicas is not None:
        facts += _replica_facts(plan.replicas, throttle_bytes)
    show_facts(*facts)
    click.echo()
    print_table(broker_table(seen, plan))
    if plan.replicas is not None and plan.replicas.moves:
        click.echo()
        _show_moves(plan.replicas, every=every_move)


def broker_table(seen: Seen, plan: BalancePlan, *, now: bool = False) -> Table:
    """Every broker before and after, or only as it is `now`; one number where nothing changes."""
    racks = bool(seen.view.racks)
    columns = ["BROKER", *(["RACK"] if racks else []), "LEADERS", *(["CARRIES"] if seen.loads_known else [])]
    table = Table([*columns, *(["REPLICAS", "DATA"] if plan.replicas is not None else [])])
    for row in plan.rows():
        cells: list[Cell] = [str(row.id)]
        if racks:
            cells.append(seen.view.racks.get(row.id))
        shown: list[Sequence[str]] = [[f"{one:,}" for one in row.leaders]]
        if seen.loads_known:
            shown.append([f"{human_bytes(int(one))}/s" for one in row.led_bytes])
        if plan.replicas is not None:
            shown.append([f"{one:,}" for one in row.replicas])
            shown.append([human_bytes(one) for one in row.held_bytes])
        cells += [_change(before, before if now else after) for before, after in shown]
        table.add(*cells)
    return table


def show_status(seen: Seen, plan: BalancePlan, operated: BalanceStatus | None) -> None:
    """How even a cluster is now, what moves, and what its operator means to do."""
    facts: list[tuple[str, Cell]] = [("cluster", _say_cluster(seen))]
    proof = ""
    if plan.leaders is not None:
        facts.append(("leaders", _say_leaders_now(plan.leaders)))
        proof = say_proof(plan.leaders.proof, plan.leaders.optimum, plan.leaders.mean_bound)
        facts += [("", Styled(proof, FAINT))] if proof else []
    flying = len(seen.flying)
    moving = f"{plural(flying, 'partition')} on the way; see: moldau cluster moves" if flying else "nothing"
    facts.append(("moving", Styled(moving, WARN) if flying else moving))
    if seen.throttle is not None:
        facts.append(("throttle", f"{human_bytes(seen.throttle)}/s for moves, in and out of each broker"))
    if operated is not None:
        facts += _operator_facts(operated, proof)
    show_facts(*facts)
    click.echo()
    print_table(broker_table(seen, plan, now=True))


def plan_data(plan: BalancePlan, throttle_bytes: int) -> dict[str, Any]:
    """A plan for programs."""
    leaders, replicas = plan.leaders, plan.replicas
    return {
        "leaders": None
        if leaders is None
        else {
            "max_before": leaders.max_before,
            "max_after": leaders.max_after,
            "optimum": leaders.optimum,
            "mean_bound": leaders.mean_bound,
            "proof": list(leaders.proof),
            "fewest_changes": leaders.fewest,
            "weight_bound": leaders.weight_bound,
            "changes": [
                {"topic": name[0], "partition": name[1], "from": before, "to": after}
                for name, before, after in leaders.changes
            ],
            "orders": [
                {"topic": name[0], "partition": name[1], "replicas": list(order)}
                for name, order in leaders.orders.items()
            ],
        },
        "replicas": None
        if replicas is None
        else {
            "hash": replicas.hash,
            "bytes": replicas.bytes_moved,
            "lower_bound": replicas.lower_bound,
            "bound_in": "bytes" if replicas.by_bytes else "replicas",
            "gap": replicas.gap,
            "seconds": round(replicas.seconds, 1),
            "throttle": throttle_bytes,
            "left_out": replicas.left_out,
            "outside_band": list(replicas.outside),
            "moves": [
                {
                    "topic": name[0],
                    "partition": name[1],
                    "from": source,
                    "to": target,
                    "bytes": replicas.sizes[name],
                }
                for name, source, target in replicas.moves
            ],
        },
        "brokers": [
            {
                "id": row.id,
                "leaders": list(row.leaders),
                "led_bytes_per_second": [round(one, 1) for one in row.led_bytes],
                "replicas": list(row.replicas),
                "bytes": list(row.held_bytes),
            }
            for row in plan.rows()
        ],
    }


def status_data(seen: Seen, plan: BalancePlan, operated: BalanceStatus | None) -> dict[str, Any]:
    """How even a cluster is, for programs."""
    assert plan.leaders is not None, "a status always looks at leaders"
    found: dict[str, Any] = {
        "max_leaders": plan.leaders.max_before,
        "optimum": plan.leaders.optimum,
        "proof": list(plan.leaders.proof),
        "moving": len(seen.flying),
        "throttle": seen.throttle,
        "absent": seen.absent,
        "brokers": [
            {
                "id": row.id,
                "leaders": row.leaders[0],
                "led_bytes_per_second": round(row.led_bytes[0], 1),
                "replicas": row.replicas[0],
                "bytes": row.held_bytes[0],
            }
            for row in plan.rows()
        ],
        "operator": None,
    }
    if operated is not None:
        last = operated.last_plan
        found["operator"] = {
            "message": operated.message,
            "plan": None
            if last is None
            else {
                "hash": last.hash,
                "state": last.state.value,
                "moves": last.moves,
                "done": last.done,
                "bytes": last.bytes,
                "eta": last.eta,
                "summary": last.summary,
            },
        }
    return found


def _say_cluster(seen: Seen) -> Cell:
    size = sum(one.size * len(one.replicas) for one in seen.partitions)
    words = f"{plural(len(seen.brokers), 'broker')}, {plural(len(seen.partitions), 'partition')}, {human_bytes(size)}"
    if seen.absent:
        away = ", ".join(map(str, seen.absent))
        return Styled(f"{words}; broker {away} is away", BAD)
    return words


def _leader_facts(plan: LeadershipPlan) -> list[tuple[str, Cell]]:
    words = f"at most {plan.max_before:,} on a broker"
    if plan.max_after != plan.max_before:
        words += f" -> {plan.max_after:,}"
    words += f", and {plan.optimum:,} is the least possible"
    if plan.changes:
        words += f"; {plural(len(plan.changes), 'change')}, no data moves"
    elif plan.orders:
        words += f"; {plural(len(plan.orders), 'preferred leader')} to be set"
    facts: list[tuple[str, Cell]] = [("leaders", words)]
    proof = say_proof(plan.proof, plan.optimum, plan.mean_bound)
    if proof:
        facts.append(("", Styled(proof, FAINT)))
    return facts


def _say_leaders_now(plan: LeadershipPlan) -> Cell:
    words = f"at most {plan.max_before:,} on a broker, and {plan.optimum:,} is the least possible"
    return Styled(words, GOOD if plan.max_before == plan.optimum else WARN)


def _replica_facts(plan: ReplicaPlan, throttle_bytes: int) -> list[tuple[str, Cell]]:
    if not plan.moves:
        words = "as even as it is worth" if not plan.outside else "no legal move makes them more even"
        return [("replicas", words)]
    words = f"{plural(len(plan.moves), 'replica')} to move, {human_bytes(plan.bytes_moved)}"
    facts: list[tuple[str, Cell]] = [("replicas", words)]
    least = human_bytes(plan.lower_bound) if plan.by_bytes else plural(plan.lower_bound, "replica")
    if plan.left_out:
        facts.append(
            ("bound", f"{least} for all of it; {plural(plan.left_out, 'move')} left for the next plan")
        )
    elif plan.gap is not None:
        above = f"the plan is {plan.gap:.1%} above it" if plan.gap > 0 else "and that is the plan"
        facts.append(("bound", f"{least} is the least possible, {above}"))
    rate = f"{human_bytes(throttle_bytes)}/s in and out of each broker"
    facts.append(("time", f"about {say_duration(plan.seconds)} at {rate}"))
    facts.append(("plan", plan.hash))
    return facts


def _show_moves(plan: ReplicaPlan, *, every: bool) -> None:
    table = Table(["PARTITION", "FROM", "TO", "SIZE"])
    shown = plan.moves if every else plan.moves[:MOVES_SHOWN]
    for name, source, target in shown:
        table.add(f"{name[0]}-{name[1]}", str(source), str(target), human_bytes(plan.sizes[name]))
    print_table(table)
    if len(shown) < len(plan.moves):
        click.echo(click.style(f"and {len(plan.moves) - len(shown):,} more; see them with --moves", dim=True))


def _operator_facts(operated: BalanceStatus, proof: str) -> list[tuple[str, Cell]]:
    facts: list[tuple[str, Cell]] = []
    plan = operated.last_plan
    if plan is not None:
        facts.append(("plan", Styled(_say_plan(plan), STATE_STYLES[plan.state])))
        facts.append(("", Styled(plan.summary, FAINT)))
    if operated.message and operated.message != proof:
        facts.append(("operator", operated.message))
    return facts


def _say_plan(plan: PlanStatus) -> str:
    words = {
        PlanState.WAITING: "waits for approval",
        PlanState.MOVING: f"{plan.done:,} of {plan.moves:,} moved, about {plan.eta} left",
        PlanState.STOPPED: f"stopped after {plan.done:,} of {plan.moves:,}",
        PlanState.DONE: f"done, {plural(plan.done, 'replica')} moved",
    }
    return f"{plan.hash}: {words[plan.state]}"


def _change(before: str, after: str) -> Cell:
    return before if before == after else Styled(f"{before} -> {after}", WARN)
