"""Work that takes long, out of the event loop: in a thread while it is short, in a process of its own beyond that.

A thread holds the interpreter and with it, in slices of some milliseconds, the loop; a process does not. It is given
the function by name and its items in portions, so that packing them never holds the loop for long either.
"""

from __future__ import annotations

import asyncio
import pickle
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final, ParamSpec, TypeVar

from moldau_operator.errors import OperatorError

Item = TypeVar("Item")
Ask = TypeVar("Ask")
Answer = TypeVar("Answer")
P = ParamSpec("P")

HERE_MAX: Final = 500
"""Items for which a plan takes a few milliseconds: less than starting a thread is worth."""
THREAD_MAX: Final = 10_000
"""Items beyond which a process is started: its quarter of a second is nothing against the plan then."""
PORTION: Final = 2_000
"""Items packed at once: some milliseconds."""


class WorkFailed(OperatorError):
    """The process that was to do the work ended without an answer."""


async def in_thread(size: int, work: Callable[P, Answer], *args: P.args, **named: P.kwargs) -> Answer:
    """`work(...)`, in a thread where it goes over so many items that it would be felt."""
    if size <= HERE_MAX:
        return work(*args, **named)
    return await asyncio.to_thread(work, *args, **named)


async def off_loop(work: Callable[[Sequence[Item], Ask], Answer], items: Sequence[Item], ask: Ask) -> Answer:
    """`work(items, ask)`, wherever it holds nobody up. The function has to be a module's own.

    Raises:
        WorkFailed: a process was needed, and it ended without an answer.
    """
    if len(items) <= HERE_MAX:
        return work(items, ask)
    if len(items) <= THREAD_MAX:
        return await asyncio.to_thread(work, items, ask)
    return await _in_process(work, items, ask)


async def _in_process(
    work: Callable[[Sequence[Item], Ask], Answer], items: Sequence[Item], ask: Ask
) -> Answer:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        __name__,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        try:
            process.stdin.write(pickle.dumps((work, ask)))
            for start in range(0, len(items), PORTION):
                process.stdin.write(pickle.dumps(items[start : start + PORTION]))
                await process.stdin.drain()
            process.stdin.write(pickle.dumps(None))
            process.stdin.write_eof()
        except (BrokenPipeError, ConnectionResetError):
            pass  # it ended before it had read everything; what it said follows
        answer, words = await asyncio.gather(process.stdout.read(), process.stderr.read())
        status = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if status or not answer:
        last = words.decode(errors="replace").strip().splitlines()
        raise WorkFailed(f"planning failed: {last[-1] if last else f'exit status {status}'}")
    found: Answer = pickle.loads(answer)  # noqa: S301 - our own child's
    return found


def _work_here() -> None:
    """What the process does: read, work, answer."""
    source: Any = sys.stdin.buffer
    work, ask = pickle.load(source)  # noqa: S301 - from the process that started us
    items: list[Any] = []
    while (portion := pickle.load(source)) is not None:  # noqa: S301
        items += portion
    sys.stdout.buffer.write(pickle.dumps(work(items, ask)))


if __name__ == "__main__":
    _work_here()
