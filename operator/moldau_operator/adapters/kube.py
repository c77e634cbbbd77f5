"""The platform of a Kubernetes API server: a StatefulSet for each pool, a pod for each node."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from moldau_operator.adapters.kube_objects import (
    Found,
    configs_of,
    differs,
    grows,
    names_of,
    services_of,
    sets_of,
)
from moldau_operator.adapters.kube_pods import pod_message, pod_state
from moldau_operator.adapters.kube_volumes import small_claims, storage_problem
from moldau_operator.adapters.kube_zones import Zones, racks_condition
from moldau_operator.errors import PlatformError
from moldau_operator.resources import conditions
from moldau_operator.resources.cluster import REPLICAS_MAX, Cluster, Pool
from moldau_operator.resources.conditions import Condition, ConditionType, Reason
from moldau_operator.seams.api_server import (
    BUDGETS,
    CLAIMS,
    CONFIG_MAPS,
    PODS,
    SERVICES,
    STATEFUL_SETS,
    ApiError,
    ApiServer,
    Object,
    Resource,
)
from moldau_operator.seams.platform import (
    EnsurePool,
    NodeSpec,
    ObservedNode,
    PlatformAction,
    PlatformLimits,
    PoolSpec,
    RestartNode,
    RetireNode,
)
from moldau_operator.specs.config import client_ports, declared_settings, listener_problem, properties_key
from moldau_operator.specs.difference import first_difference
from moldau_operator.specs.nodes import pool_specs
from moldau_operator.specs.objects import (
    ANNOTATION_CLUSTER_ID,
    HTTP_PORT,
    Manifest,
    NodeName,
    config_name,
    node_name,
    selector,
    set_name,
)
from moldau_operator.specs.pdb import disruption_budget
from moldau_operator.specs.statefulset import name_problem, restart_words, revision_of, started_with
from moldau_operator.specs.template import template_problem

_PLAINTEXT: Final = conditions.flag(
    ConditionType.PLAINTEXT,
    True,
    Reason.NO_TLS,
    "listeners are not encrypted and ask for no password: whoever reaches them may read and write",
)

_REFUSED: Final = frozenset({403, 422})
"""A storage class that cannot grow, or a quota."""

LIMITS: Final = PlatformLimits(nodes_max=REPLICAS_MAX, nodes_reason="no larger cluster was ever tried")


def spec_problem(cluster: Cluster) -> str | None:
    """Why Kubernetes cannot run this Cluster, in words; None when it can."""
    for pool in cluster.spec.pools:
        problem = template_problem(pool)
        if problem is not None:
            return f"template of pool {pool.name}: {problem}"
    return name_problem(cluster) or listener_problem(cluster)


class KubePlatform:
    """Runs the nodes of one Cluster as pods. Implements `Platform`.

    Args:
        image: of the nodes, where the Cluster names none.
        zones: of the machines, shared by all Clusters.
    """

    def __init__(self, api: ApiServer, cluster: Cluster, image: str, zones: Zones | None = None) -> None:
        self._api = api
        self._image = image
        self._zones = zones or Zones(api)
        self.cluster = cluster
        """What is declared now; set it before every pass."""
        self._nodes: tuple[ObservedNode, ...] = ()
        self._refused: dict[str, tuple[str, str]] = {}
        """By claim: the size that the server would not give it, and why."""

    @property
    def limits(self) -> PlatformLimits:
        """What it cannot do."""
        return LIMITS

    @property
    def remarks(self) -> tuple[Condition, ...]:
        """That nothing is encrypted yet, and where the brokers' racks come from."""
        return (_PLAINTEXT, racks_condition(self.cluster, known=self._zones.known))

    def nodes(self) -> tuple[ObservedNode, ...]:
        """What was last observed."""
        return self._nodes

    async def volumes(self) -> Mapping[int, str]:
        """The nodes that have a volume claim, and the cluster it belongs to; claims being removed are left out."""
        claims = await self._list(CLAIMS)
        return {
            node: str((claim["metadata"].get("annotations") or {}).get(ANNOTATION_CLUSTER_ID, ""))
            for claim in claims.values()
            if "deletionTimestamp" not in claim["metadata"]
            and (node := self._claimed_by(claim["metadata"]["name"])) is not None
        }

    async def observe(self) -> tuple[ObservedNode, ...]:
        """Every node that a StatefulSet asks for, by id."""
        found = await self._look()
        pools = self._pools(found)
        names = names_of(self.cluster, pools)
        cluster_id = _cluster_id(found)
        sets = sets_of(self.cluster, pools, self._image, cluster_id, found)
        drift = differs(
            [
                *services_of(self.cluster, names),
                *configs_of(self.cluster, pools, names, found, await self._zones.by_machine()),
                *sets,
            ],
            found,
        )
        drift = drift or self._too_small(sets, found)
        observed = []
        for pool, spec, wanted in zip(self.cluster.spec.pools, pools, sets, strict=True):
            there = found.sets.get(set_name(self.cluster.metadata.name, pool.name))
            for node in spec.nodes if there is not None else ():
                name = node_name(self.cluster, pool, node.node_id - pool.node_id_base)
                if name.ordinal >= int((there or {})["spec"].get("replicas", 0)):
                    continue
                one = self._observe(node, name, found, wanted, drift)
                refused = self._refused.get(name.claim, ("", ""))[1]
                problem = "; ".join(filter(None, (storage_problem(pool, there), refused)))
                observed.append(replace(one, volume_problem=problem))
        self._nodes = tuple(sorted(observed, key=lambda node: node.node_id))
        return self._nodes

    async def apply(self, action: PlatformAction) -> None:
        """Carry out one action; each step leaves something from which the next pass goes on.

        Raises:
            PlatformError: the API server refuses, or cannot be asked.
        """
        match action:
            case EnsurePool():
                await self._ensure(action)
            case RestartNode():
                await self._restart(action.node_id)
            case RetireNode():
                await self._retire(action.node_id)

    async def allow_evictions(self, *, evictions: bool) -> bool:
        """Keep the disruption budget; gives whether it had to be written."""
        wanted = disruption_budget(self.cluster, evictions=evictions)
        meta = wanted["metadata"]
        there = await self._api.get(BUDGETS, meta["namespace"], meta["name"])
        if not first_difference(wanted, there):
            return False
        await self._api.apply(wanted)
        return True

    def _observe(
        self, node: NodeSpec, name: NodeName, found: Found, wanted: Manifest, drift: str
    ) -> ObservedNode:
        pod = found.pods.get(name.pod)
        state, hopeless = pod_state(pod)
        config = found.configs.get(config_name(self.cluster.metadata.name, node.pool), {})
        text = (config.get("data") or {}).get(properties_key(name))
        running = None
        if pod is not None:
            has = revision_of(pod)
            running = node.revision if has == revision_of(wanted) else f"pod-{has or 'unknown'}"
        return ObservedNode(
            node_id=node.node_id,
            pool=node.pool,
            wanted=node.revision,
            running=running,
            settings=declared_settings(text) if text is not None else {},
            started_with=started_with(pod) if pod is not None else {},
            roles=node.roles,
            state=state,
            kafka=f"{name.host}:{next(iter(client_ports(self.cluster).values()))}",
            http=f"{name.host}:{HTTP_PORT}",
            message=pod_message(pod),
            hopeless=hopeless,
            drift=drift,
            restart_for=restart_words(self.cluster, pod, wanted) if pod is not None else "",
        )

    async def _ensure(self, action: EnsurePool) -> None:
        """All pools at once: files name the controllers of all."""
        problem = spec_problem(self.cluster)
        if problem is not None:
            raise PlatformError(problem)
        found = await self._look()
        pools = self._with(action.pool, self._pools(found))
        cluster_id = action.pool.nodes[0].settings.get("cluster.id", "") or _cluster_id(found)
        names = names_of(self.cluster, pools)
        await self._apply_each(services_of(self.cluster, names), found)
        found = await self._look()  # the server chose ports
        zones = await self._zones.by_machine()
        await self._apply_each(configs_of(self.cluster, pools, names, found, zones), found)
        for wanted in sets_of(self.cluster, pools, self._image, cluster_id, found):
            there = found.of(wanted)
            await self._grow_claims(wanted, found)
            if there is not None and grows(
                wanted, there
            ):  # a claim template cannot change; pods and claims stay
                await self._api.delete(
                    STATEFUL_SETS, self._namespace, wanted["metadata"]["name"], orphan=True
                )
            await self._apply_each([wanted], found)

    async def _grow_claims(self, wanted: Manifest, found: Found) -> None:
        """Ask for more; a claim that cannot have it keeps what it has, and is asked again by the next process."""
        for name, claim, size in small_claims(wanted, found.claims):
            if self._refused.get(name, ("", ""))[0] == size:
                continue
            metadata = {"name": name, "namespace": self._namespace, "uid": claim["metadata"]["uid"]}
            larger = {"apiVersion": CLAIMS.api_version, "kind": CLAIMS.kind, "metadata": metadata}
            larger["spec"] = {"resources": {"requests": {"storage": size}}}
            try:
                await self._api.apply(larger)
            except ApiError as error:
                if error.status not in _REFUSED:
                    raise
                self._refused[name] = (size, f"volume {name} stays smaller than {size}: {error}")

    def _too_small(self, sets: Iterable[Manifest], found: Found) -> str:
        for wanted in sets:
            for name, _, size in small_claims(wanted, found.claims):
                if self._refused.get(name, ("", ""))[0] != size:
                    return f"volume {name} is to have {size}"
        return ""

    async def _apply_each(self, wanted: Iterable[Manifest], found: Found) -> None:
        for one in wanted:
            if first_difference(one, found.of(one)):
                await self._api.apply(one)

    async def _restart(self, node_id: int) -> None:
        """The StatefulSet makes the pod again from what it says now; only the pod that was looked at goes."""
        name = self._name(node_id)
        pod = await self._api.get(PODS, self._namespace, name.pod)
        if pod is not None and "deletionTimestamp" not in pod["metadata"]:
            try:
                await self._api.delete(PODS, self._namespace, name.pod, uid=pod["metadata"]["uid"])
            except ApiError as error:
                if not error.is_conflict:  # another pod of this name by now
                    raise

    async def _retire(self, node_id: int) -> None:
        """The claim first: it goes when its pod is gone, and a node without a claim is no member any more."""
        name = self._name(node_id)
        found = await self._look()
        there = found.sets.get(set_name(self.cluster.metadata.name, name.pool))
        if there is not None and int(there["spec"].get("replicas", 0)) > name.ordinal + 1:
            raise PlatformError(f"node {node_id} goes after those above it")
        await self._api.delete(CLAIMS, self._namespace, name.claim)
        found = await self._look()
        pools = self._pools(found)
        await self._apply_each(sets_of(self.cluster, pools, self._image, _cluster_id(found), found), found)

    def _pools(self, found: Found) -> tuple[PoolSpec, ...]:
        """The declared nodes, and those that still have a claim and a place in their set."""
        leaving = []
        for pool in self.cluster.spec.pools:
            there = found.sets.get(set_name(self.cluster.metadata.name, pool.name))
            for ordinal in range(pool.replicas, int((there or {}).get("spec", {}).get("replicas", 0))):
                claim = found.claims.get(node_name(self.cluster, pool, ordinal).claim)
                if claim is not None and "deletionTimestamp" not in claim["metadata"]:
                    leaving.append(pool.node_id_base + ordinal)
        return pool_specs(self.cluster, _cluster_id(found), leaving)

    @staticmethod
    def _with(pool: PoolSpec, pools: Sequence[PoolSpec]) -> list[PoolSpec]:
        return [pool if one.name == pool.name else one for one in pools]

    async def _look(self) -> Found:
        sets, services, configs, pods, claims = await asyncio.gather(
            *(self._list(kind) for kind in (STATEFUL_SETS, SERVICES, CONFIG_MAPS, PODS, CLAIMS))
        )
        return Found(sets=sets, services=services, configs=configs, pods=pods, claims=claims)

    async def _list(self, resource: Resource) -> dict[str, Object]:
        found = await self._api.select(resource, self._namespace, selector(self.cluster))
        return {one["metadata"]["name"]: one for one in found}

    def _name(self, node_id: int) -> NodeName:
        pool = self._pool(node_id)
        return node_name(self.cluster, pool, node_id - pool.node_id_base)

    def _pool(self, node_id: int) -> Pool:
        below = [pool for pool in self.cluster.spec.pools if pool.node_id_base <= node_id]
        return max(below, key=lambda pool: pool.node_id_base)

    def _claimed_by(self, claim: str) -> int | None:
        for pool in self.cluster.spec.pools:
            prefix = f"data-{set_name(self.cluster.metadata.name, pool.name)}-"
            rest = claim.removeprefix(prefix)
            if claim.startswith(prefix) and rest.isdigit():
                return pool.node_id_base + int(rest)
        return None

    @property
    def _namespace(self) -> str:
        return self.cluster.metadata.namespace


def _cluster_id(found: Found) -> str:
    """The id the sets were made with."""
    for one in found.sets.values():
        for template in one["spec"].get("volumeClaimTemplates") or []:
            cluster_id = (template["metadata"].get("annotations") or {}).get(ANNOTATION_CLUSTER_ID)
            if cluster_id:
                return str(cluster_id)
    return ""
