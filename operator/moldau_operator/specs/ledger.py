"""A Cluster's ledger: what is left to do when a resource goes whose deletionPolicy is Delete. Pure.

A finalizer would hold the resource until the operator has done it, and for ever where the operator is gone. The ledger
holds nothing: it is a ConfigMap of the Cluster, with one line for each such resource under the resource's uid. A line
whose resource is not in the API server any more is work to be done, whenever an operator is there to do it.

A ConfigMap holds 1 MiB. A ledger that grows beyond `SHARD_BYTES` goes on in further ConfigMaps, each line in the one
that a hash of its uid names; their number is a power of two, so that more of them only split what one had.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from moldau_operator.resources.cluster import Cluster
from moldau_operator.resources.meta import DeletionPolicy, Kind
from moldau_operator.specs.objects import Manifest, ledger_name, manifest, selector

RELEASE: Final = "moldau.dev/release"
"""An annotation: with "true" a resource goes without an end of its own, whatever its deletion policy says."""

LABEL_LEDGER: Final = "moldau.dev/ledger"

SHARD_BYTES: Final = 400 * 1024
"""Of names and lines: the server also keeps who manages each line, and its store takes 1.5 MiB for all of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A line of the ledger.

    Attributes:
        name, uid: of the resource.
        holds: the name of the topic, or the id of the group.
        topic_id: of the topic; empty for a group.
    """

    kind: Kind
    name: str
    uid: str
    holds: str
    topic_id: str = ""

    def text(self) -> str:
        """The line as it is written."""
        if self.kind is Kind.TOPIC:
            fields = {"topicName": self.holds, "topicId": self.topic_id}
        else:
            fields = {"groupId": self.holds}
        line = {"kind": self.kind.value, "name": self.name, **fields}
        return json.dumps(line, ensure_ascii=False, separators=(",", ":"))


def entry_of(one: Manifest, status: Mapping[str, Any] | None) -> Entry | None:
    """The line of a resource; None where its end leaves nothing to do.

    Args:
        one: a Topic or ConsumerGroup as the API server has it.
        status: as it is, or is about to be written. A topic that the resource does not own (yet) is not its to delete.
    """
    metadata, spec, status = one["metadata"], one.get("spec") or {}, status or {}
    if (metadata.get("annotations") or {}).get(RELEASE) == "true":
        return None
    if spec.get("deletionPolicy") != DeletionPolicy.DELETE.value:
        return None
    kind, name, uid = Kind(one["kind"]), str(metadata["name"]), str(metadata["uid"])
    if kind is Kind.CONSUMER_GROUP:
        group_id = str(status.get("groupId") or "")
        return Entry(kind=kind, name=name, uid=uid, holds=group_id) if group_id else None
    topic, topic_id = str(status.get("topicName") or ""), str(status.get("topicId") or "")
    if not (status.get("owned") and topic and topic_id):
        return None
    return Entry(kind=kind, name=name, uid=uid, holds=topic, topic_id=topic_id)


def declared_name(one: Manifest) -> str:
    """The topic or group that a resource names, also one that cannot be read."""
    field = "topicName" if one["kind"] == Kind.TOPIC.value else "groupId"
    return str((one.get("spec") or {}).get(field) or one["metadata"]["name"])


def ledger_labels(cluster: Cluster) -> dict[str, str]:
    """The labels that select a Cluster's ledger."""
    return {**selector(cluster), LABEL_LEDGER: "true"}


def read_ledger(maps: Iterable[Manifest], cluster: Cluster) -> dict[str, Entry]:
    """All lines by uid.

    What cannot be read is left out, and so is the ledger of a former Cluster of this name: its resources are gone
    because it is, and this Cluster's topics are not theirs to delete.
    """
    found: dict[str, Entry] = {}
    for one in maps:
        owners = one["metadata"].get("ownerReferences") or ()
        if not any(owner.get("uid") == cluster.metadata.uid for owner in owners):
            continue
        for uid, text in (one.get("data") or {}).items():
            entry = _read(uid, text)
            if entry is not None:
                found[uid] = entry
    return found


def ledger_maps(cluster: Cluster, entries: Mapping[str, Entry], there: Iterable[str]) -> list[Manifest]:
    """The ConfigMaps of a ledger, in their order.

    Args:
        entries: by uid.
        there: the names of those that exist; there are never fewer again.
    """
    count = 1
    while count <= max((_number(name) for name in there), default=0):
        count *= 2
    lines = {uid: entry.text() for uid, entry in sorted(entries.items())}
    shards = _split(lines, count)
    while max(map(_size, shards)) > SHARD_BYTES:
        count *= 2
        shards = _split(lines, count)
    return [_map(cluster, number, shard) for number, shard in enumerate(shards)]


def _number(name: str) -> int:
    """Which part of a ledger it is, as `ledger_name` counts."""
    last = name.rpartition("-")[2]
    return int(last) if last.isascii() and last.isdigit() else 0


def _map(cluster: Cluster, number: int, lines: Mapping[str, str]) -> Manifest:
    name = ledger_name(cluster.metadata.name, number)
    found = manifest("v1", "ConfigMap", name, cluster, {"data": dict(lines)})
    found["metadata"]["labels"][LABEL_LEDGER] = "true"
    return found


def _split(lines: Mapping[str, str], count: int) -> list[dict[str, str]]:
    shards: list[dict[str, str]] = [{} for _ in range(count)]
    for uid, text in lines.items():
        place = int.from_bytes(hashlib.sha256(uid.encode()).digest()[:4], "big")
        shards[place % count][uid] = text
    return shards


def _size(shard: Mapping[str, str]) -> int:
    return sum(len(uid) + len(text.encode()) for uid, text in shard.items())


def _read(uid: str, text: str) -> Entry | None:
    try:
        line = json.loads(text)
        kind = Kind(line["kind"])
        if kind is Kind.TOPIC:
            holds, topic_id = str(line["topicName"]), str(line["topicId"])
        else:
            holds, topic_id = str(line["groupId"]), ""
        return Entry(kind=kind, name=str(line["name"]), uid=uid, holds=holds, topic_id=topic_id)
    except (ValueError, KeyError, TypeError):
        return None
