"""`python -m moldau_broker.server [server.properties] [--set key=value ...]`: one broker, until SIGTERM or SIGINT.

Kept free of heavy imports: what is imported here is what every broker start pays for.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Sequence

from moldau_broker.server.exit_codes import ExitCode

USAGE = "usage: moldau broker [server.properties] [--set key=value ...]"


class UsageError(Exception):
    """The command line is not understood."""


def parse_arguments(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """The properties file, if named, and the `--set` flags.

    Raises:
        UsageError: anything else is on the line.
    """
    file: str | None = None
    sets: list[str] = []
    left = iter(arguments)
    for argument in left:
        if argument in ("--set", "-s"):
            value = next(left, None)
            if value is None:
                raise UsageError("--set needs key=value")
            sets.append(value)
        elif argument.startswith("--set="):
            sets.append(argument.removeprefix("--set="))
        elif argument.startswith("-"):
            raise UsageError(f"unknown option {argument}")
        elif file is not None:
            raise UsageError(f"one properties file, not two: {file} and {argument}")
        else:
            file = argument
    return file, sets


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a broker; gives the exit status (see `exit_codes`)."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if any(argument in ("-h", "--help") for argument in arguments):
        sys.stdout.write(f"{USAGE}\n\n{__doc__}\n")
        return ExitCode.CLEAN
    from moldau_broker.server.config import ConfigError, load_config

    try:
        file, sets = parse_arguments(arguments)
        config = load_config(file, sets, os.environ)
    except UsageError as error:
        sys.stderr.write(f"moldau broker: {error}\n{USAGE}\n")
        return ExitCode.USAGE
    except ConfigError as error:
        for problem in error.problems:
            sys.stderr.write(f"moldau broker: {problem}\n")
        return ExitCode.USAGE

    from moldau_broker.server.descriptors import raise_limit
    from moldau_broker.server.malloc import tune_malloc
    from moldau_broker.telemetry.logs import configure_logging

    tune_malloc()
    raise_limit()
    configure_logging(config.telemetry)
    from moldau_broker.server.app import App, StartError

    async def run() -> int:
        app = App(config)
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, app.request_stop)
        try:
            await app.start()
        except StartError as error:
            sys.stderr.write(f"moldau broker: {error}\n")
            await app.stop()
            return error.exit_code
        settle_garbage_collector()
        exit_code = await app.wait()
        await app.stop()
        return exit_code

    return run_loop(run())


def settle_garbage_collector() -> None:
    """What start-up made lives as long as the process: collections need not walk it again.

    Requests make few cycles but many objects, so the young generation is given more room; not much more, as the event
    loop stands still while it is walked (10,000 took up to 15 ms where a broker shows 50,000 group-partitions).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 80, 50)


def run_loop(main_coroutine: object) -> int:
    """Run on uvloop where it is installed, else on asyncio's own loop."""
    try:
        import uvloop
    except ImportError:
        return int(asyncio.run(main_coroutine))  # type: ignore[arg-type]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return int(runner.run(main_coroutine))  # type: ignore[arg-type]


if __name__ == "__main__":
    sys.exit(main())
