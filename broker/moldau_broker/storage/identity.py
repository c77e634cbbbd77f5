"""Whose data directory it is: meta.properties.

Source: protocol guide of Kafka 4.3, on-disk format; `MetaProperties`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from moldau_broker.base.ids import Uuid, format_uuid, parse_uuid
from moldau_broker.storage.checkpoints import decode_properties, encode_properties
from moldau_broker.storage.errors import FileMissing, StorageError
from moldau_broker.storage.names import META_PROPERTIES

if TYPE_CHECKING:
    from moldau_broker.storage.disk import Disk


class Identity(NamedTuple):
    """What meta.properties says."""

    cluster_id: str
    node_id: int
    directory_id: Uuid


def read_identity(disk: Disk, cluster_id: str | None, node_id: int) -> Identity | None:
    """The directory's identity, held against what is expected (any cluster for None); None in a new one.

    Raises:
        StorageError: it belongs to another cluster or node, or does not parse.
    """
    try:
        values = decode_properties(disk.read(META_PROPERTIES))
    except FileMissing:
        if cluster_id is None:
            raise StorageError(f"{disk.name} is not formatted (no {META_PROPERTIES})") from None
        return None
    found = values.get("cluster.id", "")
    if cluster_id is not None and cluster_id != found:
        raise StorageError(f"{disk.name} belongs to cluster {found or '(none)'}, not {cluster_id}")
    if values.get("node.id") != str(node_id):
        raise StorageError(f"{disk.name} belongs to node {values.get('node.id', '(none)')}, not {node_id}")
    try:
        return Identity(found, node_id, parse_uuid(values.get("directory.id", "")))
    except ValueError as error:
        raise StorageError(f"{disk.name}: {META_PROPERTIES} has no directory.id") from error


def write_identity(disk: Disk, identity: Identity) -> None:
    """Format: the directory belongs to somebody from now on. Durable.

    Raises:
        StorageError: the disk refuses.
    """
    values = {
        "version": "1",
        "cluster.id": identity.cluster_id,
        "node.id": str(identity.node_id),
        "directory.id": format_uuid(identity.directory_id),
    }
    disk.replace(META_PROPERTIES, encode_properties(values))
