"""What an instance remembers between two starts: identities and statuses, in one JSON file.

In Kubernetes the API server gives resources their uid, age and generation, and keeps their status; here
this file does. Figures that move with every record (lag, members) are kept in memory only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from moldau_broker.base.clock import Clock
from moldau_operator.adapters.files import read_json, write_json
from moldau_operator.errors import InstanceError
from moldau_operator.reconcile.report import rfc3339
from moldau_operator.resources.balance_status import load_balance
from moldau_operator.resources.bundle import Bundle
from moldau_operator.resources.cluster import Cluster
from moldau_operator.resources.conditions import Condition, ConditionStatus, ConditionType, Reason
from moldau_operator.resources.consumergroup import ConsumerGroup
from moldau_operator.resources.meta import DeletionPolicy, Key, Kind
from moldau_operator.resources.status import ClusterStatus, GroupStatus, PendingReset, TopicStatus
from moldau_operator.resources.topic import Topic
from moldau_operator.seams.status_store import Status

R = TypeVar("R", Cluster, Topic, ConsumerGroup)
S = TypeVar("S", ClusterStatus, TopicStatus, GroupStatus)


@dataclass(frozen=True, slots=True)
class _Identity:
    uid: str
    created_at: str
    generation: int
    spec_hash: str


class Memory:
    """The file's content. Implements `StatusStore`."""

    def __init__(self, path: Path, clock: Clock) -> None:
        """Read the file, if it is there.

        Raises:
            InstanceError: it is damaged.
        """
        self._path = path
        self._clock = clock
        self._next_uid = 1
        self._identities: dict[Key, _Identity] = {}
        self._statuses: dict[Key, Status] = {}
        self._written: Any = None
        try:
            self._written = read_json(path)
            self._read(self._written)
        except (ValueError, KeyError, TypeError) as error:
            raise InstanceError(
                f"{path} is damaged ({error}); remove it: topics stay, and are adopted by their resources"
            ) from error

    def statuses(self, kind: type[S]) -> dict[Key, S]:
        """All statuses of a kind, those of resources that are gone too."""
        return {key: status for key, status in self._statuses.items() if isinstance(status, kind)}

    async def save(self, changed: Mapping[Key, Status]) -> None:
        """Keep these statuses."""
        self._statuses.update(changed)
        self._write()

    async def forget(self, keys: frozenset[Key]) -> None:
        """Drop the statuses and identities of resources that are gone."""
        for key in keys:
            self._statuses.pop(key, None)
            self._identities.pop(key, None)
        self._write()

    async def forget_topics(self) -> None:
        """The data was replaced: no topic that is missing now was deleted by anybody."""
        for key, status in self._statuses.items():
            if isinstance(status, TopicStatus):
                self._statuses[key] = TopicStatus(
                    topic_name=status.topic_name, deletion_policy=status.deletion_policy
                )
        self._write()

    def identify(self, bundle: Bundle) -> Bundle:
        """The same resources with uid, age and generation; a changed spec gets the next generation."""
        now = rfc3339(self._clock.wall_ms())
        clusters = tuple(self._identified(item, bundle, now) for item in bundle.clusters)
        topics = tuple(self._identified(item, bundle, now) for item in bundle.topics)
        groups = tuple(self._identified(item, bundle, now) for item in bundle.groups)
        self._write()
        return replace(bundle, clusters=clusters, topics=topics, groups=groups)

    def _identified(self, resource: R, bundle: Bundle, now: str) -> R:
        spec_hash = _spec_hash(bundle, resource.key)
        known = self._identities.get(resource.key)
        if known is None:
            known = _Identity(f"{self._next_uid:010d}", now, 1, spec_hash)
            self._next_uid += 1
        elif known.spec_hash != spec_hash:
            known = replace(known, generation=known.generation + 1, spec_hash=spec_hash)
        self._identities[resource.key] = known
        metadata = replace(
            resource.metadata, uid=known.uid, created_at=known.created_at, generation=known.generation
        )
        return replace(resource, metadata=metadata)

    def _write(self) -> None:
        data = {
            "next_uid": self._next_uid,
            "identities": {_text(key): asdict(identity) for key, identity in self._identities.items()},
            "statuses": {_text(key): asdict(_lasting(status)) for key, status in self._statuses.items()},
        }
        if data != self._written:
            write_json(self._path, data)
            self._written = data

    def _read(self, data: Any) -> None:
        if data is None:
            return
        self._next_uid = int(data["next_uid"])
        self._identities = {_key(text): _Identity(**item) for text, item in data["identities"].items()}
        self._statuses = {
            _key(text): _status(_key(text).kind, item) for text, item in data["statuses"].items()
        }


def _spec_hash(bundle: Bundle, key: Key) -> str:
    document = bundle.nodes[key].plain()
    return hashlib.sha256(json.dumps(document.get("spec"), sort_keys=True).encode()).hexdigest()[:16]


def _lasting(status: Status) -> Status:
    if isinstance(status, GroupStatus):
        return replace(
            status, state="", members=0, lag=None, lag_by_topic={}, lag_seconds=None, seconds_by_topic={}
        )
    if isinstance(status, ClusterStatus):
        return replace(status, rollout=None)
    return replace(status, under_replicated=0)


def _text(key: Key) -> str:
    return "/".join(key[:3])


def _key(text: str) -> Key:
    kind, namespace, name = text.split("/", 2)
    return Key(Kind(kind), namespace, name)


def _status(kind: Kind, data: dict[str, Any]) -> Status:
    data = {**data, "conditions": tuple(_condition(item) for item in data["conditions"])}
    if kind is Kind.CLUSTER:
        for name in (
            "node_ids",
            "broker_settings",
        ):  # tuples, and not there before clusters had several nodes
            data[name] = tuple(data.get(name, ()))
        data["balance"] = load_balance(data.get("balance"))
        return ClusterStatus(**{**data, "rollout": None})  # seen anew with the first look
    data["deletion_policy"] = DeletionPolicy(data["deletion_policy"])
    if kind is Kind.TOPIC:
        return TopicStatus(**data)
    pending = data["pending_reset"]
    if pending is not None:
        offsets = {t: {int(p): int(o) for p, o in places.items()} for t, places in pending["offsets"].items()}
        data["pending_reset"] = PendingReset(id=pending["id"], offsets=offsets)
    return GroupStatus(**data)


def _condition(data: dict[str, Any]) -> Condition:
    return Condition(
        **{
            **data,
            "type": ConditionType(data["type"]),
            "status": ConditionStatus(data["status"]),
            "reason": Reason(data["reason"]),
        }
    )
