"""Events that belong to no single component, told to the log: what recovery found, what the controller changed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from moldau_broker.metadata.changes import changes

if TYPE_CHECKING:
    from moldau_broker.metadata.delta import MetadataDelta
    from moldau_broker.metadata.image import MetadataImage
    from moldau_broker.storage.logdir import LogDir

logger = logging.getLogger(__name__)


class ChangeLog:
    """Tells of elections, ISR changes and brokers. The active controller alone does, so each is told once."""

    def __init__(self, is_active: Callable[[], bool]) -> None:
        self._is_active = is_active

    def follow(self, delta: MetadataDelta, image: MetadataImage) -> None:
        """A new image. The first one after the empty image is how things stood, not a change."""
        del image
        if delta.before.offset < 0 or not self._is_active():
            return
        for change in changes(delta):
            logger.log(
                logging.WARNING if change.bad else logging.INFO, change.event, extra=dict(change.fields)
            )


def log_recovery(log_dir: LogDir, elapsed_ms: int) -> None:
    """All logs are open: a line for each that a crash or damage has touched, and one in all."""
    for damage in log_dir.damaged:
        logger.warning("checkpoint.damaged", extra={"text": damage})
    scanned = cut = 0
    for (topic, partition), log in log_dir.logs.items():
        report = log.recovery
        if report is None:
            continue
        scanned += report.scanned_bytes
        cut += report.cut_bytes
        if report.cut_bytes or report.rebuilt_indexes:
            logger.warning(
                "log.recovered",
                extra={
                    "topic": topic,
                    "partition": partition,
                    "scanned_bytes": report.scanned_bytes,
                    "cut_bytes": report.cut_bytes,
                    "cut_at": report.cut_at,
                    "rebuilt_indexes": report.rebuilt_indexes,
                    "reason": report.reason,
                },
            )
    for (topic, partition), error in log_dir.offline.items():
        logger.error("log.offline", extra={"topic": topic, "partition": partition, "reason": str(error)})
    logger.info(
        "recovery.finished",
        extra={
            "logs": len(log_dir.logs),
            "offline": len(log_dir.offline),
            "clean": log_dir.was_clean,
            "scanned_bytes": scanned,
            "cut_bytes": cut,
            "elapsed_ms": elapsed_ms,
        },
    )
