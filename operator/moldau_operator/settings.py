"""The operator's own settings, from the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from moldau_operator.names import label_problem

PREFIX = "MOLDAU_OPERATOR_"


class SettingsError(Exception):
    """A setting is missing or cannot be used; the text names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorSettings:
    """What the chart sets.

    Attributes:
        namespace: whose resources are looked after.
        broker_image: of nodes whose Cluster names none.
        identity: who holds the Lease.
        health_port: of /livez, /readyz and /metrics.
        resync_s: how often everything is looked at though nothing was heard.
    """

    namespace: str
    broker_image: str
    identity: str
    health_port: int = 8080
    resync_s: float = 10.0


def read_settings(environment: Mapping[str, str], identity: str) -> OperatorSettings:
    """The settings; `identity` is used where POD_NAME is not set.

    Raises:
        SettingsError: one is missing or cannot be used.
    """
    namespace = environment.get(PREFIX + "NAMESPACE", "default")
    problem = label_problem(namespace)
    if problem is not None:
        raise SettingsError(f"{PREFIX}NAMESPACE={namespace!r} {problem}")
    image = environment.get(PREFIX + "BROKER_IMAGE", "")
    if not image:
        raise SettingsError(f"{PREFIX}BROKER_IMAGE is not set; name the brokers' image")
    port = environment.get(PREFIX + "HEALTH_PORT", "8080")
    resync = environment.get(PREFIX + "RESYNC_S", "10")
    if not port.isdigit() or not 0 <= int(port) < 65536:
        raise SettingsError(f"{PREFIX}HEALTH_PORT={port!r} is no port")
    if not resync.isdigit() or int(resync) < 1:
        raise SettingsError(f"{PREFIX}RESYNC_S={resync!r} must be a whole number of seconds")
    return OperatorSettings(
        namespace=namespace,
        broker_image=image,
        identity=environment.get("POD_NAME", "") or identity,
        health_port=int(port),
        resync_s=float(resync),
    )
