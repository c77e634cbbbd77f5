"""Names of Kafka's files and folders, and which of them are legal. Pure.

Source: protocol guide of Kafka 4.3; `LogFileUtils`, `UnifiedLog.parseTopicPartitionName`.
"""

from __future__ import annotations

import re
from typing import Final

LOG: Final = ".log"
INDEX: Final = ".index"
TIME_INDEX: Final = ".timeindex"
TXN_INDEX: Final = ".txnindex"
SNAPSHOT: Final = ".snapshot"
DELETED: Final = ".deleted"
CLEANED: Final = ".cleaned"
SWAP: Final = ".swap"
SEGMENT_SUFFIXES: Final = (LOG, INDEX, TIME_INDEX, TXN_INDEX)

DELETE_FOLDER: Final = "-delete"
FUTURE_FOLDER: Final = "-future"
STRAY_FOLDER: Final = "-stray"

LEADER_EPOCHS: Final = "leader-epoch-checkpoint"
PARTITION_METADATA: Final = "partition.metadata"
# Ours: why a partition was taken out of service. Kafka ignores files it does not know.
QUARANTINE: Final = ".moldau-quarantine"

# Ours: the newest broker epoch this directory was registered with.
NEWEST_EPOCH: Final = ".moldau-broker-epoch"

RECOVERY_POINTS: Final = "recovery-point-offset-checkpoint"
LOG_STARTS: Final = "log-start-offset-checkpoint"
HIGH_WATERMARKS: Final = "replication-offset-checkpoint"
CLEANER_OFFSETS: Final = "cleaner-offset-checkpoint"
LOCK: Final = ".lock"
CLEAN_SHUTDOWN: Final = ".kafka_cleanshutdown"
META_PROPERTIES: Final = "meta.properties"

TOPIC_NAME_CHARS_MAX: Final = 249  # leaves room for "-<partition>" within a 255-byte file name
FILE_NAME_BYTES_MAX: Final = 255

_TOPIC: Final = re.compile(r"[a-zA-Z0-9._-]{1,249}")
_PART: Final = re.compile(r"[a-zA-Z0-9._-]{1,255}")
_FOLDER: Final = re.compile(r"(.+)-(0|[1-9][0-9]{0,9})")
_STRAY: Final = re.compile(r".*-(0|[1-9][0-9]{0,9})\.[0-9a-f]{32}-stray")
_BASE: Final = re.compile(r"([0-9]{20})(\..+)")


def valid_topic(name: str) -> bool:
    """Whether `name` may be a topic: 1..249 of [a-zA-Z0-9._-], and not a directory reference."""
    return _TOPIC.fullmatch(name) is not None and name not in (".", "..")


def valid_part(name: str) -> bool:
    """Whether `name` may be one component of a path below the data directory."""
    return _PART.fullmatch(name) is not None and name not in (".", "..")


def folder_name(topic: str, partition: int) -> str:
    """The folder of a partition.

    Raises:
        ValueError: the topic name is illegal or the partition negative.
    """
    if not valid_topic(topic) or partition < 0:
        raise ValueError(f"not a partition: {topic!r} {partition}")
    return f"{topic}-{partition}"


def parse_folder(name: str) -> tuple[str, int] | None:
    """(topic, partition) of a live partition's folder; None for anything else."""
    match = _FOLDER.fullmatch(name)
    if match is None or not valid_topic(match[1]):
        return None
    return match[1], int(match[2])


def marked_folder_name(topic: str, partition: int, unique: str, mark: str) -> str:
    """Where a partition's folder goes when it is marked (`-delete`, `-stray`); never over 255 bytes."""
    tail = f"-{partition}.{unique}{mark}"
    return topic[: FILE_NAME_BYTES_MAX - len(tail)] + tail


def parse_stray_folder(name: str) -> int | None:
    """The partition's number in the name of a folder that was set aside; None for anything else."""
    match = _STRAY.fullmatch(name)
    return None if match is None else int(match[1])


def segment_file(base_offset: int, suffix: str) -> str:
    """File name of a segment's file: the base offset in 20 digits, then the suffix."""
    return f"{base_offset:020d}{suffix}"


def parse_segment_file(name: str) -> tuple[int, str] | None:
    """(base offset, whole suffix) of a segment's file; None for anything else."""
    match = _BASE.fullmatch(name)
    return None if match is None else (int(match[1]), match[2])
