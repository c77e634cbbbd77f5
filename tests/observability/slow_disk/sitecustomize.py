"""Before a broker's modules by PYTHONPATH: its disk takes long for a flush while a file with the node's id is there.

What a disk at the end of its life does, or one that somebody else keeps busy; the broker itself is as it always is.
"""

import os
import time
from pathlib import Path

DELAY_S = 0.8
_FOLDER = Path(os.environ["MOLDAU_SLOW_DISKS"])
_flush = os.fdatasync


def _fdatasync(descriptor: int) -> None:
    words = Path("/proc/self/cmdline").read_text().split("\0")
    node = next((word.removeprefix("node.id=") for word in words if word.startswith("node.id=")), "")
    if node and (_FOLDER / node).exists():
        time.sleep(DELAY_S)
    _flush(descriptor)


os.fdatasync = _fdatasync
