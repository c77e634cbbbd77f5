"""What the operator tells of its own work."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from aiohttp import ClientSession
from prometheus_client.parser import text_string_to_metric_families

from moldau_broker.telemetry.exposition import Exposition
from moldau_broker.telemetry.logs import emit_lines
from moldau_broker.telemetry.loop_lag import LoopLag
from moldau_broker.telemetry.process import emit_process
from moldau_broker.telemetry.registry import CONTENT_TYPE, Telemetry
from moldau_broker.telemetry.watchdog import Watchdog
from moldau_operator.__main__ import _serve
from moldau_operator.handlers.lease import Lease
from moldau_operator.handlers.operator import Operator
from moldau_operator.resources.balance_status import (
    BalanceStatus,
    BrokerShare,
    PlanState,
    PlanStatus,
    write_balance,
)
from moldau_operator.seams.api_server import PODS, ApiError, Object, Resource
from moldau_operator.settings import OperatorSettings
from moldau_operator.telemetry.clusters import imbalance
from moldau_operator.telemetry.counted_api import CountedApi
from moldau_operator.telemetry.declared import read_declared
from moldau_operator.telemetry.metrics import OperatorMetrics
from moldau_operator.telemetry.table import METRICS
from moldau_operator.testing.apiserver import MemoryApi
from moldau_operator.testing.kube_world import NAMESPACE, KubeWorld
from moldau_operator.testing.platform import FakeClock

KINDS = ("Cluster", "Topic", "ConsumerGroup")


class Page:
    """Samples of a rendered page by name and label values."""

    def __init__(self, metrics: OperatorMetrics) -> None:
        exposition = Exposition(METRICS)
        metrics.emit(exposition)
        self.samples = {
            (sample.name, *sorted(sample.labels.values())): sample.value
            for family in text_string_to_metric_families(exposition.text().decode())
            for sample in family.samples
        }

    def __call__(self, name: str, *labels: str) -> float | None:
        return self.samples.get((f"moldau_operator_{name}", *sorted(labels)))


def test_reconciliations_are_counted_timed_and_told_apart() -> None:
    """Success, failure and those that no event asked for, each by kind."""
    clock = FakeClock()
    metrics = OperatorMetrics("team", clock)
    metrics.pass_begins()
    with metrics.reconciling("Cluster") as work:
        work.actions = 3
        clock.advance(400)
    metrics.heard("topics")
    metrics.heard("topics")
    assert Page(metrics)("queue_depth") == 2
    assert Page(metrics)("plan_size", "Cluster", "team") == 3
    metrics.pass_begins()
    with pytest.raises(OSError, match="gone"), metrics.reconciling("Cluster"):
        raise OSError("gone")
    page = Page(metrics)
    assert page("reconciliations_total", "Cluster", "team") == 2
    assert page("reconciliations_successful_total", "Cluster", "team") == 1
    assert page("reconciliations_failed_total", "Cluster", "team") == 1
    assert page("reconciliations_periodical_total", "Cluster", "team") == 1
    assert page("reconciliations_duration_seconds_count", "Cluster", "team") == 2
    assert page("reconciliations_duration_seconds_sum", "Cluster", "team") == pytest.approx(0.4)
    assert page("reconciliations_duration_seconds_bucket", "Cluster", "team", "0.25") == 1
    assert page("actions_total", "Cluster", "team") == 3
    assert page("plan_size", "Cluster", "team") == 3
    clock.advance(61_000)
    assert Page(metrics)("plan_size", "Cluster", "team") == 0, "of the last minute only"
    assert page("queue_depth") == 0
    assert page("events_total", "topics") == 2
    assert page("reconciliations_total", "Topic", "team") == 0, "kinds without resources are shown"


def test_watches_ages_are_asked_for_at_the_scrape() -> None:
    """One that never told anything has no age; one that is not behind is 0 behind."""
    metrics = OperatorMetrics("team", FakeClock())
    metrics.watch_ages = lambda: {"topics": 4, "clusters": -1}
    metrics.watches_behind = lambda: {"topics": 0.0, "clusters": 65.0}
    page = Page(metrics)
    assert page("watch_age_seconds", "topics") == 4
    assert page("watch_age_seconds", "clusters") is None
    assert page("watch_behind_seconds", "topics") == 0
    assert page("watch_behind_seconds", "clusters") == 65


def _resource(kind: str, name: str, ready: str | None, since: str = "1970-01-01T00:01:40Z") -> Object:
    conditions = [] if ready is None else [{"type": "Ready", "status": ready, "lastTransitionTime": since}]
    metadata = {"name": name, "namespace": "team", "creationTimestamp": "1970-01-01T00:00:50Z"}
    return {"kind": kind, "metadata": metadata, "status": {"conditions": conditions}}


def test_declared_resources_are_counted_with_their_gap() -> None:
    """Not Ready, or not said to be, is a gap; a Cluster's has an age."""
    found = read_declared(
        [
            _resource("Cluster", "fine", "True"),
            _resource("Cluster", "rolls", "False"),
            _resource("Cluster", "new", None),
            _resource("Topic", "orders", "Unknown"),
        ],
        KINDS,
        "team",
    )
    assert found.resources == {("Cluster", "team"): 3, ("Topic", "team"): 1, ("ConsumerGroup", "team"): 0}
    assert found.gaps == {("Cluster", "team"): 2, ("Topic", "team"): 1, ("ConsumerGroup", "team"): 0}
    assert found.unready_since_ms == {
        ("team", "fine"): None,
        ("team", "rolls"): 100_000,
        ("team", "new"): 50_000,
    }
    clock = FakeClock()
    metrics = OperatorMetrics("team", clock)
    metrics.pass_ended(found)
    page = Page(metrics)
    assert page("cluster_unready_seconds", "team", "fine") == 0
    assert page("cluster_unready_seconds", "team", "rolls") == clock.wall_ms() / 1000 - 100


def test_declared_groups_tell_their_budgets() -> None:
    """By the group's id, which alerts join on; what is not set, or no number, has no series."""
    resource = _resource("ConsumerGroup", "billing", "True")
    resource["spec"] = {"groupId": "billing-v2", "maxLag": {"records": 100, "seconds": 60}}
    plain = _resource("ConsumerGroup", "plain", "True")
    plain["spec"] = {"maxLag": {"records": "many"}}
    metrics = OperatorMetrics("team", FakeClock())
    metrics.pass_ended(read_declared([resource, plain], KINDS, "team"))
    page = Page(metrics)
    assert page("group_budget_records", "team", "billing-v2") == 100
    assert page("group_budget_seconds", "team", "billing-v2") == 60
    assert page("group_budget_records", "team", "plain") is None


def _cluster(*, throttle: int | None = None, **status: object) -> Object:
    cluster = _resource("Cluster", "demo", "True")
    cluster["status"] |= status
    cluster["spec"] = {"balance": {} if throttle is None else {"throttleBytesPerSecond": throttle}}
    return cluster


def _page(cluster: Object) -> tuple[Page, float]:
    """Its page, and the seconds of the wall clock it was made at."""
    clock = FakeClock()
    metrics = OperatorMetrics("team", clock)
    metrics.pass_ended(read_declared([cluster], KINDS, "team"))
    return Page(metrics), clock.wall_ms() / 1000


def test_rollouts_tell_since_when_and_what_they_wait_for() -> None:
    """None under way, one that goes on, one that waits for a node to return, one that may not go on yet."""
    page, now = _page(_cluster())
    assert page("rollout_active", "team", "demo") == 0
    assert page("rollout_seconds", "team", "demo") == 0
    assert page("rollout_nodes_left", "team", "demo") == 0
    begun = "1970-01-01T00:01:40Z"
    rollout = {"total": 3, "updated": 1, "reason": "restarting node 1", "current": 1, "since": begun}
    page, now = _page(_cluster(rollout=rollout))
    assert page("rollout_active", "team", "demo") == 1
    assert page("rollout_seconds", "team", "demo") == now - 100
    assert page("rollout_nodes_left", "team", "demo") == 2
    assert not [key for key in page.samples if key[0] == "moldau_operator_rollout_blocked_seconds"]
    waits = {"node": 1, "reason": "node 1 is starting", "since": "1970-01-01T00:02:00Z"}
    page, now = _page(_cluster(rollout={**rollout, "blockedBy": waits}))
    assert page("rollout_blocked_seconds", "team", "demo", "1", "NodeNotServing") == now - 120
    del rollout["current"]
    page, now = _page(_cluster(rollout={**rollout, "blockedBy": waits}))
    assert page("rollout_blocked_seconds", "team", "demo", "1", "NotSafeYet") == now - 120


def test_balance_tells_its_plan_and_how_good_it_is() -> None:
    """What a plan moves against what any has to, how uneven it was and will be, and what is under way."""
    page, _ = _page(_cluster())
    assert page("balance_leaders_max", "team", "demo") is None
    shares = ((0, 2, 1, 60, 30), (1, 0, 1, 0, 30))
    plan = PlanStatus(
        hash="1",
        state=PlanState.MOVING,
        moves=4,
        done=1,
        in_flight=2,
        bytes=110,
        lower_bound=100,
        gap_percent=10.0,
        brokers=tuple(BrokerShare(*share) for share in shares),
    )
    found = BalanceStatus(max_leaders=5, optimum=3, last_plan=plan)
    page, _ = _page(_cluster(throttle=7, balance=write_balance(found)))
    expected = {
        ("leaders_max",): 5,
        ("leaders_optimum",): 3,
        ("plan_state", "Moving"): 1,
        ("plan_state", "WaitingForApproval"): 0,
        ("plan_moves",): 4,
        ("plan_moves_done",): 1,
        ("moves_in_flight",): 2,
        ("plan_bytes",): 110,
        ("plan_lower_bound_bytes",): 100,
        ("plan_gap_ratio",): 0.1,
        ("plan_imbalance_ratio", "before"): 2,
        ("plan_imbalance_ratio", "after"): 1,
        ("throttle_bytes_per_second",): 7,
    }
    assert {key: page(f"balance_{key[0]}", "team", "demo", *key[1:]) for key in expected} == expected
    over = replace(found, last_plan=replace(plan, state=PlanState.DONE, gap_percent=-1.0))
    page, _ = _page(_cluster(balance=write_balance(over)))
    assert page("balance_moves_in_flight", "team", "demo") == 0
    assert page("balance_throttle_bytes_per_second", "team", "demo") is None
    assert page("balance_plan_gap_ratio", "team", "demo") is None
    assert page("balance_plan_lower_bound_bytes", "team", "demo") is None


def test_imbalance_counts_replicas_where_there_are_no_bytes() -> None:
    """Empty topics lie unevenly, too; no brokers have no ratio."""
    brokers = (BrokerShare(0, 3, 2, 0, 0), BrokerShare(1, 1, 2, 0, 0))
    plan = PlanStatus(hash="1", state=PlanState.WAITING, brokers=brokers)
    assert (imbalance(plan, after=False), imbalance(plan, after=True)) == (1.5, 1)
    assert imbalance(replace(plan, brokers=()), after=True) is None


async def test_counted_api_counts_writes_and_refusals() -> None:
    """Reads are not writes; what the server refuses is counted by its status, and raised all the same."""
    metrics = OperatorMetrics("team", FakeClock())
    memory = MemoryApi()
    api = CountedApi(memory, metrics)
    pod: Object = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "team"}}
    pod["spec"] = {"containers": [{"name": "one", "image": "one"}]}
    await api.create(pod)
    with pytest.raises(ApiError):
        await api.create(pod)
    assert await api.get(PODS, "team", "p") is not None
    assert len(await api.select(PODS, "team", {})) == 1
    await api.apply(pod)
    await api.delete(PODS, "team", "p")
    page = Page(metrics)
    writes = {verb: page("writes_total", "pods", verb) for verb in ("create", "apply", "delete", "replace")}
    assert writes == {"create": 1, "apply": 1, "delete": 1, "replace": None}
    assert page("api_errors_total", "pods", "409") == 1


async def test_counted_api_counts_a_silent_server() -> None:
    """No answer has no status, which is told as 0."""

    class Silent(MemoryApi):
        async def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
            raise ApiError(0, "no route")

    metrics = OperatorMetrics("team", FakeClock())
    with pytest.raises(ApiError):
        await CountedApi(Silent(), metrics).get(PODS, "team", "p")
    assert Page(metrics)("api_errors_total", "pods", "0") == 1


async def test_passes_tell_their_metrics() -> None:
    """A whole world converges: each kind was reconciled, actions were counted, and then nothing is missing."""
    world = KubeWorld()
    metrics = OperatorMetrics(NAMESPACE, world.clock)
    world.metrics = metrics
    world.restart()
    world.put("Cluster", "demo", replicas=3, storage={"size": "1Gi"})
    world.put("Topic", "orders", cluster="demo", partitions=3, replicas=3)
    world.put("ConsumerGroup", "billing", cluster="demo", groupId="billing")
    await world.step()
    assert Page(metrics)("plan_gap", "Topic", NAMESPACE) == 1
    assert (Page(metrics)("plan_size", "Cluster", NAMESPACE) or 0) > 0
    await world.converge()
    await world.step()
    page = Page(metrics)
    for kind in KINDS:
        assert (page("reconciliations_successful_total", kind, NAMESPACE) or 0) > 0
        assert page("plan_gap", kind, NAMESPACE) == 0
        assert page("resources", kind, NAMESPACE) == 1
    world.clock.advance(61_000)
    assert Page(metrics)("plan_size", "Cluster", NAMESPACE) == 0
    assert (page("actions_total", "Cluster", NAMESPACE) or 0) > 0
    assert page("cluster_unready_seconds", NAMESPACE, "demo") == 0


async def test_operator_serves_its_metrics() -> None:
    """Over HTTP, beside the probes, in Prometheus' format, compressed where that is asked for."""
    world = KubeWorld()
    metrics = OperatorMetrics(NAMESPACE, world.clock)
    settings = OperatorSettings(namespace=NAMESPACE, broker_image="b", identity="me")
    lease = Lease(world.api, settings.namespace, settings.identity, world.clock)
    operator = Operator(world.api, lease, world.passes, settings, world.clock, metrics=metrics)
    telemetry = Telemetry(world.clock.monotonic_ms, METRICS)
    loop = asyncio.get_running_loop()
    for emitter in (emit_process, emit_lines, LoopLag(loop).emit, Watchdog(loop).emit, metrics.emit):
        telemetry.add(emitter)
    runner = await _serve(operator, telemetry, 0)
    try:
        port = next(address[1] for address in runner.addresses if len(address) == 2)  # IPv4
        async with ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as answer:
            assert answer.headers["Content-Type"] == CONTENT_TYPE
            assert answer.headers["Content-Encoding"] == "gzip"
            page = await answer.text()
    finally:
        await runner.cleanup()
    assert "moldau_operator_leader 0\n" in page
    assert "moldau_event_loop_stalls_total 0\n" in page
    assert 'moldau_operator_watch_behind_seconds{resource="clusters"} 0.0\n' in page


def test_table_holds_only_what_is_emitted_here_or_shared() -> None:
    """Names have our prefix, or are those of any process; counters and seconds say so."""
    for name, metric in METRICS.items():
        assert name.startswith(
            ("moldau_operator_", "process_", "python_", "moldau_event_loop_", "moldau_log_lines_")
        )
        assert (metric.type.value == "counter") == name.endswith("_total")
        assert (metric.unit == "seconds") <= ("seconds" in name)
