"""Changing dynamic settings: what the handlers' tests do not reach."""

from __future__ import annotations

from random import Random

import pytest

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import NULL_UUID, Uuid
from moldau_broker.metadata.configs_control import incremental_alter_configs
from moldau_broker.metadata.image import BrokerImage, MetadataImage, TopicImage
from moldau_broker.metadata.operation import ControllerSettings, Result, View
from moldau_broker.wire.messages.incremental_alter_configs import (
    AlterableConfig,
    AlterConfigsResource,
    IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
)

SET, DELETE, APPEND, SUBTRACT = range(4)
TOPIC = TopicImage("t", Uuid(b"t" * 16), ())


def alter(
    *changes: tuple[str, int, str | None],
    kind: int = 2,
    name: str = "t",
    own: dict[str, str] | None = None,
    static: dict[str, str] | None = None,
) -> Result[IncrementalAlterConfigsResponse]:
    broker = BrokerImage(1, 5, NULL_UUID, False, False, None, {})
    image = MetadataImage(
        "cluster",
        9,
        topics={"t": TOPIC},
        topics_by_id={TOPIC.topic_id: TOPIC},
        brokers={1: broker},
        configs={(kind, name): own} if own else {},
    )
    configs = [AlterableConfig(name=key, config_operation=how, value=value) for key, how, value in changes]
    resource = AlterConfigsResource(resource_type=kind, resource_name=name, configs=configs)
    view = View(image, 10, ControllerSettings(1, explicit=static or {}), Random(0))
    return incremental_alter_configs(view, IncrementalAlterConfigsRequest(resources=[resource]))


def written(result: Result[IncrementalAlterConfigsResponse]) -> dict[str, str | None]:
    return {record.name: record.value for record in result.records}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("own", "static", "how", "value", "expected"),
    [
        (None, None, APPEND, "compact", "delete,compact"),
        (None, {"log.cleanup.policy": "compact"}, APPEND, "delete", "compact,delete"),
        ({"cleanup.policy": "compact"}, None, APPEND, "delete,compact", "compact,delete"),
        ({"cleanup.policy": "compact,delete"}, None, SUBTRACT, "compact", "delete"),
        ({"cleanup.policy": "compact"}, None, SUBTRACT, "compact", ""),
    ],
)
def test_configs_lists_change_from_the_value_in_force(
    own: dict[str, str] | None, static: dict[str, str] | None, how: int, value: str, expected: str
) -> None:
    """Append and subtract start from the topic's value, else the broker's, else the default (KIP-339)."""
    result = alter(("cleanup.policy", how, value), own=own, static=static)
    assert result.response.responses[0].error_code == 0
    assert written(result) == {"cleanup.policy": expected}


def test_configs_writes_only_what_changes() -> None:
    """Setting what is set, appending what is there, deleting what is not: no record."""
    own = {"cleanup.policy": "compact", "retention.ms": "5"}
    changes = (
        ("cleanup.policy", APPEND, "compact"),
        ("retention.ms", SET, "5"),
        ("segment.bytes", DELETE, None),
    )
    result = alter(*changes, own=own)
    assert result.response.responses[0].error_code == 0
    assert result.records == ()


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("max.connections", "9" * 40_000, ErrorCode.INVALID_CONFIG),
        ("max.connections", "many", ErrorCode.INVALID_REQUEST),
        ("num.partitions", "3", ErrorCode.INVALID_REQUEST),
        ("listeners", "x", ErrorCode.INVALID_REQUEST),
        ("no.such.setting", "1", ErrorCode.INVALID_CONFIG),
        ("log.cleaner.threads", "2", ErrorCode.INVALID_CONFIG),
    ],
)
def test_configs_of_brokers_refuse(name: str, value: str, error: ErrorCode) -> None:
    """Too long, no number, fixed at start, unknown, or not acted on."""
    result = alter((name, SET, value), kind=4, name="1")
    assert result.response.responses[0].error_code == error
    assert result.records == ()


@pytest.mark.parametrize("name", ["01", "+1", "1 ", "2", "x", "1.0"])
def test_configs_of_brokers_need_a_registered_id(name: str) -> None:
    """Written as the id is, so that one broker has one name."""
    result = alter(("max.connections", SET, "5"), kind=4, name=name)
    assert result.response.responses[0].error_code == ErrorCode.INVALID_REQUEST


def test_configs_bounds_one_request() -> None:
    """More changes, or more text, than an atomic write holds."""
    for changes in (
        [(f"c{i}", SET, "1") for i in range(10_001)],
        [(f"c{i}", SET, "1" * 30_000) for i in range(50)],
    ):
        result = alter(*changes)
        assert result.response.responses[0].error_code == ErrorCode.POLICY_VIOLATION
        assert result.records == ()
