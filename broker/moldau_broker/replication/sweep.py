"""What topics left on disk that were deleted, or moved away, while this broker was not there. No event loop here.

The first image that the replicas see has our own registration in it, and so everything that was decided before: a topic
id that it does not know was deleted, as those of the folders found at start existed earlier. Unless it is the metadata
that is older, or another: restored from a backup, or begun anew. So it must go on where this directory was last
registered, and know something of what lies here.
"""

from __future__ import annotations

import logging

from moldau_broker.base.ids import Uuid
from moldau_broker.metadata.image import MetadataImage
from moldau_broker.replication.seams import LogDirectory
from moldau_broker.storage.errors import StorageError
from moldau_broker.storage.log import Log

logger = logging.getLogger(__name__)


def sweep(
    log_dir: LogDirectory,
    node_id: int,
    unclaimed: dict[tuple[str, int], Log],
    image: MetadataImage,
    *,
    knows_some: bool,
) -> None:
    """Set aside what is gone for certain, to be deleted after a delay; what is set aside leaves `unclaimed`.

    Args:
        log_dir: where they lie.
        node_id: this broker.
        unclaimed: logs found at start that the image did not ask for.
        image: the first one since our registration.
        knows_some: whether other logs found here were asked for.
    """
    broker = image.brokers.get(node_id)
    if broker is None or not log_dir.note_epoch(broker.epoch):
        return
    if not knows_some and not any(log.topic_id in image.topics_by_id for log in unclaimed.values()):
        return

    def is_gone(topic_id: Uuid, index: int) -> bool:
        topic = image.topics_by_id.get(topic_id)
        if topic is None:
            return True
        return index < len(topic.partitions) and node_id not in topic.partitions[index].replicas

    for (name, index), log in list(unclaimed.items()):
        if log.topic_id is None or not is_gone(log.topic_id, index):
            continue
        logger.warning("log.stray", extra={"topic": name, "partition": index})
        try:
            log_dir.stray_log(log)
        except StorageError:
            logger.exception("log.not_set_aside", extra={"topic": name, "partition": index})
        else:
            del unclaimed[name, index]
    log_dir.drop_strays(is_gone)
