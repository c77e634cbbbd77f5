"""Variables in a properties file: what only the machine knows when the node starts.

As Kafka's config providers under their usual names (KIP-297, KIP-887); no `config.providers` is needed for them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from moldau_broker.base.properties import PropertiesSyntaxError, parse_lines

_ENVIRONMENT: Final = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)\}", re.ASCII)
_FILE: Final = re.compile(r"\$\{file:([^:{}]+):([^{}]*)\}")


class UnknownVariable(Exception):
    """The environment lacks a variable, or a file cannot be read; the text says which."""


def has_variables(value: str) -> bool:
    """Whether anything of a value is to be filled in."""
    return _ENVIRONMENT.search(value) is not None or _FILE.search(value) is not None


def fill_in(value: str, environment: Mapping[str, str]) -> str:
    """A value with `${env:NAME}` and `${file:PATH:KEY}` filled in, in this order: a key may come from the environment.

    A key that its file does not have counts as empty.

    Raises:
        UnknownVariable: something is missing.
    """
    missing = [name for name in _ENVIRONMENT.findall(value) if name not in environment]
    if missing:
        raise UnknownVariable(f"the environment has no {', '.join(missing)}")
    value = _ENVIRONMENT.sub(lambda match: environment[match[1]], value)
    return _FILE.sub(lambda match: _look_up(match[1], match[2]), value)


def _look_up(file: str, key: str) -> str:
    try:
        lines = parse_lines(Path(file).read_text("utf-8"))
        return next((value for name, value, _ in lines if name == key), "")
    except OSError as error:
        raise UnknownVariable(f"cannot read {file}: {error.strerror}") from error
    except (PropertiesSyntaxError, UnicodeDecodeError) as error:
        raise UnknownVariable(f"{file}: {error}") from error
