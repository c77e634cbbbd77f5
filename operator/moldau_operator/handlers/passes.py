"""One pass over a namespace: what the API server has is read anew, so a watch that missed something costs time only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from moldau_broker.base.clock import Clock
from moldau_operator.adapters.brokers import KafkaAdmin
from moldau_operator.adapters.kube import KubePlatform, spec_problem
from moldau_operator.adapters.kube_zones import Zones
from moldau_operator.errors import AdminError, PlatformError
from moldau_operator.handlers.ledger import Ledger, group_left, topic_left
from moldau_operator.handlers.statuses import read_cluster_status, read_group_status, read_topic_status
from moldau_operator.handlers.store import KubeStatuses
from moldau_operator.plan.cluster_facts import ClusterFacts
from moldau_operator.reconcile.balance import BalanceReconciler
from moldau_operator.reconcile.cluster import ClusterReconciler, mint_cluster_id
from moldau_operator.reconcile.consumergroup import GroupReconciler
from moldau_operator.reconcile.events import Event
from moldau_operator.reconcile.report import rfc3339
from moldau_operator.reconcile.throttled_moves import Throttle
from moldau_operator.reconcile.topic import TopicReconciler
from moldau_operator.resources import conditions
from moldau_operator.resources.bundle import Resource as Declared
from moldau_operator.resources.bundle import read_resource
from moldau_operator.resources.cluster import Cluster
from moldau_operator.resources.conditions import Condition, Reason
from moldau_operator.resources.consumergroup import ConsumerGroup
from moldau_operator.resources.located import Problem, locate
from moldau_operator.resources.meta import Key, Kind
from moldau_operator.resources.status import ClusterStatus, GroupStatus, TopicStatus
from moldau_operator.resources.topic import Topic
from moldau_operator.seams.api_server import CLUSTERS, CONSUMER_GROUPS, TOPICS, ApiServer, Object
from moldau_operator.seams.broker_admin import BrokerAdmin
from moldau_operator.seams.platform import NodeState
from moldau_operator.seams.status_store import Status
from moldau_operator.specs.ledger import Entry, declared_name, entry_of
from moldau_operator.specs.objects import LABEL_CLUSTER
from moldau_operator.specs.pdb import eviction_problem
from moldau_operator.specs.services import bootstrap_address
from moldau_operator.telemetry.declared import read_declared
from moldau_operator.telemetry.metrics import OperatorMetrics

_MIN_ISR: Final = "min.insync.replicas"


class ClosableAdmin(BrokerAdmin, Protocol):
    """An admin client that is this process's own to close."""

    async def close(self) -> None:
        """Close all connections."""
        ...


MakeAdmin = Callable[[Callable[[], str], Callable[[], Sequence[str]]], ClosableAdmin]


@dataclass(slots=True)
class PassReport:
    """What a pass came to: what was done, what is worth telling, whether another one is due soon."""

    actions: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    busy: bool = False
    objects: Mapping[Key, Object] = field(default_factory=dict)


@dataclass(slots=True)
class _Managed:
    """What is kept of one Cluster between two passes."""

    platform: KubePlatform
    admin: ClosableAdmin
    cluster: ClusterReconciler
    topics: TopicReconciler
    groups: GroupReconciler
    balance: BalanceReconciler
    under_replicated: int | None
    """Partitions that lack an in-sync replica; None while the brokers cannot tell."""
    ledger: Ledger


class Passes:
    """Reconciles all resources of one namespace, one pass at a time."""

    def __init__(
        self,
        api: ApiServer,
        namespace: str,
        image: str,
        clock: Clock,
        make_admin: MakeAdmin = KafkaAdmin,
        mint: Callable[[], str] = mint_cluster_id,
        metrics: OperatorMetrics | None = None,
    ) -> None:
        self._metrics = metrics or OperatorMetrics(namespace, clock)
        self._api = api
        self._namespace = namespace
        self._image = image
        self._clock = clock
        self._make_admin = make_admin
        self._mint = mint
        self._statuses = KubeStatuses(api, clock)
        self._zones = Zones(api)
        self._managed: dict[str, _Managed] = {}

    async def close(self) -> None:
        """Close all connections to brokers."""
        for managed in self._managed.values():
            await managed.admin.close()

    async def run(self) -> PassReport:
        """Look at everything, plan and act once.

        Raises:
            PlatformError: the API server refuses, or cannot be asked.
        """
        self._metrics.pass_begins()
        objects = {
            Key(Kind(resource.kind), self._namespace, one["metadata"]["name"]): one
            for resource in (CLUSTERS, TOPICS, CONSUMER_GROUPS)
            for one in await self._api.select(resource, self._namespace, {})
        }
        self._statuses.saw(objects)
        report = PassReport(objects=objects)
        declared = await self._read(objects, report)
        clusters = {
            one.metadata.name: one
            for key, one in declared.items()
            if isinstance(one, Cluster) and "deletionTimestamp" not in objects[key]["metadata"]
        }
        for name in self._managed.keys() - clusters.keys():
            await self._managed.pop(name).admin.close()
        await self._pend(objects, declared, clusters, report)
        failed: list[PlatformError] = []
        for cluster in clusters.values():
            try:
                await self._reconcile(cluster, objects, declared, report)
            except PlatformError as error:  # no reason to pass over the next one
                failed.append(error)
        if failed:
            raise failed[0]
        self._metrics.pass_ended(read_declared(objects.values(), map(str, Kind), self._namespace))
        return report

    async def _read(self, objects: Mapping[Key, Object], report: PassReport) -> dict[Key, Declared]:
        """The resources that can be read; the others get a condition that says why not."""
        found: dict[Key, Declared] = {}
        for key, one in objects.items():
            problems: list[Problem] = []
            resource = read_resource(locate(one), problems)
            words = "; ".join(f"{problem.path} {problem.message}".strip() for problem in problems)
            if isinstance(resource, Cluster) and not words:
                words = spec_problem(resource) or ""
            if resource is None or words:
                invalid = conditions.stalled(Reason.INVALID_SPEC, words or "cannot be read")
                await self._condition(key, one, invalid)
            else:
                found[key] = resource
        return found

    async def _pend(
        self,
        objects: Mapping[Key, Object],
        declared: Mapping[Key, Declared],
        clusters: Mapping[str, Cluster],
        report: PassReport,
    ) -> None:
        """Topics and groups without a Cluster: they wait."""
        for key, one in objects.items():
            owner = str((one.get("spec") or {}).get("cluster", ""))
            known = any(k.kind is Kind.CLUSTER and k.name == owner for k in objects)
            if key.kind is Kind.CLUSTER or owner in clusters:
                continue
            await self._statuses.let_loose(key)
            if _stays(one) and key in declared:
                words = f"Cluster {owner} " + ("cannot be used now" if known else "is not there")
                await self._condition(key, one, conditions.reconciling(Reason.PENDING, words))

    async def _reconcile(
        self,
        cluster: Cluster,
        objects: Mapping[Key, Object],
        declared: Mapping[Key, Declared],
        report: PassReport,
    ) -> None:
        managed = self._of(cluster, objects[cluster.key])
        managed.platform.cluster = cluster
        old = read_cluster_status(objects[cluster.key].get("status"))
        mine = {
            key: one
            for key, one in objects.items()
            if key.kind is not Kind.CLUSTER and one["spec"].get("cluster") == cluster.metadata.name
        }
        topics = [one for key, one in declared.items() if isinstance(one, Topic) and _stays(mine.get(key))]
        groups = [
            one for key, one in declared.items() if isinstance(one, ConsumerGroup) and _stays(mine.get(key))
        ]
        gone = await self._left(managed.ledger, cluster, objects, mine, declared)
        self._describe(cluster, managed)
        with self._metrics.reconciling(Kind.CLUSTER) as work:
            found = await managed.cluster.reconcile(cluster, old, topics)
            work.actions = len(found.actions)
        report.actions += found.actions
        report.events += found.events
        report.busy |= not found.converged
        self._describe(cluster, managed)
        await self._statuses.save(found.statuses)  # how many serve may have changed
        serving = any(node.state is NodeState.SERVING for node in managed.platform.nodes())
        if not serving:
            managed.under_replicated = None
            waiting = conditions.reconciling(
                Reason.PENDING, f"no node of Cluster {cluster.metadata.name} serves"
            )
            for key in mine.keys() & declared.keys():
                if read_topic_status(mine[key].get("status")) is None and _stays(mine[key]):
                    await self._condition(key, mine[key], waiting)
            report.busy |= bool(mine or gone)
            return
        try:
            staying = {key: one for key, one in mine.items() if key in declared and _stays(one)}
            status = found.statuses[cluster.key]
            await self._contents(cluster, managed, staying, gone, topics, groups, report)
            self._describe(cluster, managed)
            await self._statuses.save({cluster.key: status})
            balanced = await managed.balance.run(cluster, status, managed.cluster.seen, self._statuses)
            report.actions += balanced.actions
            report.events += balanced.events
            report.busy |= balanced.busy
        except AdminError as error:
            managed.under_replicated = None
            report.events.append(
                Event(subject=cluster.key, message=f"cannot ask the brokers: {error}", warning=True)
            )
            report.busy = True

    async def _contents(
        self,
        cluster: Cluster,
        managed: _Managed,
        staying: Mapping[Key, Object],
        gone: Mapping[Key, Entry],
        topics: Sequence[Topic],
        groups: Sequence[ConsumerGroup],
        report: PassReport,
    ) -> None:
        facts = ClusterFacts.of(cluster, managed.cluster.seen.view)
        throttle = Throttle.of(cluster, managed.cluster.seen.overrides)
        topic_statuses = _statuses(staying, Kind.TOPIC, read_topic_status)
        topic_statuses |= {key: topic_left(one) for key, one in gone.items() if key.kind is Kind.TOPIC}
        with self._metrics.reconciling(Kind.TOPIC) as work:
            first = await managed.topics.reconcile(topics, topic_statuses, facts, throttle)
            work.actions = len(first.actions)
        group_statuses = _statuses(staying, Kind.CONSUMER_GROUP, read_group_status)
        group_statuses |= {key: group_left(one) for key, one in gone.items() if key.kind is not Kind.TOPIC}
        with self._metrics.reconciling(Kind.CONSUMER_GROUP) as work:
            second = await managed.groups.reconcile(groups, group_statuses, paused=cluster.spec.pause)
            work.actions = len(second.actions)
        for found in (first, second):
            report.actions += found.actions
            report.events += found.events
            report.busy |= not found.converged
        seen = (await managed.admin.list_topics()).values()
        managed.under_replicated = sum(topic.under_replicated for topic in seen)
        if not cluster.spec.pause:
            declared = {
                t.spec.topic_name: int(t.spec.config[_MIN_ISR]) for t in topics if _MIN_ISR in t.spec.config
            }
            least = int(cluster.spec.config.get(_MIN_ISR, 1))
            problem = eviction_problem(seen, declared, least, cluster.spec.brokers)
            await managed.platform.allow_evictions(evictions=not problem)

    async def _left(
        self,
        ledger: Ledger,
        cluster: Cluster,
        objects: Mapping[Key, Object],
        mine: Mapping[Key, Object],
        declared: Mapping[Key, Declared],
    ) -> dict[Key, Entry]:
        """Bring the ledger to what there is; gives what resources that are gone have left to do."""
        await ledger.read(cluster)
        self._statuses.ledgers[cluster.metadata.name] = ledger
        await ledger.keep({one["metadata"]["uid"]: entry_of(one, one.get("status")) for one in mine.values()})
        for key in mine:
            await self._statuses.let_loose(key)
        unread = {
            (key.kind, declared_name(one)) for key, one in mine.items() if key not in declared and _stays(one)
        }
        live = {one["metadata"]["uid"] for one in objects.values()}
        gone = ledger.gone(live, self._namespace)
        # Who cannot be read may well go on with what another one left.
        return {key: one for key, one in gone.items() if (key.kind, one.holds) not in unread}

    def _describe(self, cluster: Cluster, managed: _Managed) -> None:
        nodes = managed.platform.nodes()
        found = {
            "replicas": len(nodes),
            "readyReplicas": sum(node.state is NodeState.SERVING for node in nodes),
            "selector": f"{LABEL_CLUSTER}={cluster.metadata.name}",
            "bootstrap": bootstrap_address(cluster),
        }
        if managed.under_replicated is not None:
            found[_UNDER_REPLICATED] = managed.under_replicated
        self._statuses.detail(cluster.key, found)

    async def _condition(self, key: Key, one: Object, found: tuple[Condition, ...]) -> None:
        """A status with these conditions, which keeps everything else that was written."""
        generation = int(one["metadata"].get("generation", 0))
        raw = one.get("status")
        status: Status
        match key.kind:
            case Kind.CLUSTER:
                status = read_cluster_status(raw) or ClusterStatus()
                self._statuses.detail(key, {k: v for k, v in (raw or {}).items() if k in _DETAILS})
            case Kind.TOPIC:
                status = read_topic_status(raw) or TopicStatus()
            case Kind.CONSUMER_GROUP:
                status = read_group_status(raw) or GroupStatus()
        merged = conditions.merge(status.conditions, found, generation, rfc3339(self._clock.wall_ms()))
        await self._statuses.save({key: replace(status, observed_generation=generation, conditions=merged)})

    def _of(self, cluster: Cluster, there: Object) -> _Managed:
        name = cluster.metadata.name
        if name not in self._managed:
            platform = KubePlatform(self._api, cluster, self._image, self._zones)
            admin = self._make_admin(
                lambda: ",".join(node.kafka for node in platform.nodes()),
                lambda: [
                    node.http
                    for node in sorted(platform.nodes(), key=lambda one: one.state is not NodeState.SERVING)
                ],
            )
            self._managed[name] = _Managed(
                platform=platform,
                admin=admin,
                cluster=ClusterReconciler(platform, admin, self._statuses, self._clock, self._mint),
                topics=TopicReconciler(admin, self._statuses, self._clock),
                groups=GroupReconciler(admin, self._statuses, self._clock),
                balance=BalanceReconciler(admin, self._clock),
                under_replicated=(there.get("status") or {}).get(_UNDER_REPLICATED),
                ledger=Ledger(self._api),
            )
        return self._managed[name]


_UNDER_REPLICATED: Final = "underReplicatedPartitions"
_DETAILS: Final = frozenset({"replicas", "readyReplicas", "selector", "bootstrap", _UNDER_REPLICATED})


def _stays(one: Object | None) -> bool:
    return one is not None and "deletionTimestamp" not in one["metadata"]


def _statuses(of: Mapping[Key, Object], kind: Kind, read: Callable[[Any], Any]) -> dict[Key, Any]:
    return {
        key: status
        for key, one in of.items()
        if key.kind is kind and (status := read(one.get("status"))) is not None
    }
