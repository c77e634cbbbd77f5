"""A YAML file for this machine: read, validated, and checked for what only this platform cannot do."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from moldau_operator.adapters.processes import LIMITS
from moldau_operator.errors import OperatorError
from moldau_operator.names import did_you_mean
from moldau_operator.plan.cluster import refuse
from moldau_operator.resources.bundle import Bundle, read_bundle
from moldau_operator.resources.cluster import Cluster
from moldau_operator.resources.consumergroup import ConsumerGroup
from moldau_operator.resources.located import Problem, ResourcesInvalid, Where
from moldau_operator.resources.status import ClusterStatus
from moldau_operator.resources.topic import Topic
from moldau_operator.resources.yaml_text import TEXT_BYTES_MAX

STANDARD_INPUT: Final = "-"


class FileUnreadable(OperatorError):
    """The file with the resources cannot be read."""


def read_source(name: str) -> bytes:
    """The content of a file, or of standard input for `-`; never more than the parser would take.

    Raises:
        FileUnreadable: in words.
    """
    try:
        if name == STANDARD_INPUT:
            return sys.stdin.buffer.read(TEXT_BYTES_MAX + 1)
        with Path(name).open("rb") as file:
            return file.read(TEXT_BYTES_MAX + 1)
    except FileNotFoundError:
        raise FileUnreadable(
            f"{name} does not exist; name a file with a Cluster, such as examples/quickstart.yaml"
        ) from None
    except OSError as error:
        raise FileUnreadable(f"{name} cannot be read: {error.strerror}") from None


def read_local(text: str | bytes, source: str) -> tuple[Cluster, Bundle]:
    """The one Cluster of a text, and everything in the text.

    Raises:
        ResourcesInvalid: with every problem found.
    """
    bundle = read_bundle(text, source)
    problems: list[Problem] = []
    if not bundle.clusters:
        what = "holds no resources" if not bundle.nodes else "holds no Cluster"
        raise ResourcesInvalid(
            (Problem(Where(source), "", "", f"{what}; add one, see examples/quickstart.yaml"),)
        )
    cluster, *others = bundle.clusters
    for other in others:
        words = f"is a second Cluster besides {cluster.metadata.name}; put each into a file and instance of its own"
        problems.append(bundle.problem(other.key, "", words))
    name, namespace = cluster.metadata.name, cluster.metadata.namespace
    resources: list[Topic | ConsumerGroup] = [*bundle.topics, *bundle.groups]
    for resource in resources:
        if resource.metadata.namespace != namespace:
            words = f"is {resource.metadata.namespace}, but the Cluster is in {namespace}; use one namespace"
            problems.append(bundle.problem(resource.key, "metadata.namespace", words))
        elif resource.spec.cluster != name:
            hint = did_you_mean(resource.spec.cluster, [name]) or f"; it holds {name}"
            words = f"names Cluster {resource.spec.cluster}, which is not in this file{hint}"
            problems.append(bundle.problem(resource.key, "spec.cluster", words))
    refusal = refuse(cluster, ClusterStatus(), LIMITS)
    if refusal is not None:
        problems.append(bundle.problem(cluster.key, refusal.path, refusal.message))
    if problems:
        raise ResourcesInvalid(tuple(sorted(problems, key=lambda one: one.where.line)))
    return cluster, bundle
