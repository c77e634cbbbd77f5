"""Dynamic settings of topics and brokers: checking, changing, and what is in force. Pure.

Kinds of resources that have no setting we act on (groups, client metrics, broker loggers) refuse every
change by name, as does every setting that is only listed: nothing is accepted silently.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from typing import Final, NamedTuple

from moldau_broker.base.broker_config import BROKER_SETTINGS
from moldau_broker.base.config_types import Setting, SettingError, SettingType, clip, split_list
from moldau_broker.base.config_view import BrokerLayers, ConfigEntry, describe_topic
from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.limits import CONFIG_VALUE_CHARS_MAX
from moldau_broker.base.topic_config import TOPIC_SETTINGS, broker_default, validate_topic_settings
from moldau_broker.metadata.elections import (
    ELECTION_SETTINGS,
    MIN_INSYNC,
    elr_enabled,
    partition_changes,
)
from moldau_broker.metadata.image import CORDONED, NO_LEADER, ResourceType
from moldau_broker.metadata.live_brokers import LiveBrokers
from moldau_broker.metadata.operation import RECORDS_MAX, TOPIC_NUMBERS, Refusal, Result, View
from moldau_broker.metadata.replay import image_after
from moldau_broker.metadata.topic_names import name_problem
from moldau_broker.wire.messages import alter_configs as replacing
from moldau_broker.wire.messages import incremental_alter_configs as incremental
from moldau_broker.wire.messages.metadata_records import ConfigRecord
from moldau_broker.wire.schema import Struct

VALUE_CHARS_TOTAL_MAX: Final = 1024 * 1024
"""Text of all values in one request: the records must fit one atomic batch of 8 MiB with room to spare."""


class _Op(IntEnum):
    SET = 0
    DELETE = 1
    APPEND = 2
    SUBTRACT = 3


_OPS: Final = frozenset(int(op) for op in _Op)


class _Change(NamedTuple):
    name: str
    op: int
    value: str | None


# -- in force -------------------------------------------------------------------------------------------


def topic_entries(view: View, overrides: Mapping[str, str]) -> list[ConfigEntry]:
    """Every topic setting by name, with its value and source, for a topic with these overrides."""
    layers = BrokerLayers(
        dynamic=view.image.config(ResourceType.BROKER, str(view.settings.node_id)),
        dynamic_default=view.image.config(ResourceType.BROKER, ""),
        static=view.settings.explicit,
    )
    return describe_topic(overrides, layers)


# -- checking ---------------------------------------------------------------------------------------------


def new_topic_problem(view: View, configs: Mapping[str, str | None]) -> Refusal | None:
    """Why a topic cannot be created with these settings, None if it can."""
    missing = [name for name, value in configs.items() if value is None]
    if missing:
        names = ",".join(clip(name) for name in missing)
        return Refusal(ErrorCode.INVALID_CONFIG, f"Null value not supported for topic configs: {names}")
    return _topic_problem(view, {name: value for name, value in configs.items() if value is not None})


def _topic_problem(view: View, configs: Mapping[str, str]) -> Refusal | None:
    unknown = next((name for name in configs if name not in TOPIC_SETTINGS), None)
    if unknown is not None:
        return Refusal(ErrorCode.INVALID_CONFIG, f"Unknown topic config name: {clip(unknown)}")
    problem = _too_long(configs) or validate_topic_settings(configs, view.broker_defaults())
    return Refusal(ErrorCode.INVALID_CONFIG, problem) if problem else None


def _broker_problem(broker: str, changed: Mapping[str, str]) -> Refusal | None:
    """`broker` is the empty text for the settings that all brokers share."""
    problem = _too_long(changed)
    if problem:
        return Refusal(ErrorCode.INVALID_CONFIG, problem)
    for name, value in changed.items():
        setting = BROKER_SETTINGS.get(name)
        if setting is None or not setting.acted_on:
            return Refusal(
                ErrorCode.INVALID_CONFIG, f"{clip(name)} is not a broker setting that can be changed"
            )
        if not setting.dynamic:
            return Refusal(ErrorCode.INVALID_REQUEST, f"Cannot update these configs dynamically: [{name}]")
        if broker and name in TOPIC_NUMBERS:
            return Refusal(ErrorCode.INVALID_REQUEST, f"{name} is one for all brokers, not a broker's own")
        if not broker and name == CORDONED:
            return Refusal(ErrorCode.INVALID_REQUEST, f"{name} is a broker's own, not one for all brokers")
        try:
            setting.parse(value)
        except SettingError as error:
            return Refusal(ErrorCode.INVALID_REQUEST, str(error))
    return None


def _own_min_insync_problem(view: View) -> Refusal | None:
    """With the ELR the controller and every leader must agree on the value (KIP-966)."""
    if not elr_enabled(view.image):
        return None
    return Refusal(
        ErrorCode.INVALID_CONFIG,
        f"Broker-level {MIN_INSYNC} cannot be altered while ELR is enabled.",
    )


def _too_long(configs: Mapping[str, str]) -> str | None:
    for name, value in configs.items():
        if len(value) > CONFIG_VALUE_CHARS_MAX:
            return (
                f"The value of {clip(name)} has {len(value)} characters; {CONFIG_VALUE_CHARS_MAX} are allowed"
            )
    return None


def _resource_problem(view: View, kind: int, name: str) -> Refusal | None:
    """Why settings of this resource cannot be changed at all, None if they can."""
    if kind == ResourceType.TOPIC:
        return _topic_resource_problem(view, name)
    if kind == ResourceType.BROKER:
        if not name:
            return None
        try:
            broker_id = int(name)
        except ValueError:
            return Refusal(ErrorCode.INVALID_REQUEST, f"Node id must be an integer, but it is: {clip(name)}")
        if str(broker_id) != name or broker_id not in view.image.brokers:
            return Refusal(ErrorCode.INVALID_REQUEST, f"No broker with id {clip(name)} is registered")
        return None
    if kind == ResourceType.GROUP and not name:
        return Refusal(ErrorCode.INVALID_REQUEST, "Default group resources are not allowed.")
    if kind in {ResourceType.GROUP, ResourceType.CLIENT_METRICS, ResourceType.BROKER_LOGGER}:
        kind_name = ResourceType(kind).name
        return Refusal(ErrorCode.INVALID_CONFIG, f"No setting of a {kind_name} resource can be changed here")
    return Refusal(ErrorCode.INVALID_REQUEST, f"Unknown resource type {kind}")


def _topic_resource_problem(view: View, name: str) -> Refusal | None:
    if not name:
        return Refusal(ErrorCode.INVALID_REQUEST, "Default topic resources are not allowed.")
    problem = name_problem(name)
    if problem:
        return Refusal(ErrorCode.INVALID_TOPIC_EXCEPTION, problem)
    if name not in view.image.topics:
        return Refusal(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"The topic '{name}' does not exist.")
    return None


# -- changing ---------------------------------------------------------------------------------------------


def incremental_alter_configs(
    view: View, request: incremental.IncrementalAlterConfigsRequest
) -> Result[incremental.IncrementalAlterConfigsResponse]:
    """IncrementalAlterConfigs: set, delete, append, subtract; each resource whole or not at all (KIP-339)."""
    outcomes = _alter(
        view,
        [
            (
                resource.resource_type,
                resource.resource_name,
                [_Change(change.name, change.config_operation, change.value) for change in resource.configs],
            )
            for resource in request.resources
        ],
        replace=False,
    )
    response = incremental.IncrementalAlterConfigsResponse(
        responses=[
            incremental.AlterConfigsResourceResponse(
                resource_type=kind,
                resource_name=name,
                error_code=refusal.error,
                error_message=refusal.message,
            )
            for kind, name, refusal, _ in outcomes
        ]
    )
    return Result(response, _written(view, outcomes, validate_only=request.validate_only))


def alter_configs(
    view: View, request: replacing.AlterConfigsRequest
) -> Result[replacing.AlterConfigsResponse]:
    """AlterConfigs: the listed settings replace all the resource has; each resource whole or not at all."""
    outcomes = _alter(
        view,
        [
            (
                resource.resource_type,
                resource.resource_name,
                [_Change(config.name, _Op.SET, config.value) for config in resource.configs],
            )
            for resource in request.resources
        ],
        replace=True,
    )
    response = replacing.AlterConfigsResponse(
        responses=[
            replacing.AlterConfigsResourceResponse(
                resource_type=kind,
                resource_name=name,
                error_code=refusal.error,
                error_message=refusal.message,
            )
            for kind, name, refusal, _ in outcomes
        ]
    )
    return Result(response, _written(view, outcomes, validate_only=request.validate_only))


_Outcome = tuple[int, str, Refusal, list[ConfigRecord]]
_FINE: Final = Refusal(ErrorCode.NONE)


def _alter(
    view: View, resources: Sequence[tuple[int, str, list[_Change]]], *, replace: bool
) -> list[_Outcome]:
    counts = Counter((kind, name) for kind, name, _ in resources)
    changes = sum(len(wanted) for _, _, wanted in resources)
    text = sum(len(change.value or "") for _, _, wanted in resources for change in wanted)
    refused: Refusal | None = None
    if changes > RECORDS_MAX or len(resources) > RECORDS_MAX or text > VALUE_CHARS_TOTAL_MAX:
        refused = Refusal(ErrorCode.POLICY_VIOLATION, "Excessively large number of changes per request.")
    outcomes: list[_Outcome] = []
    for kind, name, wanted in resources:
        outcome: list[ConfigRecord] | Refusal
        if refused is not None:
            outcome = refused
        elif counts[(kind, name)] > 1:
            outcome = Refusal(ErrorCode.INVALID_REQUEST, "Each resource must appear at most once.")
        else:
            outcome = _alter_one(view, kind, name, wanted, replace=replace)
        if isinstance(outcome, Refusal):
            outcomes.append((kind, name, outcome, []))
        else:
            outcomes.append((kind, name, _FINE, outcome))
    return outcomes


def _written(view: View, outcomes: Iterable[_Outcome], *, validate_only: bool) -> tuple[Struct, ...]:
    if validate_only:
        return ()
    outcomes = list(outcomes)
    settings = tuple(record for _, _, _, written in outcomes for record in written)
    return (*settings, *_elections(view, settings))


def _elections(view: View, settings: tuple[ConfigRecord, ...]) -> list[Struct]:
    """What changed settings mean for partitions at once.

    An ELR that was kept under a larger min.insync.replicas ends where the ISR is large enough for the new one: from
    then on the high watermark moves without its members; a reassignment that waited for more in-sync replicas may be
    complete. And where unclean elections are allowed now, partitions that have no leader get one.
    """
    changed = [record for record in settings if record.name in ELECTION_SETTINGS]
    if not changed:
        return []
    everywhere = any(record.resource_type == ResourceType.BROKER for record in changed)
    names = {record.resource_name for record in changed}
    after = view._replace(image=image_after(view.image, settings))
    return partition_changes(
        after,
        lambda partition: partition.leader == NO_LEADER or bool(partition.elr or partition.removing),
        lambda _: None,
        LiveBrokers(view.image),
        topics=None if everywhere else names,
    )


def _alter_one(
    view: View, kind: int, name: str, wanted: list[_Change], *, replace: bool
) -> list[ConfigRecord] | Refusal:
    refusal = _resource_problem(view, kind, name) or _request_problem(wanted)
    if refusal is not None:
        return refusal
    current = view.image.config(kind, name)
    changed: dict[str, str] = {}
    target = {} if replace else dict(current)
    for change in wanted:
        value = _new_value(view, kind, name, change)
        if isinstance(value, Refusal):
            return value
        if value is None:
            target.pop(change.name, None)
        else:
            target[change.name] = changed[change.name] = value
    refusal = _topic_problem(view, target) if kind == ResourceType.TOPIC else _broker_problem(name, changed)
    if refusal is None and kind == ResourceType.BROKER and name and MIN_INSYNC in changed:
        refusal = _own_min_insync_problem(view)
    if refusal is not None:
        return refusal
    return [
        ConfigRecord(resource_type=kind, resource_name=name, name=key, value=target.get(key))
        for key in sorted({*current, *target})
        if current.get(key) != target.get(key)
    ]


def _request_problem(wanted: Sequence[_Change]) -> Refusal | None:
    if len({change.name for change in wanted}) < len(wanted):
        return Refusal(ErrorCode.INVALID_REQUEST, "Error due to duplicate config keys")
    for change in wanted:
        if change.op not in _OPS:
            return Refusal(ErrorCode.INVALID_REQUEST, f"Unknown operation type {change.op}")
        if change.value is None and change.op != _Op.DELETE:
            return Refusal(ErrorCode.INVALID_REQUEST, f"Null value not supported for : {clip(change.name)}")
    return None


def _new_value(view: View, kind: int, name: str, change: _Change) -> str | Refusal | None:
    """The text a change leads to; None deletes."""
    if change.op == _Op.DELETE:
        return None
    assert change.value is not None, "checked before"
    if change.op == _Op.SET:
        return change.value
    setting = (TOPIC_SETTINGS if kind == ResourceType.TOPIC else BROKER_SETTINGS).get(change.name)
    if setting is None or setting.type is not SettingType.LIST:
        verb = _Op(change.op).name
        return Refusal(
            ErrorCode.INVALID_CONFIG, f"Can't {verb} to key {clip(change.name)} because its type is not LIST."
        )
    items = list(split_list(_value_in_force(view, kind, name, setting) or ""))
    for item in split_list(change.value):
        if change.op == _Op.APPEND and item not in items:
            items.append(item)
        elif change.op == _Op.SUBTRACT and item in items:
            items.remove(item)
    return ",".join(items)


def _value_in_force(view: View, kind: int, name: str, setting: Setting) -> str | None:
    own = view.image.config(kind, name).get(setting.name)
    if own is not None:
        return own
    if kind == ResourceType.TOPIC:
        found = broker_default(setting, view.broker_defaults())
        return found[1] if found else setting.default
    return view.settings.explicit.get(setting.name, setting.default)
