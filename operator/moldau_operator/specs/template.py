"""`template` of a pool: the few pod settings a Cluster may give. Pure.

An allow-list: whatever could give a pod more rights than ours have (volumes, security contexts, other containers)
is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from moldau_operator.names import did_you_mean
from moldau_operator.resources.cluster import Pool
from moldau_operator.specs.objects import Manifest

_SHAPES: Final[Mapping[str, type]] = {
    "labels": dict,
    "annotations": dict,
    "nodeSelector": dict,
    "tolerations": list,
    "nodeAffinity": dict,
    "imagePullSecrets": list,
    "priorityClassName": str,
    "terminationGracePeriodSeconds": int,
}
_OWN_PREFIXES: Final = (
    "moldau.dev/",
    "app.kubernetes.io/",
    "statefulset.kubernetes.io/",
    "topology.kubernetes.io/",
)

STOP_S: Final = 120
"""How long a node may take to hand over its leaderships and close its logs; 1,000 logs take a few seconds."""


def template_problem(pool: Pool) -> str | None:
    """Why a pool's template is refused, in words; None when it is not."""
    for name, value in pool.template.items():
        shape = _SHAPES.get(name)
        if shape is None:
            return f"{name} cannot be set{did_you_mean(name, _SHAPES)}; allowed are {', '.join(_SHAPES)}"
        if not isinstance(value, shape) or isinstance(value, bool):
            return f"{name} must be a {_WORDS[shape]}"
    for kind in ("labels", "annotations", "nodeSelector"):
        for name, value in pool.template.get(kind, {}).items():
            if not isinstance(value, str):
                return f"{kind}.{name} must be text; put it in quotes"
            if kind != "nodeSelector" and name.startswith(_OWN_PREFIXES):
                return f"{kind}.{name} is set by the operator; remove it"
    if pool.template.get("terminationGracePeriodSeconds", STOP_S) < 1:
        return "terminationGracePeriodSeconds must be at least 1"
    return None


_WORDS: Final = {dict: "mapping", list: "list", str: "text", int: "whole number"}


def pod_fields(pool: Pool) -> Manifest:
    """What the template adds to the pods' spec."""
    given: Mapping[str, Any] = pool.template
    return {
        name: given[name]
        for name in ("nodeSelector", "tolerations", "imagePullSecrets", "priorityClassName")
        if name in given
    }
