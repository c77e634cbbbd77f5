"""`moldau broker [FILE] [--set key=value]...`: this process becomes the broker.

The interpreter is replaced, so that neither click nor this package stays in the broker's memory, and
signals, exit status and standard streams are the broker's own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn


def become_broker(arguments: Sequence[str]) -> NoReturn:
    """Replace this process by `python -m moldau_broker.server` with the same arguments."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-m", "moldau_broker.server", *arguments])
