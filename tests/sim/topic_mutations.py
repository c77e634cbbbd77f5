"""Deliberate bugs in how topics are deleted and made again under their names; `mutations` has all others."""

from __future__ import annotations

import contextlib
from typing import Any

from tests.sim.mutations import Mutation, replaced

from moldau_broker.base.ids import Uuid
from moldau_broker.metadata.image import MetadataImage, TopicImage
from moldau_broker.replication import manager
from moldau_broker.replication.manager import ReplicaManager
from moldau_broker.testing.sim.swarm import Swarm, TopicPlan

_NAME = "fleeting"


def _coming_and_going(swarm: Swarm) -> Swarm:
    """Processes are down while a topic is deleted, and often while it is made again."""
    faults = {"crash": 2.0, "crash leader": 1.0, "isolate": 1.0, "pause": 0.5}
    return swarm._replace(nodes=3, fault_gap_ms=1_500, faults=faults, fleeting=TopicPlan(_NAME, 1, 3, 2))


def _takes_over_the_folder() -> contextlib.AbstractContextManager[None]:
    original = ReplicaManager._host

    def host(self: ReplicaManager, image: MetadataImage, topic: TopicImage, index: int) -> Any:
        log = self._loaded.get((topic.name, index))
        if log is not None:
            log.topic_id = topic.topic_id
        return original(self, image, topic, index)

    return replaced(ReplicaManager, _host=host)


def _answers_for_a_namesake() -> contextlib.AbstractContextManager[None]:
    def by_id(self: ReplicaManager, topic_id: Uuid, index: int) -> Any:
        return self._by_id.get((topic_id, index)) or self._partitions.get((_NAME, index))

    return replaced(ReplicaManager, partition_by_id=by_id)


def _never_sweeps() -> contextlib.AbstractContextManager[None]:
    return replaced(manager, sweep=lambda *args, **how: None)


def _keeps_what_was_deleted() -> contextlib.AbstractContextManager[None]:
    def drop(self: ReplicaManager, partition: Any) -> None:
        self._forget(partition)

    return replaced(ReplicaManager, _drop=drop)


TOPICS = [
    Mutation(
        "a new topic takes over its namesake's folder",
        "broker",
        _takes_over_the_folder,
        20,
        _coming_and_going,
    ),
    Mutation(
        "a topic id is answered by a namesake", "broker", _answers_for_a_namesake, 20, _coming_and_going
    ),
    Mutation("what was deleted meanwhile stays", "broker", _never_sweeps, 40, _coming_and_going),
    Mutation("a deleted topic's folders stay", "broker", _keeps_what_was_deleted, 20, _coming_and_going),
]
