"""Changes of a resource's settings, decided: what is written, or why nothing is. Pure.

The controller applies these inside its one write path, so that two changes of the same resource cannot pass
each other. Codes are those a Kafka 4.3 broker answers: INVALID_CONFIG for topics and groups, INVALID_REQUEST for
brokers and for requests that contradict themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

from moldau_broker.base.broker_config import BROKER_SETTINGS
from moldau_broker.base.config_types import Setting, SettingError, SettingType, clip, split_list
from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.limits import CONFIG_VALUE_CHARS_MAX
from moldau_broker.base.topic_config import TOPIC_SETTINGS, validate_topic_setting, validate_topic_settings


class ConfigOperation(IntEnum):
    """What IncrementalAlterConfigs may do to a setting (KIP-339)."""

    SET = 0
    DELETE = 1
    APPEND = 2
    SUBTRACT = 3


@dataclass(frozen=True, slots=True)
class ConfigChange:
    """One wish. `operation` is unchecked: it comes from the wire."""

    name: str
    operation: int
    value: str | None


@dataclass(frozen=True, slots=True)
class ConfigProblem:
    """Why a resource stays as it is."""

    error: ErrorCode
    message: str


Edits: TypeAlias = dict[str, str | None]
"""What changes, by name: the new text, or None where the setting is removed."""

_Refusal: TypeAlias = Callable[[str, str], ConfigProblem | None]


def change_topic(
    current: Mapping[str, str], changes: Sequence[ConfigChange], broker: Mapping[str, str]
) -> Edits | ConfigProblem:
    """The edits of a topic's own settings; `broker` holds the broker's explicit settings."""
    edits = _edit(TOPIC_SETTINGS, current, changes, _topic_refusal)
    if isinstance(edits, ConfigProblem):
        return edits
    kept = {name: text for name, text in current.items() if name not in edits}
    changed = {name: text for name, text in edits.items() if text is not None}
    # Only the whole is judged here: what the metadata log already holds was accepted by somebody.
    usable = {name: text for name, text in kept.items() if validate_topic_setting(name, text) is None}
    problem = validate_topic_settings({**usable, **changed}, broker)
    return ConfigProblem(ErrorCode.INVALID_CONFIG, problem) if problem else edits


def change_broker(
    current: Mapping[str, str], changes: Sequence[ConfigChange], *, node: str
) -> Edits | ConfigProblem:
    """The edits of a broker's dynamic settings; `node` is its id, or empty for those all brokers share."""
    where = f"broker {node}" if node else "all brokers"

    def refusal(name: str, text: str) -> ConfigProblem | None:
        setting = BROKER_SETTINGS.get(name)
        if setting is None:
            from moldau_broker.base.refused_config import is_known, unknown_name

            if is_known(name):
                return _not_acted_on(name)
            return ConfigProblem(ErrorCode.INVALID_CONFIG, unknown_name(name))
        if not setting.acted_on:
            return _not_acted_on(name)
        if not setting.dynamic:
            return ConfigProblem(
                ErrorCode.INVALID_REQUEST,
                f"{name} cannot be changed for {where} while the broker runs; set it in the broker's configuration",
            )
        return _value_problem(setting, text, ErrorCode.INVALID_REQUEST)

    return _edit(BROKER_SETTINGS, current, changes, refusal)


def change_group(current: Mapping[str, str], changes: Sequence[ConfigChange]) -> Edits | ConfigProblem:
    """The edits of a group's own settings; as none is acted on, only removals go through."""
    from moldau_broker.base.group_config import GROUP_SETTINGS

    def refusal(name: str, text: str) -> ConfigProblem | None:
        setting = GROUP_SETTINGS.get(name)
        if setting is None:
            return ConfigProblem(ErrorCode.INVALID_CONFIG, f"{clip(name)} is not a group setting")
        problem = _value_problem(setting, text, ErrorCode.INVALID_CONFIG)
        if problem or setting.normalize(text) == setting.default:
            return problem
        return _not_acted_on(name)

    return _edit(GROUP_SETTINGS, current, changes, refusal)


def replacing(current: Mapping[str, str], wanted: Sequence[tuple[str, str | None]]) -> list[ConfigChange]:
    """AlterConfigs as incremental changes: set what is wanted, remove every other setting."""
    names = {name for name, _ in wanted}
    return [
        *(ConfigChange(name, ConfigOperation.SET, value) for name, value in wanted),
        *(ConfigChange(name, ConfigOperation.DELETE, None) for name in current if name not in names),
    ]


def _not_acted_on(name: str) -> ConfigProblem:
    return ConfigProblem(
        ErrorCode.INVALID_CONFIG, f"{name} is known to Kafka but not acted on here, so it cannot be changed"
    )


def _topic_refusal(name: str, text: str) -> ConfigProblem | None:
    problem = validate_topic_setting(name, text)
    return ConfigProblem(ErrorCode.INVALID_CONFIG, problem) if problem else None


def _value_problem(setting: Setting, text: str, error: ErrorCode) -> ConfigProblem | None:
    try:
        setting.parse(text)
    except SettingError as problem:
        return ConfigProblem(error, str(problem))
    return None


def _edit(
    table: Mapping[str, Setting],
    current: Mapping[str, str],
    changes: Sequence[ConfigChange],
    refuse: _Refusal,
) -> Edits | ConfigProblem:
    if len({change.name for change in changes}) != len(changes):
        return ConfigProblem(ErrorCode.INVALID_REQUEST, "a setting is named twice")
    edits: Edits = {}
    for change in changes:
        text = _new_text(table.get(change.name), current, change)
        if isinstance(text, ConfigProblem):
            return text
        if text is not None:
            if len(text) > CONFIG_VALUE_CHARS_MAX:
                return ConfigProblem(
                    ErrorCode.INVALID_CONFIG,
                    f"{clip(change.name)} has {len(text)} characters, at most {CONFIG_VALUE_CHARS_MAX} are kept",
                )
            problem = refuse(change.name, text)
            if problem is not None:
                return problem
            setting = table.get(change.name)
            text = setting.normalize(text) if setting is not None else text
        if text != current.get(change.name):
            edits[change.name] = text
    return edits


def _new_text(
    setting: Setting | None, current: Mapping[str, str], change: ConfigChange
) -> str | ConfigProblem | None:
    """The setting's text after the change, None where it is removed."""
    match change.operation:
        case ConfigOperation.DELETE:
            return None
        case ConfigOperation.SET | ConfigOperation.APPEND | ConfigOperation.SUBTRACT if change.value is None:
            return ConfigProblem(ErrorCode.INVALID_REQUEST, f"{clip(change.name)} needs a value")
        case ConfigOperation.SET:
            return change.value
        case ConfigOperation.APPEND | ConfigOperation.SUBTRACT:
            return _new_list(setting, current, change)
        case _:
            return ConfigProblem(
                ErrorCode.INVALID_REQUEST, f"{change.operation} is not an operation on a setting"
            )


def _new_list(
    setting: Setting | None, current: Mapping[str, str], change: ConfigChange
) -> str | ConfigProblem:
    if setting is None or setting.type is not SettingType.LIST:
        return ConfigProblem(
            ErrorCode.INVALID_CONFIG,
            f"{clip(change.name)} is not a list: it can be set, not added to or taken from",
        )
    items = list(split_list(current.get(change.name, setting.default or "")))
    named = split_list(change.value or "")
    if change.operation == ConfigOperation.APPEND:
        items.extend(item for item in dict.fromkeys(named) if item not in items)
    else:
        items = [item for item in items if item not in named]
    return ",".join(items)
