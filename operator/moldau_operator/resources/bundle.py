"""A text full of resources, read and checked as a whole. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from moldau_operator.names import API_GROUP, API_VERSION, did_you_mean
from moldau_operator.resources.cluster import Cluster, read_cluster
from moldau_operator.resources.consumergroup import ConsumerGroup, read_consumer_group
from moldau_operator.resources.fields import Fields
from moldau_operator.resources.located import NOWHERE, Entry, Located, Problem, ResourcesInvalid, Where
from moldau_operator.resources.meta import Key, Kind
from moldau_operator.resources.topic import Topic, read_topic
from moldau_operator.resources.yaml_text import parse_documents

Resource: TypeAlias = Cluster | Topic | ConsumerGroup

_READERS: Final[Mapping[Kind, Callable[[Fields], Resource]]] = {
    Kind.CLUSTER: read_cluster,
    Kind.TOPIC: read_topic,
    Kind.CONSUMER_GROUP: read_consumer_group,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """Resources of one text in its order, and where each of their fields stands.

    `nodes` holds each resource's document, for `where`.
    """

    source: str
    clusters: tuple[Cluster, ...] = ()
    topics: tuple[Topic, ...] = ()
    groups: tuple[ConsumerGroup, ...] = ()
    nodes: Mapping[Key, Located] = field(default_factory=dict)

    def where(self, key: Key, path: str = "") -> Where:
        """Where field `path` ("spec.replicas") of a resource stands, or the nearest thing above it."""
        node = self.nodes.get(key)
        if node is None:
            return Where(self.source)
        found = node.where
        for name in path.split(".") if path else ():
            if not isinstance(node.value, Mapping):
                break
            entry: Entry | None = node.value.get(name)
            if entry is None:
                break
            found, node = entry.where, entry.value
        return found

    def problem(self, key: Key, path: str, message: str) -> Problem:
        """A complaint about a field of a resource that was read."""
        return Problem(self.where(key, path), str(key), path, message)


def read_bundle(text: str | bytes, source: str) -> Bundle:
    """The resources of a YAML or JSON text.

    Raises:
        ResourcesInvalid: with every problem found, each with its line.
    """
    problems: list[Problem] = []
    resources: dict[Key, Resource] = {}
    nodes: dict[Key, Located] = {}
    for document in _flatten(parse_documents(text, source)):
        resource = read_resource(document, problems)
        if resource is None or not resource.metadata.name:
            continue
        key = resource.key
        if key in nodes:
            first = nodes[key].where
            problems.append(
                Problem(document.where, str(key), "", f"stands on line {first.line} already; keep one")
            )
            continue
        resources[key], nodes[key] = resource, document
    bundle = Bundle(
        source=source,
        clusters=tuple(item for item in resources.values() if isinstance(item, Cluster)),
        topics=tuple(item for item in resources.values() if isinstance(item, Topic)),
        groups=tuple(item for item in resources.values() if isinstance(item, ConsumerGroup)),
        nodes=nodes,
    )
    if problems:
        raise ResourcesInvalid(
            tuple(sorted(problems, key=lambda problem: (problem.where.line, problem.where.column)))
        )
    return bundle


def _flatten(documents: list[Located]) -> list[Located]:
    """Documents, with the items of a `kind: List` (as `kubectl get -o yaml` prints) in its place."""
    flat: list[Located] = []
    for document in documents:
        if isinstance(document.value, Mapping):
            kind, items = document.value.get("kind"), document.value.get("items")
            if (
                kind is not None
                and kind.value.value == "List"
                and items is not None
                and isinstance(items.value.value, tuple)
            ):
                flat.extend(items.value.value)
                continue
        flat.append(document)
    return flat


def read_resource(document: Located, problems: list[Problem]) -> Resource | None:
    """One resource from its document (or, through `locate`, from an API object); None if not ours."""
    head = Fields(document, "", "", problems)
    if not isinstance(document.value, Mapping):
        return None
    version, kind = (
        head.required_text("apiVersion", API_VERSION),
        head.required_text("kind", "one of " + _kinds()),
    )
    if not version or not kind:
        return None
    if kind not in _READERS:
        head.wrong(
            "kind",
            f"{kind[:60]} is not a kind moldau knows{did_you_mean(kind, [*Kind]) or '; known: ' + _kinds()}",
        )
        return None
    if version != API_VERSION:
        group = version.partition("/")[0]
        what = "is a version this moldau does not know" if group == API_GROUP else "is not moldau's"
        head.wrong("apiVersion", f"{version[:60]} {what}; write {API_VERSION}")
        return None
    fields = Fields(document, f"{kind} {_name_of(document)}".strip(), "", problems)
    fields.ignore("apiVersion", "kind", "status")
    fields.required("metadata", "at least metadata.name")
    fields.required("spec", "the resource's spec")
    resource = _READERS[Kind(kind)](fields)
    fields.done()
    return resource


def _name_of(document: Located) -> str:
    assert isinstance(document.value, Mapping)
    metadata = document.value.get("metadata", Entry(NOWHERE, Located(None))).value.value
    if isinstance(metadata, Mapping) and "name" in metadata:
        return metadata["name"].value.text[:60]
    return ""


def _kinds() -> str:
    return ", ".join(Kind)
