"""How far a data directory is with opening its logs. No behaviour here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class LoadProgress:
    """How loading comes along; `scanned` and `to_scan` are bytes of the log that is being recovered."""

    logs: int = 0
    logs_loaded: int = 0
    current: str = ""
    scanned: int = 0
    to_scan: int = 0
