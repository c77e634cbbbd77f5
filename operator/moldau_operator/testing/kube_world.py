"""A whole world for the operator: an API server in memory, Kubernetes' controllers, brokers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, Final

from moldau_operator.errors import OperatorError
from moldau_operator.handlers.passes import Passes, PassReport
from moldau_operator.seams.api_server import Object
from moldau_operator.seams.broker_admin import Partition
from moldau_operator.telemetry.metrics import OperatorMetrics
from moldau_operator.testing.apiserver import Killed, MemoryApi
from moldau_operator.testing.brokers import FakeBrokers
from moldau_operator.testing.controllers import settle
from moldau_operator.testing.groups import FakeGroup
from moldau_operator.testing.platform import FakeClock
from moldau_operator.testing.schema import shipped_definitions

NAMESPACE: Final = "team"
PASSES_MAX: Final = 60

_VOLATILE: Final = frozenset(
    {"uid", "resourceVersion", "creationTimestamp", "generation", "lastTransitionTime", "observedGeneration"}
)


class KubeWorld:
    """One namespace. The operator can die at any call and is started anew.

    Args:
        admission: whether the server holds resources against their definitions.

    Attributes:
        ready: whether a pod becomes ready.
        slow: pods take a step to become ready.
        cluster_id: the id that is minted next; `minted` counts them.
        failures: why passes ended early.
        metrics: what operators started from now on count into; None is their own.
    """

    def __init__(self, image: str = "moldau/broker:1", *, admission: bool = True) -> None:
        self.api = MemoryApi(definitions=shipped_definitions() if admission else {})
        self.brokers = FakeBrokers(brokers=0)
        self.clock = FakeClock()
        self.image = image
        self.minted = 0
        self.deaths = 0
        self.failures: list[str] = []
        self.ready: Callable[[Object], bool] = lambda _pod: True
        self.slow = False
        self.metrics: OperatorMetrics | None = None
        self.cluster_id = "cluster-1"
        self.passes = self._start()

    def _start(self) -> Passes:
        return Passes(
            self.api,
            NAMESPACE,
            self.image,
            self.clock,
            make_admin=lambda _kafka, _http: self.brokers,
            mint=self._mint,
            metrics=self.metrics,
        )

    def _mint(self) -> str:
        self.minted += 1
        return self.cluster_id

    def fork(self) -> KubeWorld:
        """A world of its own that is as this one is now, with an operator just started."""
        found = KubeWorld(self.image)
        found.api.take(self.api)
        found.brokers = copy.deepcopy(self.brokers)
        found.clock.now_ms = self.clock.now_ms
        found.slow, found.ready, found.minted = self.slow, self.ready, self.minted
        found.restart()
        return found

    def restart(self) -> None:
        """Another process of the operator, which knows only what the API server tells."""
        self.passes = self._start()

    def put(self, kind: str, name: str, **spec: Any) -> Object:
        """Apply one of our resources, as a person would."""
        metadata = {"name": name, "namespace": NAMESPACE}
        return self.api.put(
            {"apiVersion": "moldau.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}
        )

    async def step(self) -> PassReport | None:
        """One pass, then what Kubernetes and the brokers do by themselves; None when it ended early."""
        report = None
        try:
            report = await self.passes.run()
        except Killed:
            self.deaths += 1
            self.api.kill_at = None
            self.restart()
        except OperatorError as error:
            self.failures.append(str(error))
        self.settle()
        self.clock.advance(1_000)
        return report

    def settle(self) -> None:
        """What Kubernetes and the brokers do by themselves, once."""
        settle(self.api, self.ready, slow=self.slow)
        self._brokers_follow()

    async def converge(self, quiet: int = 1) -> int:
        """Passes until so many in a row write nothing and are not busy; gives their number.

        Raises:
            AssertionError: that never came.
        """
        calm = 0
        for number in range(1, PASSES_MAX + quiet):
            before = len(self.api.writes)
            report = await self.step()
            rests = report is not None and not report.busy and len(self.api.writes) == before
            calm = calm + 1 if rests else 0
            if calm == quiet:
                return number
        raise AssertionError(f"not settled after {PASSES_MAX} passes: {self.api.writes[-5:]}")

    def outcome(self) -> dict[str, Any]:
        """Everything there is, without what differs between two ways to the same end."""
        found = {"/".join(key): _lasting(one) for key, one in self.api.objects.items()}
        topics = {
            name: (one.partitions, one.replicas, one.overrides, [sorted(p.replicas) for p in one.placement])
            for name, one in self.brokers.topics.items()
        }
        return {"objects": found, "topics": topics, "overrides": dict(self.brokers.overrides)}

    def status(self, kind: str, name: str) -> dict[str, Any]:
        """The status of one of our resources."""
        found: dict[str, Any] = self.api.of(kind)[name].get("status") or {}
        return found

    def ready_condition(self, kind: str, name: str) -> tuple[str, str]:
        """Status and reason of Ready."""
        conditions = self.status(kind, name)["conditions"]
        found = next(one for one in conditions if one["type"] == "Ready")
        return found["status"], found["reason"]

    @staticmethod
    def group(committed: Mapping[tuple[str, int], int]) -> FakeGroup:
        """A group without members that has committed these offsets."""
        return FakeGroup(committed={Partition(*place): offset for place, offset in committed.items()})

    def condition(self, kind: str, name: str, of_type: str) -> Object | None:
        """A condition of one of our resources, if it is there."""
        found: list[Object] = self.status(kind, name).get("conditions") or []
        return next((one for one in found if one["type"] == of_type), None)

    def is_ready(self, kind: str, name: str) -> bool:
        """Whether one of our resources is there and says it is Ready."""
        conditions = (self.api.of(kind).get(name, {}).get("status") or {}).get("conditions") or ()
        return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)

    def _brokers_follow(self) -> None:
        """A broker serves while its pod is ready; its disk is its claim, and its moves arrive."""
        serving = {int(name.rpartition("-")[2]) for name, pod in self.api.of("Pod").items() if is_ready(pod)}
        count = max(serving, default=-1) + 1
        if count > self.brokers.brokers or (serving and count < self.brokers.brokers):
            self.brokers.voters = {*self.brokers.voters, *range(count)} & set(range(count))
            self.brokers.brokers = count
        self.brokers.fenced = set(range(count)) - serving
        self.brokers.forgotten -= serving
        self.brokers.finish_moves()
        self.brokers.replicas_follow(serving)


def is_ready(pod: Object) -> bool:
    """Whether a pod serves."""
    found = (pod.get("status") or {}).get("conditions") or ()
    return "deletionTimestamp" not in pod["metadata"] and {"type": "Ready", "status": "True"} in found


def _lasting(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _lasting(one) for name, one in value.items() if name not in _VOLATILE}
    if isinstance(value, list):
        return [_lasting(one) for one in value]
    return copy.copy(value)
