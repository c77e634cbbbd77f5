"""Before a broker's modules by PYTHONPATH: faults that come and go with files named after a node's id.

`1.slow-disk`: a flush takes long, as on a disk at the end of its life or one that somebody else keeps busy.
`1.lost-flushes`: the metadata log's flushes fail, as where the sectors below it cannot be written any more.
`1.deaf-lag`: the look at groups' positions never ends, which no fault of a machine does: it stands for a defect.
The broker itself is as it always is.
"""

import asyncio
import errno
import os
import time
from pathlib import Path

SLOW_S = 0.8
_FOLDER = Path(os.environ["MOLDAU_FAULTS"])
_WORDS = Path("/proc/self/cmdline").read_text().split("\0")
_NODE = next((word.removeprefix("node.id=") for word in _WORDS if word.startswith("node.id=")), "")
_flush = os.fdatasync


def _is_on(fault: str) -> bool:
    return (_FOLDER / f"{_NODE}.{fault}").exists()


def _fdatasync(descriptor: int) -> None:
    if _is_on("slow-disk"):
        time.sleep(SLOW_S)
    if _is_on("lost-flushes") and "__cluster_metadata" in str(Path(f"/proc/self/fd/{descriptor}").readlink()):
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    _flush(descriptor)


if _NODE:
    from moldau_broker.server.metrics.lag_questions import Questions

    _ask = Questions.ask

    async def _ask_or_hang(self, heard):
        while _is_on("deaf-lag"):  # noqa: ASYNC110 - nobody tells of files
            await asyncio.sleep(0.1)
        await _ask(self, heard)

    os.fdatasync = _fdatasync
    Questions.ask = _ask_or_hang
