"""Memory that the machine really has, before a load asks for it.

A virtual machine's free memory need not be backed: with free page reporting the host takes it back within a minute, and
gives it again page by page to whoever touches it. Filling page cache then costs up to eight times as much (0.2 to 1.8
CPU s for a GB, measured), which is nobody's speed and comes and goes within seconds.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

SPARE: Final = 1.5
"""Not every page that was just given back is given out next."""


def have_at_hand(folder: Path, megabytes: int) -> None:
    """Touch so much memory and let it go again, so that the next `megabytes` of page cache come out of it.

    It is page cache of a file in `folder` that consists of nothing but a hole: no disk has anything to do with it, and
    the kernel hands out again what was page cache before (anonymous memory helps half as much).
    """
    step = bytearray(1 << 20)
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        file.truncate(int(megabytes * SPARE) << 20)
        while file.readinto(step):
            pass
