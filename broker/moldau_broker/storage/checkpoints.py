"""The small text files beside the logs: encode and decode. Pure.

Source: protocol guide of Kafka 4.3, on-disk format; `CheckpointFile`, `LeaderEpochCheckpointFile`,
`PartitionMetadataFile`, `MetaProperties`, `CleanShutdownFileHandler`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Final

from moldau_broker.base.ids import Uuid, format_uuid, parse_uuid
from moldau_broker.storage.errors import CorruptLog

_VERSION: Final = "0"
_META_VERSION: Final = "1"


def _lines(data: bytes, what: str) -> list[str]:
    """The entry lines of a `version, count, entries` file."""
    try:
        lines = data.decode("ascii").splitlines()
        version, count = lines[0].strip(), int(lines[1])
    except (UnicodeDecodeError, IndexError, ValueError) as error:
        raise CorruptLog(f"{what} does not parse") from error
    entries = [line for line in lines[2:] if line.strip()]
    if version != _VERSION or count != len(entries):
        raise CorruptLog(f"{what} of version {version} names {count} entries and has {len(entries)}")
    return entries


def _encode(entries: Iterable[str]) -> bytes:
    lines = list(entries)
    return "\n".join([_VERSION, str(len(lines)), *lines, ""]).encode("ascii")


def encode_offsets(offsets: Mapping[tuple[str, int], int]) -> bytes:
    """An offset checkpoint: `topic partition offset` per line."""
    return _encode(f"{topic} {partition} {offset}" for (topic, partition), offset in offsets.items())


def decode_offsets(data: bytes) -> dict[tuple[str, int], int]:
    """The offsets of a checkpoint.

    Raises:
        CorruptLog: it does not parse, or lists a partition twice.
    """
    found: dict[tuple[str, int], int] = {}
    for line in _lines(data, "an offset checkpoint"):
        try:
            topic, partition, offset = line.split()
            key = topic, int(partition)
            if key in found or int(offset) < 0:
                raise CorruptLog(f"an offset checkpoint repeats or negates {line!r}")
            found[key] = int(offset)
        except ValueError as error:
            raise CorruptLog(f"an offset checkpoint has the line {line!r}") from error
    return found


def encode_epochs(entries: Iterable[tuple[int, int]]) -> bytes:
    """leader-epoch-checkpoint: `epoch startOffset` per line."""
    return _encode(f"{epoch} {start}" for epoch, start in entries)


def decode_epochs(data: bytes) -> list[tuple[int, int]]:
    """The entries of a leader-epoch-checkpoint, ascending.

    Raises:
        CorruptLog: it does not parse, or is not ascending.
    """
    entries: list[tuple[int, int]] = []
    for line in _lines(data, "a leader epoch checkpoint"):
        try:
            epoch, start = map(int, line.split())
        except ValueError as error:
            raise CorruptLog(f"a leader epoch checkpoint has the line {line!r}") from error
        if epoch < 0 or start < 0 or (entries and (epoch <= entries[-1][0] or start <= entries[-1][1])):
            raise CorruptLog(f"a leader epoch checkpoint has {epoch} {start} out of order")
        entries.append((epoch, start))
    return entries


def encode_partition_metadata(topic_id: Uuid) -> bytes:
    """partition.metadata."""
    return f"version: 0\ntopic_id: {format_uuid(topic_id)}".encode("ascii")


def decode_partition_metadata(data: bytes) -> Uuid:
    """The topic id in a partition.metadata.

    Raises:
        CorruptLog: it does not parse.
    """
    try:
        fields = dict(line.split(": ", 1) for line in data.decode("ascii").splitlines() if line.strip())
        if fields["version"] != _VERSION:
            raise CorruptLog(f"partition.metadata of version {fields['version']}")
        return parse_uuid(fields["topic_id"].strip())
    except (UnicodeDecodeError, KeyError, ValueError) as error:
        raise CorruptLog("partition.metadata does not parse") from error


def encode_properties(values: Mapping[str, str]) -> bytes:
    """meta.properties; the values are ids, which need no escapes."""
    return "".join(f"{key}={value}\n" for key, value in values.items()).encode("ascii")


def decode_properties(data: bytes) -> dict[str, str]:
    """The keys and values of a meta.properties, Java's comments and simple escapes understood.

    Raises:
        CorruptLog: it does not parse, or is not of version 1.
    """
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError as error:
        raise CorruptLog("meta.properties does not parse") from error
    values: dict[str, str] = {}
    for line in map(str.strip, text.splitlines()):
        if line and line[0] not in "#!":
            key, separator, value = line.partition("=")
            if not separator:
                raise CorruptLog(f"meta.properties has the line {line!r}")
            values[key.strip().replace("\\", "")] = value.strip().replace("\\", "")
    if values.get("version") != _META_VERSION:
        raise CorruptLog(f"meta.properties of version {values.get('version')}")
    return values


def encode_clean_shutdown(broker_epoch: int) -> bytes:
    """.kafka_cleanshutdown, as Kafka 4.3 writes it."""
    return json.dumps({"version": 0, "brokerEpoch": broker_epoch}, separators=(",", ":")).encode("ascii")


def decode_clean_shutdown(data: bytes) -> int:
    """The broker epoch in a clean-shutdown marker; -1 if it has none (older releases left it out)."""
    try:
        fields = json.loads(data)
        return int(fields.get("brokerEpoch", fields.get("broker_epoch", -1)))
    except (ValueError, TypeError, AttributeError):
        return -1
