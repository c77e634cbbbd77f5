"""Which version of moldau is installed."""

from __future__ import annotations

from functools import cache


@cache
def release() -> str:
    """The installed version, "unknown" in a bare source tree; the first call reads files for some milliseconds."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("moldau")
    except PackageNotFoundError:
        return "unknown"
