"""`python -m moldau_operator.local FOLDER`: look after an instance in the background (`moldau up --detach`).

Writes what happens to standard output, which `up` has pointed at the instance's log. Without a first `apply`
within a minute it goes away again: whoever started it is gone.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from moldau_operator.errors import OperatorError
from moldau_operator.local.keeper import keep
from moldau_operator.local.snapshot import EventLine
from moldau_operator.local.state import read_instance
from moldau_operator.reconcile.report import rfc3339

FIRST_APPLY_S: Final = 60.0


def main() -> int:
    """Gives the exit status."""
    try:
        asyncio.run(_keep(Path(sys.argv[1])))
    except OperatorError as error:
        print(f"error: {error}", flush=True)  # noqa: T201 - the log is standard output
        return 1
    return 0


async def _keep(folder: Path) -> None:
    instance = read_instance(folder)
    if instance is None:
        raise OperatorError(f"there is no instance in {folder}")
    async with keep(instance) as local:
        local.listen(_write)
        with suppress(TimeoutError):
            async with asyncio.timeout(FIRST_APPLY_S):
                await local.applied_once.wait()
        if local.applied_once.is_set():
            await local.ended.wait()


def _write(event: EventLine) -> None:
    mark = "!" if event.warning else " "
    print(f"{rfc3339(event.at_ms)} {mark} {event.text}", flush=True)  # noqa: T201 - the log is standard output


if __name__ == "__main__":
    sys.exit(main())
