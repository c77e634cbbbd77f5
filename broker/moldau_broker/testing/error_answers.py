"""Answers that fail everything a request asks for, shaped as Kafka's `AbstractRequest.getErrorResponse`. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from moldau_broker.base.errors import ErrorCode
from moldau_broker.wire.apis import API_SCHEMAS, ApiKey
from moldau_broker.wire.schema import EMPTY_RECORDS, Field, Struct, fields_of, replace

# Where a response's item finds what it answers: under its own name, or one of these of the request.
_OTHER_NAMES: Final = {
    "coordinators": ("coordinator_keys",),
    "index": ("partition",),
    "members": (),
    "name": ("topic",),
    "partition": ("partition_index",),
    "partition_index": ("partition", "index"),
    "partition_responses": ("partition_data",),
    "partition_result": ("partitions",),
    "partitions": ("partition_indexes",),
    "replica_election_results": ("topic_partitions",),
    "responses": ("topic_data", "topics", "topic_names", "resources"),
    "results": ("topics", "resources", "groups_names"),
    "topic": ("name",),
}
# What stands in fields that have nothing to say, where zero would be a claim.
_NOTHING: Final[dict[str, Any]] = {
    "base_offset": -1,
    "committed_offset": -1,
    "high_watermark": -1,
    "low_watermark": -1,
    "node_id": -1,
    "port": -1,
    "producer_epoch": -1,
    "producer_id": -1,
    "records": EMPTY_RECORDS,
}
_BY_PARTITION_ONLY: Final = frozenset({ApiKey.FETCH})
"""Their top-level error is about something else (the session), unless the request names no partition."""


def error_answer(api: ApiKey, request: Struct, error: ErrorCode) -> Struct:
    """The response in which everything that `request` asks for has failed with `error`."""
    response = _mirror(API_SCHEMAS[api].response, request, error)
    if api in _BY_PARTITION_ONLY and any(True for _ in _items(request, "responses")):
        return replace(response, error_code=ErrorCode.NONE)
    return response


def with_topic_errors(response: Struct, error: ErrorCode) -> Struct:
    """A Metadata response with every topic failed and its brokers left as they are."""
    topics: Sequence[Struct] = response.topics  # type: ignore[attr-defined]
    return replace(response, topics=[replace(topic, error_code=error, partitions=[]) for topic in topics])


def _mirror(cls: type[Struct], asked: Any, error: ErrorCode) -> Struct:
    values: dict[str, Any] = {}
    for field in fields_of(cls):
        if field.name == "error_code":
            values[field.name] = error
        elif field.array and field.struct is not None and _tells_errors(field.struct):
            values[field.name] = [_mirror(field.struct, item, error) for item in _items(asked, field.name)]
        elif field.name in _NOTHING:
            values[field.name] = _NOTHING[field.name]
        else:
            values |= _copied(field, asked)
    return cls(**values)


def _tells_errors(cls: type[Struct]) -> bool:
    return any(
        field.name == "error_code"
        or (field.struct is not None and field.array and _tells_errors(field.struct))
        for field in fields_of(cls)
    )


def _items(asked: Any, name: str) -> Iterator[Any]:
    for candidate in (name, *_OTHER_NAMES.get(name, ())):
        found = getattr(asked, candidate, None)
        if isinstance(found, Sequence) and not isinstance(found, str) and found:
            yield from found
            return


def _copied(field: Field, asked: Any) -> dict[str, Any]:
    """The value that identifies an item: the request's own, or the whole item where that is just a name."""
    if field.array or field.struct is not None:
        return {}
    if isinstance(asked, str):
        return {field.name: asked} if field.name in {"name", "key", "group_id"} else {}
    if isinstance(asked, int):
        return {field.name: asked} if field.name in {"partition_index", "partition_id"} else {}
    for candidate in (field.name, *_OTHER_NAMES.get(field.name, ())):
        value = getattr(asked, candidate, None)
        if value is not None:
            return {field.name: value}
    return {}
