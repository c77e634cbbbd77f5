"""The first records of a new cluster, and the registration of a broker that is the whole quorum. Writes nothing."""

from __future__ import annotations

from moldau_broker.base.ids import Uuid
from moldau_broker.metadata.features import SUPPORTED
from moldau_broker.metadata.fencing import Registered, Registration, start_broker
from moldau_broker.metadata.local_node import LocalNode
from moldau_broker.metadata.operation import Result, View
from moldau_broker.metadata.records import METADATA_VERSION_FEATURE, decode
from moldau_broker.raft.store import RaftStore
from moldau_broker.storage.logdir import LogDir
from moldau_broker.wire.schema import Struct


def first_records(view: View, store: RaftStore) -> list[Struct]:
    """What a new cluster's log begins with, from bootstrap.checkpoint; nothing where it is in the log already."""
    if METADATA_VERSION_FEATURE in view.image.features:
        return []
    return [decode(value) for value in store.bootstrap_records()]


def first_registration(
    view: View, first: list[Struct], log_dir: LogDir, node: LocalNode, incarnation_id: Uuid
) -> Result[Registered]:
    """The first records, and this broker registered and unfenced with them: it is caught up with itself."""
    shifted = view._replace(next_offset=view.next_offset + len(first))
    started = start_broker(
        shifted,
        Registration(
            broker_id=log_dir.node_id,
            incarnation_id=incarnation_id,
            endpoints=node.endpoints,
            directories=(log_dir.directory_id,),
            features=SUPPORTED,
            rack=node.rack,
            previous_epoch=log_dir.previous_broker_epoch if log_dir.was_clean else -1,
        ),
    )
    return Result(started.response, (*first, *started.records))
