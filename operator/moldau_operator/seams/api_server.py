"""What is asked of a Kubernetes API server. Pure values and one Protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

from moldau_operator.errors import PlatformError

Object: TypeAlias = dict[str, Any]


class Resource(NamedTuple):
    """A kind of object and where the server keeps it."""

    api_version: str
    kind: str
    plural: str


STATEFUL_SETS: Final = Resource("apps/v1", "StatefulSet", "statefulsets")
SERVICES: Final = Resource("v1", "Service", "services")
CONFIG_MAPS: Final = Resource("v1", "ConfigMap", "configmaps")
PODS: Final = Resource("v1", "Pod", "pods")
CLAIMS: Final = Resource("v1", "PersistentVolumeClaim", "persistentvolumeclaims")
BUDGETS: Final = Resource("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
EVENTS: Final = Resource("v1", "Event", "events")
MACHINES: Final = Resource("v1", "Node", "nodes")
"""Kubernetes' own nodes. They belong to no namespace, and not every operator may read them."""
LEASES: Final = Resource("coordination.k8s.io/v1", "Lease", "leases")
CLUSTERS: Final = Resource("moldau.dev/v1alpha1", "Cluster", "clusters")
TOPICS: Final = Resource("moldau.dev/v1alpha1", "Topic", "topics")
CONSUMER_GROUPS: Final = Resource("moldau.dev/v1alpha1", "ConsumerGroup", "consumergroups")

RESOURCES: Final[Mapping[str, Resource]] = {
    one.kind: one
    for one in (
        STATEFUL_SETS,
        SERVICES,
        CONFIG_MAPS,
        PODS,
        CLAIMS,
        BUDGETS,
        EVENTS,
        MACHINES,
        LEASES,
        CLUSTERS,
        TOPICS,
        CONSUMER_GROUPS,
    )
}
"""Every kind that is read or written, by its name."""


class ApiError(PlatformError):
    """The API server refused or did not answer.

    Attributes:
        status: of HTTP; 0 when no answer came.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status

    @property
    def is_conflict(self) -> bool:
        """Whether somebody else wrote first, or the object is there already."""
        return self.status == 409


class ApiServer(Protocol):
    """Objects of a namespace, and of none where it is "". Implementations: `adapters.kube_api`, `testing.apiserver`.

    Every method raises `ApiError` when the server refuses or cannot be asked.
    """

    async def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """The object; None when it is not there."""
        ...

    async def select(self, resource: Resource, namespace: str, labels: Mapping[str, str]) -> list[Object]:
        """The objects that have all these labels, by name."""
        ...

    async def apply(self, wanted: Object, *, subresource: str = "") -> Object:
        """Server-side apply under our field manager, over whoever set our fields; gives the object as it is."""
        ...

    async def create(self, wanted: Object) -> Object:
        """Make an object that must not be there."""
        ...

    async def replace(self, wanted: Object) -> Object:
        """Write an object of exactly this resourceVersion."""
        ...

    async def delete(
        self, resource: Resource, namespace: str, name: str, *, uid: str = "", orphan: bool = False
    ) -> None:
        """Ask for an object's end: only of this very one if `uid` is given; one that is gone is fine.

        Args:
            orphan: leave what it owns.
        """
        ...
