"""Settings of a Cluster that its brokers take while they run. Pure.

A broker's file has what was declared when it started; an override, which all brokers share and the metadata
keeps, wins over it. What is declared is made true by overrides alone, so nobody is restarted. An override that
we made and that is no longer declared is removed, or set to the default while some running file still says
otherwise. Overrides of others stay, unless the resource declares the same setting.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from moldau_broker.base.broker_config import BROKER_SETTINGS
from moldau_broker.base.config_types import SettingError
from moldau_operator.seams.broker_admin import ConfigChange
from moldau_operator.specs.nodes import default_of, is_dynamic


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsPlan:
    """What to change, and the names that are ours from then on. `change` is None when all is as declared."""

    change: ConfigChange | None
    reason: str
    managed: tuple[str, ...]


def plan_broker_settings(
    declared: Mapping[str, str],
    overrides: Mapping[str, str],
    files: Iterable[Mapping[str, str]],
    managed: Collection[str],
) -> SettingsPlan:
    """What brings running brokers to the declared settings.

    Args:
        declared: the Cluster's settings; those that need a restart are left out here.
        overrides: what all brokers were given while they run, by anybody.
        files: what each running broker was started with.
        managed: names of the overrides that are ours.
    """
    running = list(files)
    wanted = {name: value for name, value in declared.items() if is_dynamic(name)}
    to_set: dict[str, str] = {}
    for name, value in wanted.items():
        now = (
            {overrides[name]}
            if name in overrides
            else {file.get(name) or _default(name, declared) for file in running}
        )
        if any(not same_value(name, one, value) for one in now):
            to_set[name] = value
    to_remove: list[str] = []
    known = {name for file in running for name in file if is_dynamic(name)}
    for name in sorted((known | set(managed)) - wanted.keys()):
        stale = any(
            name in file and not same_value(name, file[name], _default(name, declared)) for file in running
        )
        ours = name in managed and name in overrides
        if stale and not (name in overrides and same_value(name, overrides[name], _default(name, declared))):
            to_set[name] = _default(name, declared)
        elif ours and not stale:
            to_remove.append(name)
    kept = {name for name in managed if name in overrides and name not in to_remove}
    ours_then = tuple(sorted(kept | to_set.keys()))
    if not to_set and not to_remove:
        return SettingsPlan(change=None, reason="", managed=ours_then)
    parts = [f"{name} {overrides.get(name, 'unset')} -> {value}" for name, value in sorted(to_set.items())]
    parts += [f"{name} {overrides[name]} -> unset" for name in to_remove]
    change = ConfigChange(set=to_set, remove=tuple(to_remove))
    return SettingsPlan(change=change, reason=", ".join(parts), managed=ours_then)


def same_value(name: str, one: str, other: str) -> bool:
    """Whether two texts of a broker setting mean the same."""
    if one == other:
        return True
    try:
        return bool(BROKER_SETTINGS[name].parse(one) == BROKER_SETTINGS[name].parse(other))
    except (KeyError, SettingError):
        return False


def _default(name: str, declared: Mapping[str, str]) -> str:
    return default_of(name, declared) or ""
