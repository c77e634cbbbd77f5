"""`moldau down`: stop a local cluster, and with --wipe remove what it left."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from moldau_cli.root import Failure


@click.command()
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The instance's folder.  [default: the one that runs, or the only one]",
)
@click.option("--wipe", is_flag=True, help="Also remove the instance's folder: all its topics and records.")
def down(data_dir: Path | None, wipe: bool) -> None:
    """Stop a local cluster in good order. Its data stays, unless --wipe removes it.

    \b
    Exit codes:
      0  nothing runs any more (and, with --wipe, nothing is left), also if that was so before
      1  there is no such instance, or more than one could be meant
    """
    from moldau_operator.errors import InstanceError
    from moldau_operator.local.background import bring_down
    from moldau_operator.local.state import choose, hold, read_instance

    if data_dir is not None and not data_dir.exists():
        click.echo(f"nothing is in {data_dir}")
        return
    try:
        instance = choose(data_dir)
        ran = asyncio.run(bring_down(instance, click.echo))
        click.echo(f"{instance.cluster} {'is stopped' if ran else 'was not running'}", nl=not wipe)
        if wipe:
            from moldau_operator.local.state import wipe as remove

            with hold(instance):
                remove(instance)
            left = instance.folder.exists() and read_instance(instance.folder) is None
            where = f"; {instance.folder} holds files that are not ours, and stays" if left else ""
            click.echo(f"; its data is removed{where}")
        else:
            click.echo(f"its data stays in {instance.folder}; --wipe removes it")
    except InstanceError as error:
        raise Failure(str(error)) from error
    except BrokenPipeError:
        raise  # who reads our output has enough (`moldau down | head -1`): click ends quietly
    except OSError as error:
        raise Failure(f"{error.filename}: {error.strerror}") from error
    except KeyboardInterrupt:
        raise click.Abort from None
