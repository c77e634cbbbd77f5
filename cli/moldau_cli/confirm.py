"""Asking before something is gone for good."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click


def confirm_deletion(things: Sequence[str], *, yes: bool) -> None:
    """Ask on a terminal; scripts, which have none, are taken at their word.

    Raises:
        click.Abort: the answer was no.
    """
    if not yes and sys.stdin.isatty():
        click.confirm(f"Delete {', '.join(things)} for good?", abort=True, err=True)
