"""Every message class by its name, for tools and tests; a running broker has no use for it. Pure."""

from __future__ import annotations

import importlib
import pkgutil

from moldau_broker.wire import messages
from moldau_broker.wire.schema import Struct


def message_classes() -> dict[str, type[Struct]]:
    """All messages, headers and records by class name; imports every module of `messages`."""
    found: dict[str, type[Struct]] = {}
    for info in pkgutil.iter_modules(messages.__path__):
        module = importlib.import_module(f"{messages.__name__}.{info.name}")
        for value in vars(module).values():
            if not isinstance(value, type) or not issubclass(value, Struct) or value is Struct:
                continue
            if value.__schema__.versions is not None:
                found[value.__name__] = value
    return found
