"""`moldau balance`: how even a cluster is, the plan that makes it so, and carrying it out by hand."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeVar

import click

from moldau_broker.client.cluster import Cluster
from moldau_cli.context import Target, cluster_options, output_option, with_cluster
from moldau_cli.output import OutputFormat, human_bytes, note, plural, show_json
from moldau_cli.parsing import parse_size
from moldau_cli.root import Failure

if TYPE_CHECKING:
    from moldau_cli.balance_work import Desk, Seen
    from moldau_operator.plan.balance import BalancePlan
    from moldau_operator.plan.rebalance import PlannedMove
    from moldau_operator.resources.balance_status import BalanceStatus

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., None])

THROTTLE: Final = "50MiB"


def read_size(_ctx: click.Context, _param: click.Parameter, value: str | None) -> int | None:
    """An option's size in bytes."""
    try:
        return None if value is None else parse_size(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def admin_option(command: F) -> F:
    """Add --admin, where the brokers' own admin API is asked for what partitions carry."""
    return click.option(
        "--admin",
        "admin",
        multiple=True,
        metavar="HOST:PORT",
        help="HTTP port of a broker, to weigh what partitions carry; may be repeated.  "
        "[default: the local cluster's]",
    )(command)


def plan_options(command: F) -> F:
    """Add what a plan may cost."""
    for option in (
        click.option(
            "--throttle",
            callback=read_size,
            default=THROTTLE,
            show_default=True,
            metavar="BYTES",
            help="Bytes a second that moves may take in and out of each broker, for example 200MiB.",
        ),
        click.option(
            "--budget", callback=read_size, metavar="BYTES", help="Copy so much at most, for example 10GiB."
        ),
        click.option("--leaders-only", is_flag=True, help="Change leaders only; no data moves."),
    ):
        command = option(command)
    return command


@click.group()
def balance() -> None:
    """Show how even a cluster is, plan what makes it more even, and carry that out.

    The operator does this by itself as far as spec.balance of the Cluster allows; here it is done by hand.
    """


@balance.command()
@output_option()
@click.option("--moves", "every_move", is_flag=True, help="List every move.")
@plan_options
@admin_option
@cluster_options
def plan(
    target: Target,
    output: OutputFormat,
    throttle: int,
    budget: int | None,
    leaders_only: bool,
    every_move: bool,
    admin: tuple[str, ...],
) -> None:
    """Show the best leaders and the best places of replicas, and what they cost. Changes nothing."""
    from moldau_cli.balance_report import plan_data, show_plan

    operated = _operated(target)

    async def work(desk: Desk) -> tuple[Seen, BalancePlan]:
        seen = await desk.look()
        kept = _kept(seen, operated) if budget is None else ()
        found = await desk.plan(
            seen, budget_bytes=budget, throttle_bytes=throttle, replicas=not leaders_only, kept=kept
        )
        return seen, found

    seen, found = _at_desk(target, admin, work)
    if output == "json":
        show_json(plan_data(found, throttle))
        return
    show_plan(seen, found, throttle, every_move=every_move)
    _say_unweighed(seen, target, admin)


@balance.command()
@click.option("--plan", "wanted", metavar="HASH", help="Only if this is the plan; see: moldau balance plan.")
@click.option("--dry-run", is_flag=True, help="Show the plan and change nothing.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before data is moved.")
@output_option()
@plan_options
@admin_option
@cluster_options
def apply(
    target: Target,
    output: OutputFormat,
    throttle: int,
    budget: int | None,
    leaders_only: bool,
    wanted: str | None,
    dry_run: bool,
    yes: bool,
    admin: tuple[str, ...],
) -> None:
    """Carry the plan out: move replicas under a throttle, then change leaders.

    Ctrl-C stops at once: what is on its way goes back, what has arrived stays, the throttle goes; run it again to go
    on with the rest.
    """
    from moldau_cli.balance_report import plan_data, show_plan
    from moldau_operator.resources.balance_status import PlanState

    operated = _operated(target)
    running = operated.last_plan if operated is not None else None
    if running is not None and running.state is PlanState.MOVING:
        raise Failure(f"the operator carries out plan {running.hash}; see: moldau balance status")

    async def look(desk: Desk) -> tuple[Seen, BalancePlan]:
        seen = await desk.look()
        kept = _kept(seen, operated) if budget is None else ()
        return seen, await desk.plan(
            seen, budget_bytes=budget, throttle_bytes=throttle, replicas=not leaders_only, kept=kept
        )

    seen, found = _at_desk(target, admin, look)
    replicas = found.replicas
    if wanted is not None and (replicas is None or replicas.hash != wanted):
        there = replicas.hash if replicas is not None and replicas.hash else "one without moves"
        raise Failure(f"the plan is {there} now, not {wanted}; see: moldau balance plan")
    if output == "json":
        show_json(plan_data(found, throttle))
    else:
        show_plan(seen, found, throttle, every_move=False)
        _say_unweighed(seen, target, admin)
        click.echo()
    if dry_run:
        note("nothing was changed (--dry-run)")
        return
    if seen.absent:
        away = ", ".join(map(str, seen.absent))
        raise Failure(f"broker {away} holds replicas and is away; balance once it is back")
    moves = replicas is not None and bool(replicas.moves)
    if replicas is not None and moves and not yes and sys.stdin.isatty():
        words = f"Move {plural(len(replicas.moves), 'replica')}, {human_bytes(replicas.bytes_moved)}?"
        click.confirm(words, abort=True, err=True)

    async def work(desk: Desk) -> None:
        if moves:
            await _move(desk, seen, found, throttle)
        elif not leaders_only and await desk.clean_up(seen):
            note("took away a throttle that an earlier run had left")
        await _change_leaders(desk, throttle)

    _at_desk(target, admin, work)


@balance.command()
@output_option()
@admin_option
@cluster_options
def status(target: Target, output: OutputFormat, admin: tuple[str, ...]) -> None:
    """Show how even a cluster is, what moves, and what its operator means to do."""
    from moldau_cli.balance_report import show_status, status_data
    from moldau_operator.resources.balance_status import THROTTLE_BYTES

    operated = _operated(target)

    async def work(desk: Desk) -> tuple[Seen, BalancePlan]:
        seen = await desk.look()
        return seen, await desk.plan(seen, budget_bytes=None, throttle_bytes=THROTTLE_BYTES)

    seen, found = _at_desk(target, admin, work)
    if output == "json":
        show_json(status_data(seen, found, operated))
        return
    show_status(seen, found, operated)
    _say_unweighed(seen, target, admin)


async def _move(desk: Desk, seen: Seen, found: BalancePlan, throttle: int) -> None:
    from moldau_cli.progress import record_progress
    from moldau_operator.resources.balance_status import PlanStatus

    assert found.replicas is not None
    shown = 0
    with record_progress("moving replicas", len(found.replicas.moves)) as advance:

        def tell(plan: PlanStatus) -> None:
            nonlocal shown
            advance(plan.done - shown)
            shown = plan.done

        try:
            done = await desk.move(seen, found, throttle, tell)
        except asyncio.CancelledError:
            note(f"stopped: {shown} of {len(found.replicas.moves)} moved; run it again to go on")
            raise
    note(f"moved {plural(done.done, 'replica')}, {human_bytes(found.replicas.bytes_moved)}")


async def _change_leaders(desk: Desk, throttle: int) -> None:
    """The plan for what is there now: where replicas have moved, leaders have too."""
    now = await desk.plan(await desk.look(), budget_bytes=None, throttle_bytes=throttle, replicas=False)
    changed = await desk.change_leaders(now)
    assert now.leaders is not None
    orders = len(now.leaders.orders)
    if changed:
        words = f"changed {plural(changed, 'leader')}: at most {now.leaders.max_after:,} on a broker"
    elif orders:
        words = f"set {plural(orders, 'preferred leader')}"
    else:
        words = "leaders are as even as they can be"
    note(words)


def _at_desk(target: Target, admin: tuple[str, ...], work: Callable[[Desk], Awaitable[T]]) -> T:
    from moldau_cli.balance_work import Desk, in_words
    from moldau_operator.errors import AdminError

    async def session(connected: Cluster) -> T:
        desk = Desk(target, admin or _local_http(target))
        try:
            return await work(desk)
        except AdminError as error:
            raise in_words(error) from error
        finally:
            await desk.close()

    return with_cluster(target, session)


def _kept(seen: Seen, operated: BalanceStatus | None) -> tuple[PlannedMove, ...]:
    """The moves of the operator's plan that waits, so that one plan has one name."""
    from moldau_operator.plan.execution import measure
    from moldau_operator.plan.plan_life import moves_of, still_fits

    plan = operated.last_plan if operated is not None else None
    moves = moves_of(plan)
    if plan is None or not moves:
        return ()
    there = [one.id for one in seen.brokers]
    fits = still_fits(plan, measure(moves, seen.topics, seen.flying), seen.partitions, there)
    return moves if fits else ()


def _operated(target: Target) -> BalanceStatus | None:
    """What the operator of the local cluster says, where that is the cluster that is meant."""
    from moldau_cli.context import local_instance
    from moldau_operator.errors import InstanceError
    from moldau_operator.local import background

    instance = local_instance(target)
    if instance is None:
        return None
    try:
        return asyncio.run(background.look(instance)).balance
    except InstanceError:
        return None


def _local_http(target: Target) -> list[str]:
    from moldau_cli.context import local_instance
    from moldau_operator.adapters.ports import HOST

    instance = local_instance(target)
    return [] if instance is None else [f"{HOST}:{ports.http}" for ports in instance.nodes().values()]


def _say_unweighed(seen: Seen, target: Target, admin: tuple[str, ...]) -> None:
    if seen.loads_known:
        return
    why = "name the brokers' HTTP ports with --admin to weigh them"
    if admin or _local_http(target):
        why = "brokers tell what partitions carry some seconds after they start"
    note(f"leaders are counted, not weighed: {why}")
