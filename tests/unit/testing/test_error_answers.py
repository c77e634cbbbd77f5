"""Answers that fail a request: of the right shape for every API we serve, in every version."""

from __future__ import annotations

from typing import Any

import pytest

from moldau_broker.base.errors import ErrorCode
from moldau_broker.server.handlers import HANDLERS
from moldau_broker.testing.error_answers import error_answer
from moldau_broker.wire.apis import API_SCHEMAS, ApiKey
from moldau_broker.wire.codec import decode, encode
from moldau_broker.wire.messages.fetch import FetchPartition, FetchRequest, FetchTopic
from moldau_broker.wire.messages.produce import PartitionProduceData, ProduceRequest, TopicProduceData
from moldau_broker.wire.schema import SCALARS, Struct, fields_of

ERROR = ErrorCode.NOT_COORDINATOR


def filled(cls: type[Struct], version: int) -> Struct:
    """A request with one item in every list."""
    values: dict[str, Any] = {}
    for field in fields_of(cls):
        if not field.carried(version):
            continue
        one: Any = field.default
        if field.struct is not None:
            one = filled(field.struct, version)
        elif field.type == "String":
            one = f"a {field.name}"
        elif field.type == "Uuid":
            one = b"0123456789abcdef"
        elif field.type in SCALARS and field.type != "Boolean":
            one = 1
        values[field.name] = [one] if field.array else one
    return cls(**values)


def codes(value: object) -> list[int]:
    """Every error_code in a response."""
    if isinstance(value, (list, tuple)):
        return [code for item in value for code in codes(item)]
    if not isinstance(value, Struct):
        return []
    found = [code for name in value.__schema__.declared for code in codes(getattr(value, name))]
    return [*found, value.error_code] if hasattr(value, "error_code") else found


@pytest.mark.parametrize(
    ("api", "version"),
    [
        pytest.param(handler.api, version, id=f"{handler.api.name}-v{version}")
        for handler in HANDLERS
        for version in range(handler.versions[0], handler.versions[1] + 1)
    ],
)
def test_an_error_answer_says_the_error_in_every_version(api: ApiKey, version: int) -> None:
    """Encoded and decoded, the answer names the error at least once, and nothing else."""
    request = filled(API_SCHEMAS[api].request, version)
    response = error_answer(api, request, ERROR)
    decoded, _ = decode(type(response), version, encode(response, version))
    assert ERROR in codes(decoded)
    assert set(codes(decoded)) <= {ERROR, ErrorCode.NONE}


def test_an_error_answer_names_what_was_asked_for() -> None:
    """A failed Produce tells which topics and partitions it failed, and claims no offset."""
    request = ProduceRequest(
        topic_data=[
            TopicProduceData(
                name="t", partition_data=[PartitionProduceData(index=3), PartitionProduceData(index=5)]
            )
        ]
    )
    response: Any = error_answer(ApiKey.PRODUCE, request, ERROR)
    (topic,) = response.responses
    assert topic.name == "t"
    assert [(one.index, one.error_code, one.base_offset) for one in topic.partition_responses] == [
        (3, ERROR, -1),
        (5, ERROR, -1),
    ]


def test_a_failed_fetch_fails_its_partitions_not_its_session() -> None:
    """The top-level error of Fetch is the session's; it is used only where no partition is named."""
    partition = FetchPartition(partition=2)
    named: Any = error_answer(
        ApiKey.FETCH, FetchRequest(topics=[FetchTopic(topic="t", partitions=[partition])]), ERROR
    )
    assert (named.error_code, named.responses[0].partitions[0].error_code) == (0, ERROR)
    assert (named.responses[0].topic, named.responses[0].partitions[0].partition_index) == ("t", 2)
    unnamed: Any = error_answer(ApiKey.FETCH, FetchRequest(), ERROR)
    assert unnamed.error_code == ERROR
