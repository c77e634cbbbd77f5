"""The Cluster resource. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from moldau_operator.names import CLUSTER_NAME_CHARS_MAX, POOL_NAME_DEFAULT, label_problem
from moldau_operator.resources.broker_settings import broker_setting_problem
from moldau_operator.resources.fields import Fields
from moldau_operator.resources.meta import DeletionPolicy, Key, Kind, Metadata, read_metadata
from moldau_operator.resources.quantity import Quantity

REPLICAS_MAX: Final = 1_000
"""Brokers of one pool; the largest Kafka clusters known have a few hundred."""

NODE_ID_MAX: Final = 2**31 - 1 - REPLICAS_MAX
_BYTES_MAX: Final = 2**63 - 1
_PARALLEL_MAX: Final = 100
_POOLS_MAX: Final = 50
_LISTENERS_MAX: Final = 20


class Role(StrEnum):
    """What a node does."""

    BROKER = "broker"
    CONTROLLER = "controller"


class BalanceMode(StrEnum):
    """What may be moved to balance load."""

    OFF = "Off"
    LEADERS_ONLY = "LeadersOnly"
    AUTO = "Auto"


class Approval(StrEnum):
    """Whether a plan that moves data waits for a person."""

    MANUAL = "Manual"
    AUTO = "Auto"


class PodRevision(StrEnum):
    """Whether a new operator version may restart pods by itself."""

    PINNED = "Pinned"
    AUTO = "Auto"


class ListenerType(StrEnum):
    """From where a listener is reached."""

    INTERNAL = "internal"
    NODEPORT = "nodeport"


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """A node's volume. `size` None and `storage_class` None leave the choice to the platform."""

    size: Quantity | None = None
    storage_class: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """Requests and limits per node, by resource name (cpu, memory, ephemeral-storage)."""

    requests: Mapping[str, Quantity] = field(default_factory=dict)
    limits: Mapping[str, Quantity] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Nodes that are alike. A node's id is `node_id_base` + its ordinal.

    `template` holds pod settings as written; what of it is allowed is the Kubernetes platform's to say.
    """

    name: str
    node_id_base: int
    replicas: int
    roles: frozenset[Role] = frozenset(Role)
    rack: str | None = None
    storage: Storage = Storage()
    resources: Resources = field(default_factory=Resources)
    template: Mapping[str, Any] = field(default_factory=dict)

    @property
    def node_ids(self) -> range:
        """The ids of its nodes, in order."""
        return range(self.node_id_base, self.node_id_base + self.replicas)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """A way in for clients. `advertised_host` and `advertised_port` override what brokers tell clients."""

    name: str
    type: ListenerType
    port: int
    advertised_host: str | None = None
    advertised_port: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """How a change reaches running nodes: one at a time. A new `restarted_at` restarts all of them."""

    pod_revision: PodRevision = PodRevision.PINNED
    restarted_at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """What balancing may do.

    Attributes:
        budget_bytes: that one plan may copy; None for as much as it takes.
        approval: whether a plan that moves data waits for a person; without a word of it, in every mode but Auto.
        approved_plan: hash of the plan that may be carried out.
        throttle_bytes: a second that a broker sends, and that it takes, for moves; None for the default.
    """

    mode: BalanceMode = BalanceMode.LEADERS_ONLY
    budget_bytes: int | None = None
    approval: Approval = Approval.MANUAL
    approved_plan: str | None = None
    throttle_bytes: int | None = None

    def allows(self, plan_hash: str) -> bool:
        """Whether the plan of this hash may move data."""
        if self.mode is BalanceMode.OFF:
            return False
        by_itself = self.mode is BalanceMode.AUTO and self.approval is Approval.AUTO
        return by_itself or (bool(plan_hash) and self.approved_plan == plan_hash)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSpec:
    """What a cluster should be. `pools` is never empty: a spec without pools has one, from its own fields."""

    pools: tuple[Pool, ...]
    image: str | None = None
    version: str | None = None
    config: Mapping[str, str] = field(default_factory=dict)
    listeners: tuple[Listener, ...] = ()
    rollout: Rollout = Rollout()
    balance: Balance = Balance()
    deletion_policy: DeletionPolicy = DeletionPolicy.RETAIN
    pause: bool = False

    @property
    def replicas(self) -> int:
        """Nodes of all pools."""
        return sum(pool.replicas for pool in self.pools)

    @property
    def brokers(self) -> int:
        """Nodes that store partitions."""
        return sum(pool.replicas for pool in self.pools if Role.BROKER in pool.roles)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A declared cluster."""

    metadata: Metadata
    spec: ClusterSpec

    @property
    def key(self) -> Key:
        """Its identity."""
        return Key(Kind.CLUSTER, self.metadata.namespace, self.metadata.name)


def read_cluster(resource: Fields) -> Cluster:
    """A Cluster from the fields of its document; problems go where `resource` collects them."""
    metadata_fields, spec_fields = resource.fields("metadata"), resource.fields("spec")
    metadata = read_metadata(metadata_fields, _cluster_name_problem) if metadata_fields else Metadata(name="")
    if spec_fields is None:
        return Cluster(metadata=metadata, spec=ClusterSpec(pools=()))
    spec = ClusterSpec(
        pools=_read_pools(spec_fields),
        image=spec_fields.text("image"),
        version=spec_fields.text("version"),
        config=spec_fields.settings("config", broker_setting_problem),
        listeners=_read_listeners(spec_fields),
        rollout=_read_rollout(spec_fields.fields("rollout")),
        balance=_read_balance(spec_fields.fields("balance")),
        deletion_policy=spec_fields.choice("deletionPolicy", DeletionPolicy.RETAIN),
        pause=spec_fields.flag("pause"),
    )
    _check_together(spec_fields, spec)
    spec_fields.done()
    return Cluster(metadata=metadata, spec=spec)


def _cluster_name_problem(name: str) -> str | None:
    return label_problem(name, CLUSTER_NAME_CHARS_MAX)


_POOL_FIELDS: Final = ("replicas", "storage", "resources", "rack", "template")


def _read_pools(spec: Fields) -> tuple[Pool, ...]:
    if not spec.has("pools"):
        spec.ignore("pools")
        if not spec.has("replicas"):
            spec.wrong("replicas", "is missing; give the number of nodes, or list pools")
        return (_read_pool(spec, POOL_NAME_DEFAULT, 0, frozenset(Role)),)
    for name in _POOL_FIELDS:
        if spec.has(name):
            spec.wrong(name, f"cannot stand beside pools; move it into a pool (spec.pools[].{name})")
    spec.ignore(*_POOL_FIELDS)
    listed = spec.list_of_fields("pools")
    if not listed:
        spec.wrong("pools", "is empty; list at least one pool, or give replicas instead")
    if len(listed) > _POOLS_MAX:
        spec.wrong("pools", f"lists {len(listed)} pools; at most {_POOLS_MAX} are allowed")
        return ()
    pools: list[Pool] = []
    for fields in listed:
        name = fields.required_text("name", "the pool's name", label_problem)
        if fields.required("nodeIdBase", "the id of its first node; it can never change later") is None:
            base = None
        else:
            base = fields.whole("nodeIdBase", 0, NODE_ID_MAX)
        fields.required("replicas", "the number of nodes")
        pool = _read_pool(fields, name, base or 0, _read_roles(fields))
        fields.done()
        for other in pools:
            if other.name == pool.name:
                fields.wrong("name", f"{pool.name} is the name of two pools; rename one")
            if base is not None and _overlap(pool.node_ids, other.node_ids):
                fields.wrong(
                    "nodeIdBase",
                    f"gives ids {_span(pool)}, but pool {other.name} has {_span(other)}; space them",
                )
        pools.append(pool)
    if pools and not any(Role.CONTROLLER in pool.roles for pool in pools):
        spec.wrong("pools", "has no pool with the role controller; add the role to one")
    if pools and not any(Role.BROKER in pool.roles for pool in pools):
        spec.wrong("pools", "has no pool with the role broker; add the role to one")
    return tuple(pools)


def _read_pool(fields: Fields, name: str, base: int, roles: frozenset[Role]) -> Pool:
    template = fields.node("template")
    if template is not None and not isinstance(template.value, Mapping):
        fields.wrong("template", f"must be a mapping, not {template.kind}")
        template = None
    return Pool(
        name=name,
        node_id_base=base,
        replicas=fields.whole("replicas", 1, REPLICAS_MAX) or 1,
        roles=roles,
        rack=fields.text("rack"),
        storage=_read_storage(fields.fields("storage")),
        resources=_read_resources(fields.fields("resources")),
        template=template.plain() if template is not None else {},
    )


def _read_roles(fields: Fields) -> frozenset[Role]:
    items = fields.items("roles")
    roles = set()
    for item in items:
        if isinstance(item.value, str) and item.value in {role.value for role in Role}:
            roles.add(Role(item.value))
        else:
            fields.complain(
                item.where,
                "roles",
                f"{item.text[:40] or item.kind} is no role; give broker, controller or both",
            )
    return frozenset(roles) or frozenset(Role)


def _overlap(one: range, other: range) -> bool:
    return one.start < other.stop and other.start < one.stop


def _span(pool: Pool) -> str:
    return f"{pool.node_ids.start}..{pool.node_ids.stop - 1}"


def _read_storage(fields: Fields | None) -> Storage:
    if fields is None:
        return Storage()
    storage = Storage(size=fields.quantity("size"), storage_class=fields.text("class"))
    if not fields.has("size"):
        fields.wrong("size", "is missing; give each node's volume a size such as 10Gi")
    fields.done()
    return storage


def _read_resources(fields: Fields | None) -> Resources:
    if fields is None:
        return Resources()
    resources = Resources(requests=_read_amounts(fields, "requests"), limits=_read_amounts(fields, "limits"))
    for name, request in resources.requests.items():
        limit = resources.limits.get(name)
        if limit is not None and request.amount > limit.amount:
            fields.wrong(
                "requests", f"asks for more {name} ({request}) than limits allows ({limit}); raise the limit"
            )
    fields.done()
    return resources


def _read_amounts(fields: Fields, name: str) -> dict[str, Quantity]:
    inner = fields.fields(name)
    if inner is None:
        return {}
    found = {resource: inner.quantity(resource) for resource in ("cpu", "memory", "ephemeral-storage")}
    inner.done()
    return {resource: amount for resource, amount in found.items() if amount is not None}


def _read_listeners(spec: Fields) -> tuple[Listener, ...]:
    listed = spec.list_of_fields("listeners")
    if len(listed) > _LISTENERS_MAX:
        spec.wrong("listeners", f"lists {len(listed)} listeners; at most {_LISTENERS_MAX} are allowed")
        return ()
    listeners: list[Listener] = []
    for fields in listed:
        advertised = fields.fields("advertised")
        host = advertised.text("host") if advertised else None
        advertised_port = advertised.whole("port", 1, 65535) if advertised else None
        if advertised:
            advertised.done()
        fields.required("port", "the port it listens on")
        listener = Listener(
            name=fields.required_text("name", "the listener's name", label_problem),
            type=fields.choice("type", ListenerType.INTERNAL),
            port=fields.whole("port", 1, 65535) or 0,
            advertised_host=host,
            advertised_port=advertised_port,
        )
        for other in listeners:
            if listener.name == other.name:
                fields.wrong("name", f"{listener.name} is the name of two listeners; rename one")
            if listener.port == other.port:
                fields.wrong("port", f"{listener.port} is listener {other.name}'s port too; choose another")
        fields.done()
        listeners.append(listener)
    return tuple(listeners)


def _read_rollout(fields: Fields | None) -> Rollout:
    if fields is None:
        return Rollout()
    # Whether several may stop together, brokers can only say of each alone: more than one is refused, never ignored.
    if (fields.whole("maxParallelPerRack", 1, _PARALLEL_MAX) or 1) > 1:
        fields.wrong("maxParallelPerRack", "nodes restart one at a time; set it to 1 or leave it out")
    rollout = Rollout(
        pod_revision=fields.choice("podRevision", PodRevision.PINNED),
        restarted_at=fields.text("restartedAt") or "",
    )
    fields.done()
    return rollout


def _read_balance(fields: Fields | None) -> Balance:
    if fields is None:
        return Balance()
    mode = fields.choice("mode", BalanceMode.LEADERS_ONLY)
    balance = Balance(
        mode=mode,
        budget_bytes=fields.whole("budgetBytes", 1, _BYTES_MAX),
        approval=fields.choice("approval", Approval.AUTO if mode is BalanceMode.AUTO else Approval.MANUAL),
        approved_plan=fields.text("approvedPlan"),
        throttle_bytes=fields.whole("throttleBytesPerSecond", 1, _BYTES_MAX),
    )
    fields.done()
    return balance


def _check_together(fields: Fields, spec: ClusterSpec) -> None:
    """What no field can know alone."""
    factor, min_isr = spec.config.get("default.replication.factor"), spec.config.get("min.insync.replicas")
    if factor is not None and int(factor) > spec.brokers > 0:
        fields.wrong(
            "config",
            f"default.replication.factor is {factor}, but the cluster has {spec.brokers} broker"
            f"{'' if spec.brokers == 1 else 's'}; lower it or raise replicas",
        )
    if factor is not None and min_isr is not None and int(min_isr) > int(factor):
        fields.wrong(
            "config",
            f"min.insync.replicas is {min_isr}, but default.replication.factor is {factor}: every acks=all "
            "write would be refused; lower it",
        )
