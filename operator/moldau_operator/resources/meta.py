"""What every resource has: its identity, and the policies several kinds share. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from moldau_operator.names import label_problem, object_name_problem
from moldau_operator.resources.fields import Fields

NAMESPACE_DEFAULT: Final = "default"

_SERVER_FIELDS: Final = (
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
)
"""Metadata an API server writes; `kubectl get -o yaml` prints it, so a file may hold it."""


class Kind(StrEnum):
    """The three kinds of resource."""

    CLUSTER = "Cluster"
    TOPIC = "Topic"
    CONSUMER_GROUP = "ConsumerGroup"


class DeletionPolicy(StrEnum):
    """What happens to the thing itself when its resource goes."""

    RETAIN = "Retain"
    DELETE = "Delete"


class Key(NamedTuple):
    """A resource's identity. `uid` only for one that is gone: another may have its name by now."""

    kind: Kind
    namespace: str
    name: str
    uid: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """A resource's name and what its platform knows of its history.

    Attributes:
        uid, created_at: given by the platform (API server, or the local instance's memory); `created_at`
            is RFC 3339 in UTC, so that text order is time order.
        generation: counts changes of the spec, from 1; 0 where no platform counted yet.
    """

    name: str
    namespace: str = NAMESPACE_DEFAULT
    uid: str = ""
    created_at: str = ""
    generation: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


def read_metadata(fields: Fields, problem: Callable[[str], str | None] = object_name_problem) -> Metadata:
    """`metadata` of a resource. `problem` judges the name."""
    metadata = Metadata(
        name=fields.required_text("name", "the resource's name", problem),
        namespace=fields.text("namespace", label_problem) or NAMESPACE_DEFAULT,
        uid=_server_text(fields, "uid"),
        created_at=_server_text(fields, "creationTimestamp"),
        generation=_server_number(fields, "generation"),
        labels=fields.strings("labels"),
        annotations=fields.strings("annotations"),
    )
    fields.ignore(*_SERVER_FIELDS)
    fields.done()
    return metadata


def _server_text(fields: Fields, name: str) -> str:
    node = fields.node(name)
    return node.text if node is not None else ""


def _server_number(fields: Fields, name: str) -> int:
    node = fields.node(name)
    return node.value if node is not None and isinstance(node.value, int) else 0
