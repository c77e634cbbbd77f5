"""What DescribeConfigs lists: every setting of a resource with its value, and where the value comes from. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType
from typing import Final

from moldau_broker.base.broker_config import ALIASES, BROKER_SETTINGS
from moldau_broker.base.config_types import Setting, SettingError, SettingType
from moldau_broker.base.topic_config import TOPIC_SETTINGS, synonym_text

_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


class ConfigSource(IntEnum):
    """Where a value comes from (`DescribeConfigsResponse.ConfigSource`)."""

    UNKNOWN = 0
    TOPIC = 1
    BROKER = 2
    BROKER_DEFAULT = 3
    STATIC = 4
    DEFAULT = 5
    LOGGER = 6
    CLIENT_METRICS = 7
    GROUP = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerLayers:
    """One broker's explicit settings by origin; nearer ones win: `dynamic`, `dynamic_default`, `static`."""

    dynamic: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    dynamic_default: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    static: Mapping[str, str] = field(default_factory=lambda: _NOTHING)

    @property
    def explicit(self) -> dict[str, str]:
        """All of them, the nearer value where several have one."""
        return {**self.static, **self.dynamic_default, **self.dynamic}


@dataclass(frozen=True, slots=True)
class ConfigSynonym:
    """One place a value could come from."""

    name: str
    value: str | None
    source: ConfigSource


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigEntry:
    """One listed setting. `synonyms` are all places that have a value, the one in force first."""

    name: str
    value: str | None
    source: ConfigSource
    type: SettingType
    read_only: bool
    sensitive: bool
    doc: str
    synonyms: tuple[ConfigSynonym, ...]


def describe_topic(
    overrides: Mapping[str, str], layers: BrokerLayers, names: Collection[str] | None = None
) -> list[ConfigEntry]:
    """Every topic setting (or those in `names`), sorted by name; `overrides` are the topic's own."""
    return _describe_owned(TOPIC_SETTINGS, overrides, ConfigSource.TOPIC, layers, names)


def describe_group(overrides: Mapping[str, str], layers: BrokerLayers) -> list[ConfigEntry]:
    """Every group setting, sorted by name; `overrides` are the group's own."""
    from moldau_broker.base.group_config import GROUP_SETTINGS

    return _describe_owned(GROUP_SETTINGS, overrides, ConfigSource.GROUP, layers, None)


def describe_broker(layers: BrokerLayers) -> list[ConfigEntry]:
    """Every broker setting that we or Kafka know, sorted by name."""
    from moldau_broker.base.known_config import KNOWN_SETTINGS

    settings = {**KNOWN_SETTINGS, **BROKER_SETTINGS}
    entries = []
    for name in sorted(settings):
        setting = settings[name]
        synonyms = tuple(_broker_places(ALIASES.get(name, name), setting, layers))
        entries.append(_entry(setting, synonyms, read_only=not setting.dynamic, fallback=None))
    return entries


def describe_broker_default(layers: BrokerLayers) -> list[ConfigEntry]:
    """The dynamic settings all brokers share: only those that are set (the resource with the empty name)."""
    entries = []
    for name, value in sorted(layers.dynamic_default.items()):
        setting = BROKER_SETTINGS.get(name) or _unknown(name)
        synonyms = (_place(setting, name, value, ConfigSource.BROKER_DEFAULT),)
        entries.append(_entry(setting, synonyms, read_only=not setting.dynamic, fallback=None))
    return entries


def _describe_owned(
    table: Mapping[str, Setting],
    overrides: Mapping[str, str],
    source: ConfigSource,
    layers: BrokerLayers,
    names: Collection[str] | None,
) -> list[ConfigEntry]:
    entries = []
    for name in sorted({*table, *overrides}):
        if names is not None and name not in names:
            continue
        setting = table.get(name) or _unknown(name)
        synonyms = []
        if name in overrides:
            synonyms.append(_place(setting, name, overrides[name], source))
        for synonym in setting.synonyms:
            synonyms.extend(_broker_places(synonym, _broker_setting(synonym), layers))
        entries.append(
            _entry(setting, tuple(synonyms), read_only=not setting.acted_on, fallback=setting.default)
        )
    return entries


def _entry(
    setting: Setting, synonyms: tuple[ConfigSynonym, ...], *, read_only: bool, fallback: str | None
) -> ConfigEntry:
    first = synonyms[0] if synonyms else None
    value = fallback
    if first is not None:
        same = first.name == setting.name or first.value is None
        value = first.value if same else synonym_text(first.name, first.value or "")
    return ConfigEntry(
        name=setting.name,
        value=value,
        source=first.source if first else ConfigSource.DEFAULT,
        type=setting.type,
        read_only=read_only,
        sensitive=setting.sensitive,
        doc=_documentation(setting),
        synonyms=synonyms,
    )


def _documentation(setting: Setting) -> str:
    from moldau_broker.base.known_config import NOT_ACTED_ON

    if setting.acted_on or setting.doc == NOT_ACTED_ON:
        return setting.doc
    return f"{NOT_ACTED_ON} {setting.doc}"


def _broker_places(name: str, setting: Setting, layers: BrokerLayers) -> Iterator[ConfigSynonym]:
    """Where broker setting `name` has a value, nearest first, the default last."""
    for values, source in (
        (layers.dynamic, ConfigSource.BROKER),
        (layers.dynamic_default, ConfigSource.BROKER_DEFAULT),
        (layers.static, ConfigSource.STATIC),
    ):
        if name in values:
            yield _place(setting, setting.name, values[name], source)
    if setting.default is not None:
        yield _place(setting, setting.name, setting.default, ConfigSource.DEFAULT)


def _place(setting: Setting, name: str, value: str | None, source: ConfigSource) -> ConfigSynonym:
    return ConfigSynonym(name, None if setting.sensitive else _plain(setting, value), source)


def _plain(setting: Setting, text: str | None) -> str | None:
    """The text as Kafka lists it (`5` for ` +5 `); as it is, should it have become illegal since it was set."""
    try:
        return setting.normalize(text)
    except SettingError:
        return text


def _broker_setting(name: str) -> Setting:
    setting = BROKER_SETTINGS.get(name)
    if setting is None:
        from moldau_broker.base.known_config import KNOWN_SETTINGS

        setting = KNOWN_SETTINGS[name]
    return setting


def _unknown(name: str) -> Setting:
    """A name that the metadata log holds and we do not know: it came with data of another version."""
    return Setting(name=name, type=SettingType.UNKNOWN, default=None, doc="Not known here.", acted_on=False)
