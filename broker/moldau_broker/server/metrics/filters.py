"""Which topics and groups have metrics of their own, by the settings in force."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from moldau_broker.base.name_filter import NameFilter

if TYPE_CHECKING:
    from moldau_broker.base.broker_config import TelemetrySettings


class Filters:
    """The filters; made anew when a setting has changed."""

    __slots__ = ("_groups", "_seen", "_settings", "_topics")

    def __init__(self, settings: Callable[[], TelemetrySettings]) -> None:
        self._settings = settings
        self._seen: TelemetrySettings | None = None
        self._topics = self._groups = NameFilter((), ())

    @property
    def topics(self) -> NameFilter:
        """metrics.topics.allow, metrics.topics.deny."""
        self._look()
        return self._topics

    @property
    def groups(self) -> NameFilter:
        """metrics.groups.allow, metrics.groups.deny."""
        self._look()
        return self._groups

    def _look(self) -> None:
        settings = self._settings()
        if settings is not self._seen:
            self._seen = settings
            self._topics = NameFilter(settings.topics_allow, settings.topics_deny)
            self._groups = NameFilter(settings.groups_allow, settings.groups_deny)
