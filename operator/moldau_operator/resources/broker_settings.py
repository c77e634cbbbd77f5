"""Which broker settings a Cluster may give, and which are derived from its spec. Pure."""

from __future__ import annotations

from typing import Final

from moldau_broker.base.broker_config import BROKER_SETTINGS
from moldau_broker.base.config_types import SettingError
from moldau_broker.base.refused_config import is_known, refusal, unknown_name

_LISTENERS: Final = "it follows from spec.listeners and the platform"
_QUORUM: Final = "it follows from the nodes"
_VOLUME: Final = "every node keeps its data on its own volume"
_NODE_ID: Final = "it is the pool's nodeIdBase plus the node's ordinal"

OWNED_SETTINGS: Final = {
    "advertised.listeners": _LISTENERS,
    "broker.id": _NODE_ID,
    "broker.rack": "give spec.rack, or rack in a pool",
    "cluster.id": "it is minted once and kept on the volumes",
    "controller.listener.names": _LISTENERS,
    "controller.quorum.bootstrap.servers": _QUORUM,
    "controller.quorum.voters": _QUORUM,
    "early.start.listeners": _LISTENERS,
    "http.host": _LISTENERS,
    "http.port": _LISTENERS,
    "inter.broker.listener.name": _LISTENERS,
    "listener.security.protocol.map": _LISTENERS,
    "listeners": _LISTENERS,
    "log.dir": _VOLUME,
    "log.dirs": _VOLUME,
    "metadata.log.dir": _VOLUME,
    "node.id": _NODE_ID,
    "process.roles": "give roles in a pool",
    "security.inter.broker.protocol": _LISTENERS,
}
"""Settings moldau derives itself -> where the value comes from instead."""


def broker_setting_problem(name: str, text: str) -> str | None:
    """Why a Cluster cannot set broker setting `name` to `text`, in words; None when it can."""
    owned = OWNED_SETTINGS.get(name)
    if owned is not None:
        return f"{name} cannot be set here: {owned}; remove it"
    setting = BROKER_SETTINGS.get(name)
    if setting is None:
        return refusal(name, text) if is_known(name) else unknown_name(name)
    try:
        setting.parse(text)
    except SettingError as error:
        return str(error)
    return None
