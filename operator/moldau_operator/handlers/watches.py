"""kopf, kept to what it is good at: it watches, and tells that something changed.

Only on.event is used: no annotations, no finalizers, no events of kopf's own. What changed is read anew by the next
pass, so an event that is lost costs the time until the next look and nothing else.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

import kopf
from kopf._core.engines import peering

from moldau_operator.names import API_GROUP
from moldau_operator.specs.objects import LABEL_CLUSTER

_IDENTITY: Final = peering.Identity("moldau-operator")
"""kopf would ask the system for the name of its user, and in our image that one has none."""
WATCHED: Final = ("clusters", "topics", "consumergroups")
_OWNED: Final = (("", "v1", "pods"), ("apps", "v1", "statefulsets"), ("", "v1", "services"))


class Watches:
    """Runs the watches until it is stopped.

    Args:
        wake: called for every event, with the plural of what it is about.
    """

    def __init__(self, namespace: str, wake: Callable[[str], None], now_ms: Callable[[], int]) -> None:
        self._namespace = namespace
        self._wake = wake
        self._now_ms = now_ms
        self.heard_ms: dict[str, int] = {}
        """When each watch last told something (monotonic), by the kind's plural."""
        self.versions: dict[tuple[str, str], str] = {}
        """The resourceVersion last told of each resource of ours, by plural and name."""

    async def run(self, stop: asyncio.Event) -> None:
        """Watch until `stop` is set; ends early only when kopf fails."""
        logging.getLogger("kopf").setLevel(logging.WARNING)
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry)(_login)
        for plural in WATCHED:
            kopf.on.event(API_GROUP, "v1alpha1", plural, registry=registry, id=plural)(self._told)
        for group, version, plural in _OWNED:
            kopf.on.event(
                group, version, plural, registry=registry, id=plural, labels={LABEL_CLUSTER: kopf.PRESENT}
            )(self._told)
        await kopf.operator(
            registry=registry,
            settings=_settings(),
            standalone=True,
            identity=_IDENTITY,
            namespaces=[self._namespace],
            stop_flag=stop,
        )

    def is_behind(self, plural: str, name: str, version: str) -> bool:
        """Whether a watch has not told this version of a resource (yet)."""
        return self.versions.get((plural, name)) != version

    async def _told(self, event: Mapping[str, Any], resource: Any, **_: Any) -> None:
        metadata = event["object"].get("metadata", {})
        self.heard_ms[str(resource.plural)] = self._now_ms()
        key = (str(resource.plural), str(metadata.get("name", "")))
        if resource.group == API_GROUP:
            if event.get("type") == "DELETED":
                self.versions.pop(key, None)
            else:
                self.versions[key] = str(metadata.get("resourceVersion", ""))
        self._wake(str(resource.plural))


def _login(**kwargs: Any) -> kopf.ConnectionInfo | None:
    """As pods log in, else as kubectl does."""
    found = kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)
    return found  # noqa: RET504 (the type of a union of two optionals)


def _settings() -> kopf.OperatorSettings:
    """Long watches that notice silence, and no writes; the names kopf would write are ours all the same."""
    settings = kopf.OperatorSettings()
    settings.peering.standalone = True
    settings.scanning.disabled = True
    settings.posting.enabled = False
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 5
    settings.watching.server_timeout = 300
    settings.watching.inactivity_timeout = 70
    settings.watching.chunk_size = 500
    settings.queueing.idle_timeout = 0.5
    settings.persistence.finalizer = f"{API_GROUP}/kopf"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=f"kopf.{API_GROUP}")
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=f"kopf.{API_GROUP}")
    return settings
