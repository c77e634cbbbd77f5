"""The operator's counters, and how they get onto the page. Time is an argument; nothing here asks anybody."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from moldau_operator.resources.balance_status import PlanState
from moldau_operator.telemetry.clusters import imbalance
from moldau_operator.telemetry.declared import Declared

if TYPE_CHECKING:
    from moldau_broker.base.clock import Clock
    from moldau_broker.telemetry.exposition import Exposition
    from moldau_operator.telemetry.clusters import BalanceSeen, RolloutSeen

BOUNDS_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""From a look that finds everything settled to one that waits for a broker's time-out."""

PLAN_MS: Final = 60_000
"""A plan is carried out within the blink of an eye; no scrape would ever see it otherwise."""

KINDS: Final = ("Cluster", "Topic", "ConsumerGroup")


class _Kind:
    """What is counted for one kind."""

    __slots__ = ("actions", "counts", "failed", "periodical", "plans", "seconds", "successful")

    def __init__(self) -> None:
        self.plans: deque[tuple[int, int]] = deque()  # (when, actions) of those with any, in the last minute
        self.successful = self.failed = self.periodical = self.actions = 0
        self.seconds = 0.0
        self.counts = [0] * (len(BOUNDS_SECONDS) + 1)


class Reconciliation:
    """One that is under way; whoever does it says how many actions it came to."""

    __slots__ = ("actions",)

    def __init__(self) -> None:
        self.actions = 0


class OperatorMetrics:
    """All counters of one operator, which looks after one namespace.

    Attributes:
        leads: whether the Lease is held.
        declared: what the last pass found.
        watch_ages, watches_behind: seconds by resource, asked for at each scrape.
    """

    def __init__(self, namespace: str, clock: Clock) -> None:
        self._namespace = namespace
        self._clock = clock
        self._kinds = {kind: _Kind() for kind in KINDS}
        self._events: Counter[str] = Counter()
        self._queued = 0
        self._periodical = True
        self._passed_ms = clock.monotonic_ms()
        self._writes: Counter[tuple[str, str]] = Counter()
        self._errors: Counter[tuple[str, str]] = Counter()
        self.leads = False
        self.declared = Declared()
        self.watch_ages: Callable[[], Mapping[str, float]] = dict
        self.watches_behind: Callable[[], Mapping[str, float]] = dict

    # -- what happens ----------------------------------------------------------------------------------------

    def heard(self, resource: str) -> None:
        """A watch told of a change."""
        self._events[resource] += 1
        self._queued += 1

    def pass_begins(self) -> None:
        """Everything heard so far is looked at now."""
        self._periodical = self._queued == 0
        self._queued = 0

    def pass_ended(self, declared: Declared) -> None:
        """All of it was looked at."""
        self._passed_ms = self._clock.monotonic_ms()
        self.declared = declared

    @contextmanager
    def reconciling(self, kind: str) -> Iterator[Reconciliation]:
        """Counts and times what is done inside; an exception makes it a failed one."""
        found, begun = self._kinds[kind], self._clock.monotonic_ms()
        under_way = Reconciliation()
        try:
            yield under_way
        except BaseException:
            found.failed += 1
            raise
        else:
            found.successful += 1
        finally:
            seconds = (self._clock.monotonic_ms() - begun) / 1000
            found.counts[bisect_left(BOUNDS_SECONDS, seconds)] += 1
            found.seconds += seconds
            found.periodical += self._periodical
            if under_way.actions:
                found.plans.append((self._clock.monotonic_ms(), under_way.actions))
            found.actions += under_way.actions

    def wrote(self, resource: str, verb: str) -> None:
        """The API server took a write."""
        self._writes[resource, verb] += 1

    def refused(self, resource: str, status: int) -> None:
        """The API server refused a request, or (0) did not answer."""
        self._errors[resource, str(status)] += 1

    # -- the page --------------------------------------------------------------------------------------------

    def emit(self, exposition: Exposition) -> None:
        """Show all of it."""
        add, now = exposition.add, self._clock.monotonic_ms()
        add("moldau_operator_leader", int(self.leads))
        for name, kind in self._kinds.items():
            place = (name, self._namespace)
            done = "moldau_operator_reconciliations_"
            add(done + "total", kind.successful + kind.failed, *place)
            add(done + "successful_total", kind.successful, *place)
            add(done + "failed_total", kind.failed, *place)
            add(done + "periodical_total", kind.periodical, *place)
            exposition.add_histogram(
                done + "duration_seconds", BOUNDS_SECONDS, kind.counts, kind.seconds, *place
            )
            add("moldau_operator_actions_total", kind.actions, *place)
            while kind.plans and kind.plans[0][0] < now - PLAN_MS:
                kind.plans.popleft()
            add("moldau_operator_plan_size", max((size for _, size in kind.plans), default=0), *place)
        add("moldau_operator_pass_age_seconds", (now - self._passed_ms) / 1000)
        add("moldau_operator_queue_depth", self._queued)
        for resource, count in sorted(self._events.items()):
            add("moldau_operator_events_total", count, resource)
        for resource, age in self.watch_ages().items():
            if age >= 0:  # one that never told anything has no age
                add("moldau_operator_watch_age_seconds", age, resource)
        for resource, behind in self.watches_behind().items():
            add("moldau_operator_watch_behind_seconds", behind, resource)
        for (resource, verb), count in sorted(self._writes.items()):
            add("moldau_operator_writes_total", count, resource, verb)
        for (resource, code), count in sorted(self._errors.items()):
            add("moldau_operator_api_errors_total", count, resource, code)
        self._emit_declared(exposition)

    def _emit_declared(self, exposition: Exposition) -> None:
        wall = self._clock.wall_ms()
        for place, count in sorted(self.declared.resources.items()):
            exposition.add("moldau_operator_resources", count, *place)
        for place, count in sorted(self.declared.gaps.items()):
            exposition.add("moldau_operator_plan_gap", count, *place)
        for place, since in sorted(self.declared.unready_since_ms.items()):
            seconds = 0.0 if since is None else max(wall - since, 0) / 1000
            exposition.add("moldau_operator_cluster_unready_seconds", seconds, *place)
        for rollout in self.declared.rollouts:
            _emit_rollout(exposition, rollout, wall)
        for balance in self.declared.balances:
            _emit_balance(exposition, balance)
        for (namespace, group, unit), amount in sorted(self.declared.budgets.items()):
            exposition.add(f"moldau_operator_group_budget_{unit}", amount, namespace, group)


def _emit_rollout(exposition: Exposition, seen: RolloutSeen, wall_ms: int) -> None:
    add = exposition.add
    age = 0 if seen.since_ms is None else max(wall_ms - seen.since_ms, 0)
    add("moldau_operator_rollout_active", int(seen.since_ms is not None), *seen.place)
    add("moldau_operator_rollout_seconds", age / 1000, *seen.place)
    add("moldau_operator_rollout_nodes_left", seen.nodes_left, *seen.place)
    if seen.blocked_since_ms is not None:
        waits = max(wall_ms - seen.blocked_since_ms, 0) / 1000
        add("moldau_operator_rollout_blocked_seconds", waits, *seen.place, seen.node, seen.cause)


def _emit_balance(exposition: Exposition, seen: BalanceSeen) -> None:
    add, plan, p = exposition.add, seen.plan, "moldau_operator_balance_"
    add(p + "leaders_max", seen.leaders_max, *seen.place)
    add(p + "leaders_optimum", seen.leaders_optimum, *seen.place)
    for state in PlanState:
        add(p + "plan_state", int(plan is not None and plan.state is state), *seen.place, state.value)
    moving = plan is not None and plan.state is PlanState.MOVING
    add(p + "moves_in_flight", plan.in_flight if plan is not None and moving else 0, *seen.place)
    if moving:
        add(p + "throttle_bytes_per_second", seen.throttle_bytes, *seen.place)
    if plan is None:
        return
    add(p + "plan_moves", plan.moves, *seen.place)
    add(p + "plan_moves_done", plan.done, *seen.place)
    add(p + "plan_bytes", plan.bytes, *seen.place)
    if plan.gap_percent >= 0:  # a plan that goes only part of the way may copy less than the whole way takes
        add(p + "plan_lower_bound_bytes", plan.lower_bound, *seen.place)
        add(p + "plan_gap_ratio", plan.gap_percent / 100, *seen.place)
    for when, after in (("before", False), ("after", True)):
        ratio = imbalance(plan, after=after)
        if ratio is not None:
            add(p + "plan_imbalance_ratio", round(ratio, 4), *seen.place, when)
