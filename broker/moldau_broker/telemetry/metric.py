"""What a metric is: name, type, labels, unit, and which node tells it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class MetricType(Enum):
    """What a value does over time."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    SUMMARY = "summary"


class Teller(Enum):
    """Which node tells a series, so that sums over all nodes count nothing twice."""

    NODE = "every node, of itself"
    REPLICA = "every replica's node, which the label `broker` names"
    LEADER = "the partition's leader"
    COORDINATOR = "the group's coordinator"
    CONTROLLER = "the active controller"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    Attributes:
        labels: in the order in which values are given.
        unit: of the value, empty where it only says yes or no.
        emitter: the module that shows it.
        teller: which node does; see `Teller`.
        total: also shown once without labels, as the sum over all of them.
    """

    name: str
    type: MetricType
    labels: tuple[str, ...]
    unit: str
    help: str
    emitter: str
    teller: Teller = Teller.NODE
    total: bool = False
